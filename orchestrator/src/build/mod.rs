//! Builders: the system under test for a port, from a tree and a patch series.
