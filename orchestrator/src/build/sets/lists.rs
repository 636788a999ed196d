//! The lists themselves: which files belong to a port, and what a line says.

use std::collections::{BTreeMap, BTreeSet};

use super::machine::Machine;

/// `distrib/sets/lists`, as text: the lines of each file by `SET/NAME` (`comp/md.sparc64`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lists {
    /// The lines, without their ends.
    pub files: BTreeMap<String, Vec<String>>,
}

/// One line of a list that names a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// `./usr/include/spawn.h`
    pub path: &'a str,
    /// `comp-c-include`; empty where a line has none.
    pub package: &'a str,
    /// `.man`, `!kerberos`, `obsolete`.
    pub conditions: Vec<&'a str>,
    /// `-./usr/bin/x`: another list's line does not count.
    pub excludes: bool,
}

impl Entry<'_> {
    pub fn is_obsolete(&self) -> bool {
        self.conditions.contains(&"obsolete")
    }

    /// Whether the line counts where the conditions `on` are fulfilled.
    pub fn is_on(&self, on: &BTreeSet<String>) -> bool {
        self.conditions.iter().all(|c| is_fulfilled(c, on))
    }

    /// Whether the file is one that is compressed where manual pages are.
    pub fn is_page(&self) -> bool {
        self.conditions
            .iter()
            .any(|c| matches!(*c, ".man" | ".cat"))
    }
}

/// Whether one condition of a line is fulfilled.
pub(super) fn is_fulfilled(condition: &str, on: &BTreeSet<String>) -> bool {
    match condition.strip_prefix('!') {
        Some(not) => !on.contains(not),
        None => on.contains(condition),
    }
}

/// Reads a line; none for a comment or an empty one.
pub(super) fn entry(line: &str) -> Option<Entry<'_>> {
    let mut words = line.split_whitespace();
    let first = words.next()?;
    if first.starts_with('#') {
        return None;
    }
    let (path, excludes) = match first.strip_prefix('-') {
        Some(path) => (path, true),
        None => (first, false),
    };
    let package = words.next().unwrap_or("");
    let conditions = match words.next() {
        None | Some("-") => Vec::new(),
        Some(list) => list.split(',').filter(|c| !c.is_empty()).collect(),
    };
    Some(Entry {
        path,
        package,
        conditions,
        excludes,
    })
}

/// The kinds of list within a set, by what their names begin with. A path goes into the kind that
/// its neighbours are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// `mi`, `md.*`, `ad.*`
    Plain,
    /// `shl.mi`, `shl.elf`: shared libraries.
    Shared,
    /// `stl.mi`, `stl.elf`: static ones.
    Static,
    /// `module.*`
    Module,
    /// `rescue.*`
    Rescue,
}

impl Class {
    /// The class of a list's name.
    pub fn of(name: &str) -> Self {
        match name.split('.').next().unwrap_or("") {
            "shl" => Self::Shared,
            "stl" => Self::Static,
            "module" => Self::Module,
            "rescue" => Self::Rescue,
            _ => Self::Plain,
        }
    }

    /// The list for all ports.
    pub fn shared_list(self) -> &'static str {
        match self {
            Self::Plain => "mi",
            Self::Shared => "shl.mi",
            Self::Static => "stl.mi",
            Self::Module => "module.mi",
            Self::Rescue => "rescue.mi",
        }
    }
}

/// Whether a list is one for all ports.
pub(super) fn is_shared(name: &str) -> bool {
    matches!(
        name,
        "mi" | "shl.mi" | "shl.elf" | "stl.mi" | "stl.elf" | "module.mi" | "rescue.mi"
    )
}

/// Sets that are not of the base system.
fn is_foreign(set: &str) -> bool {
    set.starts_with('x') || set.starts_with("ext")
}

impl Lists {
    /// The lists of a port, as `SET/NAME`, in the order in which `sets.subr` reads them. ELF and
    /// shared libraries are taken for granted.
    pub(super) fn of_port(&self, port: &Machine) -> Vec<&str> {
        let mut sets: Vec<&str> = self
            .files
            .keys()
            .filter_map(|file| file.split_once('/').map(|(set, _)| set))
            .filter(|set| !is_foreign(set))
            .collect();
        sets.dedup();
        let mut found = Vec::new();
        for set in sets {
            let mut any = |names: &[String]| {
                for name in names {
                    if let Some((file, _)) = self.files.get_key_value(&format!("{set}/{name}")) {
                        found.push(file.as_str());
                        return;
                    }
                }
            };
            let (machine, arch, cpu) = (&port.machine, &port.arch, &port.cpu);
            let by_arch =
                |prefix: &str| [format!("{prefix}ad.{arch}"), format!("{prefix}ad.{cpu}")];
            let differs = machine != arch;
            any(&["mi".to_owned()]);
            if differs {
                any(&by_arch(""));
                any(&[format!("ad.{cpu}.shl")]);
            }
            any(&[format!("md.{machine}.{arch}"), format!("md.{machine}")]);
            for name in ["stl.mi", "stl.elf", "shl.mi", "shl.elf", "module.mi"] {
                any(&[name.to_owned()]);
            }
            any(&[format!("module.{machine}")]);
            if differs {
                any(&by_arch("module."));
            }
            any(&["rescue.mi".to_owned()]);
            any(&[format!("rescue.{machine}")]);
            if differs {
                any(&by_arch("rescue."));
                any(&[format!("rescue.ad.{cpu}.shl")]);
            }
        }
        found
    }

    /// The entries of a port with the list and the line's index.
    pub(super) fn entries<'a>(
        &'a self,
        port: &Machine,
    ) -> impl Iterator<Item = (&'a str, usize, Entry<'a>)> + use<'a> {
        let names: Vec<String> = self.of_port(port).into_iter().map(str::to_owned).collect();
        names.into_iter().flat_map(move |name| {
            let found = self.files.get_key_value(&name);
            found.into_iter().flat_map(|(name, lines)| {
                let numbered = lines.iter().enumerate();
                numbered.filter_map(move |(i, line)| Some((name.as_str(), i, entry(line)?)))
            })
        })
    }
}

/// What stands in lists for the parts of a path that differ from port to port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Words {
    /// `stand/evbarm/6.99.16/modules`, where the port has modules.
    modules: Option<String>,
    machine: String,
}

const MODULES: &str = "@MODULEDIR@";

impl Words {
    /// From the files that a port has.
    pub fn of<'a>(port: &Machine, mut paths: impl Iterator<Item = &'a str>) -> Self {
        let below = format!("./stand/{}/", port.machine);
        let release = paths.find_map(|path| {
            let (release, rest) = path.strip_prefix(&below)?.split_once('/')?;
            (rest == "modules" || rest.starts_with("modules/")).then(|| release.to_owned())
        });
        Self {
            modules: release.map(|r| format!("stand/{}/{r}/modules", port.machine)),
            machine: port.machine.clone(),
        }
    }

    /// A list's path as it is on the port.
    pub fn real(&self, path: &str) -> String {
        if !path.contains('@') {
            return path.to_owned();
        }
        let mut path = path.replace("@MACHINE@", &self.machine);
        if let Some(modules) = &self.modules {
            let release = modules.split('/').nth(2).unwrap_or("");
            path = path.replace("@OSRELEASE@", release);
            path = path.replace(MODULES, modules);
        }
        path
    }

    /// A port's path as lists write it.
    pub fn listed(&self, path: &str) -> String {
        match self.modules.as_deref() {
            Some(modules) if path.contains(modules) => path.replace(modules, MODULES),
            _ => path.to_owned(),
        }
    }
}
