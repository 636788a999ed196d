//! The settings of a cluster: one YAML file, the same for `run`, `resume` and the daemon.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::model::problem::Problem;
use crate::model::units::{de_duration, de_size, ser_duration};
use crate::model::{AccelWish, JobKind, PortName};

/// What runs the jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Executor {
    /// Slurm.
    Slurm,
}

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Version of the file's form: 1.
    pub format: u32,
    /// What runs the jobs.
    pub executor: Executor,
    /// A directory that all nodes see under the same path: jobs, their events, artifacts.
    pub store: Utf8PathBuf,
    /// Where artifacts are, if not in the store: `s3://BUCKET/PREFIX`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<String>,
    /// The kinds of job that go to the cluster; the others are done where fallout runs.
    #[serde(default = "kinds")]
    pub jobs: Vec<JobKind>,
    /// What is asked of the scheduler for every job.
    #[serde(default)]
    pub ask: Ask,
    /// What is asked beyond that for a port's jobs; what stands here wins.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<PortName, Ask>,
    /// How often the queue is looked at.
    #[serde(
        default = "interval",
        deserialize_with = "de_duration",
        serialize_with = "ser_duration"
    )]
    pub interval: Duration,
    /// Jobs of one run that may be in the queue together, running ones among them.
    #[serde(default = "queued")]
    pub queued_at_most: u32,
    /// Jobs of one array.
    #[serde(default = "array")]
    pub array_at_most: u32,
    /// Jobs of one array that may run together; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_at_most: Option<u32>,
    /// Guests of one cell that may live together, each with the cell's cores and memory.
    #[serde(default = "one")]
    pub guests: u32,
    /// How often a job may be lost before it counts as a fault of the host.
    #[serde(default = "losses")]
    pub losses: u32,
    /// What nodes use.
    #[serde(default)]
    pub node: Node,
}

/// What the scheduler is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// `--partition`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// `--account`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// `--qos`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<String>,
    /// `--constraint`: features that a node must have, such as `kvm`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraint: Option<String>,
    /// `--prefer`: features that a node should have, such as one that says where images are
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefer: Option<String>,
    /// `--nice`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nice: Option<u32>,
}

impl Ask {
    /// This, and `other` where this says nothing.
    fn or(&self, other: &Self) -> Self {
        let first = |own: &Option<String>, other: &Option<String>| own.clone().or(other.clone());
        Self {
            partition: first(&self.partition, &other.partition),
            account: first(&self.account, &other.account),
            qos: first(&self.qos, &other.qos),
            constraint: first(&self.constraint, &other.constraint),
            prefer: first(&self.prefer, &other.prefer),
            nice: self.nice.or(other.nice),
        }
    }

    fn words(&self) -> [(&'static str, &Option<String>); 5] {
        [
            ("partition", &self.partition),
            ("account", &self.account),
            ("qos", &self.qos),
            ("constraint", &self.constraint),
            ("prefer", &self.prefer),
        ]
    }
}

/// What nodes use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// The program; `fallout` in the path where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Utf8PathBuf>,
    /// Where fetched artifacts are kept, on a disk of the node's own; `{node}` stands for its name.
    /// The user's cache where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Utf8PathBuf>,
    /// What runs guests of ports that are a node's own, in the place of the matrix's `accel`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accel: Option<AccelWish>,
    /// The most that fetched artifacts may take there.
    #[serde(
        default = "cache_bytes",
        rename = "cache_size",
        deserialize_with = "de_size",
        serialize_with = "ser_size"
    )]
    pub cache_bytes: u64,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            program: None,
            cache: None,
            accel: None,
            cache_bytes: cache_bytes(),
        }
    }
}

impl Node {
    /// The cache's directory on a node; none where it is the user's.
    pub fn cache_on(&self, node: &str) -> Option<Utf8PathBuf> {
        let text = self.cache.as_ref()?.as_str();
        Some(text.replace("{node}", node).into())
    }
}

fn kinds() -> Vec<JobKind> {
    // Images need the archive, which nodes seldom reach.
    vec![JobKind::Build, JobKind::Kernel, JobKind::Cell]
}

fn interval() -> Duration {
    Duration::from_secs(2)
}

fn queued() -> u32 {
    5000
}

fn array() -> u32 {
    500
}

fn one() -> u32 {
    1
}

fn losses() -> u32 {
    10
}

fn cache_bytes() -> u64 {
    20 << 30
}

fn ser_size<S: serde::Serializer>(bytes: &u64, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&format!("{bytes}B"))
}

/// The shortest time between two looks at the queue.
/// With four submissions a second at most this keeps below ten calls a second.
const SHORTEST: Duration = Duration::from_millis(250);

