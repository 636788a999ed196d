//! The distribution's archive, seen through a private apt state for each suite and architecture.
//!
//! apt checks the archive's signature and resolves dependencies; this module asks it *which* files
//! a list of packages means ([`Apt::resolve`]) and parses its answer. Downloading them is
//! [`super::fetch`]'s part. The host's own sources, preferences, hooks and package database are
//! neither asked nor touched; its proxy and other `Acquire` settings are honoured, except those
//! that would switch the signature check off.

use std::process::Command;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::error::{ImageError, IoContext};
use super::exec::{Ran, Watch, run};
use super::lock::{Hold, Lock, lock, write_whole};
use crate::model::problem::did_you_mean;

/// The archive used where `FALLOUT_DEBIAN_MIRROR` names no other.
const MIRROR: &str = "http://deb.debian.org/debian";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// An index younger than this serves a package list that was never resolved before.
const INDEX_FRESH: Duration = Duration::from_secs(24 * 3600);

/// One file of the archive, pinned.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveFile {
    /// The package; for a source file, the file's name.
    pub package: String,
    /// The version, with its epoch; empty for a source file.
    pub version: String,
    /// The file's name in the archive.
    pub file: String,
    /// Where it is.
    pub uri: String,
    /// Its length.
    pub size_bytes: u64,
    /// 64 hexadecimal digits.
    pub sha256: String,
}

/// The archive for one suite and architecture.
pub struct Apt<'a> {
    suite: &'a str,
    arch: &'a str,
    with_source: bool,
    mirror: String,
    dir: Utf8PathBuf,
}

/// The mirror in use: `FALLOUT_DEBIAN_MIRROR`, else Debian's own.
pub fn mirror() -> String {
    std::env::var("FALLOUT_DEBIAN_MIRROR")
        .ok()
        .filter(|m| !m.trim().is_empty())
        .map_or_else(
            || MIRROR.to_owned(),
            |m| m.trim().trim_end_matches('/').to_owned(),
        )
}

impl<'a> Apt<'a> {
    /// The state for `suite` and `arch` (Debian's name) below `cache`. `with_source`: the index of
    /// source packages too.
    pub fn new(cache: &Utf8Path, suite: &'a str, arch: &'a str, with_source: bool) -> Self {
        let tail = if with_source { "-src" } else { "" };
        Self {
            suite,
            arch,
            with_source,
            mirror: mirror(),
            dir: cache.join("apt").join(format!("{suite}-{arch}{tail}")),
        }
    }

