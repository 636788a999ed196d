//! Builders: the interface that the engine uses. The make builder follows.
#![allow(missing_docs, dead_code)]
use crate::model::*;
use camino::{Utf8Path, Utf8PathBuf};
pub struct BuildRequest<'a> {
    pub project: &'a Project,
    pub tree: &'a Utf8Path,
    pub patches: Option<&'a Utf8Path>,
    pub port: &'a Port,
    pub sysroot: &'a Utf8Path,
    pub cache: &'a Utf8Path,
    pub key: &'a Key,
    pub jobs: u32,
}
#[derive(Debug)]
pub struct Built {
    pub output: Key,
    pub tar: Utf8PathBuf,
}
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct BuildError;
impl BuildError {
    pub fn stage(&self) -> StageResult {
        StageResult::BuildFailed
    }
}
pub fn cached(_: &Utf8Path, _: &Key) -> Option<Built> {
    None
}
pub async fn build(
    _: &BuildRequest<'_>,
    _: &(dyn Fn(&str) + Send + Sync),
) -> Result<Built, BuildError> {
    Err(BuildError)
}
