//! Ready images of a release (`arm64.img.gz`, `…-live.img.gz`) as disks: unpacked and made larger.
//!
//! The file system in them is grown by the system itself when it boots for the first time; what it needs is
//! room behind the image.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use camino::Utf8Path;

use super::error::{ReleaseError, io};

const SECTOR: u64 = 512;

/// Writes `image` to `disk`, which gets `bytes` (rounded up to sectors), with holes where there is
/// nothing. Gives the image's own length.
///
/// Errors: the image is longer than that, or is not what its name says.
pub fn expand(image: &Utf8Path, disk: &Utf8Path, bytes: u64) -> Result<u64, ReleaseError> {
    let part = camino::Utf8PathBuf::from(format!("{disk}.part"));
    let written = match image.extension() {
        Some("gz") => unpacked(image, &part),
        _ => std::fs::File::open(image)
            .map_err(io("open", image))
            .and_then(|mut from| sparse(&mut from, image, &part)),
    };
    let finished = written.and_then(|length| {
        let wanted = bytes.next_multiple_of(SECTOR);
        if wanted < length {
            return Err(ReleaseError::Wrong {
                url: image.to_string(),
                what: format!(
                    "has {} MiB and the disk is to have {}: give it at least as much",
                    length.div_ceil(1 << 20),
                    bytes >> 20
                ),
            });
        }
        let file = std::fs::File::options().write(true).open(&part);
        let grown = file.and_then(|f| f.set_len(wanted).and_then(|()| f.sync_all()));
        grown.map_err(io("write", &part))?;
        std::fs::rename(&part, disk).map_err(io("rename to", disk))?;
        Ok(length)
    });
    if finished.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    finished
}

fn unpacked(image: &Utf8Path, to: &Utf8Path) -> Result<u64, ReleaseError> {
    let mut gzip = Command::new("gzip")
        .args(["-dc", image.as_str()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(io("unpack", image))?;
    let mut from = gzip
        .stdout
        .take()
        .ok_or_else(|| io("unpack", image)(std::io::Error::other("no pipe")))?;
    let length = sparse(&mut from, image, to);
    drop(from);
    let status = gzip.wait().map_err(io("unpack", image))?;
    match status.success() {
        true => length,
        false => length.and(Err(ReleaseError::Wrong {
            url: image.to_string(),
            what: "is not whole: gzip does not read it to its end".to_owned(),
        })),
    }
}

/// Copies, and leaves out blocks of zeros.
fn sparse(
    from: &mut impl std::io::Read,
    image: &Utf8Path,
    to: &Utf8Path,
) -> Result<u64, ReleaseError> {
    use std::io::Seek as _;
    let mut file = std::fs::File::create(to).map_err(io("create", to))?;
    let mut length = 0;
    let mut block = Vec::new();
    loop {
        block.clear();
        let mut some = from.take(64 << 10);
        let n = some.read_to_end(&mut block).map_err(io("read", image))?;
        if n == 0 {
            break;
        }
        match block.iter().all(|b| *b == 0) {
            true => drop(file.seek_relative(n as i64)),
            false => file.write_all(&block).map_err(io("write", to))?,
        }
        length += n as u64;
    }
    file.set_len(length).map_err(io("write", to))?;
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn an_image_becomes_a_larger_disk_with_holes() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let mut content = vec![0; 3 << 20];
        content[0] = 7;
        content[(2 << 20) + 5] = 9;
        let (image, disk) = (dir.join("arm64.img"), dir.join("disk"));
        std::fs::write(&image, &content).unwrap();
        let packed = Command::new("gzip")
            .args(["-k", image.as_str()])
            .status()
            .unwrap();
        assert!(packed.success());
        let packed = dir.join("arm64.img.gz");
        for from in [&image, &packed] {
            assert_eq!(expand(from, &disk, (8 << 20) + 1).unwrap(), 3 << 20);
            let got = std::fs::read(&disk).unwrap();
            assert_eq!(got.len(), (8 << 20) + 512);
            assert_eq!(got[..3 << 20], content);
            assert!(got[3 << 20..].iter().all(|b| *b == 0));
            assert!(std::fs::metadata(&disk).unwrap().blocks() * 512 < 1 << 20);
        }
        let small = expand(&image, &dir.join("small"), 1 << 20)
            .unwrap_err()
            .to_string();
        assert!(
            small.contains("has 3 MiB and the disk is to have 1"),
            "{small}"
        );
        // Cut off: nothing is left that looks like a disk.
        let bytes = std::fs::read(&packed).unwrap();
        std::fs::write(&packed, &bytes[..bytes.len() / 2]).unwrap();
        let cut = expand(&packed, &dir.join("cut"), 8 << 20)
            .unwrap_err()
            .to_string();
        assert!(cut.contains("is not whole"), "{cut}");
        assert!(!dir.join("cut").exists() && !dir.join("cut.part").exists());
    }
}