    /// Begins a session: writes the configuration and brings the index up to date where there is
    /// none, it is a day old, or `refresh` asks for it. Other processes wait until the session is
    /// dropped.
    pub fn open(&self, refresh: bool, watch: &Watch<'_>) -> Result<Session<'_>, ImageError> {
        let held = lock(&self.dir.join("lock"), Hold::Alone, watch)?;
        let session = Session {
            apt: self,
            _lock: held,
        };
        let changed = self.configure(watch)?;
        let stamp = self.dir.join("updated");
        let fresh = std::fs::metadata(&stamp)
            .and_then(|m| m.modified())
            .is_ok_and(|t| t.elapsed().unwrap_or_default() < INDEX_FRESH);
        if refresh || changed || !fresh {
            (watch.progress)("ask the archive for its index", None);
            // A stamp of last time must not vouch for an index that is half replaced.
            let _ = std::fs::remove_file(&stamp);
            let ran = session.apt_get(&["-q", "update"], watch)?;
            if !ran.ok {
                let error = self.error("read the package index", &ran);
                if !(is_half_synced(&error.to_string()) && session.update_by_alias(watch)?) {
                    return Err(error);
                }
            }
            write_whole(&stamp, b"")?;
        }
        Ok(session)
    }

    /// Writes apt's configuration. True where the sources differ from last time.
    fn configure(&self, watch: &Watch<'_>) -> Result<bool, ImageError> {
        let keyring = Utf8Path::new(KEYRING);
        if !keyring.exists() {
            return Err(ImageError::MissingTool {
                tool: KEYRING.to_owned(),
                package: "debian-archive-keyring".to_owned(),
            });
        }
        for sub in ["lists/partial", "archives/partial", "parts"] {
            let path = self.dir.join(sub);
            std::fs::create_dir_all(&path).doing("create", &path)?;
        }
        write_whole(&self.dir.join("status"), b"")?;
        let inherited = run(
            Command::new("apt-config").arg("dump"),
            "apt",
            watch,
            &mut |_| {},
        )?;
        let conf = conf(&self.dir, self.arch, &inherited.out);
        write_whole(&self.dir.join("apt.conf"), conf.as_bytes())?;
        self.write_sources(self.suite)
    }

    /// Writes the list of sources with the suite under this name. True where it differs from last
    /// time.
    fn write_sources(&self, suite: &str) -> Result<bool, ImageError> {
        let mut sources = format!(
            "deb [arch={} signed-by={KEYRING}] {} {suite} main\n",
            self.arch, self.mirror
        );
        if self.with_source {
            sources += &format!(
                "deb-src [signed-by={KEYRING}] {} {suite} main\n",
                self.mirror
            );
        }
        let list = self.dir.join("sources.list");
        if std::fs::read_to_string(&list).is_ok_and(|old| old == sources) {
            return Ok(false);
        }
        write_whole(&list, sources.as_bytes())?;
        Ok(true)
    }

    fn error(&self, doing: &str, ran: &Ran) -> ImageError {
        ImageError::Archive {
            doing: doing.to_owned(),
            suite: self.suite.to_owned(),
            arch: self.arch.to_owned(),
            mirror: self.mirror.clone(),
            output: ran.complaint(),
        }
    }
}

/// apt's configuration. What the host says of proxies, time limits and the like comes first, so
/// that nothing in it can weaken what follows.
fn conf(dir: &Utf8Path, arch: &str, inherited: &str) -> String {
    let mut conf = String::new();
    for line in inherited.lines() {
        let wanted = [
            "Acquire::http",
            "Acquire::https",
            "Acquire::Check-",
            "Acquire::Retries",
        ];
        if wanted.iter().any(|w| line.starts_with(w)) {
            conf += line;
            conf.push('\n');
        }
    }
    if !conf.contains("Acquire::Retries") {
        conf += "Acquire::Retries \"3\";\n";
    }
    conf += &format!(
        r#"APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Dir::Etc "{dir}";
Dir::Etc::main "none";
Dir::Etc::parts "{dir}/parts";
Dir::Etc::sourcelist "{dir}/sources.list";
Dir::Etc::sourceparts "{dir}/parts";
Dir::Etc::preferences "none";
Dir::Etc::preferencesparts "{dir}/parts";
Dir::Etc::netrc "/etc/apt/auth.conf";
Dir::Etc::netrcparts "/etc/apt/auth.conf.d";
Dir::State "{dir}";
Dir::State::lists "{dir}/lists";
Dir::State::status "{dir}/status";
Dir::Cache "{dir}";
Dir::Cache::archives "{dir}/archives";
Dir::Cache::srcpkgcache "";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::ForceHash "SHA256";
"#
    );
    conf
}

/// The archive's index, open for questions.
pub struct Session<'a> {
    apt: &'a Apt<'a>,
    _lock: Lock,
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // 35 MB that are made again in a second.
        let _ = std::fs::remove_file(self.apt.dir.join("pkgcache.bin"));
    }
}

/// The mirror, or a cache in front of it, has a new list of indexes with old indexes.
fn is_half_synced(message: &str) -> bool {
    message.contains("unexpected size") || message.contains("Hash Sum mismatch")
}

/// The value of a field in a Release file.
fn release_field<'a>(release: &'a str, field: &str) -> Option<&'a str> {
    release
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(": "))
        .map(str::trim)
}

