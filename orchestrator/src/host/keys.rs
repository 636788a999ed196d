//! Signing keys in files, and detached signatures of files: ed25519.
//!
//! The secret key is a file that only its owner may read; it is never printed, logged or passed on a
//! command line. What is signed are the file's bytes and nothing else, so that other programs can
//! check a signature too. A signature names its key, which proves nothing by itself: who verifies
//! brings the key that they trust.

use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};

use camino::{Utf8Path, Utf8PathBuf};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use super::machine::random_bytes;

const SECRET: &str = "fallout signing key 1";
const PUBLIC: &str = "fallout public key 1";
const SIGNATURE: &str = "fallout signature 1";

/// Why a key or a signature cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file.
    #[error("{path}: {cause}")]
    Io {
        /// Which.
        path: Utf8PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// There is one already.
    #[error("{0}: there is a key already: expected another file; a key is never written over")]
    There(Utf8PathBuf),
    /// Others may read it.
    #[error("{path}: others than its owner may read it (mode {mode:o}): expected mode 600")]
    Open {
        /// Which.
        path: Utf8PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is not what it should be.
    #[error("{path}: is no {what}")]
    Form {
        /// Which.
        path: String,
        /// `signing key`, `public key`, `signature`.
        what: &'static str,
    },
}

fn io_of(path: &Utf8Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.to_owned();
    move |cause| KeyError::Io { path, cause }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public(VerifyingKey);

impl Public {
    /// In hexadecimal digits, as users see it.
    pub fn digits(&self) -> String {
        hex(self.0.as_bytes())
    }

    /// From digits, or from the file that [`new_key`] wrote.
    pub fn read(text_or_file: &str) -> Result<Self, KeyError> {
        let form = || KeyError::Form {
            path: text_or_file.to_owned(),
            what: "public key",
        };
        let digits = match unhex::<32>(text_or_file) {
            Some(_) => text_or_file.to_owned(),
            None => {
                let path = Utf8Path::new(text_or_file);
                let text = std::fs::read_to_string(path).map_err(io_of(path))?;
                let digits = text.strip_prefix(PUBLIC).ok_or_else(form)?;
                digits.trim().to_owned()
            }
        };
        let bytes = unhex::<32>(&digits).ok_or_else(form)?;
        VerifyingKey::from_bytes(&bytes)
            .map(Self)
            .map_err(|_| form())
    }
}

/// A key that signs. It has no form for people.
pub struct Secret(SigningKey);

impl Secret {
    /// Reads one. A file that others may read is refused.
    pub fn read(path: &Utf8Path) -> Result<Self, KeyError> {
        let mode = path.metadata().map_err(io_of(path))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let path = path.to_owned();
            return Err(KeyError::Open { path, mode });
        }
        let text = std::fs::read_to_string(path).map_err(io_of(path))?;
        let digits = text.strip_prefix(SECRET).map(str::trim);
        let bytes = digits.and_then(unhex::<32>).ok_or(KeyError::Form {
            path: path.to_string(),
            what: "signing key",
        })?;
        Ok(Self(SigningKey::from_bytes(&bytes)))
    }

    /// The key by which its signatures are checked.
    pub fn public(&self) -> Public {
        Public(self.0.verifying_key())
    }

    /// The signature of some bytes, as a file.
    pub fn sign(&self, bytes: &[u8]) -> String {
        let signature = self.0.sign(bytes);
        let key = self.public().digits();
        format!(
            "{SIGNATURE}\nkey {key}\ned25519 {}\n",
            hex(&signature.to_bytes())
        )
    }
}

/// Where the public key of a signing key is: beside it.
pub fn public_path(secret: &Utf8Path) -> Utf8PathBuf {
    secret.with_extension("pub")
}

/// Makes a key. Nothing is written over.
pub fn new_key(path: &Utf8Path) -> Result<Public, KeyError> {
    if let Some(dir) = path.parent().filter(|d| !d.as_str().is_empty()) {
        std::fs::create_dir_all(dir).map_err(io_of(dir))?;
    }
    let key = SigningKey::from_bytes(&random_bytes::<32>().map_err(io_of(path))?);
    let made = std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = match made {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            return Err(KeyError::There(path.to_owned()));
        }
        Err(e) => return Err(io_of(path)(e)),
    };
    let text = format!("{SECRET}\n{}\n", hex(key.as_bytes()));
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(io_of(path))?;
    let public = Public(key.verifying_key());
    let beside = public_path(path);
    let text = format!("{PUBLIC}\n{}\n", public.digits());
    std::fs::write(&beside, text).map_err(io_of(&beside))?;
    Ok(public)
}

/// What came of checking a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// The bytes are those that the key signed.
    Genuine,
    /// They are not, or the signature is not this key's.
    Wrong,
    /// The signature says that it is another key's.
    OtherKey,
}

/// Checks the signature of some bytes by a key that is trusted.
pub fn verify(key: &Public, bytes: &[u8], signature: &str) -> Checked {
    let mut lines = signature.lines();
    let parts = (lines.next(), lines.next(), lines.next(), lines.next());
    let (Some(SIGNATURE), Some(named), Some(signed), None) = parts else {
        return Checked::Wrong;
    };
    let signed = signed.strip_prefix("ed25519 ").and_then(unhex::<64>);
    let (Some(named), Some(signed)) = (named.strip_prefix("key "), signed) else {
        return Checked::Wrong;
    };
    if named != key.digits() {
        return Checked::OtherKey;
    }
    match key.0.verify_strict(bytes, &Signature::from_bytes(&signed)) {
        Ok(()) => Checked::Genuine,
        Err(_) => Checked::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn made() -> (tempfile::TempDir, Secret) {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("keys/k.key");
        let public = new_key(&path).unwrap();
        assert!(matches!(new_key(&path), Err(KeyError::There(_))));
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let secret = Secret::read(&path).unwrap();
        assert_eq!(secret.public(), public);
        assert_eq!(Public::read(public_path(&path).as_str()).unwrap(), public);
        assert_eq!(Public::read(&public.digits()).unwrap(), public);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            Secret::read(&path),
            Err(KeyError::Open { mode: 0o640, .. })
        ));
        (dir, secret)
    }

    #[test]
    fn every_changed_byte_is_seen() {
        let (_keep, secret) = made();
        let public = secret.public();
        let bytes = b"go".to_vec();
        let signature = secret.sign(&bytes);
        assert_eq!(verify(&public, &bytes, &signature), Checked::Genuine);
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_eq!(verify(&public, &other, &signature), Checked::Wrong);
        }
        for at in 0..signature.len() {
            let mut other = signature.clone().into_bytes();
            other[at] ^= 1;
            let other = String::from_utf8_lossy(&other).into_owned();
            assert_ne!(verify(&public, &bytes, &other), Checked::Genuine, "{at}");
        }
        let (_keep, stranger) = made();
        let theirs = stranger.sign(&bytes);
        assert_eq!(verify(&public, &bytes, &theirs), Checked::OtherKey);
    }

    proptest! {
        #[test]
        fn no_text_is_a_signature(text in ".{0,200}|fallout signature 1\nkey .{0,70}\ned25519 .{0,130}\n") {
            // RFC 8032's first test key: a key of our own would be written for each text.
            let known = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
            let key = Public::read(known).unwrap();
            prop_assert_ne!(verify(&key, b"x", &text), Checked::Genuine);
        }
    }
}
