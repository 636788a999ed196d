//! A submission's command line, and what its refusal means.

use std::time::Duration;

use camino::Utf8Path;

use super::settings::{Ask, Cluster};
use crate::model::PortName;

/// What jobs of one array have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class {
    /// Cores of a job.
    pub cores: u32,
    /// Memory of a job, in MiB.
    pub mem_mib: u64,
    /// The time limit, in minutes.
    pub minutes: u32,
    /// What is asked beyond that, in the order of [`Ask`]'s fields.
    ask: [Option<String>; 5],
    nice: u32,
    /// Nodes that could not do such a job.
    pub exclude: Vec<String>,
}

/// Time limits and memory are rounded up to these, so that few arrays come of many jobs.
const MINUTES: u32 = 15;
const MIB: u64 = 256;

impl Class {
    /// The class of a job with these needs. `limit` is the most that it can take by fallout's own
    /// limits.
    pub fn of(
        cluster: &Cluster,
        port: &PortName,
        cores: u32,
        mem_mib: u64,
        limit: Duration,
    ) -> Self {
        let Ask {
            partition,
            account,
            qos,
            constraint,
            prefer,
            nice,
        } = cluster.ask_for(port);
        let minutes = u32::try_from(limit.as_secs().div_ceil(60)).unwrap_or(u32::MAX / 2);
        Self {
            cores: cores.max(1),
            mem_mib: mem_mib.max(1).next_multiple_of(MIB),
            minutes: minutes.clamp(1, u32::MAX / 2).next_multiple_of(MINUTES),
            ask: [partition, account, qos, constraint, prefer],
            nice: nice.unwrap_or(0),
            exclude: Vec::new(),
        }
    }

    /// The same without a node.
    #[must_use]
    pub fn without(&self, node: &str) -> Self {
        let mut class = self.clone();
        if is_node_name(node) && !class.exclude.iter().any(|n| n == node) {
            class.exclude.push(node.to_owned());
            class.exclude.sort();
        }
        class
    }
}

/// A name that can stand in a list of nodes and means itself.
fn is_node_name(node: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !node.is_empty() && node.chars().all(fits)
}

/// What every submission of a run has in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunNames {
    /// The jobs' name in the queue.
    pub job: String,
    /// The directory of the run in the shared store.
    pub dir: camino::Utf8PathBuf,
    /// The program on the nodes.
    pub program: String,
}

impl RunNames {
    /// The comment of a batch's jobs, by which they are found again.
    pub fn comment(&self, batch: u64) -> String {
        format!("{}:{batch}", self.job)
    }

    /// The batch that a comment names, if it is one of this run's.
    pub fn batch_of(&self, comment: &str) -> Option<u64> {
        let (job, batch) = comment.rsplit_once(':')?;
        (job == self.job).then(|| batch.parse().ok())?
    }

    /// The file that lists a batch's jobs.
    pub fn batch_file(&self, batch: u64) -> camino::Utf8PathBuf {
        self.dir.join(format!("batches/{batch}.json"))
    }
}

/// What a node must know to reach the artifacts' bucket. Names: values are on no command line.
const BUCKET: [&str; 10] = [
    "AWS_ENDPOINT",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ALLOW_HTTP",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
];

/// The words of `sbatch` for a batch of `tasks` jobs. A batch is always an array, if only of one.
pub fn sbatch(
    names: &RunNames,
    cluster: &Cluster,
    class: &Class,
    batch: u64,
    tasks: usize,
) -> Vec<String> {
    let last = tasks.saturating_sub(1);
    let throttle = cluster
        .running_at_most
        .map_or(String::new(), |n| format!("%{n}"));
    let bucket = cluster.artifacts.as_ref().map(|_| BUCKET.join(","));
    let bucket = bucket.map_or(String::new(), |names| format!(",{names}"));
    let mut words = vec![
        "--parsable".to_owned(),
        format!("--job-name={}", names.job),
        format!("--comment={}", names.comment(batch)),
        format!("--array=0-{last}{throttle}"),
        "--requeue".to_owned(),
        "--nodes=1".to_owned(),
        "--ntasks=1".to_owned(),
        format!("--cpus-per-task={}", class.cores),
        format!("--mem={}M", class.mem_mib),
        format!("--time={}", class.minutes),
        format!("--chdir={}", names.dir),
        "--open-mode=append".to_owned(),
        format!("--output={}/logs/%A_%a.log", names.dir),
        // What is set where fallout runs (a runtime directory, a locale) means nothing on a node.
        format!("--export=HOME,PATH{bucket}"),
    ];
    if class.nice > 0 {
        words.push(format!("--nice={}", class.nice));
    }
    let options = ["partition", "account", "qos", "constraint", "prefer"];
    for (option, word) in options.iter().zip(&class.ask) {
        words.extend(word.iter().map(|word| format!("--{option}={word}")));
    }
    if !class.exclude.is_empty() {
        words.push(format!("--exclude={}", class.exclude.join(",")));
    }
    let file = names.batch_file(batch);
    // The shell is replaced, so that the scheduler's signals reach fallout.
    words.push(format!(
        "--wrap=exec {} job --batch {}",
        quoted(&names.program),
        quoted(file.as_str())
    ));
    words
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The words of `squeue` that list all of a run's jobs, those that have ended lately too.
pub fn squeue(names: &RunNames) -> Vec<String> {
    let words = ["--noheader", "--all", "--me", "--states=all"];
    let mut words: Vec<String> = words.map(str::to_owned).into();
    words.push(format!("--name={}", names.job));
    words.push("--format=%i|%T|%k|%r".to_owned());
    words
}

/// The words of `scancel` that end all of a run's jobs.
pub fn scancel(names: &RunNames) -> Vec<String> {
    vec!["--quiet".to_owned(), format!("--name={}", names.job)]
}

/// The number that `sbatch --parsable` printed: `123` or `123;cluster`.
pub fn submitted(stdout: &str) -> Option<u64> {
    let line = stdout.lines().rev().find(|l| !l.trim().is_empty())?;
    line.split(';').next()?.trim().parse().ok()
}

/// Why a submission did not go through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A limit of the site's: it goes through with fewer jobs, or later.
    Limit(String),
    /// It may have gone through, or may not: the queue tells.
    Unsure(String),
    /// It never goes through.
    Never(String),
}

