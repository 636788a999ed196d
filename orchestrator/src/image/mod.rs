//! Images: manifests, verified download, assembly without root, cache.

pub mod source;
