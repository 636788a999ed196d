//! Every side effect on the host: process, files, clock.

pub mod text;
pub mod yaml;
