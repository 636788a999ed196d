//! A system under test: where its source comes from, which patches make the candidate, how it is
//! built for a port and where its cases are in the guest.
//!
//! It stands in a file of its own (`project.yaml`) or in a suite of a matrix; both have this
//! shape. Paths are relative to the file in which they stand.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::kernel_option::KernelOption;
use super::kernel_variant::KernelVariant;
use super::problem::{Problem, did_you_mean};
use super::units::{de_duration, de_size, ser_duration};

/// A project file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// Version of the file's form: 1.
    pub format: u32,
    /// The project's name.
    pub name: String,
    /// One sentence for people.
    #[serde(default)]
    pub description: String,
    /// Where the source comes from.
    pub source: Source,
    /// A quilt `series` file, or mails of `git format-patch --stdout`: the patches that make the
    /// candidate out of the baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patches: Option<Utf8PathBuf>,
    /// How it is built.
    pub build: BuildSpec,
    /// The directory in the guest that has the cases and their `Kyuafile`; the build's `prefix`
    /// where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cases: Option<String>,
}

impl Project {
    /// The directory in the guest that has the cases: `/usr/tests/portable`.
    pub fn cases_root(&self) -> &str {
        self.cases.as_deref().unwrap_or(&self.build.prefix)
    }

    /// What is wrong beyond what the file's shape says. Empty when all is well.
    pub fn check(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        check_format(self.format, &mut found);
        check_name("name", &self.name, &mut found);
        self.source.check("source", &mut found);
        self.build.check("build", &mut found);
        if self.build.kind == BuildKind::Netbsd && self.source.git.is_none() {
            let message = "a release is built from a git revision: expected source.git";
            found.push(Problem::new("source", message));
        }
        if let Some(cases) = &self.cases {
            check_guest_path("cases", cases, &mut found);
        }
        found
    }
}

/// Where a source tree comes from: exactly one of the fields is given.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// A plain tree on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Utf8PathBuf>,
    /// A Debian source package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debian_source: Option<DebianSource>,
    /// A tarball of source in a Debian binary package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debian_tarball: Option<DebianTarball>,
    /// A revision of a git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitSource>,
}

/// A tarball of source that a Debian binary package holds, as the archive's signed index names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebianTarball {
    /// The binary package: `linux-source-6.1`.
    pub package: String,
    /// The distribution's suite: `bookworm`.
    pub suite: String,
    /// The tarball's path in the package: `usr/src/linux-source-6.1.tar.xz`.
    pub tarball: Utf8PathBuf,
}

/// A Debian source package, as its archive's signed index names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebianSource {
    /// The source package: `atf`.
    pub package: String,
    /// The distribution's suite: `bookworm`.
    pub suite: String,
}

/// A git revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GitSource {
    /// What `git clone` takes: an address, or a directory of this machine.
    pub url: String,
    /// A branch, tag or commit.
    pub revision: String,
}

impl GitSource {
    /// The repository as a directory, where it is not an address: neither `https://…` nor
    /// `host:path`.
    pub fn dir(&self) -> Option<&Utf8Path> {
        let before_colon = self.url.split(':').next().unwrap_or("");
        let address = self.url.contains("://")
            || (before_colon.len() < self.url.len() && !before_colon.contains('/'));
        (!address).then(|| Utf8Path::new(&self.url))
    }

    fn check(&self, at: &str, found: &mut Vec<Problem>) {
        for (field, word) in [("url", &self.url), ("revision", &self.revision)] {
            let odd = |c: char| c.is_control() || (field == "revision" && c.is_whitespace());
            if word.is_empty() || word.starts_with('-') || word.contains(odd) {
                found.push(Problem::new(
                    format!("{at}.{field}"),
                    format!("'{word}' is not a {field} of git's"),
                ));
            }
        }
    }
}