/// What `sbatch`'s complaint means. What is not known counts as unsure: it is tried again.
pub fn refusal(stderr: &str) -> Refusal {
    let line = |text: &str| {
        let line = text.lines().rfind(|l| !l.trim().is_empty());
        let line = line.unwrap_or("sbatch failed without a word");
        let line = line.trim().trim_start_matches("sbatch: error: ");
        line.chars().take(300).collect::<String>()
    };
    let has = |words: &[&str]| words.iter().any(|w| stderr.contains(w));
    let limits = [
        "MaxSubmitJob",
        "MaxJobCount",
        "maximum job count",
        "Job violates accounting/QOS policy",
        "Slurm temporarily unable to accept job",
        "Resource temporarily unavailable",
        "Invalid job array specification",
    ];
    let never = [
        "Invalid partition",
        "invalid partition",
        "Invalid account",
        "Invalid qos",
        "Invalid feature",
        "node configuration is not available",
        "Memory specification can not be satisfied",
        "CPU count per node can not be satisfied",
        "Requested time limit is invalid",
        "Access/permission denied",
        "unrecognized option",
        "Invalid node name",
        "Unable to open file",
        "No such file or directory",
    ];
    if has(&limits) {
        Refusal::Limit(line(stderr))
    } else if has(&never) {
        Refusal::Never(line(stderr))
    } else {
        Refusal::Unsure(line(stderr))
    }
}

/// A run's name in the queue: short, and as unique as its id's random part.
pub fn job_name(run: &str) -> String {
    let id: String = run.chars().filter(char::is_ascii_alphanumeric).collect();
    let tail = id.len().saturating_sub(12);
    format!("fallout-{}", &id[tail..])
}

/// The names of a run below a store.
pub fn names(cluster: &Cluster, run: &str, store: &Utf8Path) -> RunNames {
    let program = cluster.node.program.as_ref();
    RunNames {
        job: job_name(run),
        dir: store.join("jobs").join(run),
        program: program.map_or("fallout".to_owned(), ToString::to_string),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submission_says_all_that_the_scheduler_must_know() {
        let text = "format: 1\nexecutor: slurm\nstore: /s\nask: {partition: ci, nice: 10}\nrunning_at_most: 40\n\
                    ports: {sparc64: {constraint: kvm}}\nnode: {program: /opt/it's/fallout}\n";
        let cluster: Cluster = serde_yaml::from_str(text).unwrap();
        let names = names(&cluster, "0199aa-bb-cc0123456789", &cluster.store);
        let class = Class::of(
            &cluster,
            &"sparc64".into(),
            2,
            900,
            Duration::from_secs(3601),
        );
        let words = sbatch(
            &names,
            &cluster,
            &class.without("n7").without("n[1-2]"),
            3,
            20,
        );
        insta::assert_snapshot!(words.join("\n"), @r"
        --parsable
        --job-name=fallout-cc0123456789
        --comment=fallout-cc0123456789:3
        --array=0-19%40
        --requeue
        --nodes=1
        --ntasks=1
        --cpus-per-task=2
        --mem=1024M
        --time=75
        --chdir=/s/jobs/0199aa-bb-cc0123456789
        --open-mode=append
        --output=/s/jobs/0199aa-bb-cc0123456789/logs/%A_%a.log
        --export=HOME,PATH
        --nice=10
        --partition=ci
        --constraint=kvm
        --exclude=n7
        --wrap=exec '/opt/it'\''s/fallout' job --batch '/s/jobs/0199aa-bb-cc0123456789/batches/3.json'
        ");
        // With a bucket, nodes get what opens it.
        let cluster = Cluster {
            artifacts: Some("s3://lab".to_owned()),
            ..cluster
        };
        let words = sbatch(&names, &cluster, &class, 3, 20);
        let export = words.iter().find(|w| w.starts_with("--export=")).unwrap();
        assert!(export.starts_with("--export=HOME,PATH,AWS_ENDPOINT,"));
        assert!(export.contains(",AWS_SECRET_ACCESS_KEY,"));
        assert_eq!(names.batch_of(&names.comment(3)), Some(3));
        assert_eq!(names.batch_of("other:3"), None);
    }

    #[test]
    fn answers_of_sbatch() {
        assert_eq!(submitted("123\n"), Some(123));
        assert_eq!(submitted("warning\n77;lab\n"), Some(77));
        assert_eq!(submitted("Submitted batch job x"), None);
        let limit = "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: \
                     Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)";
        assert!(matches!(refusal(limit), Refusal::Limit(_)));
        let never = "sbatch: error: Batch job submission failed: Requested node configuration is not available";
        assert_eq!(
            refusal(never),
            Refusal::Never(
                "Batch job submission failed: Requested node configuration is not available".into()
            )
        );
        let gone = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)";
        assert!(matches!(refusal(gone), Refusal::Unsure(_)));
        assert!(matches!(refusal(""), Refusal::Unsure(_)));
    }
}
