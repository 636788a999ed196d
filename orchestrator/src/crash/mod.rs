//! Recognition of dead kernels on a console: pure.
