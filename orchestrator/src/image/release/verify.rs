//! Hashes of a file's content, all in one reading.

use std::io::Read as _;

use camino::Utf8Path;
use md5::Md5;
use sha2::{Digest as _, Sha512};

use super::error::{ReleaseError, io};
use super::sums::Sum;
use crate::image::fetch::hex;

/// What a file's content hashes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashes {
    /// How long it is.
    pub size_bytes: u64,
    /// Hexadecimal digits.
    pub sha512: String,
    /// Hexadecimal digits.
    pub md5: String,
}

impl Hashes {
    /// Whether this is what `sum` wants.
    pub fn agree(&self, sum: &Sum) -> bool {
        self.like(sum) == *sum
    }

    /// The hash of the same kind as `sum`.
    pub fn like(&self, sum: &Sum) -> Sum {
        match sum {
            Sum::Md5(_) => Sum::Md5(self.md5.clone()),
            Sum::Sha512(_) => Sum::Sha512(self.sha512.clone()),
        }
    }
}

/// Reads a file and hashes it.
pub fn hash(path: &Utf8Path) -> Result<Hashes, ReleaseError> {
    let mut file = std::fs::File::open(path).map_err(io("open", path))?;
    let (mut sha512, mut md5) = (Sha512::new(), Md5::new());
    let mut buffer = vec![0; 256 << 10];
    let mut size_bytes = 0;
    loop {
        let n = file.read(&mut buffer).map_err(io("read", path))?;
        if n == 0 {
            break;
        }
        sha512.update(&buffer[..n]);
        md5.update(&buffer[..n]);
        size_bytes += n as u64;
    }
    Ok(Hashes {
        size_bytes,
        sha512: hex(&sha512.finalize()),
        md5: hex(&md5.finalize()),
    })
}
