//! YAML in, a graph of jobs out: pure.
