//! What `squeue` prints: one line a job, or a line for all waiting jobs of an array.
//!
//! `--format=%i|%T|%k|%r`: `17_3|RUNNING|fallout-ab:1|None`, `17_[4-9,12%2]|PENDING|fallout-ab:1|Resources`.
//! The reason stands last and may hold anything.

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It waits, for the first time or again.
    Waiting,
    /// It waits, and will until somebody releases it.
    Held,
    /// It runs, or is being put away.
    Running,
    /// It is over: it will not run again.
    Over,
}

/// Tasks of an array: inclusive ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tasks(Vec<(u32, u32)>);

impl Tasks {
    /// All of them that are below `count`.
    pub fn below(&self, count: u32) -> impl Iterator<Item = u32> + '_ {
        let last = count.checked_sub(1);
        self.0
            .iter()
            .filter_map(move |&(from, to)| last.map(|last| from..=to.min(last)))
            .flatten()
    }
}

/// A line of the listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row<'a> {
    /// The job's number; of an array's jobs the array's.
    pub job: u64,
    /// Which of the array's tasks.
    pub tasks: Tasks,
    /// How far they are.
    pub phase: Phase,
    /// Slurm's word for it.
    pub state: &'a str,
    /// The comment that the job was submitted with.
    pub comment: &'a str,
    /// Slurm's reason.
    pub reason: &'a str,
}

/// Reads a listing. Lines that are none are counted, not guessed at.
pub fn parse_listing(text: &str) -> (Vec<Row<'_>>, usize) {
    let mut rows = Vec::new();
    let mut strange = 0;
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        match row(line) {
            Some(row) => rows.push(row),
            None => strange += 1,
        }
    }
    (rows, strange)
}

fn row(line: &str) -> Option<Row<'_>> {
    let mut parts = line.trim().splitn(4, '|');
    let (id, state) = (parts.next()?, parts.next()?);
    let (comment, reason) = (parts.next()?, parts.next().unwrap_or(""));
    let (job, tasks) = match id.split_once('_') {
        None => (id.parse().ok()?, Tasks(vec![(0, 0)])),
        Some((job, tasks)) => (job.parse().ok()?, tasks_of(tasks)?),
    };
    Some(Row {
        job,
        tasks,
        phase: phase(state, reason)?,
        state,
        comment,
        reason,
    })
}

/// `3`, `[3]`, `[0-5,7,9-11%2]`, `[0-8:4]`.
fn tasks_of(text: &str) -> Option<Tasks> {
    let list = match text.strip_prefix('[') {
        None => return text.parse().ok().map(|n| Tasks(vec![(n, n)])),
        Some(rest) => rest.strip_suffix(']')?,
    };
    let list = list.split('%').next()?;
    let mut ranges = Vec::new();
    for part in list.split(',') {
        let (range, step) = match part.split_once(':') {
            None => (part, 1),
            Some((range, step)) => (range, step.parse().ok().filter(|s| *s > 0)?),
        };
        let (from, to): (u32, u32) = match range.split_once('-') {
            None => (range.parse().ok()?, range.parse().ok()?),
            Some((from, to)) => (from.parse().ok()?, to.parse().ok()?),
        };
        if from > to {
            return None;
        }
        match step {
            1 => ranges.push((from, to)),
            // Bounded: Slurm's own arrays have four million tasks at most.
            _ if (to - from) / step > 4_000_001 => return None,
            _ => ranges.extend((from..=to).step_by(step as usize).map(|n| (n, n))),
        }
    }
    Some(Tasks(ranges))
}

fn phase(state: &str, reason: &str) -> Option<Phase> {
    Some(match state {
        "PENDING" | "REQUEUED" | "REQUEUE_FED" if is_held(reason) => Phase::Held,
        "REQUEUE_HOLD" | "SPECIAL_EXIT" => Phase::Held,
        "PENDING" | "REQUEUED" | "REQUEUE_FED" | "RESV_DEL_HOLD" => Phase::Waiting,
        "RUNNING" | "CONFIGURING" | "COMPLETING" | "SUSPENDED" | "STOPPED" | "STAGE_OUT"
        | "RESIZING" | "SIGNALING" => Phase::Running,
        "COMPLETED" | "FAILED" | "CANCELLED" | "TIMEOUT" | "NODE_FAIL" | "PREEMPTED"
        | "BOOT_FAIL" | "DEADLINE" | "OUT_OF_MEMORY" | "REVOKED" => Phase::Over,
        // A state that this version does not know: it is in the queue.
        word if !word.is_empty() && word.chars().all(|c| c.is_ascii_uppercase() || c == '_') => {
            Phase::Running
        }
        _ => return None,
    })
}

/// After a node failed to start it, Slurm holds a job until somebody releases it.
fn is_held(reason: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    reason.contains("held") || reason.contains("launch failed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_of_all_kinds() {
        let text = "17_[4-6,9%2]|PENDING|f-ab:1|Resources\n17_3|RUNNING|f-ab:1|None\n\
                    18|COMPLETED|f-ab:2|None\n19_0|NODE_FAIL|f-ab:3|None\n\
                    20_1|PENDING|f-ab:4|launch failed requeued held\n21_[0-8:4]|PENDING|x|a|b\nnonsense\n";
        let (rows, strange) = parse_listing(text);
        assert_eq!(strange, 1);
        let told: Vec<String> = rows
            .iter()
            .map(|r| {
                let tasks: Vec<u32> = r.tasks.below(100).collect();
                format!(
                    "{} {tasks:?} {:?} {} {}",
                    r.job, r.phase, r.comment, r.reason
                )
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        17 [4, 5, 6, 9] Waiting f-ab:1 Resources
        17 [3] Running f-ab:1 None
        18 [0] Over f-ab:2 None
        19 [0] Over f-ab:3 None
        20 [1] Held f-ab:4 launch failed requeued held
        21 [0, 4, 8] Waiting x a|b
        ");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "[0-9_\\[\\],%:|A-Z\\-\n]{0,200}") {
            let (rows, strange) = parse_listing(&text);
            prop_assert!(rows.len() + strange <= text.lines().count());
            for row in rows {
                prop_assert!(row.tasks.below(10).all(|t| t < 10));
            }
        }

        /// What Slurm writes for a set of tasks is read as that set.
        #[test]
        fn a_set_of_tasks_is_read_back(set in proptest::collection::btree_set(0u32..500, 1..60)) {
            let mut ranges: Vec<(u32, u32)> = Vec::new();
            for &n in &set {
                match ranges.last_mut() {
                    Some(last) if last.1 + 1 == n => last.1 = n,
                    _ => ranges.push((n, n)),
                }
            }
            let words: Vec<String> = ranges
                .iter()
                .map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") })
                .collect();
            let line = format!("5_[{}%3]|PENDING|c|r", words.join(","));
            let (rows, _) = parse_listing(&line);
            let read: std::collections::BTreeSet<u32> = rows[0].tasks.below(500).collect();
            prop_assert_eq!(read, set);
        }
    }
}
