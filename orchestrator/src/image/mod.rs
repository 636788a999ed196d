//! Images: manifests, verified download, assembly without root, cache.
