//! The stages of a release, the port that it is for, and the words that `build.sh` takes. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use camino::Utf8PathBuf;

/// A stage of a release.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The cross tools.
    Tools,
    /// One kernel, by its configuration's name.
    Kernel(String),
    /// Everything into DESTDIR, set lists checked.
    Distribution,
    /// Sets out of DESTDIR.
    Sets,
    /// Distribution, kernels, sets and installation media.
    Release,
    /// An image: `live-image`, `install-image`, `iso-image`.
    Image(String),
}

const IMAGES: [&str; 3] = ["live-image", "install-image", "iso-image"];

impl Stage {
    /// The stages that must be there before this one, in their order.
    pub fn before(&self) -> Vec<Self> {
        match self {
            Self::Tools => Vec::new(),
            Self::Kernel(_) | Self::Distribution | Self::Release => vec![Self::Tools],
            Self::Sets => vec![Self::Tools, Self::Distribution],
            Self::Image(_) => vec![Self::Tools, Self::Release],
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tools => f.pad("tools"),
            Self::Kernel(conf) => f.pad(&format!("kernel={conf}")),
            Self::Distribution => f.pad("distribution"),
            Self::Sets => f.pad("sets"),
            Self::Release => f.pad("release"),
            Self::Image(kind) => f.pad(kind),
        }
    }
}

impl FromStr for Stage {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let plain = |w: &str| {
            !w.is_empty()
                && !w.starts_with(['-', '.'])
                && w.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-+".contains(&b))
        };
        Ok(match word {
            "tools" => Self::Tools,
            "distribution" => Self::Distribution,
            "sets" => Self::Sets,
            "release" => Self::Release,
            image if IMAGES.contains(&image) => Self::Image(image.to_owned()),
            other => match other.strip_prefix("kernel=") {
                Some(conf) if plain(conf) => Self::Kernel(conf.to_owned()),
                _ => {
                    return Err(format!(
                        "'{word}' is not a stage: expected tools, kernel=CONF, distribution, sets, release, {}",
                        IMAGES.join(", ")
                    ));
                }
            },
        })
    }
}

/// A port in `build.sh`'s words. `MACHINE` alone has the architecture that the tree says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `evbarm`
    pub machine: String,
    /// `earmv7hf`
    pub arch: Option<String>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(port: &str) -> Result<Self, String> {
        let plain =
            |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let (machine, arch) = match port.split_once('-') {
            Some((machine, arch)) => (machine, Some(arch)),
            None => (port, None),
        };
        if !plain(machine) || arch.is_some_and(|a| !plain(a)) {
            return Err(format!(
                "'{port}' is not a port: expected MACHINE or MACHINE-ARCH"
            ));
        }
        Ok(Self {
            machine: machine.to_owned(),
            arch: arch.map(str::to_owned),
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.arch {
            Some(arch) => f.pad(&format!("{}-{arch}", self.machine)),
            None => f.pad(&self.machine),
        }
    }
}

/// Where a build of a port reads and writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirs {
    /// The source tree, only read.
    pub source: Utf8PathBuf,
    /// Everything of the port: `obj`, `tools`, `dest`, `release`, `home`, `tmp` are in it.
    pub port: Utf8PathBuf,
}

impl Dirs {
    /// A part of the port's directory.
    pub fn part(&self, name: &str) -> Utf8PathBuf {
        self.port.join(name)
    }
}

/// The words behind `sh build.sh`.
pub fn words(
    stage: &Stage,
    target: &Target,
    dirs: &Dirs,
    variables: &BTreeMap<String, String>,
    jobs: u32,
) -> Vec<String> {
    let mut words = ["-U", "-u", "-m", &target.machine]
        .map(str::to_owned)
        .to_vec();
    if let Some(arch) = &target.arch {
        words.extend(["-a".to_owned(), arch.clone()]);
    }
    for (flag, part) in [
        ("-O", "obj"),
        ("-T", "tools"),
        ("-D", "dest"),
        ("-R", "release"),
    ] {
        words.extend([flag.to_owned(), dirs.part(part).into_string()]);
    }
    words.extend(["-j".to_owned(), jobs.max(1).to_string()]);
    for (name, value) in variables {
        words.extend(["-V".to_owned(), format!("{name}={value}")]);
    }
    words.push(stage.to_string());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_and_targets_are_words() {
        for word in [
            "tools",
            "kernel=GENERIC.MP",
            "distribution",
            "sets",
            "release",
            "iso-image",
        ] {
            assert_eq!(word.parse::<Stage>().unwrap().to_string(), word);
        }
        for word in ["kernel=", "kernel=../x", "kernel=-x", "clean", ""] {
            assert!(word.parse::<Stage>().is_err(), "{word}");
        }
        let target: Target = "evbarm-earmv7hf".parse().unwrap();
        assert_eq!(target.to_string(), "evbarm-earmv7hf");
        assert!("a/b".parse::<Target>().is_err());
        assert!("-x".parse::<Target>().is_err());
    }

    #[test]
    fn the_command_is_complete() {
        let dirs = Dirs {
            source: "/s".into(),
            port: "/p".into(),
        };
        let variables = BTreeMap::from([("MKX11".to_owned(), "no".to_owned())]);
        let target = "evbarm-earmv7hf".parse().unwrap();
        let got = words(
            &Stage::Kernel("GENERIC".into()),
            &target,
            &dirs,
            &variables,
            2,
        );
        insta::assert_snapshot!(
            got.join(" "),
            @"-U -u -m evbarm -a earmv7hf -O /p/obj -T /p/tools -D /p/dest -R /p/release -j 2 -V MKX11=no kernel=GENERIC"
        );
    }
}
