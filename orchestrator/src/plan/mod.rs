//! YAML in, a graph of jobs out: pure.
//!
//! [`matrix`] is the file's shape, [`resolve`] joins it with projects and manifests. Files are
//! read elsewhere and handed in as values.

pub mod matrix;
pub mod resolve;

pub use matrix::Matrix;
pub use resolve::{Resolved, Suite};