impl Cluster {
    /// What is wrong, beyond the shape.
    pub fn check(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut wrong = |path: &str, message: String| found.push(Problem::new(path, message));
        if self.format != 1 {
            wrong("format", format!("is {}: expected 1", self.format));
        }
        if self.interval < SHORTEST {
            let message = format!("is {:?}: expected 250ms or more", self.interval);
            wrong("interval", message);
        }
        for (path, value, most) in [
            ("queued_at_most", self.queued_at_most, 1_000_000),
            ("array_at_most", self.array_at_most, 100_000),
            ("guests", self.guests, 256),
            ("losses", self.losses, 200),
            (
                "running_at_most",
                self.running_at_most.unwrap_or(1),
                1_000_000,
            ),
        ] {
            if !(1..=most).contains(&value) {
                wrong(path, format!("is {value}: expected 1 to {most}"));
            }
        }
        if self.jobs.contains(&JobKind::Image) {
            let message =
                "has 'image': images are made where fallout runs, which reaches the archive";
            wrong("jobs", message.to_owned());
        }
        if let Some(artifacts) = &self.artifacts
            && !artifacts.starts_with("s3://")
        {
            let message =
                format!("is '{artifacts}': expected s3://BUCKET/PREFIX; a directory is 'store'");
            wrong("artifacts", message);
        }
        let asks = self
            .ports
            .iter()
            .map(|(port, ask)| (format!("ports.{port}"), ask));
        for (at, ask) in std::iter::once(("ask".to_owned(), &self.ask)).chain(asks) {
            for (field, word) in ask.words() {
                let Some(word) = word else { continue };
                if word.is_empty() || word.contains(|c: char| c.is_control() || c.is_whitespace()) {
                    let message = "expected a word of Slurm's, without spaces";
                    wrong(&format!("{at}.{field}"), message.to_owned());
                }
            }
        }
        found
    }

    /// The same with its paths taken below `dir`, the file's directory.
    #[must_use]
    pub fn below(mut self, dir: &Utf8Path) -> Self {
        self.store = dir.join(&self.store);
        if let Some(program) = &mut self.node.program {
            *program = dir.join(&*program);
        }
        if let Some(cache) = &mut self.node.cache {
            *cache = dir.join(&*cache);
        }
        self
    }

    /// Whether a kind of job goes to the cluster.
    pub fn takes(&self, kind: JobKind) -> bool {
        self.jobs.contains(&kind)
    }

    /// What is asked for a port's jobs.
    pub fn ask_for(&self, port: &PortName) -> Ask {
        match self.ports.get(port) {
            Some(own) => own.or(&self.ask),
            None => self.ask.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Cluster, String> {
        serde_yaml::from_str(text).map_err(|e| e.to_string())
    }

    #[test]
    fn a_small_file_says_enough_and_a_ports_own_wish_wins() {
        let text = "format: 1\nexecutor: slurm\nstore: shared\nask: {partition: ci, nice: 10}\n\
                    ports: {sparc64: {constraint: kvm, partition: big}}\nnode: {cache: '/var/tmp/{node}', accel: auto}\n";
        let cluster = read(text).unwrap().below("/etc/fallout".into());
        assert!(cluster.check().is_empty());
        assert_eq!(cluster.store, "/etc/fallout/shared");
        let ask = cluster.ask_for(&"sparc64".into());
        assert_eq!(ask.partition.as_deref(), Some("big"));
        assert_eq!(
            (ask.constraint.as_deref(), ask.nice),
            (Some("kvm"), Some(10))
        );
        assert_eq!(cluster.node.cache_on("n1").unwrap(), "/var/tmp/n1");
        assert_eq!(cluster.node.accel, Some(AccelWish::Auto));
        assert!(cluster.takes(JobKind::Cell) && !cluster.takes(JobKind::Image));
        // What is written can be read back: jobs carry it.
        let again = read(&serde_yaml::to_string(&cluster).unwrap()).unwrap();
        assert_eq!(again, cluster);
    }

    #[test]
    fn wrong_values_are_told() {
        let text = "format: 2\nexecutor: slurm\nstore: /s\ninterval: 1ms\narray_at_most: 0\n\
                    artifacts: /x\nask: {qos: 'a b'}\n";
        let problems = read(text).unwrap().check();
        let told: Vec<String> = problems
            .iter()
            .map(|p| format!("{}: {}", p.path, p.message))
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        format: is 2: expected 1
        interval: is 1ms: expected 250ms or more
        array_at_most: is 0: expected 1 to 100000
        artifacts: is '/x': expected s3://BUCKET/PREFIX; a directory is 'store'
        ask.qos: expected a word of Slurm's, without spaces
        ");
        assert!(
            read("format: 1\nexecutor: pbs\nstore: /s\n")
                .unwrap_err()
                .contains("slurm")
        );
    }
}
