//! Every side effect on the host: process, files, clock.

pub mod confine;
pub mod dirs;
pub mod files;
pub mod git;
pub mod history;
pub mod keys;
pub mod leftovers;
pub mod lock;
pub mod machine;
pub mod mail;
pub mod post;
pub mod process;
pub mod series;
pub mod slurm;
pub mod text;
pub mod yaml;
