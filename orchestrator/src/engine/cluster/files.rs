//! What a build reads beyond its tree. It goes to the node as a directory of its own, named by its content:
//!
//! ```text
//! patches/FILE        the series, and beside it the patches that it names
//! config/N/FILE       a kernel's fragments, by their place in its list
//! images/…/build.sh   what drives a kernel's makefiles
//! ```
//!
//! A file that is not there is left out: the build tells of it, on a node as everywhere.

use camino::{Utf8Path, Utf8PathBuf};

use crate::build::source::{self, Series};
use crate::engine::facts::Setup;
use crate::engine::jobs::JobFailed;
use crate::engine::kernels::script;
use crate::host::files::content_hash;
use crate::host::series;
use crate::model::{Key, Project};
use crate::plan::kernels::fragments;
use crate::plan::{Resolved, Suite, Work};

use super::order::JobOrder;
use super::remote::host;

/// Gathers the files of an order in the new directory `to`, and gives their key; none where there are none.
/// Blocks.
pub(super) fn gather(order: &JobOrder, to: &Utf8Path) -> Result<Option<Key>, JobFailed> {
    let Some(suite) = suite_of(&order.resolved, &order.job.work) else {
        return Ok(None);
    };
    let io = |e: std::io::Error| host(format!("{to}: {e}"));
    std::fs::create_dir_all(to).map_err(io)?;
    let (project, patches) = match &order.job.work {
        Work::Build { side, .. } => (Some(&suite.project), suite.patches(*side)),
        Work::Kernel { side, .. } => (suite.kernel.as_ref(), suite.kernel_patches(*side)),
        _ => (None, None),
    };
    if let Some(path) = patches {
        let planned = order.job.inputs.get("patches").cloned().flatten();
        let series = Series {
            path: path.to_owned(),
            hash: match planned {
                Some(hash) => Key(hash),
                None => series::hash(path).map_err(|e| host(e.to_string()))?,
            },
        };
        let kept = source::keep_series(&series, &to.join("patches"));
        kept.map_err(|e| JobFailed {
            stage: e.stage(),
            detail: e.to_string(),
        })?;
    }
    if let (Work::Kernel { port, .. }, Some(project)) = (&order.job.work, project) {
        let mut wanted: Vec<(Utf8PathBuf, Utf8PathBuf)> = Vec::new();
        for (at, from) in fragments(project, port).into_iter().enumerate() {
            let kept = fragment(to, at, &from);
            wanted.push((from, kept));
        }
        if let Some(port) = order.resolved.port(port) {
            let from = script(&order.images, port);
            wanted.push((from, script(&to.join("images"), port)));
        }
        for (from, kept) in wanted.iter().filter(|(from, _)| from.is_file()) {
            std::fs::create_dir_all(kept.parent().unwrap_or(to)).map_err(io)?;
            std::fs::copy(from, kept).map_err(io)?;
        }
    }
    if to.read_dir_utf8().map_err(io)?.next().is_none() {
        return Ok(None);
    }
    let key = content_hash(to).map_err(|e| host(e.to_string()))?;
    Ok(Some(key))
}

/// Has a setup read the files of `dir` in the place of its own.
pub(super) fn place(setup: &mut Setup, work: &Work, dir: &Utf8Path) {
    let suites = setup.resolved.suites.iter_mut();
    for suite in suites.filter(|suite| suite_name(work) == Some(&suite.name)) {
        match (work, &mut suite.kernel) {
            (Work::Build { .. }, _) => place_series(&mut suite.project, dir),
            (Work::Kernel { port, .. }, Some(project)) => {
                place_series(project, dir);
                let names = fragments(project, port).into_iter().enumerate();
                let kept = names.map(|(at, from)| fragment(dir, at, &from));
                project.build.config = kept.collect();
                setup.images = dir.join("images");
            }
            _ => {}
        }
    }
}

/// Where the `at`-th fragment of a kernel's configuration is kept.
fn fragment(dir: &Utf8Path, at: usize, from: &Utf8Path) -> Utf8PathBuf {
    let name = from.file_name().unwrap_or_default();
    dir.join(format!("config/{at}")).join(name)
}

fn place_series(project: &mut Project, dir: &Utf8Path) {
    if let Some(path) = &mut project.patches {
        *path = dir
            .join("patches")
            .join(path.file_name().unwrap_or("series"));
    }
}

