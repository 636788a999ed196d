//! Where a release is taken from, as a user says it, and which of the dailies is meant: pure.

use camino::Utf8PathBuf;
use reqwest::Url;

/// Where a release is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A directory of this machine.
    Directory(Utf8PathBuf),
    /// An ISO of this machine.
    Iso(Utf8PathBuf),
    /// An ISO on a server.
    IsoUrl(Url),
    /// A directory on a server: of a release, of one of its ports, of a branch's dailies, or with
    /// `latest` as a part of it. Ends in `/`.
    Mirror(Url),
}

impl std::str::FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_iso = |path: &str| path.to_ascii_lowercase().ends_with(".iso");
        if let Some(path) = text.strip_prefix("file://") {
            return path.parse();
        }
        match text.split_once("://") {
            None if text.is_empty() => {
                Err("expected a directory, an ISO or the address of a release".to_owned())
            }
            None if is_iso(text) => Ok(Self::Iso(text.into())),
            None => Ok(Self::Directory(text.into())),
            Some(("http" | "https", _)) => {
                let mut url = Url::parse(text).map_err(|e| format!("{text} is no address: {e}"))?;
                url.set_fragment(None);
                if is_iso(url.path()) {
                    return Ok(Self::IsoUrl(url));
                }
                if !url.path().ends_with('/') {
                    let path = format!("{}/", url.path());
                    url.set_path(&path);
                }
                Ok(Self::Mirror(url))
            }
            Some(("ftp", rest)) => Err(format!(
                "{text}: FTP is not spoken here; mirrors serve the same files at https://{rest}"
            )),
            Some((scheme, _)) => Err(format!(
                "{text}: '{scheme}' is not spoken here: expected http, https or a path"
            )),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(path) | Self::Iso(path) => f.write_str(path.as_str()),
            Self::IsoUrl(url) | Self::Mirror(url) => f.write_str(url.as_str()),
        }
    }
}

/// True for the name of a daily's directory: `202411211610Z` or, with seconds, `20251023170937Z`.
pub fn is_stamp(name: &str) -> bool {
    let digits = name.strip_suffix('Z').unwrap_or("");
    matches!(digits.len(), 12 | 14) && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Stamps in the order of time, the newest first. Both forms can stand in one listing.
pub fn newest_first<'a>(names: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    let mut stamps: Vec<&str> = names.map(String::as_str).filter(|n| is_stamp(n)).collect();
    // Without seconds a stamp is as old as its minute's beginning.
    stamps.sort_by_key(|s| std::cmp::Reverse(format!("{:0<14}", s.trim_end_matches('Z'))));
    stamps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Source, String> {
        text.parse()
    }

    #[test]
    fn each_kind_of_source_is_told_by_its_form() {
        let url = |text: &str| Url::parse(text).unwrap();
        assert_eq!(
            read("https://m.example/NetBSD-10.1").unwrap(),
            Source::Mirror(url("https://m.example/NetBSD-10.1/"))
        );
        assert_eq!(
            read("http://m.example/images/NetBSD-10.1-amd64.ISO").unwrap(),
            Source::IsoUrl(url("http://m.example/images/NetBSD-10.1-amd64.ISO"))
        );
        assert_eq!(read("rel/").unwrap(), Source::Directory("rel/".into()));
        assert_eq!(read("file:///r").unwrap(), Source::Directory("/r".into()));
        assert_eq!(read("a/b.iso").unwrap(), Source::Iso("a/b.iso".into()));
        let ftp = read("ftp://ftp.example/pub/").unwrap_err();
        assert!(ftp.ends_with("at https://ftp.example/pub/"), "{ftp}");
        assert!(read("gopher://x").unwrap_err().contains("'gopher'"));
    }

    #[test]
    fn the_newest_daily_is_found_among_both_forms_of_stamps() {
        let names = [
            "latest",
            "202411211610Z",
            "20241121161000Z",
            "20241121161001Z",
            "2024Z",
            "README",
        ];
        let names = names.map(str::to_owned);
        assert_eq!(
            newest_first(names.iter()),
            ["20241121161001Z", "202411211610Z", "20241121161000Z"]
        );
    }
}
