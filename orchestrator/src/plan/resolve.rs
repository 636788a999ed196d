//! A matrix joined with its projects and manifests: what there is to do, nothing left to look up.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::baseline::Baseline;
use super::kernels::{self, System};
use super::matrix::{Limits, Matrix, Retries, SuiteSpec, no_patches};
use super::policy::{Adaptive, Order, Repeats, Runner, Shards};
use crate::model::known::Registry;
use crate::model::problem::Problem;
use crate::model::project::{BuildKind, Source};
use crate::model::{AccelWish, Clock, KernelOption, Port, PortName, Project, Side};

/// A matrix with everything it refers to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resolved {
    /// The matrix's name.
    pub name: String,
    /// The matrix's sentence.
    pub description: String,
    /// The ports that have at least one cell, in the matrix's order.
    pub ports: Vec<Port>,
    /// The suites, in the matrix's order.
    pub suites: Vec<Suite>,
    /// What the kernel variants add to and remove from the configuration of a suite's kernel.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kernel_options: BTreeMap<String, Vec<KernelOption>>,
    /// What may be spent on attempts beyond the passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adaptive: Option<Adaptive>,
    /// What runs guests whose instructions are the host's own.
    #[serde(default, skip_serializing_if = "AccelWish::is_tcg")]
    pub accel: AccelWish,
    /// What a run may use.
    pub limits: Limits,
    /// What is tried again.
    pub retries: Retries,
    /// Failures that are known to come and go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known: Option<Registry>,
}

/// A suite with its project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suite {
    /// Its place in the matrix file, from 0.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// What is built; its paths are relative to the working directory or absolute.
    pub project: Project,
    /// The kernel that its guests boot, where that is not the image's; paths as in `project`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Project>,
    /// Ports on which its kernel is built and nothing is booted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel_only: Vec<PortName>,
    /// Where the system around its kernel comes from.
    #[serde(default, skip_serializing_if = "System::is_image")]
    pub system: System,
    /// What the candidate is compared with.
    pub baseline: Baseline,
    /// The source of what is tested on the baseline side, where that is another commit's: then both
    /// sides are run, and the series is on both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Source>,
    /// How often the suite is executed in a cell.
    pub passes: u32,
    /// The order of the cases in a pass.
    pub order: Order,
    /// From what the bytes are drawn with which every other pass finds new memory filled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_seed: Option<u64>,
    /// Over how many guests of one cell it is cut.
    pub shards: Shards,
    /// What is executed again in fresh guests.
    pub repeats: Repeats,
    /// The time limit of a cell.
    pub timeout: Duration,
    /// What runs the cases.
    pub runner: Runner,
    /// By what the guests' clocks go.
    #[serde(default, skip_serializing_if = "Clock::is_host")]
    pub clock: Clock,
    /// Where it runs.
    pub points: Vec<Point>,
}

/// A port with a kernel variant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Point {
    /// The port.
    pub port: PortName,
    /// The kernel variant.
    pub variant: String,
}

impl Suite {
    /// What a change is made to: the kernel where only that has a series, else the suite's own project.
    pub fn tested(&self) -> &Project {
        match &self.kernel {
            Some(kernel) if self.kernel_is_tested() => kernel,
            _ => &self.project,
        }
    }

    /// The same, to be changed.
    pub fn tested_mut(&mut self) -> &mut Project {
        let kernel_is_tested = self.kernel_is_tested();
        match &mut self.kernel {
            Some(kernel) if kernel_is_tested => kernel,
            _ => &mut self.project,
        }
    }

    fn kernel_is_tested(&self) -> bool {
        let kernel = self.kernel.as_ref();
        self.project.patches.is_none() && kernel.is_some_and(|k| k.patches.is_some())
    }