impl Session<'_> {
    /// Reads the index under the suite's other name (`stable` for a code name). The two are the
    /// same directory at the archive, but not in a cache on the way. What comes is checked like
    /// everything else: apt verifies the signature, and the code name must be the one asked for.
    /// False where there is no other name, or it is no better.
    fn update_by_alias(&self, watch: &Watch<'_>) -> Result<bool, ImageError> {
        let apt = self.apt;
        let seen = apt.dir.join("release.seen");
        let url = format!("{}/dists/{}/InRelease", apt.mirror, apt.suite);
        let mut fetch = self.command("/usr/lib/apt/apt-helper");
        fetch.args(["download-file", &url, seen.as_str()]);
        let fetched = run(&mut fetch, "apt", watch, &mut |_| {})?.ok;
        let release = std::fs::read_to_string(&seen).unwrap_or_default();
        let _ = std::fs::remove_file(&seen);
        let alias = release_field(&release, "Suite")
            .filter(|alias| *alias != apt.suite)
            // It comes unverified and becomes a word of a file: a plain name or nothing.
            .filter(|alias| {
                alias
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            });
        let (true, Some(alias)) = (fetched, alias) else {
            return Ok(false);
        };
        (watch.progress)(
            "the mirror is half synchronised: try the suite's other name",
            None,
        );
        apt.write_sources(alias)?;
        if !self.apt_get(&["-q", "update"], watch)?.ok {
            return Ok(false);
        }
        let lists = apt.dir.join("lists");
        let is_release = |name: &str| name.ends_with("_InRelease");
        let verified = std::fs::read_dir(&lists)
            .doing("read", &lists)?
            .flatten()
            .filter(|e| e.file_name().to_str().is_some_and(is_release))
            .filter_map(|e| std::fs::read_to_string(e.path()).ok())
            .any(|text| release_field(&text, "Codename") == Some(apt.suite));
        Ok(verified)
    }

    fn command(&self, tool: &str) -> Command {
        let mut command = Command::new(tool);
        command.env("APT_CONFIG", self.apt.dir.join("apt.conf"));
        command
    }

    fn apt_get(&self, args: &[&str], watch: &Watch<'_>) -> Result<Ran, ImageError> {
        run(
            self.command("apt-get").args(args),
            "apt",
            watch,
            &mut |_| {},
        )
    }

    fn ask(
        &self,
        args: &[&str],
        packages: &[&str],
        watch: &Watch<'_>,
    ) -> Result<Vec<ArchiveFile>, ImageError> {
        let ran = self.apt_get(&[args, &["--"], packages].concat(), watch)?;
        if !ran.ok {
            return Err(self.explain(&ran, watch));
        }
        let mut files = parse_uris(&ran.out).map_err(|line| ImageError::Tool {
            tool: "apt-get".to_owned(),
            output: format!("expected 'URI' FILE SIZE SHA256:HASH, got: {line}"),
        })?;
        files.sort();
        Ok(files)
    }

    /// These packages and all that they depend on, sorted by name.
    pub fn resolve(
        &self,
        packages: &[String],
        watch: &Watch<'_>,
    ) -> Result<Vec<ArchiveFile>, ImageError> {
        let names: Vec<&str> = packages.iter().map(String::as_str).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        self.ask(&["-qq", "-y", "--print-uris", "install"], &names, watch)
    }

    /// These packages alone, without what they depend on.
    pub fn resolve_alone(
        &self,
        packages: &[&str],
        watch: &Watch<'_>,
    ) -> Result<Vec<ArchiveFile>, ImageError> {
        self.ask(&["-qq", "--print-uris", "download"], packages, watch)
    }

    /// The files of a source package: `.dsc`, tarballs, the packager's patches.
    pub fn resolve_source(
        &self,
        package: &str,
        watch: &Watch<'_>,
    ) -> Result<Vec<ArchiveFile>, ImageError> {
        self.ask(
            &["-qq", "--print-uris", "--only-source", "source"],
            &[package],
            watch,
        )
    }

    /// The packages that hold a kernel and its modules. A kernel is usually asked for by a package
    /// without content that follows the newest one (`linux-image-s390x` depends on
    /// `linux-image-6.1.0-50-s390x`), and newer releases keep the kernel, its modules and their
    /// glue apart. What else a kernel package depends on is for installed systems, and is left out.
    pub fn resolve_kernel(
        &self,
        package: &str,
        watch: &Watch<'_>,
    ) -> Result<Vec<ArchiveFile>, ImageError> {
        let mut names = vec![package.to_owned()];
        let mut next = 0;
        while let Some(name) = names.get(next).cloned() {
            next += 1;
            let shown = run(
                self.command("apt-cache")
                    .args(["show", "--no-all-versions", "--", &name]),
                "apt",
                watch,
                &mut |_| {},
            )?;
            for part in kernel_parts(&shown.out) {
                if !names.iter().any(|n| n == part) {
                    names.push(part.to_owned());
                }
            }
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.resolve_alone(&names, watch)
    }

    /// Makes the error for a question that apt refused; a wrong name gets the nearest right one.
    fn explain(&self, ran: &Ran, watch: &Watch<'_>) -> ImageError {
        let Some(package) = unknown_package(&ran.err) else {
            return self.apt.error("resolve packages", ran);
        };
        let names = run(
            self.command("apt-cache").arg("pkgnames"),
            "apt",
            watch,
            &mut |_| {},
        )
        .map(|r| r.out)
        .unwrap_or_default();
        ImageError::UnknownPackage {
            package: package.to_owned(),
            suite: self.apt.suite.to_owned(),
            arch: self.apt.arch.to_owned(),
            help: did_you_mean(package, names.lines()),
        }
    }
}

