//! A release on a mirror: found, selected, fetched, verified.
//!
//! What there is, the hashes beside the files say (`SHA512`, or `MD5` where only that is there), so a mirror
//! that lists nothing is as good as one that does. Listings are read only to find the port's directory,
//! and the newest of the dailies. A release whose address says which one it is does not change: once it
//! is in the cache, nobody is asked for it again.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use reqwest::Url;

use super::download::{Http, Job, Note, Teller};
use super::error::ReleaseError;
use super::listing::{self, Kind, Listing};
use super::source::newest_first;
use super::store::{Kept, Record, Store, Tree, alone};
use super::sums::{self, Sum, Sums};
use super::want::Want;
use super::{Release, directory_names};

/// Of so many dailies, the newest first, one must have the port.
const DAILIES: usize = 10;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The address, which ends in `/`.
    pub url: &'a Url,
    /// The port.
    pub port: &'a str,
    /// Further names that its directory can have.
    pub names: &'a [String],
    /// Which files.
    pub want: &'a Want,
    /// Ask the mirror, even where the cache has all of it.
    pub refresh: bool,
    /// Ask nobody.
    pub offline: bool,
    /// Hashes that were verified by a signature, by paths relative to the release.
    pub signed: Option<&'a Sums>,
}

/// Where a port's directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its address; ends in `/`.
    pub url: Url,
    /// False where the address that was given means another one tomorrow.
    pub is_fixed: bool,
}

/// What a release has of what is wanted: by path, its address and its hash.
pub type Found = BTreeMap<String, (Url, Sum)>;

/// Fetches what is missing of a release, and gives it as a local one.
pub async fn fetch(
    http: &Http,
    store: &Store,
    ask: &Ask<'_>,
    tell: &Teller<'_>,
) -> Result<Release, ReleaseError> {
    let recalled = store.recall(ask.url.as_str(), ask.port);
    let is_fixed = !is_moving(ask.url);
    if let Some(from) = &recalled
        && (ask.offline || (is_fixed && !ask.refresh))
    {
        let tree = store.tree(from, ask.port).await?;
        if let Some(release) = complete(store, &tree, ask.want)? {
            return Ok(release);
        }
    }
    if ask.offline {
        return Err(not_cached(ask, Vec::new()));
    }
    let place = match locate(http, ask, tell).await {
        Ok(place) => place,
        Err(ReleaseError::Unreachable { url, why, .. }) if recalled.is_some() => {
            // A network that is away does not take away what is here.
            let from = recalled.unwrap_or_default();
            tell(Note::Said(&format!(
                "{url}: {why}; taking {from} from the cache"
            )));
            let tree = store.tree(&from, ask.port).await?;
            return complete(store, &tree, ask.want)?.ok_or_else(|| not_cached(ask, Vec::new()));
        }
        Err(error) => return Err(error),
    };
    let found = look(http, &place.url, ask, tell).await?;
    let mut tree = store.tree(place.url.as_str(), ask.port).await?;
    let (files, failed) = bring(http, store, &tree, &found, tell).await;
    let mut record = Record::new(ask.url.as_str(), place.url.as_str(), ask.port);
    record.files = files;
    if let Some(old) = &tree.record {
        // What an earlier selection brought, and this one does not speak of, stays.
        let other =
            |path: &&String| !ask.want.has(path) || (failed.is_some() && found.contains_key(*path));
        let old_files = old.files.iter().filter(|(path, _)| other(path));
        for (path, kept) in old_files {
            record
                .files
                .entry(path.clone())
                .or_insert_with(|| kept.clone());
        }
        if place.is_fixed {
            record.patterns.clone_from(&old.patterns);
        }
    }
    if failed.is_none() {
        record.patterns.extend(ask.want.patterns().iter().cloned());
    }
    // What came is noted even where something did not: it is not fetched twice.
    tree.seal(record)?;
    if let Some(error) = failed {
        return Err(error);
    }
    store.remember(ask.url.as_str(), ask.port, place.url.as_str())?;
    tree.release()
}

