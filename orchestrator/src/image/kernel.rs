//! What a kernel's file says it is, so that a guest can be held to it.
//!
//! Most kernels are compressed, each machine's in a wrapper of its own. The wrappers are not taken
//! apart: whatever follows the mark of a compressor is tried, and the longest text that has a
//! kernel's banner in it is the kernel. What cannot be read is left unknown, never guessed.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use crate::model::KernelOrdered;
use crate::model::kernel::{banner, build_ids, checks};

/// Compressors by the mark at the beginning of their output, with the program that undoes it and
/// goes on over what stands behind.
const PACKERS: [(&[u8], &[&str]); 3] = [
    (b"\xfd7zXZ\0", &["xz", "--single-stream", "-dc"]),
    (b"\x1f\x8b\x08", &["gzip", "-dc"]),
    (b"\x28\xb5\x2f\xfd", &["zstd", "-dc"]),
];
/// Marks that are tried of each compressor: they also stand in code that knows them.
const TRIES: usize = 6;
/// The most that a kernel may be when it is unpacked.
const UNPACKED_MAX_BYTES: u64 = 512 << 20;

/// What the kernel in `file` is; `release` is what its package calls it, `config` its
/// configuration, where the package has that.
pub fn identify(file: &[u8], release: &str, config: Option<&str>) -> KernelOrdered {
    let mut ordered = KernelOrdered {
        release: release.to_owned(),
        checks: config.map(checks).unwrap_or_default(),
        ..KernelOrdered::default()
    };
    let unpacked;
    let (banner, text) = match banner(file) {
        Some(banner) => (Some(banner), file),
        None => match unpack(file) {
            Some((banner, text)) => {
                unpacked = text;
                (Some(banner), unpacked.as_slice())
            }
            None => return ordered,
        },
    };
    // A package that is called otherwise than its kernel would refuse every guest.
    if let Some((release, version)) = banner {
        ordered.release = release;
        ordered.version = Some(version);
    }
    ordered.build_ids = build_ids(text);
    ordered
}

fn unpack(file: &[u8]) -> Option<((String, String), Vec<u8>)> {
    PACKERS.iter().find_map(|(mark, program)| {
        let marks = file.windows(mark.len()).enumerate();
        marks
            .filter(|(_, window)| window == mark)
            .take(TRIES)
            .find_map(|(at, _)| {
                let text = run(program, &file[at..]);
                banner(&text).map(|banner| (banner, text))
            })
    })
}

/// What the program makes of `packed`, up to where it fails: behind a kernel's end stands more.
fn run(program: &[&str], packed: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let spawned = Command::new(program[0])
        .args(&program[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = spawned else {
        return out;
    };
    let (pipe, from) = (child.stdin.take(), child.stdout.take());
    std::thread::scope(|scope| {
        // It may end before it has taken everything: a broken pipe is no error here.
        scope.spawn(move || pipe.map(|mut pipe| pipe.write_all(packed)));
        if let Some(from) = from {
            let _ = from.take(UNPACKED_MAX_BYTES).read_to_end(&mut out);
        }
        let _ = child.kill();
        let _ = child.wait();
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"code Linux version 6.1-x (a@b) (gcc) #1 SMP Debian 6.1-1\n\0 \
        \x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\
        \x11\x11\x11\x11\x11\x11\x11\x11\x11\x11 more";

    fn expected() -> KernelOrdered {
        KernelOrdered {
            release: "6.1-x".into(),
            version: Some("#1 SMP Debian 6.1-1".into()),
            build_ids: vec!["11".repeat(20)],
            checks: [("CONFIG_KASAN".to_owned(), "y".to_owned())].into(),
        }
    }

    #[test]
    fn a_plain_and_a_packed_kernel_say_the_same() {
        let config = Some("CONFIG_KASAN=y\n");
        assert_eq!(identify(TEXT, "6.1", config), expected());
        let gzip = Command::new("gzip")
            .arg("-c")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .and_then(|mut child| {
                child.stdin.take().map(|mut pipe| pipe.write_all(TEXT));
                child.wait_with_output()
            });
        let mut wrapped = b"loader \x1f\x8b\x08 knows the mark ".to_vec();
        wrapped.extend(gzip.unwrap().stdout);
        wrapped.extend(b" and more behind it");
        assert_eq!(identify(&wrapped, "6.1", config), expected());
    }

    #[test]
    fn what_cannot_be_read_is_unknown() {
        let ordered = identify(b"no kernel", "6.1-x", None);
        assert_eq!(ordered.release, "6.1-x");
        assert_eq!((ordered.version, ordered.build_ids.len()), (None, 0));
    }
}