impl Source {
    fn check(&self, at: &str, found: &mut Vec<Problem>) {
        let given = [
            self.path.is_some(),
            self.debian_source.is_some(),
            self.debian_tarball.is_some(),
            self.git.is_some(),
        ];
        if given.iter().filter(|g| **g).count() != 1 {
            found.push(Problem::new(
                at,
                "expected exactly one of path, debian_source, debian_tarball, git",
            ));
        }
        if let Some(git) = &self.git {
            git.check(&format!("{at}.git"), found);
        }
        if self.path.as_ref().is_some_and(|p| p.as_str().is_empty()) {
            found.push(Problem::new(
                format!("{at}.path"),
                "is empty: expected a directory",
            ));
        }
        let source = self.debian_source.iter();
        let source = source.map(|d| ("debian_source", &d.package, &d.suite));
        let tarball = self.debian_tarball.iter();
        let tarball = tarball.map(|d| ("debian_tarball", &d.package, &d.suite));
        for (kind, package, suite) in source.chain(tarball) {
            for (field, word) in [("package", package), ("suite", suite)] {
                if !is_word(word) {
                    found.push(Problem::new(
                        format!("{at}.{kind}.{field}"),
                        format!("'{word}' is not a {field}: expected a Debian {field} name"),
                    ));
                }
            }
        }
        if let Some(debian) = &self.debian_tarball
            && !is_inside(&debian.tarball)
        {
            let message = format!(
                "'{}' is not a path in the package: expected for example usr/src/linux-source-6.1.tar.xz",
                debian.tarball
            );
            found.push(Problem::new(
                format!("{at}.debian_tarball.tarball"),
                message,
            ));
        }
    }
}

/// Whether a path names something below the directory that it is relative to.
fn is_inside(path: &Utf8Path) -> bool {
    let plain = |c: Utf8Component<'_>| matches!(c, Utf8Component::Normal(_));
    !path.as_str().is_empty() && path.components().all(plain)
}

/// The builders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildKind {
    /// `make`, then `make install DESTDIR=…`, with the port's cross compiler.
    Make,
    /// A NetBSD release, by the tree's own `build.sh`.
    Netbsd,
    /// A Linux kernel, from configuration fragments.
    Kbuild,
    /// Nothing: the image has the cases. A suite of a matrix says it by `installed`.
    Installed,
}

/// How a tree is built for a port on the host and installed for the guest.
///
/// Every command runs in a copy of the tree with the environment `CC CXX CPP AR RANLIB STRIP LD
/// CFLAGS CXXFLAGS LDFLAGS PKG_CONFIG_PATH SYSROOT TRIPLET PORT PREFIX DESTDIR JOBS` and with
/// `LC_ALL=C`. Where there are no `commands`, which would have told the makefiles, `make` gets the
/// tools (`CC` to `LD`) as words too, because a makefile's own `CC = cc` wins over the environment.
/// The sysroot and the port's flags are part of `CC` and `CXX`, so `CFLAGS` is free to be replaced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildSpec {
    /// Which builder.
    pub kind: BuildKind,
    /// The directory of the tree in which it runs.
    #[serde(default = "here", skip_serializing_if = "is_here")]
    pub dir: Utf8PathBuf,
    /// Lines for `sh -e` before `make`: `./configure --host=$TRIPLET --prefix=$PREFIX`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
    /// Further words of both `make` commands: variables, `-f FILE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Targets of the first `make`; its default target where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// Targets of the second `make`, which gets `DESTDIR` and `PREFIX`.
    #[serde(default = "install")]
    pub install: Vec<String>,
    /// Lines for `sh -e` after the installation, for what the makefiles do not do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub finish: Vec<String>,
    /// Where it is installed in the guest: `/usr/tests/portable`. Of `make` alone.
    #[serde(default)]
    pub prefix: String,
    /// Variables of the release's makefiles (`-V NAME=value`): `MKX11: "no"`. Of `netbsd` alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// Kernels beyond the tree's configurations, by the name that stands for one in `kernel=NAME`. Of
    /// `netbsd` alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kernels: BTreeMap<String, KernelVariant>,
    /// Fragments of the kernel's configuration, the later wins; `{port}` is the port's name. What
    /// none of them names is off. Of `kbuild` alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config: Vec<Utf8PathBuf>,
    /// Options beyond the fragments: `+DEBUG_LIST`, `-SMP`, `HZ=100`. Of `kbuild` alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<KernelOption>,
    /// Further environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The time limit of one port's build on one side.
    #[serde(
        default = "build_timeout",
        deserialize_with = "de_duration",
        serialize_with = "ser_duration"
    )]
    pub timeout: Duration,
    /// What one stage may take on disk, in bytes (`40GiB`). Of `netbsd` alone.
    #[serde(
        default = "build_disk",
        rename = "disk",
        deserialize_with = "de_size",
        serialize_with = "ser_size",
        skip_serializing_if = "is_build_disk"
    )]
    pub disk_bytes: u64,
}

