//! Downloads pinned files of the archive into a store by hash.
//!
//! apt does the transfer, so that its proxy settings, retries and time limits hold. What arrives is
//! hashed again here and moved to its place by a rename: a file in the store is whole and right, or
//! it is not there. Files are shared between ports and images.

use std::collections::BTreeSet;
use std::io::Read;
use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest, Sha256};

use super::apt::ArchiveFile;
use super::error::{ImageError, IoContext};
use super::exec::{Watch, run};
use super::lock::WorkDir;

const HELPER: &str = "/usr/lib/apt/apt-helper";

/// Where the store keeps `file`.
pub fn place(cache: &Utf8Path, file: &ArchiveFile) -> Utf8PathBuf {
    let tail = match file.file.rsplit_once('.') {
        Some((_, "deb")) => ".deb",
        _ => "",
    };
    cache.join("debs").join(format!("{}{tail}", file.sha256))
}

/// True where the store has `file` (by its name and length: content was checked when it came).
pub fn have(cache: &Utf8Path, file: &ArchiveFile) -> bool {
    std::fs::metadata(place(cache, file)).is_ok_and(|m| m.len() == file.size_bytes)
}

/// Brings all of `files` into the store; those that are there are not asked for. What could be
/// downloaded stays, even where another file could not.
pub fn fetch(cache: &Utf8Path, files: &[ArchiveFile], watch: &Watch<'_>) -> Result<(), ImageError> {
    let mut seen = BTreeSet::new();
    let missing: Vec<&ArchiveFile> = files
        .iter()
        .filter(|f| !have(cache, f) && seen.insert(&f.sha256))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let total = missing.len() as u64;
    (watch.progress)("download packages", Some((0, total)));
    let work = WorkDir::new(cache)?;
    let mut command = Command::new(HELPER);
    // The configuration of the session that resolved these is not needed, the host's proxy is.
    command.args([
        "-q",
        "-o",
        "APT::Sandbox::User=root",
        "-o",
        "Acquire::Retries=3",
        "download-file",
    ]);
    for file in &missing {
        command.arg(&file.uri);
        command.arg(work.path().join(&file.sha256));
        command.arg(format!("SHA256:{}", file.sha256));
    }
    let mut started = 0;
    let ran = run(&mut command, "apt", watch, &mut |line| {
        if line.starts_with("Get:") {
            started += 1;
            (watch.progress)("download packages", Some((started.min(total), total)));
        }
    })?;
    let store = cache.join("debs");
    std::fs::create_dir_all(&store).doing("create", &store)?;
    let mut failed = None;
    for file in &missing {
        if let Err(e) = accept(cache, work.path(), file, &ran.complaint()) {
            failed.get_or_insert(e);
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Checks one downloaded file and moves it into the store.
fn accept(
    cache: &Utf8Path,
    work: &Utf8Path,
    file: &ArchiveFile,
    said: &str,
) -> Result<(), ImageError> {
    let temporary = work.join(&file.sha256);
    if !temporary.exists() {
        if said.contains("No space left") {
            return Err(ImageError::DiskFull { path: temporary });
        }
        return Err(refused(file, said));
    }
    let (size_bytes, sha256) = hash_file(&temporary)?;
    if size_bytes != file.size_bytes || sha256 != file.sha256 {
        return Err(ImageError::Corrupt {
            file: file.file.clone(),
            expected: format!("{} bytes, sha256 {}", file.size_bytes, file.sha256),
            got: format!("{size_bytes} bytes, sha256 {sha256}"),
        });
    }
    let final_place = place(cache, file);
    std::fs::rename(&temporary, &final_place).doing("rename to", &final_place)
}

/// The error for a file that apt did not deliver, with what apt said of this one.
fn refused(file: &ArchiveFile, said: &str) -> ImageError {
    let mut about: Vec<&str> = Vec::new();
    let mut wanted = false;
    for line in said.lines() {
        if !line.starts_with(' ') {
            wanted = line.contains(&file.uri);
        }
        if wanted {
            about.push(line.trim_start_matches("E: "));
        }
    }
    let output = if about.is_empty() {
        said.to_owned()
    } else {
        about.join("\n")
    };
    if output.contains("Hash Sum mismatch") || output.contains("unexpected size") {
        return ImageError::Corrupt {
            file: file.file.clone(),
            expected: format!("{} bytes, sha256 {}", file.size_bytes, file.sha256),
            got: output,
        };
    }
    ImageError::Download {
        file: file.file.clone(),
        uri: file.uri.clone(),
        output,
    }
}

/// Length and SHA-256 of a file.
pub fn hash_file(path: &Utf8Path) -> Result<(u64, String), ImageError> {
    let mut file = std::fs::File::open(path).doing("open", path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut size = 0;
    loop {
        let n = file.read(&mut buffer).doing("read", path)?;
        if n == 0 {
            return Ok((size, hex(&hasher.finalize())));
        }
        hasher.update(&buffer[..n]);
        size += n as u64;
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(dir: &Utf8Path, name: &str, content: &[u8]) -> ArchiveFile {
        let path = dir.join(name);
        std::fs::write(&path, content).unwrap();
        let (size_bytes, sha256) = hash_file(&path).unwrap();
        ArchiveFile {
            package: name.to_owned(),
            version: String::new(),
            file: name.to_owned(),
            uri: format!("file://{path}"),
            size_bytes,
            sha256,
        }
    }

    fn temp() -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        (dir, path)
    }

    #[test]
    fn the_hash_is_sha256() {
        let (_guard, dir) = temp();
        let file = server(&dir, "abc", b"abc");
        assert_eq!(
            file.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    /// Needs apt on the host, as the stage does.
    fn have_apt() -> bool {
        Utf8Path::new(HELPER).exists()
    }

    #[test]
    fn a_corrupt_file_is_refused_and_the_good_one_beside_it_kept() {
        if !have_apt() {
            return;
        }
        let (_guard, dir) = temp();
        let good = server(&dir, "good", b"good");
        let mut bad = server(&dir, "bad", b"bad");
        // The archive changed its mind after the index was read.
        std::fs::write(dir.join("bad"), b"bax").unwrap();
        let cache = dir.join("cache");
        let e = fetch(&cache, &[bad.clone(), good.clone()], &Watch::QUIET).unwrap_err();
        assert!(matches!(e, ImageError::Corrupt { .. }), "{e}");
        assert!(have(&cache, &good));
        assert!(!have(&cache, &bad));
        // A shorter one: a truncated transfer.
        bad.size_bytes += 1;
        std::fs::write(dir.join("bad"), b"ba").unwrap();
        assert!(fetch(&cache, &[bad.clone()], &Watch::QUIET).is_err());
        assert!(!have(&cache, &bad));
        assert_eq!(cache.join("tmp").read_dir_utf8().unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_is_gone_is_named() {
        if !have_apt() {
            return;
        }
        let (_guard, dir) = temp();
        let gone = server(&dir, "gone", b"gone");
        std::fs::remove_file(dir.join("gone")).unwrap();
        let e = fetch(&dir.join("cache"), &[gone], &Watch::QUIET).unwrap_err();
        assert!(
            matches!(&e, ImageError::Download { file, .. } if file == "gone"),
            "{e}"
        );
    }
}
