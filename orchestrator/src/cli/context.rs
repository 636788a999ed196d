//! What every subcommand needs: directories, ports, a matrix with all that belongs to it.

use camino::{Utf8Path, Utf8PathBuf};

use crate::host::dirs::{Dirs, find_images, manifests};
use crate::host::yaml::{self, Doc, YamlError};
use crate::image::manifest;
use crate::model::known::Registry;
use crate::model::problem::{Problem, did_you_mean};
use crate::model::{Port, Project};
use crate::plan::matrix::{Matrix, ReleaseAt};
use crate::plan::resolve::{ProjectFile, Resolved, resolve, tidy};

use super::args::Selection;
use super::exit::Failure;

/// What the global options and the environment say.
#[derive(Debug, Clone)]
pub struct Context {
    /// Cache, state and sockets.
    pub dirs: Dirs,
    /// How much to say on standard error.
    pub verbose: u8,
    /// Whether a release may be fetched.
    pub may_fetch: bool,
    images: Option<Utf8PathBuf>,
}

/// A matrix, its ports' manifests and its projects, all checked.
#[derive(Debug)]
pub struct Loaded {
    /// The matrix, as its file says.
    pub matrix: Matrix,
    /// The suites with their projects and ports; already restricted to what was selected.
    pub resolved: Resolved,
    /// Where the manifests are.
    pub images: Utf8PathBuf,
}

impl Context {
    /// From the global options and the environment.
    pub fn new(images: Option<Utf8PathBuf>, verbose: u8) -> Result<Self, Failure> {
        Ok(Self {
            dirs: Dirs::from_env()?,
            verbose,
            may_fetch: true,
            images,
        })
    }

    /// The directory with the manifests; `near` is a file whose surroundings are searched first.
    pub fn images_dir(&self, near: Option<&Utf8Path>) -> Result<Utf8PathBuf, Failure> {
        let var = std::env::var("FALLOUT_IMAGES")
            .ok()
            .filter(|v| !v.is_empty());
        let cwd = std::env::current_dir()
            .ok()
            .and_then(|dir| Utf8PathBuf::from_path_buf(dir).ok());
        let above = near
            .and_then(|file| file.canonicalize_utf8().ok())
            .and_then(|file| file.parent().map(Utf8Path::to_owned));
        let starts: Vec<&Utf8Path> = above.iter().chain(&cwd).map(AsRef::as_ref).collect();
        let var = var.as_deref().map(Utf8Path::new);
        Ok(find_images(self.images.as_deref(), var, &starts)?)
    }

    /// All ports that have a manifest, by name. Every wrong manifest is told.
    pub fn ports(&self, images: &Utf8Path) -> Result<Vec<Port>, Failure> {
        let files = manifests(images)
            .map_err(|e| Failure::host(format!("{images}: cannot be listed: {e}")))?;
        let mut ports = Vec::new();
        let mut wrong = Vec::new();
        for file in &files {
            match manifest::read(file) {
                Ok(port) => ports.push(port),
                Err(error) => wrong.push(error.to_string()),
            }
        }
        if !wrong.is_empty() {
            return Err(Failure::usage(wrong.join("\n")));
        }
        ports.sort_by(|a, b| a.port.cmp(&b.port));
        Ok(ports)
    }