/// The package that apt does not know, from its complaint.
fn unknown_package(err: &str) -> Option<&str> {
    err.lines().find_map(|line| {
        line.strip_prefix("E: Unable to locate package ")
            .or_else(|| line.strip_prefix("E: Unable to find a source package for "))
            .or_else(|| {
                line.strip_prefix("E: Package '")
                    .and_then(|l| l.strip_suffix("' has no installation candidate"))
            })
            .map(str::trim)
    })
}

/// The parts of a kernel that a kernel's package depends on.
fn kernel_parts(shown: &str) -> impl Iterator<Item = &str> {
    const PARTS: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];
    shown
        .lines()
        .filter_map(|line| line.strip_prefix("Depends: "))
        .flat_map(|list| list.split(','))
        .filter_map(|depend| depend.split_whitespace().next())
        .filter(|name| PARTS.iter().any(|p| name.starts_with(p)))
}

/// Reads what `--print-uris` prints: `'URI' FILE SIZE SHA256:HASH`, one a line. The error is the
/// line that is none.
fn parse_uris(out: &str) -> Result<Vec<ArchiveFile>, &str> {
    out.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| parse_uri(line).ok_or(line))
        .collect()
}

fn parse_uri(line: &str) -> Option<ArchiveFile> {
    let (uri, rest) = line.strip_prefix('\'')?.split_once("' ")?;
    let mut words = rest.split(' ');
    let file = words.next()?;
    let size_bytes = words.next()?.parse().ok()?;
    let sha256 = words.next()?.strip_prefix("SHA256:")?;
    let is_hash = sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit());
    // The name becomes a file's name here.
    if !is_hash || file.contains('/') || file.starts_with('.') {
        return None;
    }
    let (package, version) = match file
        .strip_suffix(".deb")
        .map(|f| f.splitn(3, '_').collect::<Vec<_>>())
    {
        Some(parts) if parts.len() == 3 => (parts[0].to_owned(), parts[1].replace("%3a", ":")),
        Some(_) => return None,
        None => (file.to_owned(), String::new()),
    };
    Some(ArchiveFile {
        package,
        version,
        file: file.to_owned(),
        uri: uri.to_owned(),
        size_bytes,
        sha256: sha256.to_ascii_lowercase(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_synchronised_mirror_is_recognised_and_the_other_name_found() {
        let complaint = "E: Failed to fetch http://m/Packages.xz  File has unexpected size \
            (9385284 != 9387120). Mirror sync in progress?";
        assert!(is_half_synced(complaint));
        assert!(!is_half_synced("E: Could not resolve 'deb.example'"));
        let release =
            "-----BEGIN PGP SIGNED MESSAGE-----\nOrigin: Debian\nSuite: stable\nCodename: trixie\n";
        assert_eq!(release_field(release, "Suite"), Some("stable"));
        assert_eq!(release_field(release, "Codename"), Some("trixie"));
        assert_eq!(release_field(release, "Version"), None);
    }
    use proptest::prelude::*;

    const HASH: &str = "65e29a4dea3ca365e9ee73a6b4fa2a42c8cbbd3b13753250e68b4835876fe316";

    #[test]
    fn uris_are_read() {
        let out = format!(
            "'http://a/busybox-static_1.35_s390x.deb' busybox-static_1%3a1.35.0-4+b1_s390x.deb 853260 SHA256:{HASH}\n\
             'http://a/atf_0.21.dsc' atf_0.21-6.dsc 2000 SHA256:{HASH}\n"
        );
        let files = parse_uris(&out).unwrap();
        assert_eq!(files[0].package, "busybox-static");
        assert_eq!(files[0].version, "1:1.35.0-4+b1");
        assert_eq!(files[0].size_bytes, 853_260);
        assert_eq!(files[1].package, "atf_0.21-6.dsc");
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        for name in ["../x_1_all.deb", ".x_1_all.deb", "a/b_1_all.deb", "x.deb"] {
            assert!(
                parse_uris(&format!("'u' {name} 1 SHA256:{HASH}")).is_err(),
                "{name}"
            );
        }
        assert!(parse_uris("'u' x_1_all.deb 1 MD5Sum:00").is_err());
    }

    #[test]
    fn the_parts_of_a_kernel_are_followed_and_nothing_else() {
        let parts = |shown| kernel_parts(shown).collect::<Vec<_>>();
        let shown =
            "Package: linux-image-s390x\nDepends: linux-image-6.1.0-50-s390x (= 6.1.176-1)\n";
        assert_eq!(parts(shown), ["linux-image-6.1.0-50-s390x"]);
        let shown =
            "Depends: dracut | initramfs-tools, linux-binary-7.2 (= 1), linux-modules-7.2 (= 1)\n";
        assert_eq!(parts(shown), ["linux-binary-7.2", "linux-modules-7.2"]);
        assert!(parts("Depends: kmod, linux-base (>= 4.3~)\n").is_empty());
    }

    #[test]
    fn unknown_packages_are_recognised() {
        assert_eq!(
            unknown_package("W: x\nE: Unable to locate package kyuaa\n"),
            Some("kyuaa")
        );
        assert_eq!(
            unknown_package("E: Package 'awk' has no installation candidate"),
            Some("awk")
        );
        assert_eq!(unknown_package("E: Could not get lock"), None);
    }

    #[test]
    fn the_host_may_give_a_proxy_but_not_switch_the_check_off() {
        let host = "Acquire::http::Proxy \"http://proxy:3128\";\nAcquire::AllowInsecureRepositories \"1\";\nAcquire::Languages:: \"de\";\n";
        let text = conf(Utf8Path::new("/c"), "s390x", host);
        assert!(text.contains("Acquire::http::Proxy \"http://proxy:3128\";"));
        assert!(!text.contains("AllowInsecureRepositories \"1\""));
        assert!(!text.contains("\"de\""));
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(text in "\\PC{0,200}") {
            let _ = parse_uris(&text);
        }

        #[test]
        fn what_apt_writes_is_read_back(name in "[a-z][a-z0-9+.-]{1,20}", version in "[0-9][0-9a-z.+~-]{0,12}", size in 0u64..1 << 40) {
            let line = format!("'http://h/p' {name}_{version}_all.deb {size} SHA256:{HASH}");
            let files = parse_uris(&line).unwrap();
            prop_assert_eq!(&files[0].package, &name);
            prop_assert_eq!(&files[0].version, &version);
            prop_assert_eq!(files[0].size_bytes, size);
        }
    }
}