    /// The sides that are run: the candidate, and the baseline where there is one.
    pub fn sides(&self) -> &'static [Side] {
        match (&self.base, &self.baseline) {
            (Some(_), _) | (None, Baseline::Unpatched) => &[Side::Baseline, Side::Candidate],
            // Another run's results are no side of this one.
            _ => &[Side::Candidate],
        }
    }

    /// The source of a side.
    pub fn source(&self, side: Side) -> &Source {
        match (side, &self.base) {
            (Side::Baseline, Some(base)) if !self.kernel_is_tested() => base,
            _ => &self.project.source,
        }
    }

    /// The source of a side's kernel.
    pub fn kernel_source(&self, side: Side) -> Option<&Source> {
        match (side, &self.base) {
            (Side::Baseline, Some(base)) if self.kernel_is_tested() => Some(base),
            _ => Some(&self.kernel.as_ref()?.source),
        }
    }

    /// The series that is applied for a side.
    pub fn patches(&self, side: Side) -> Option<&Utf8Path> {
        self.on(side, &self.project)
    }

    /// The series that is applied to the suite's kernel for a side.
    pub fn kernel_patches(&self, side: Side) -> Option<&Utf8Path> {
        self.on(side, self.kernel.as_ref()?)
    }

    fn on<'a>(&self, side: Side, project: &'a Project) -> Option<&'a Utf8Path> {
        match side {
            // The same tree without them.
            Side::Baseline if self.base.is_none() => None,
            _ => project.patches.as_deref(),
        }
    }

    /// Whether guests are started on a port.
    pub fn boots_on(&self, port: &PortName) -> bool {
        !self.kernel_only.contains(port)
    }

    /// The port as the suite's guests run it.
    pub fn guests_on(&self, port: &Port) -> Port {
        port.on(self.clock)
    }

    /// What runs the cases on a port; `auto` is the manifest's choice.
    pub fn runner_on(&self, port: &Port) -> Runner {
        match (self.runner, port.image.runner.as_str()) {
            (Runner::Auto, "kyua") => Runner::Kyua,
            (Runner::Auto, _) => Runner::Sh,
            (given, _) => given,
        }
    }
}

impl Resolved {
    /// The same with all paths below `dir` where they are not absolute, to be read elsewhere.
    #[must_use]
    pub fn located(mut self, dir: &Utf8Path) -> Self {
        for suite in &mut self.suites {
            located(&mut suite.project, dir);
            if let Some(kernel) = &mut suite.kernel {
                located(kernel, dir);
            }
            if let Some(path) = suite.base.as_mut().and_then(|base| base.path.as_mut()) {
                *path = tidy(&dir.join(&*path));
            }
        }
        self
    }

    /// The manifest of a port.
    pub fn port(&self, name: &PortName) -> Option<&Port> {
        self.ports.iter().find(|p| p.port == *name)
    }

    /// Whether a port's guests run the system of a release that somebody must give.
    pub fn wants_release(&self, port: &Port) -> bool {
        let runs_it = |suite: &Suite| {
            let mut points = suite.points.iter();
            suite.system.is_image()
                && suite.boots_on(&port.port)
                && points.any(|point| point.port == port.port)
        };
        port.image.release.is_some() && self.suites.iter().any(runs_it)
    }

    /// The suite of a name.
    pub fn suite(&self, name: &str) -> Option<&Suite> {
        self.suites.iter().find(|s| s.name == name)
    }

    /// Leaves only the ports and suites that are named; an empty list names all.
    #[must_use]
    pub fn select(mut self, ports: &[String], suites: &[String]) -> Self {
        if !suites.is_empty() {
            self.suites.retain(|s| suites.contains(&s.name));
        }
        if !ports.is_empty() {
            for suite in &mut self.suites {
                suite.points.retain(|p| ports.contains(&p.port.0));
            }
        }
        self.suites.retain(|s| !s.points.is_empty());
        let suites = &self.suites;
        self.ports.retain(|port| {
            let mut points = suites.iter().flat_map(|s| &s.points);
            points.any(|p| p.port == port.port)
        });
        self
    }
}

/// A suite's project file: where it stands, and what it says.
pub type ProjectFile = (Utf8PathBuf, Project);

