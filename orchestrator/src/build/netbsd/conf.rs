//! Finds the configuration that a kernel is built from: a file of the tree, or one that is written here
//! for a variant of the project's.

use std::fs;

use camino::{Utf8Path, Utf8PathBuf};

use super::stage::Target;
use super::variant::{InForce, Known, config_path, text};
use crate::build::error::{BuildError, Doing, FailedStep};
use crate::host::files::write_atomic;
use crate::model::problem::did_you_mean;
use crate::model::{KernelVariant, Project};

/// The largest file that is read for options, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Gives the configuration's path for `build.sh`; none for one of the tree, which goes by its name.
/// `source` is the work tree, `dir` where ours are written. Blocks.
pub(super) fn find(
    project: &Project,
    target: &Target,
    name: &str,
    source: &Utf8Path,
    dir: &Utf8Path,
) -> Result<Option<Utf8PathBuf>, BuildError> {
    let sys = source.join("sys");
    let own = project.build.kernels.get(name);
    let base = own.map_or(name, |variant| &variant.config);
    let there = |config: &str| sys.join(config_path(&target.machine, config)).is_file();
    if !there(base) {
        return Err(missing(project, target, base, &sys));
    }
    let Some(variant) = own else {
        return Ok(None);
    };
    if there(name) {
        let why = format!(
            "build.kernels.{name}: the tree has a configuration of that name: expected another one"
        );
        return Err(refused(project, why));
    }
    let mut known = Known::default();
    read_all(&sys, false, &mut known)?;
    let unmet = known.unknown(variant);
    if !unmet.is_empty() {
        let step = Box::new(FailedStep {
            name: "configure",
            dir: "sys".into(),
            command: format!("the options of {name}, looked up in sys/**/files* and sys/**/conf/*"),
            tail: String::new(),
            log: None,
        });
        return Err(BuildError::Options { step, unmet });
    }
    write(name, variant, target, &sys, dir).map(Some)
}

fn write(
    name: &str,
    variant: &KernelVariant,
    target: &Target,
    sys: &Utf8Path,
    dir: &Utf8Path,
) -> Result<Utf8PathBuf, BuildError> {
    let read = |path: &str| {
        // `include` names files of the tree; one that leaves it is config(1)'s affair.
        let inside = !path.starts_with('/') && !path.split('/').any(|part| part == "..");
        inside.then(|| fs::read_to_string(sys.join(path)).ok())?
    };
    let now = InForce::of(&config_path(&target.machine, &variant.config), &read);
    let path = dir.join(name);
    let text = text(name, &target.machine, variant, &now);
    // config(1) makes everything anew for a file with a new time.
    if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
        fs::create_dir_all(dir).doing("create", dir)?;
        write_atomic(&path, text.as_bytes())?;
    }
    Ok(path)
}

fn refused(project: &Project, why: String) -> BuildError {
    BuildError::Source {
        path: project.name.as_str().into(),
        why,
    }
}

fn missing(project: &Project, target: &Target, base: &str, sys: &Utf8Path) -> BuildError {
    let dir = config_path(&target.machine, "");
    let dir = dir.trim_end_matches('/');
    let entries = sys.join(dir).read_dir_utf8();
    let mut names: Vec<String> = project.build.kernels.keys().cloned().collect();
    names.extend(
        entries
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.file_name().to_owned()),
    );
    let near = did_you_mean(base, names.iter().map(String::as_str));
    let near = near.map_or(String::new(), |near| format!("; {near}"));
    let why = match names.len() == project.build.kernels.len() {
        true => format!("the tree has no machine '{}': no sys/{dir}", target.machine),
        false => format!("no kernel configuration '{base}' in sys/{dir}{near}"),
    };
    refused(project, why)
}

/// Reads what defines or offers options below a directory of the tree.
fn read_all(dir: &Utf8Path, in_conf: bool, known: &mut Known) -> Result<(), BuildError> {
    for entry in dir.read_dir_utf8().doing("read", dir)? {
        let entry = entry.doing("read", dir)?;
        let kind = entry.file_type().doing("read", entry.path())?;
        let name = entry.file_name();
        if kind.is_dir() {
            read_all(entry.path(), name == "conf", known)?;
        } else if kind.is_file() && (in_conf || name == "files" || name.starts_with("files.")) {
            let small = entry.metadata().is_ok_and(|m| m.len() <= MAX_BYTES);
            if let (true, Ok(text)) = (small, fs::read(entry.path())) {
                known.read(&String::from_utf8_lossy(&text));
            }
        }
    }
    Ok(())
}