/// The release of a tree, where all that fits the patterns was fetched and is still there.
fn complete(store: &Store, tree: &Tree, want: &Want) -> Result<Option<Release>, ReleaseError> {
    let Some(record) = &tree.record else {
        return Ok(None);
    };
    let asked = want.patterns().iter().all(|p| record.patterns.contains(p));
    let mut wanted = record.files.iter().filter(|(path, _)| want.has(path));
    let there = wanted.all(|(path, kept)| tree.has(store, path, &kept.sum).is_some());
    match asked && there {
        true => tree.release().map(Some),
        false => Ok(None),
    }
}

fn not_cached(ask: &Ask<'_>, files: Vec<String>) -> ReleaseError {
    ReleaseError::NotCached {
        from: ask.url.to_string(),
        port: ask.port.to_owned(),
        files,
    }
}

/// True for an address whose meaning changes: `latest`, and a branch of the dailies.
fn is_moving(url: &Url) -> bool {
    let parts: Vec<&str> = url.path().split('/').filter(|p| !p.is_empty()).collect();
    let has_stamp = parts.iter().any(|p| super::source::is_stamp(p));
    parts.contains(&"latest") || (parts.contains(&"NetBSD-daily") && !has_stamp)
}

/// Finds the port's own directory.
pub async fn locate(http: &Http, ask: &Ask<'_>, tell: &Teller<'_>) -> Result<Place, ReleaseError> {
    let names: Vec<&str> = directory_names(ask.port)
        .into_iter()
        .chain(ask.names.iter().map(String::as_str))
        .collect();
    if let Some((branch, rest)) = split_latest(ask.url) {
        let url = match list(http, &branch, tell).await {
            Ok(listing) => newest(http, &branch, &rest, &listing, &names, ask, tell).await?,
            Err(error @ ReleaseError::Unreachable { .. }) => return Err(error),
            // A server that lists nothing may know itself what its latest is.
            Err(error) => probe(http, ask.url, &names, tell).await.ok_or(error)?,
        };
        return Ok(Place {
            url,
            is_fixed: false,
        });
    }
    let listing = match list(http, ask.url, tell).await {
        Ok(listing) => listing,
        // A mirror without listings: the hashes beside the sets tell where they are.
        Err(
            error @ (ReleaseError::Refused { .. }
            | ReleaseError::Wrong { .. }
            | ReleaseError::NotThere { .. }),
        ) => {
            return match probe(http, ask.url, &names, tell).await {
                Some(url) => Ok(Place {
                    url,
                    is_fixed: true,
                }),
                None => Err(error),
            };
        }
        Err(error) => return Err(error),
    };
    if let Some(url) = port_in(ask.url, &listing, &names) {
        return Ok(Place {
            url,
            is_fixed: true,
        });
    }
    if listing.keys().any(|n| super::source::is_stamp(n)) {
        let url = newest(http, ask.url, "", &listing, &names, ask, tell).await?;
        return Ok(Place {
            url,
            is_fixed: false,
        });
    }
    Err(no_release(ask, &names, &listing))
}

fn no_release(ask: &Ask<'_>, names: &[&str], listing: &Listing) -> ReleaseError {
    let dirs = listing.iter().filter(|(_, kind)| **kind == Kind::Directory);
    ReleaseError::NoRelease {
        place: ask.url.to_string(),
        port: ask.port.to_owned(),
        expected: names.join(", "),
        has: dirs.map(|(name, _)| name.clone()).take(40).collect(),
    }
}

/// An address with `latest` in it, as what stands before and behind that.
fn split_latest(url: &Url) -> Option<(Url, String)> {
    let (before, rest) = url.path().split_once("/latest/")?;
    let mut branch = url.clone();
    branch.set_path(&format!("{before}/"));
    Some((branch, rest.to_owned()))
}