fn build_disk() -> u64 {
    40 << 30
}

fn is_build_disk(bytes: &u64) -> bool {
    *bytes == build_disk()
}

fn ser_size<S: serde::Serializer>(bytes: &u64, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&format!("{bytes}B"))
}

fn here() -> Utf8PathBuf {
    ".".into()
}

fn is_here(path: &Utf8PathBuf) -> bool {
    path == "."
}

fn install() -> Vec<String> {
    vec!["install".to_owned()]
}

fn build_timeout() -> Duration {
    Duration::from_secs(30 * 60)
}

impl BuildSpec {
    /// Of a suite that the image has in this directory.
    pub fn installed(dir: &str) -> Self {
        Self {
            kind: BuildKind::Installed,
            dir: here(),
            commands: Vec::new(),
            args: Vec::new(),
            targets: Vec::new(),
            install: install(),
            finish: Vec::new(),
            prefix: dir.to_owned(),
            variables: BTreeMap::new(),
            kernels: BTreeMap::new(),
            config: Vec::new(),
            options: Vec::new(),
            env: BTreeMap::new(),
            timeout: build_timeout(),
            disk_bytes: build_disk(),
        }
    }

    fn check(&self, at: &str, found: &mut Vec<Problem>) {
        if self.kind == BuildKind::Make {
            check_guest_path(&format!("{at}.prefix"), &self.prefix, found);
        }
        if self.kind == BuildKind::Kbuild && self.config.is_empty() {
            let message = "is missing: expected fragments of the kernel's configuration, for \
                           example [base.config, \"{port}.config\"]";
            found.push(Problem::new(format!("{at}.config"), message));
        }
        for (i, path) in self.config.iter().enumerate() {
            let name = path.file_name();
            if self.config[..i].iter().any(|p| p.file_name() == name) {
                let message = format!("'{path}' has the name of an earlier fragment");
                found.push(Problem::new(format!("{at}.config[{i}]"), message));
            }
        }
        if self.kind == BuildKind::Installed {
            let message = format!("is no builder: {}", self.kind.expects());
            found.push(Problem::new(format!("{at}.kind"), message));
        }
        self.check_kind(at, found);
        for (name, kernel) in &self.kernels {
            let at = format!("{at}.kernels.{name}");
            if !KernelVariant::is_config(name) {
                let message = "is not a name: expected letters, digits and any of . _ -";
                found.push(Problem::new(&at, message));
            }
            kernel.check(&at, found);
        }
        if self.dir.is_absolute() || self.dir.components().any(|c| c.as_str() == "..") {
            found.push(Problem::new(
                format!("{at}.dir"),
                format!("'{}' leaves the tree: expected a directory in it", self.dir),
            ));
        }
        if self.install.is_empty() {
            found.push(Problem::new(
                format!("{at}.install"),
                "is empty: expected at least one target, for example install",
            ));
        }
        if self.timeout.is_zero() {
            found.push(Problem::new(
                format!("{at}.timeout"),
                "is zero: expected for example 30m",
            ));
        }
        if self.disk_bytes == 0 {
            let message = "is zero: expected for example 40GiB";
            found.push(Problem::new(format!("{at}.disk"), message));
        }
        let named = [("env", &self.env), ("variables", &self.variables)];
        for (field, names) in named {
            for name in names.keys().filter(|name| !is_env_name(name)) {
                found.push(Problem::new(
                    format!("{at}.{field}.{name}"),
                    "is not a variable's name: expected letters, digits and _",
                ));
            }
        }
    }