/// Joins a checked matrix with the project files of its suites (in their order, none for a suite
/// that has its project inline), those of their kernels (likewise), and with the manifests. `base`
/// is the matrix file's directory.
pub fn resolve(
    matrix: &Matrix,
    base: &Utf8Path,
    projects: &[Option<ProjectFile>],
    kernels: &[Option<ProjectFile>],
    ports: &[Port],
) -> Result<Resolved, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut suites = Vec::new();
    for (index, spec) in matrix.suites.iter().enumerate() {
        let at = format!("suites[{index}]");
        let file = projects.get(index).and_then(Option::as_ref);
        let Some(project) = join(spec, base, file) else {
            problems.push(Problem::new(at, "has no project"));
            continue;
        };
        let kernel = kernels.get(index).and_then(Option::as_ref).map(read_file);
        let kernel_patches = kernel.as_ref().and_then(|k| k.patches.as_ref());
        if spec.baseline == Baseline::Unpatched
            && project.patches.is_none()
            && kernel_patches.is_none()
        {
            problems.push(no_patches(&at));
        }
        let runs = [BuildKind::Make, BuildKind::Installed];
        if !runs.contains(&project.build.kind) {
            problems.push(Problem::new(&at, kernels::not_a_suite(project.build.kind)));
        }
        let points: Vec<Point> = matrix
            .points(spec)
            .map(|(port, variant)| Point {
                port: port.into(),
                variant: variant.to_owned(),
            })
            .collect();
        if points.is_empty() {
            let message = "runs nowhere: every port is excluded";
            problems.push(Problem::new(&at, message));
        }
        if let Some(kernel) = &kernel {
            let used = |p: &&Port| points.iter().any(|point| point.port == p.port);
            let used: Vec<&Port> = ports.iter().filter(used).collect();
            problems.extend(kernels::check_resolved(&at, kernel, spec.system, &used));
        }
        suites.push(Suite {
            index,
            name: spec.name.clone(),
            project,
            kernel,
            kernel_only: spec.kernel_only.iter().map(|p| p.as_str().into()).collect(),
            system: spec.system,
            baseline: spec.baseline.clone(),
            base: None,
            passes: spec.passes,
            order: spec.order,
            memory_seed: spec.memory_seed,
            shards: spec.shards,
            repeats: spec.repeats,
            timeout: spec.timeout,
            runner: spec.runner,
            clock: spec.clock,
            points,
        });
    }
    let mut used = Vec::new();
    for name in &matrix.ports {
        match ports.iter().find(|p| p.port.as_str() == name) {
            Some(port) if !port.emulator.kind.is_qemu() => {
                let message = format!(
                    "{name} is emulated by {}, which no run drives yet: {}",
                    port.emulator.program, port.status
                );
                problems.push(Problem::new("ports", message));
            }
            Some(port) => used.push(released(port, matrix, base)),
            None => problems.push(Problem::new("ports", format!("no manifest of '{name}'"))),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let all = Resolved {
        name: matrix.name.clone(),
        description: matrix.description.clone(),
        ports: used,
        suites,
        kernel_options: matrix.kernel_options.clone(),
        adaptive: matrix.adaptive,
        accel: matrix.accel,
        limits: matrix.limits.clone(),
        retries: matrix.retries.clone(),
        // Whoever reads files reads it.
        known: None,
    };
    Ok(all.select(&[], &[]))
}

/// The port, with the release that its image is of where it has one: another process of the run must
/// not have to ask the matrix's file for it.
fn released(port: &Port, matrix: &Matrix, base: &Utf8Path) -> Port {
    let mut port = port.clone();
    if let Some(release) = &mut port.image.release {
        let given = matrix.release.as_ref();
        // One that is an address is fetched by whoever may use the network.
        let path = given.and_then(|given| given.path.as_ref());
        release.from = path.map(|path| tidy(&base.join(path)));
    }
    port
}

/// The project of a suite, its paths made relative to what the two files' are relative to.
fn join(spec: &SuiteSpec, base: &Utf8Path, file: Option<&ProjectFile>) -> Option<Project> {
    let mut project = match file {
        Some(file) => read_file(file),
        None => {
            let mut project = spec.inline_project()?;
            located(&mut project, base);
            project
        }
    };
    if let Some(own) = &spec.patches {
        project.patches = Some(tidy(&base.join(own)));
    }
    if let Some(cases) = &spec.cases {
        project.cases = Some(cases.clone());
    }
    Some(project)
}

/// The project of a file, its paths relative to what the file's own is relative to.
fn read_file((path, project): &ProjectFile) -> Project {
    let mut project = project.clone();
    located(&mut project, path.parent().unwrap_or(Utf8Path::new("")));
    project
}

/// Makes a project's paths relative to what its file's directory `dir` is relative to.
pub fn located(project: &mut Project, dir: &Utf8Path) {
    if let Some(path) = &mut project.source.path {
        *path = tidy(&dir.join(&*path));
    }
    if let Some(git) = &mut project.source.git
        && let Some(path) = git.dir()
    {
        git.url = tidy(&dir.join(path)).into_string();
    }
    if let Some(patches) = &mut project.patches {
        *patches = tidy(&dir.join(&*patches));
    }
    for fragment in &mut project.build.config {
        *fragment = tidy(&dir.join(&*fragment));
    }
}

/// The path without `.` and, where a name is in front of it, `..`: for people's eyes. A symbolic
/// link in front of a `..` is not looked at; matrices live beside what they name.
pub fn tidy(path: &Utf8Path) -> Utf8PathBuf {
    let mut out = Utf8PathBuf::new();
    for part in path.components() {
        match part.as_str() {
            "." => {}
            ".." if out.file_name().is_some() => {
                out.pop();
            }
            word => out.push(word),
        }
    }
    if out.as_str().is_empty() {
        out.push(".");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_tidied() {
        for (path, want) in [
            ("matrices/../examples/./a", "examples/a"),
            ("../x/../y", "../y"),
            ("../../x", "../../x"),
            ("./", "."),
            ("/a/../b", "/b"),
        ] {
            assert_eq!(tidy(path.into()), want, "{path}");
        }
    }
}