fn port_in(at: &Url, listing: &Listing, names: &[&str]) -> Option<Url> {
    if listing.contains_key("binary") {
        return Some(at.clone());
    }
    let name = names.iter().find(|name| listing.contains_key(**name))?;
    at.join(&format!("{name}/")).ok()
}

/// The port's directory in the newest daily that has it.
async fn newest(
    http: &Http,
    branch: &Url,
    rest: &str,
    listing: &Listing,
    names: &[&str],
    ask: &Ask<'_>,
    tell: &Teller<'_>,
) -> Result<Url, ReleaseError> {
    for stamp in newest_first(listing.keys()).into_iter().take(DAILIES) {
        let Ok(daily) = branch.join(&format!("{stamp}/{rest}")) else {
            continue;
        };
        // A daily that is still being uploaded has no hashes of its sets yet.
        if let Some(url) = probe(http, &daily, names, tell).await {
            tell(Note::Said(&format!(
                "the newest with {} is {stamp}",
                ask.port
            )));
            return Ok(url);
        }
        tell(Note::Said(&format!("{stamp} has no {} (yet)", ask.port)));
    }
    Err(no_release(ask, names, listing))
}

/// The first of the places below `at` that has hashes of its sets or kernels.
async fn probe(http: &Http, at: &Url, names: &[&str], tell: &Teller<'_>) -> Option<Url> {
    let named = names
        .iter()
        .filter_map(|name| at.join(&format!("{name}/")).ok());
    for url in named.chain([at.clone()]) {
        for dir in ["binary/sets", "binary/kernel"] {
            if matches!(sums_in(http, &url, dir, tell).await, Ok(Some(_))) {
                return Some(url);
            }
        }
    }
    None
}

async fn list(http: &Http, url: &Url, tell: &Teller<'_>) -> Result<Listing, ReleaseError> {
    let page = http.text(url, tell).await?;
    listing::parse(url, &page).map_err(|what| ReleaseError::Wrong {
        url: url.to_string(),
        what,
    })
}