    /// Each field belongs to one kind of builder, or to all.
    fn check_kind(&self, at: &str, found: &mut Vec<Problem>) {
        use BuildKind::{Kbuild, Make, Netbsd};
        let given = [
            ("prefix", Make, !self.prefix.is_empty()),
            ("dir", Make, !is_here(&self.dir)),
            ("commands", Make, !self.commands.is_empty()),
            ("args", Make, !self.args.is_empty()),
            ("targets", Make, !self.targets.is_empty()),
            ("install", Make, self.install != install()),
            ("finish", Make, !self.finish.is_empty()),
            ("variables", Netbsd, !self.variables.is_empty()),
            ("kernels", Netbsd, !self.kernels.is_empty()),
            ("disk", Netbsd, !is_build_disk(&self.disk_bytes)),
            ("config", Kbuild, !self.config.is_empty()),
            ("options", Kbuild, !self.options.is_empty()),
        ];
        for (field, kind, given) in given {
            if !given || kind == self.kind {
                continue;
            }
            let message = format!("is of kind {}: {}", kind.word(), self.kind.expects());
            found.push(Problem::new(format!("{at}.{field}"), message));
        }
    }
}

impl BuildKind {
    /// As it stands in a file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Make => "make",
            Self::Netbsd => "netbsd",
            Self::Kbuild => "kbuild",
            Self::Installed => "installed",
        }
    }

    fn expects(self) -> &'static str {
        match self {
            Self::Make => "expected args with kind make",
            Self::Netbsd => {
                "expected kind, variables, kernels, env, timeout and disk with kind netbsd"
            }
            Self::Kbuild => "expected kind, config, options, env and timeout with kind kbuild",
            Self::Installed => {
                "expected a suite's installed: DIR in the matrix in the place of a project"
            }
        }
    }
}

/// `format` is 1 in every file that this version reads.
pub fn check_format(format: u32, found: &mut Vec<Problem>) {
    if format != 1 {
        found.push(Problem::new(
            "format",
            format!("{format} is not a form that this version reads: expected 1"),
        ));
    }
}

/// A name becomes a part of a cell's identity and of a directory's name.
pub fn check_name(at: &str, name: &str, found: &mut Vec<Problem>) {
    if !is_word(name) {
        found.push(Problem::new(
            at,
            format!(
                "'{name}' is not a name: expected 1 to 64 letters, digits and any of . _ + -, \
                 starting with a letter or digit"
            ),
        ));
    }
}

/// A directory of the guest.
pub fn check_guest_path(at: &str, path: &str, found: &mut Vec<Problem>) {
    let plain =
        |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(|b| b.is_ascii_graphic());
    let good = path
        .strip_prefix('/')
        .is_some_and(|rest| rest.split('/').all(plain));
    if !good {
        found.push(Problem::new(
            at,
            format!("'{path}' is not an absolute directory of the guest: expected for example /usr/tests/portable"),
        ));
    }
}

fn is_word(word: &str) -> bool {
    word.len() <= 64
        && word.starts_with(|c: char| c.is_ascii_alphanumeric())
        && word
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
}

fn is_env_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Checks that each of `names` is one of `known`; `what` is the word for one: `port`.
pub fn check_known(at: &str, what: &str, names: &[&str], known: &[&str], found: &mut Vec<Problem>) {
    for (i, name) in names.iter().enumerate() {
        if !known.contains(name) {
            found.push(
                Problem::new(
                    format!("{at}[{i}]"),
                    format!(
                        "unknown {what} '{name}': expected one of {}",
                        known.join(", ")
                    ),
                )
                .help(did_you_mean(name, known.iter().copied())),
            );
        }
    }
}
