//! Runs, events, cached results and artifacts on disk.
