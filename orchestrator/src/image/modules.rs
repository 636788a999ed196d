//! Takes a kernel and the modules a guest needs out of a kernel package.
//!
//! Debian's packages bring no table of dependencies (it is made at installation), so these are read
//! from the modules themselves. What is built into the kernel needs no loading and is left out of
//! the list; a name that is neither is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};

use super::error::ImageError;
use super::exec::Watch;
use super::unpack::{Kind, visit};
use crate::model::problem::did_you_mean;

/// What a kernel package gave.
#[derive(Debug)]
pub struct Kernel {
    /// The file to boot.
    pub kernel: Vec<u8>,
    /// What `uname -r` will say: `6.1.0-50-s390x`.
    pub release: String,
    /// Its configuration, where the package brings that.
    pub config: Option<String>,
    /// Modules in the order of loading: path in the guest, content (not compressed).
    pub modules: Vec<(String, Vec<u8>)>,
}

/// A module's name as the kernel knows it, from its path: `virtio_pci` of
/// `lib/modules/V/kernel/drivers/virtio/virtio-pci.ko.xz`.
fn module_name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let (stem, _) = file.split_once(".ko")?;
    Some(stem.replace('-', "_"))
}

/// The release of the kernel at `path`, if that is one: `boot/vmlinuz-V`, `lib/modules/V/vmlinuz`.
fn kernel_release(path: &str) -> Option<&str> {
    path.strip_prefix("boot/vmlinuz-")
        .or_else(|| path.strip_prefix("boot/vmlinux-"))
        .or_else(|| {
            let (release, file) = path.strip_prefix("lib/modules/")?.split_once('/')?;
            matches!(file, "vmlinuz" | "vmlinux").then_some(release)
        })
}

/// What a module says it needs, from its `.modinfo`.
fn depends(module: &[u8]) -> Vec<String> {
    const LABEL: &[u8] = b"\0depends=";
    module
        .windows(LABEL.len())
        .position(|w| w == LABEL)
        .map(|at| &module[at + LABEL.len()..])
        .and_then(|rest| rest.split(|b| *b == 0).next())
        .and_then(|list| std::str::from_utf8(list).ok())
        .map(|list| {
            list.split(',')
                .filter(|name| !name.is_empty())
                .map(|name| name.replace('-', "_"))
                .collect()
        })
        .unwrap_or_default()
}

/// The order in which modules can be loaded: each after what it needs. `needs` holds every module
/// that is to be loaded; what it does not know is built in.
fn load_order(wanted: &[String], needs: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    fn add(
        name: &str,
        needs: &BTreeMap<String, Vec<String>>,
        seen: &mut BTreeSet<String>,
        out: &mut Vec<String>,
    ) {
        let Some(own) = needs.get(name) else { return };
        if seen.insert(name.to_owned()) {
            for need in own {
                add(need, needs, seen, out);
            }
            out.push(name.to_owned());
        }
    }
    let (mut seen, mut out) = (BTreeSet::new(), Vec::new());
    for name in wanted {
        add(name, needs, &mut seen, &mut out);
    }
    out
}

/// What one reading of the package brought.
#[derive(Default)]
struct Reading {
    kernel: Option<(String, Vec<u8>)>,
    config: Option<String>,
    paths: BTreeMap<String, String>,
    built_in: BTreeSet<String>,
    modules: BTreeMap<String, Vec<u8>>,
}

/// Reads the packages that make up a kernel (path and name), as often as new dependencies turn up:
/// most often once, because what lies beside virtio is taken in advance.
pub fn take(
    debs: &[(Utf8PathBuf, &str)],
    wanted: &[String],
    watch: &Watch<'_>,
) -> Result<Kernel, ImageError> {
    let package = debs
        .iter()
        .map(|(_, name)| *name)
        .collect::<Vec<_>>()
        .join(", ");
    let wanted: Vec<String> = wanted.iter().map(|w| w.replace('-', "_")).collect();
    let mut load: BTreeSet<String> = wanted.iter().cloned().collect();
    let mut reading = Reading::default();
    let mut needs: BTreeMap<String, Vec<String>>;
    loop {
        for (deb, package) in debs {
            read(deb, package, &load, &mut reading, watch)?;
        }
        needs = BTreeMap::new();
        let mut queue: Vec<String> = load.iter().cloned().collect();
        let mut missing = false;
        while let Some(name) = queue.pop() {
            if needs.contains_key(&name) || !reading.paths.contains_key(&name) {
                continue;
            }
            load.insert(name.clone());
            match reading.modules.get(&name) {
                Some(content) => {
                    let own = depends(content);
                    queue.extend(own.iter().cloned());
                    needs.insert(name, own);
                }
                None => missing = true,
            }
        }
        if !missing {
            break;
        }
    }
    for name in &wanted {
        // Newer packages bring no list of what is built in: then a boot tells.
        let is_told = !reading.built_in.is_empty();
        if is_told && !reading.paths.contains_key(name) && !reading.built_in.contains(name) {
            let known = reading.paths.keys().chain(&reading.built_in);
            return Err(ImageError::UnknownModule {
                module: name.clone(),
                package,
                help: did_you_mean(name, known.map(String::as_str)),
            });
        }
    }
    let (release, kernel) = reading.kernel.ok_or_else(|| ImageError::BadPackage {
        package: package.to_owned(),
        message: "a kernel was expected in it: boot/vmlinu*-RELEASE or lib/modules/RELEASE/vmlinu*"
            .to_owned(),
    })?;
    let modules = load_order(&wanted, &needs)
        .into_iter()
        .filter_map(|name| {
            let content = reading.modules.remove(&name)?;
            let path = format!("/usr/lib/modules/{release}/{name}.ko");
            Some((path, content))
        })
        .collect();
    Ok(Kernel {
        kernel,
        release,
        config: reading.config,
        modules,
    })
}

