//! The seam to components that are built from source: what an image and a sysroot want of them.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;

use super::Dirs;
use super::error::ImageError;
use super::exec::Watch;
use super::source::{self, Component, Request, SourceError, Wanted};
use crate::model::ids::Key;
use crate::model::port::Port;

struct Place {
    recipes: Utf8PathBuf,
    cache: Utf8PathBuf,
    patches: BTreeMap<String, Vec<Utf8PathBuf>>,
}

impl Place {
    fn of(port: &Port, dirs: &Dirs) -> Self {
        Self {
            recipes: dirs.images.join(&port.family).join("sources"),
            cache: dirs.cache.clone(),
            patches: BTreeMap::new(),
        }
    }

    fn request<'a>(&'a self, port: &'a Port, refresh: bool) -> Request<'a> {
        Request {
            port,
            recipes: &self.recipes,
            cache: &self.cache,
            patches: &self.patches,
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            refresh,
        }
    }
}

fn blame(port: &Port) -> impl FnOnce(SourceError) -> ImageError {
    |e| match e {
        SourceError::Image(e) => *e,
        e => ImageError::Component {
            port: port.port.to_string(),
            source: Box::new(e),
        },
    }
}

/// The keys of the wanted components of `port`, in the order of building, and whether the cache
/// has them all; None where a source was never resolved. Asks nobody.
pub fn known(
    port: &Port,
    dirs: &Dirs,
    wanted: Wanted,
) -> Result<Option<(Vec<Key>, bool)>, ImageError> {
    if port.image.sources.is_empty() {
        return Ok(Some((Vec::new(), true)));
    }
    let place = Place::of(port, dirs);
    let planned =
        source::known(&place.request(port, false), wanted, &Watch::QUIET).map_err(blame(port))?;
    Ok(planned.map(|all| {
        let ready = all.iter().all(|p| p.cached);
        (all.into_iter().map(|p| p.key).collect(), ready)
    }))
}

/// The keys, resolved now where they never were.
pub fn keys(
    port: &Port,
    dirs: &Dirs,
    wanted: Wanted,
    refresh: bool,
    watch: &Watch<'_>,
) -> Result<Vec<Key>, ImageError> {
    if port.image.sources.is_empty() {
        return Ok(Vec::new());
    }
    let place = Place::of(port, dirs);
    let planned =
        source::plan(&place.request(port, refresh), wanted, watch).map_err(blame(port))?;
    Ok(planned.into_iter().map(|p| p.key).collect())
}

/// The components themselves, built where they are missing.
pub fn ensure(
    port: &Port,
    dirs: &Dirs,
    wanted: Wanted,
    watch: &Watch<'_>,
) -> Result<Vec<Component>, ImageError> {
    if port.image.sources.is_empty() {
        return Ok(Vec::new());
    }
    let place = Place::of(port, dirs);
    source::build_components(&place.request(port, false), wanted, watch).map_err(blame(port))
}
