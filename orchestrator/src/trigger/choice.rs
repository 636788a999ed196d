//! Which runs a change asks for: every rule whose references and paths fit queues one.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::model::{ChangeSet, JobSpec, NewJob};

use super::settings::{Repository, What};

/// Globs as one set; `*` stays within a path's part, `**` does not.
pub fn globs(list: &[String]) -> Result<GlobSet, String> {
    let mut set = GlobSetBuilder::new();
    for one in list {
        let glob = GlobBuilder::new(one)
            .literal_separator(true)
            .build()
            .map_err(|e| format!("'{one}' is not a glob: {}", e.kind()))?;
        set.add(glob);
    }
    set.build().map_err(|e| e.to_string())
}

/// What the settings say, as it is kept in the queue.
pub fn spec(what: &What) -> JobSpec {
    JobSpec {
        matrix: what.matrix.clone().into(),
        ports: what.ports.clone(),
        suites: what.suites.clone(),
        source_dir: what.source_dir.to_string(),
        bisect: what.bisect,
        search: None,
    }
}

/// The jobs that a change asks for. `paths` are those that it touches; where they are not known
/// (a new branch, a commit that is not there yet) a rule that asks for paths fits as well: better
/// one run too many than a change that nobody looked at.
pub fn choose(
    repository: &Repository,
    change: &ChangeSet,
    paths: Option<&[String]>,
) -> Vec<NewJob> {
    let mut jobs = Vec::new();
    for rule in &repository.rules {
        // Checked when the settings were read.
        let (Ok(refs), Ok(wanted)) = (globs(&rule.refs), globs(&rule.paths)) else {
            continue;
        };
        let touched = rule.paths.is_empty()
            || paths.is_none_or(|paths| paths.iter().any(|p| wanted.is_match(p)));
        if refs.is_match(&change.reference) && touched {
            jobs.push(NewJob {
                change: change.clone(),
                choice: rule.name.clone(),
                spec: spec(&rule.run),
                priority: rule.priority,
                policy: rule.policy,
            });
        }
    }
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> Repository {
        serde_yaml::from_str(
            "{name: r, path: /r.git, rules: [
              {name: all, refs: ['refs/heads/*'], run: {matrix: all.yaml}},
              {name: sparc, refs: ['refs/heads/**'], paths: ['sys/arch/sparc64/**', 'lib/*.c'],
               run: {matrix: sparc.yaml, ports: [p]}, priority: signoff, policy: each}]}",
        )
        .unwrap()
    }

    fn chosen(reference: &str, paths: Option<&[&str]>) -> Vec<String> {
        let change = ChangeSet {
            repository: "r".into(),
            reference: reference.into(),
            old: None,
            new: "1".into(),
        };
        let paths: Option<Vec<String>> = paths.map(|p| p.iter().map(|s| (*s).to_owned()).collect());
        let jobs = choose(&repository(), &change, paths.as_deref());
        jobs.into_iter().map(|j| j.choice).collect()
    }

    #[test]
    fn references_and_paths_choose() {
        let deep = ["sys/arch/sparc64/a/b.c"].as_slice();
        assert_eq!(chosen("refs/heads/main", Some(deep)), ["all", "sparc"]);
        assert_eq!(chosen("refs/heads/main", Some(&["lib/a/x.c"])), ["all"]);
        assert_eq!(chosen("refs/heads/a/b", Some(&["lib/x.c"])), ["sparc"]);
        assert_eq!(chosen("refs/heads/main", Some(&[])), ["all"]);
        assert_eq!(chosen("refs/heads/main", None), ["all", "sparc"]);
        assert!(chosen("refs/tags/v1", None).is_empty());
    }
}