fn read(
    deb: &Utf8Path,
    package: &str,
    load: &BTreeSet<String>,
    reading: &mut Reading,
    watch: &Watch<'_>,
) -> Result<(), ImageError> {
    let mut packed = Vec::new();
    visit(deb, package, watch, &mut |found| {
        let Kind::File(_) = found.kind else {
            return Ok(());
        };
        let path = found
            .path
            .strip_prefix("usr/")
            .unwrap_or(&found.path)
            .to_owned();
        let boot = kernel_release(&path);
        if let Some(release) = boot {
            if reading.kernel.is_none() {
                reading.kernel = Some((release.to_owned(), found.content()?));
            }
        } else if path.starts_with("boot/config-") {
            let config = found.content()?;
            reading.config = Some(String::from_utf8_lossy(&config).into_owned());
        } else if path.ends_with("/modules.builtin") {
            let list = found.content()?;
            let list = String::from_utf8_lossy(&list);
            reading
                .built_in
                .extend(list.lines().filter_map(module_name));
        } else if path.starts_with("lib/modules/")
            && let Some(name) = module_name(&path)
        {
            let near = path.contains("/drivers/virtio/");
            if (near || load.contains(&name)) && !reading.modules.contains_key(&name) {
                packed.push((name.clone(), path.clone(), found.content()?));
            }
            reading.paths.insert(name, path);
        }
        Ok(())
    })?;
    for (name, path, content) in packed {
        let content = unpacked(&path, content).map_err(|message| ImageError::BadPackage {
            package: package.to_owned(),
            message: format!("{path}: {message}"),
        })?;
        reading.modules.insert(name, content);
    }
    Ok(())
}

/// A module's content without its compression.
fn unpacked(path: &str, content: Vec<u8>) -> Result<Vec<u8>, String> {
    if path.ends_with(".zst") {
        return zstd::decode_all(content.as_slice()).map_err(|e| e.to_string());
    }
    let (tool, package) = if path.ends_with(".xz") {
        ("xz", "xz-utils")
    } else if path.ends_with(".gz") {
        ("gzip", "gzip")
    } else {
        return Ok(content);
    };
    let mut child = Command::new(tool)
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                format!("{tool} is not installed; install the package {package}")
            }
            _ => format!("cannot run {tool}: {e}"),
        })?;
    let pipe = child.stdin.take();
    std::thread::scope(|scope| {
        // Written beside the reading: neither side may wait for the other's full pipe.
        scope.spawn(move || pipe.map(|mut pipe| pipe.write_all(&content)));
        let out = child.wait_with_output().map_err(|e| e.to_string())?;
        if out.status.success() {
            Ok(out.stdout)
        } else {
            Err(format!("{tool} ended with {}", out.status))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_paths() {
        let name = |p| module_name(p).unwrap_or_default();
        assert_eq!(
            name("lib/modules/6/kernel/drivers/virtio/virtio-pci.ko.xz"),
            "virtio_pci"
        );
        assert_eq!(name("kernel/fs/ext4/ext4.ko"), "ext4");
        assert_eq!(name("lib/modules/6/modules.order"), "");
    }

    #[test]
    fn kernels_are_found_in_both_places() {
        assert_eq!(kernel_release("boot/vmlinux-6.1-x"), Some("6.1-x"));
        assert_eq!(kernel_release("lib/modules/7.2-x/vmlinuz"), Some("7.2-x"));
        assert_eq!(kernel_release("lib/modules/7.2-x/kernel/a.ko"), None);
        assert_eq!(kernel_release("boot/config-6.1"), None);
    }

    #[test]
    fn dependencies_are_read_from_the_module() {
        let module =
            b"\x7fELF..\0license=GPL\0depends=virtio,virtio-ring\0retpoline=Y\0name=virtio_pci\0";
        assert_eq!(depends(module), ["virtio", "virtio_ring"]);
        assert!(depends(b"x\0depends=\0y").is_empty());
        assert!(depends(b"nothing").is_empty());
    }

    #[test]
    fn each_module_is_loaded_after_what_it_needs() {
        let needs = [
            ("virtio_console", vec!["virtio_ring", "virtio"]),
            ("virtio_ring", vec!["virtio"]),
            ("virtio", vec![]),
            ("a", vec!["b"]),
            ("b", vec!["a"]),
        ];
        let needs = needs
            .into_iter()
            .map(|(n, d)| (n.to_owned(), d.into_iter().map(str::to_owned).collect()))
            .collect();
        let wanted = [
            "virtio_console".to_owned(),
            "built_in".to_owned(),
            "a".to_owned(),
        ];
        assert_eq!(
            load_order(&wanted, &needs),
            ["virtio", "virtio_ring", "virtio_console", "b", "a"]
        );
    }

    #[test]
    fn compressed_modules_are_unpacked() {
        let packed = zstd::encode_all(&b"module"[..], 1).unwrap();
        assert_eq!(unpacked("x.ko.zst", packed).unwrap(), b"module");
        assert_eq!(unpacked("x.ko", b"plain".to_vec()).unwrap(), b"plain");
        assert!(unpacked("x.ko.zst", b"plain".to_vec()).is_err());
    }
}