fn suite_name(work: &Work) -> Option<&String> {
    match work {
        Work::Build { suite, .. } | Work::Kernel { suite, .. } => Some(suite),
        _ => None,
    }
}

fn suite_of<'a>(resolved: &'a Resolved, work: &Work) -> Option<&'a Suite> {
    resolved.suite(suite_name(work)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ancestry::tests::Repository;
    use crate::model::Side;
    use crate::plan::{Job, Todo};

    /// A repository whose suite has a series, and a kernel with one and a fragment for each port.
    fn order(place: &Repository, work: Work) -> JobOrder {
        let mut setup = place.setup("{path: repo/lib}", "");
        for (file, text) in [
            ("patches/series", "fix/a.patch\n"),
            ("patches/fix/a.patch", "a"),
            ("config/p.config", "CONFIG_A=y\n"),
        ] {
            let file = place.path(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let script = script(&setup.images, &setup.resolved.ports[0]);
        std::fs::create_dir_all(script.parent().unwrap()).unwrap();
        std::fs::write(script, "make\n").unwrap();
        let suite = &mut setup.resolved.suites[0];
        suite.project.patches = Some(place.path("patches/series"));
        let mut kernel = suite.project.clone();
        kernel.build.config = vec![place.path("config/{port}.config"), place.path("none")];
        suite.kernel = Some(kernel);
        let planned = series::hash(&place.path("patches/series")).unwrap();
        let job = Job {
            name: work.to_string(),
            work,
            key: None,
            inputs: [("patches".to_owned(), Some(planned.0))].into(),
            needs: Vec::new(),
            todo: Todo::Run,
            why: String::new(),
            cores: 1,
            mem_mib: 1,
            priority: 1,
            est: None,
        };
        let cluster = serde_yaml::from_str("format: 1\nexecutor: slurm\nstore: /s\n").unwrap();
        JobOrder::new("", job, setup.resolved, &setup.images, &cluster)
    }

    fn build(side: Side) -> Work {
        let (suite, port) = ("s".to_owned(), "p".into());
        Work::Build { suite, port, side }
    }

    fn kernel() -> Work {
        Work::Kernel {
            suite: "s".to_owned(),
            port: "p".into(),
            variant: "stock".to_owned(),
            side: Side::Candidate,
        }
    }

    #[test]
    fn a_build_reads_the_files_that_came_with_its_order() {
        let place = Repository::new();
        for (n, work) in [build(Side::Candidate), kernel()].into_iter().enumerate() {
            let order = order(&place, work.clone());
            let to = place.path(&format!("gathered{n}"));
            let key = gather(&order, &to).unwrap();
            assert_eq!(key, Some(content_hash(&to).unwrap()));
            let mut setup = place.setup("{path: repo/lib}", "");
            setup.resolved = order.resolved.clone();
            super::place(&mut setup, &work, &to);
            let suite = &setup.resolved.suites[0];
            if n == 0 {
                let series = suite.patches(Side::Candidate).unwrap();
                assert_eq!(series, to.join("patches/series"));
                let planned = order.job.inputs["patches"].clone().unwrap();
                assert_eq!(series::hash(series).unwrap().0, planned);
                continue;
            }
            let project = suite.kernel.as_ref().unwrap();
            assert_eq!(project.patches, Some(to.join("patches/series")));
            let read = |path: &Utf8PathBuf| std::fs::read_to_string(path).ok();
            let files = fragments(project, &"p".into());
            let texts: Vec<_> = files.iter().map(read).collect();
            assert_eq!(texts, [Some("CONFIG_A=y\n".to_owned()), None]);
            let script = script(&setup.images, &setup.resolved.ports[0]);
            assert!(script.starts_with(&to) && script.is_file());
        }
    }

    #[test]
    fn a_baseline_has_no_series_and_one_that_changed_is_told() {
        let place = Repository::new();
        let without = order(&place, build(Side::Baseline));
        assert_eq!(gather(&without, &place.path("none")).unwrap(), None);
        let with = order(&place, build(Side::Candidate));
        std::fs::write(place.path("patches/fix/a.patch"), "b").unwrap();
        let error = gather(&with, &place.path("changed")).unwrap_err();
        assert!(error.detail.contains("changed since"), "{}", error.detail);
    }
}