    /// A matrix with its manifests and projects, restricted to a selection.
    pub fn load(&self, file: &Utf8Path, only: &Selection) -> Result<Loaded, Failure> {
        // A missing file is told before a missing images directory.
        if let Err(e) = std::fs::metadata(file) {
            return Err(Failure::usage(format!("{file}: cannot be read: {e}")));
        }
        let images = self.images_dir(Some(file))?;
        let ports = self.ports(&images)?;
        let names: Vec<&str> = ports.iter().map(|p| p.port.as_str()).collect();
        let mut doc = yaml::read::<Matrix>(file, |m| m.check(&names))?;
        let base = file.parent().unwrap_or(Utf8Path::new(""));

        let mut projects = Vec::new();
        let mut kernels = Vec::new();
        let mut problems = Vec::new();
        let mut wrong = Vec::new();
        for (i, suite) in doc.value.suites.iter().enumerate() {
            let here = |field: &str| format!("suites[{i}].{field}");
            if let Some(own) = &suite.patches {
                problems.extend(absent_file(here("patches"), &base.join(own)));
            }
            let kernel = suite.kernel.as_ref();
            kernels.push(
                match kernel.map(|own| project_at(here("kernel"), &base.join(own))) {
                    None => None,
                    Some(Ok(kernel)) => Some(kernel),
                    Some(Err(absent)) => {
                        told(absent, &mut problems, &mut wrong);
                        None
                    }
                },
            );
            let Some(path) = &suite.project else {
                let tree = suite.source.as_ref().and_then(|s| s.path.as_ref());
                let tree = tree.map(|t| base.join(t));
                problems.extend(tree.and_then(|t| absent_tree(here("source.path"), &t)));
                projects.push(None);
                continue;
            };
            match project_at(here("project"), &base.join(path)) {
                Ok(project) => projects.push(Some(project)),
                Err(absent) => told(absent, &mut problems, &mut wrong),
            }
        }
        let mut known = None;
        if let Some(own) = &doc.value.known_flakes {
            match yaml::read::<Registry>(&tidy(&base.join(own)), Registry::check) {
                Ok(registry) => known = Some(registry.value),
                Err(error) => wrong.push(error.to_string()),
            }
        }
        wrong.extend(doc.verify(problems).err().map(|e| e.to_string()));
        if !wrong.is_empty() {
            return Err(Failure::usage(wrong.join("\n")));
        }
        if let Some(path) = &only.release {
            doc.value.release = Some(ReleaseAt {
                path: Some(path.clone()),
                url: None,
            });
        }
        let resolved = resolve(&doc.value, base, &projects, &kernels, &ports);
        let mut resolved = resolved.map_err(|p| match doc.verify(p) {
            Err(bad) => Failure::from(bad),
            Ok(()) => Failure::internal("a matrix was refused without a reason"),
        })?;
        resolved.known = known;
        check_selection(&doc, only)?;
        let resolved = resolved.select(&only.ports, &only.suites);
        if resolved.suites.is_empty() {
            let message = format!("{file}: none of the selected suites runs on a selected port");
            return Err(Failure::usage(message));
        }
        Ok(Loaded {
            matrix: doc.value,
            resolved,
            images,
        })
    }
}

/// A project file that is not there, or what is wrong in it.
enum NoProject {
    Absent(Problem),
    Wrong(YamlError),
}

/// The project file that a field of a matrix names.
fn project_at(field: String, path: &Utf8Path) -> Result<ProjectFile, NoProject> {
    let at = tidy(path);
    if !at.is_file() {
        let message = format!("no file {at}: expected a project file");
        return Err(NoProject::Absent(Problem::new(field, message)));
    }
    match load_project(&at) {
        Ok(project) => Ok((at, project)),
        Err(error) => Err(NoProject::Wrong(error)),
    }
}

fn told(no: NoProject, problems: &mut Vec<Problem>, wrong: &mut Vec<String>) {
    match no {
        NoProject::Absent(problem) => problems.push(problem),
        NoProject::Wrong(error) => {
            let error = error.to_string();
            // Several suites can name one file.
            if !wrong.contains(&error) {
                wrong.push(error);
            }
        }
    }
}

/// A project file whose tree and series are there.
pub(super) fn load_project(file: &Utf8Path) -> Result<Project, YamlError> {
    let doc = yaml::read::<Project>(file, Project::check)?;
    let dir = file.parent().unwrap_or(Utf8Path::new(""));
    let mut problems = Vec::new();
    if let Some(tree) = &doc.value.source.path {
        problems.extend(absent_tree("source.path".to_owned(), &dir.join(tree)));
    }
    if let Some(series) = &doc.value.patches {
        problems.extend(absent_file("patches".to_owned(), &dir.join(series)));
    }
    doc.verify(problems)?;
    Ok(doc.value)
}

fn absent_tree(field: String, dir: &Utf8Path) -> Option<Problem> {
    let message = || format!("no directory {}: expected the source tree", tidy(dir));
    (!dir.is_dir()).then(|| Problem::new(field, message()))
}

fn absent_file(field: String, file: &Utf8Path) -> Option<Problem> {
    let message = || {
        format!(
            "no file {}: expected a quilt series, or mails of git format-patch",
            tidy(file)
        )
    };
    (!file.is_file()).then(|| Problem::new(field, message()))
}

/// Everything selected must be in the matrix.
fn check_selection(doc: &Doc<Matrix>, only: &Selection) -> Result<(), Failure> {
    let suites: Vec<String> = doc.value.suites.iter().map(|s| s.name.clone()).collect();
    known("--ports", &only.ports, &doc.value.ports, &doc.file)?;
    known("--suites", &only.suites, &suites, &doc.file)
}

fn known(flag: &str, words: &[String], known: &[String], file: &Utf8Path) -> Result<(), Failure> {
    let wrong: Vec<String> = words
        .iter()
        .filter(|w| !known.contains(w))
        .map(|w| {
            let help = did_you_mean(w, known.iter().map(String::as_str));
            let help = help.map_or(String::new(), |h| format!("; {h}"));
            format!(
                "{flag}: {file} has no '{w}': expected one of {}{help}",
                known.join(", ")
            )
        })
        .collect();
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Failure::usage(wrong.join("\n")))
    }
}
