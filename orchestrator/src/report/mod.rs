//! What people and machines read: one file per format.