/// The hashes in a directory of a port, and the address of the file that has them.
async fn sums_in(
    http: &Http,
    port: &Url,
    dir: &str,
    tell: &Teller<'_>,
) -> Result<Option<(Sums, Url)>, ReleaseError> {
    for name in ["SHA512", "MD5"] {
        let Ok(url) = port.join(&format!("{dir}/{name}")) else {
            continue;
        };
        match http.text(&url, tell).await {
            Ok(content) => {
                let sums = sums::parse(&content).map_err(|what| ReleaseError::Wrong {
                    url: url.to_string(),
                    what,
                })?;
                if !sums.is_empty() {
                    return Ok(Some((sums, url)));
                }
            }
            Err(ReleaseError::NotThere { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// What there is of what is wanted.
pub async fn look(
    http: &Http,
    port: &Url,
    ask: &Ask<'_>,
    tell: &Teller<'_>,
) -> Result<Found, ReleaseError> {
    let mut found = Found::new();
    for dir in ask.want.directories() {
        let Some((sums, at)) = sums_in(http, port, dir, tell).await? else {
            unverified(http, port, dir, ask.want, tell).await?;
            continue;
        };
        for (name, sum) in sums {
            let path = format!("{dir}/{name}");
            let (Ok(url), true) = (at.join(&name), listing::is_name(&name)) else {
                continue;
            };
            if super::layout::is_about(&name) || !ask.want.has(&path) {
                continue;
            }
            found.insert(path, (url, sum));
        }
    }
    if let Some(signed) = ask.signed {
        sign(port, &mut found, signed)?;
    }
    match found.is_empty() {
        true => Err(ReleaseError::NothingWanted {
            place: port.to_string(),
            patterns: ask.want.patterns().join(", "),
        }),
        false => Ok(found),
    }
}

/// A directory without hashes is a fault where something in it is wanted.
async fn unverified(
    http: &Http,
    port: &Url,
    dir: &str,
    want: &Want,
    tell: &Teller<'_>,
) -> Result<(), ReleaseError> {
    let Ok(url) = port.join(&format!("{dir}/")) else {
        return Ok(());
    };
    let listing = match list(http, &url, tell).await {
        Ok(listing) => listing,
        Err(error @ ReleaseError::Unreachable { .. }) => return Err(error),
        // Not every port has every directory, and not every mirror lists.
        Err(_) => return Ok(()),
    };
    let is_wanted =
        |name: &String| !super::layout::is_about(name) && want.has(&format!("{dir}/{name}"));
    match listing.keys().any(is_wanted) {
        true => Err(ReleaseError::NoSums {
            url: url.to_string(),
        }),
        false => Ok(()),
    }
}

/// Takes the signed hashes for those that stand beside the files.
fn sign(port: &Url, found: &mut Found, signed: &Sums) -> Result<(), ReleaseError> {
    for (path, (url, sum)) in found.iter_mut() {
        // Signed names are relative to the release, which is a part of the address.
        let own = signed.iter().filter(|(name, _)| {
            let tail = format!("/{name}");
            url.path().ends_with(&tail)
        });
        match own.max_by_key(|(name, _)| name.len()) {
            Some((_, hash)) => *sum = hash.clone(),
            None => {
                return Err(ReleaseError::Signature {
                    what: format!("{port}{path}"),
                    why: "is not among the signed hashes".to_owned(),
                });
            }
        }
    }
    Ok(())
}

/// Brings all files into the store and the tree, some at a time. What came stays, even where another
/// file did not; the first error is told.
async fn bring(
    http: &Http,
    store: &Store,
    tree: &Tree,
    found: &Found,
    tell: &Teller<'_>,
) -> (BTreeMap<String, Kept>, Option<ReleaseError>) {
    let jobs = found.iter().map(|(path, (url, sum))| async move {
        let kept = one(http, store, tree, path, url, sum, tell).await;
        (path.clone(), kept)
    });
    let at_once = http.patience.at_once.max(1);
    let mut done = futures_util::stream::iter(jobs).buffer_unordered(at_once);
    let mut files = BTreeMap::new();
    let mut failed = None;
    while let Some((path, kept)) = done.next().await {
        match kept {
            Ok(kept) => drop(files.insert(path, kept)),
            Err(error) => {
                failed.get_or_insert(error);
            }
        }
    }
    (files, failed)
}

async fn one(
    http: &Http,
    store: &Store,
    tree: &Tree,
    path: &str,
    url: &Url,
    sum: &Sum,
    tell: &Teller<'_>,
) -> Result<Kept, ReleaseError> {
    if let Some(kept) = tree.has(store, path, sum) {
        return Ok(kept);
    }
    let file = path.rsplit('/').next().unwrap_or(path);
    if let Sum::Sha512(digits) = sum
        && let Ok(meta) = std::fs::metadata(store.file(digits))
    {
        // Another release has the same file.
        tree.put(store, path, digits)?;
        return Ok(Kept {
            sum: sum.clone(),
            sha512: digits.clone(),
            size_bytes: meta.len(),
        });
    }
    let part = store.part(sum);
    let _alone = alone(&camino::Utf8PathBuf::from(format!("{part}.lock"))).await?;
    let sums = match sum {
        Sum::Sha512(_) => "SHA512",
        Sum::Md5(_) => "MD5",
    };
    let job = Job {
        url,
        file,
        sum,
        sums,
        part: &part,
    };
    let hashes = http.file(&job, tell).await?;
    store.accept(&part, &hashes.sha512)?;
    tree.put(store, path, &hashes.sha512)?;
    Ok(Kept {
        sum: sum.clone(),
        sha512: hashes.sha512,
        size_bytes: hashes.size_bytes,
    })
}

#[cfg(test)]
mod tests;
