//! The device nodes of a system, by its own `MAKEDEV -s`, which prints them and makes none.
//!
//! The script is a release's, so it is confined as far as the host can: by bubblewrap (nothing may be
//! written, no network), else by a network namespace. What it prints is read defensively.

use std::process::Command;

use camino::Utf8Path;

use super::spec::{Entries, Entry, Kind};
use crate::host::confine::{BWRAP, UNSHARE};
use crate::image::error::ImageError;
use crate::image::exec::{Watch, run};
use crate::image::tree::clean;

/// The devices that `script`, the release's `dev/MAKEDEV`, would make for `all`.
pub fn devices(script: &Utf8Path, watch: &Watch<'_>) -> Result<Entries, ImageError> {
    let words = ["sh", script.as_str(), "-s", "all"];
    let mut failure = None;
    for confined in [&BWRAP[..], &UNSHARE[..], &[]] {
        let mut all = confined.iter().chain(&words);
        let mut command = Command::new(all.next().unwrap_or(&"sh"));
        command.args(all).env("MACHINE", "").current_dir("/");
        match run(&mut command, "bubblewrap", watch, &mut |_| {}) {
            Ok(ran) if ran.ok => return Ok(parse(&ran.out)),
            Ok(ran) => failure = Some(ran.complaint()),
            Err(ImageError::Stopped) => return Err(ImageError::Stopped),
            // Not installed, or not allowed here.
            Err(_) => {}
        }
    }
    Err(ImageError::Tool {
        tool: "MAKEDEV -s all".to_owned(),
        output: failure.unwrap_or_default(),
    })
}

/// Reads lines as `./tty01 type=char device=netbsd,8,1 mode=600 gid=0 uid=66`. What is none is
/// passed by.
fn parse(text: &str) -> Entries {
    let mut entries = Entries::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let path = words.next().and_then(|w| clean(w.as_bytes()).ok()?);
        let Some(path) = path else { continue };
        if let Some(entry) = entry(words) {
            entries.insert(format!("dev/{path}"), entry);
        }
    }
    entries
}

fn entry<'a>(words: impl Iterator<Item = &'a str>) -> Option<Entry> {
    let (mut kind, mut device, mut link) = ("", None, None);
    let (mut mode, mut uid, mut gid) = (0o600, 0, 0);
    for word in words {
        match word.split_once('=')? {
            ("type", value) => kind = value,
            ("mode", value) => mode = u32::from_str_radix(value, 8).ok()? & 0o7777,
            ("uid", value) => uid = value.parse().ok()?,
            ("gid", value) => gid = value.parse().ok()?,
            ("link", value) => link = Some(value.to_owned()),
            ("device", value) => {
                let mut parts = value.split(',').skip(1).map(str::parse::<u32>);
                device = Some((parts.next()?.ok()?, parts.next()?.ok()?));
            }
            _ => {}
        }
    }
    let kind = match (kind, device, link) {
        ("char", Some((major, minor)), _) => Kind::Device("char", major, minor),
        ("block", Some((major, minor)), _) => Kind::Device("block", major, minor),
        ("dir", ..) => Kind::Dir,
        ("link", _, Some(to)) => Kind::Link(to),
        _ => return None,
    };
    Some(Entry {
        kind,
        mode,
        uid,
        gid,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makedev_prints() {
        let entries = parse(
            ". type=dir optional\n./console type=char device=netbsd,0,0 mode=600 gid=0 uid=0\n\
             ./dty01 type=char device=netbsd,8,524289 mode=600 gid=0 uid=66\n./fd type=dir mode=755 gid=0 uid=0\n\
             ./sound type=link mode=755 gid=0 uid=0 link=sound0\n../x type=char device=netbsd,0,0\n./y odd\n",
        );
        let names: Vec<&str> = entries.keys().map(String::as_str).collect();
        assert_eq!(names, ["dev/console", "dev/dty01", "dev/fd", "dev/sound"]);
        let line = &entries["dev/dty01"];
        assert_eq!(
            (&line.kind, line.uid),
            (&Kind::Device("char", 8, 524_289), 66)
        );
    }
}
