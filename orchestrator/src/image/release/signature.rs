//! Signed lists of hashes: verified by the host's `gpgv` against keys that the user has chosen.
//!
//! NetBSD signs one list for each release (`security/hashes/NetBSD-10.1_hashes.asc`). Only what the
//! signature covers is read: `gpgv` writes that out, and text around it does not come along.

use std::process::Command;

use camino::Utf8Path;

use super::error::{ReleaseError, io};
use super::sums::{self, Sums};
use crate::image::exec::{Watch, run};

/// The hashes in a clear-signed list, once its signature is good.
pub fn verified(signed: &[u8], name: &str, keyring: &Utf8Path) -> Result<Sums, ReleaseError> {
    let wrong = |why: String| ReleaseError::Signature {
        what: name.to_owned(),
        why,
    };
    // gpgv takes a name without a slash for one in its own directory.
    let keyring = keyring.canonicalize_utf8().map_err(io("open", keyring))?;
    let dir = tempfile::tempdir().map_err(|e| wrong(e.to_string()))?;
    let dir = Utf8Path::from_path(dir.path()).ok_or_else(|| wrong("no directory".to_owned()))?;
    let (list, content) = (dir.join("list.asc"), dir.join("list"));
    std::fs::write(&list, signed).map_err(io("write", &list))?;
    let mut gpgv = Command::new("gpgv");
    gpgv.args([
        "--keyring",
        keyring.as_str(),
        "--output",
        content.as_str(),
        list.as_str(),
    ]);
    let ran =
        run(&mut gpgv, "gpgv", &Watch::QUIET, &mut |_| {}).map_err(|e| wrong(e.to_string()))?;
    if !ran.ok {
        let said = ran.complaint();
        let said: Vec<&str> = said
            .lines()
            .map(|l| l.trim_start_matches("gpgv:").trim())
            .collect();
        return Err(wrong(format!(
            "the signature is not good by the keys of {keyring}: {}",
            said.join("; ")
        )));
    }
    let content = std::fs::read(&content).map_err(io("read", &content))?;
    let sums = sums::parse(&content).map_err(wrong)?;
    match sums.is_empty() {
        true => Err(wrong("the signed text has no hashes".to_owned())),
        false => Ok(sums),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::files::find_program;

    fn gpg(home: &Utf8Path, args: &[&str]) -> Vec<u8> {
        let out = Command::new("gpg")
            .args([
                "--homedir",
                home.as_str(),
                "--batch",
                "--quiet",
                "--passphrase",
                "",
            ])
            .args(args)
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        out.stdout
    }

    #[test]
    fn a_list_is_read_where_its_signature_is_good_and_nowhere_else() {
        if find_program("gpg").is_none() || find_program("gpgv").is_none() {
            eprintln!("skipped: needs gpg and gpgv (package gpg)");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap();
        let made = [
            "--quick-generate-key",
            "tester@example.org",
            "ed25519",
            "sign",
            "never",
        ];
        gpg(home, &made);
        let keys = home.join("keys.gpg");
        std::fs::write(&keys, gpg(home, &["--export"])).unwrap();
        let list = home.join("hashes");
        let line = format!("SHA512 (NetBSD-1/amd64/base.tgz) = {}\n", "ab".repeat(64));
        std::fs::write(&list, &line).unwrap();
        let signed = gpg(home, &["--clearsign", "--output", "-", list.as_str()]);

        let sums = verified(&signed, "list", &keys).unwrap();
        assert_eq!(sums.keys().collect::<Vec<_>>(), ["NetBSD-1/amd64/base.tgz"]);
        // What stands around the signed text is not signed.
        let other = line.replace("base", "evil");
        let around = [other.as_bytes(), &signed, other.as_bytes()].concat();
        if let Ok(sums) = verified(&around, "list", &keys) {
            assert!(!sums.contains_key("NetBSD-1/amd64/evil.tgz"));
        }
        let text = String::from_utf8(signed).unwrap();
        let forged = text.replacen("abab", "abac", 1);
        let said = verified(forged.as_bytes(), "list", &keys)
            .unwrap_err()
            .to_string();
        assert!(
            said.starts_with("list: the signature is not good by the keys of "),
            "{said}"
        );
        let unsigned = verified(line.as_bytes(), "list", &keys).unwrap_err();
        assert!(
            matches!(unsigned, ReleaseError::Signature { .. }),
            "{unsigned}"
        );
        let _ = Command::new("gpgconf")
            .args(["--homedir", home.as_str(), "--kill", "all"])
            .status();
    }
}
