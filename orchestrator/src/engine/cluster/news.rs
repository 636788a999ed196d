//! Word of nodes that there is something to see of a job.
//!
//! A node makes the file `news/NAME` in the run's directory when it has begun on the job of that name and
//! when it has ended it; the dispatcher takes the file away and then looks at the job's own. One look tells
//! of all jobs of a run, whatever their number, so that it can be taken often. Word that goes astray costs
//! time alone: jobs also look at their files whenever the queue was looked at.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use super::order::JobDir;
use super::queue::ToJob;

/// How often the directory is looked at.
const OFTEN: Duration = Duration::from_millis(200);
/// A store that is slow to answer is left alone for so many times as long.
const REST: u32 = 20;

/// The directory's name below a run's.
pub(super) const DIR: &str = "news";

type Waiting = Mutex<HashMap<String, UnboundedSender<ToJob>>>;

/// Who waits for word.
pub(super) struct News(Arc<Waiting>);

impl News {
    /// Looks at a run's directory for as long as this lives.
    pub(super) fn follow(run: &Utf8Path) -> Self {
        let waiting = Arc::default();
        tokio::spawn(follow(run.join(DIR), Arc::downgrade(&waiting)));
        Self(waiting)
    }

    /// Has a job told, until it is forgotten. What was said before is known to whoever looks after this.
    pub(super) fn tell(&self, name: &str, to: UnboundedSender<ToJob>) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.insert(name.to_owned(), to);
    }

    pub(super) fn forget(&self, name: &str) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.remove(name);
    }
}

async fn follow(dir: Utf8PathBuf, waiting: Weak<Waiting>) {
    loop {
        let began = Instant::now();
        let Some(these) = waiting.upgrade() else {
            return;
        };
        let idle = these
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty();
        drop(these);
        let at = dir.clone();
        // A store that hangs must not keep others from their work.
        let look = tokio::task::spawn_blocking(move || if idle { Vec::new() } else { take(&at) });
        let names = look.await.unwrap_or_default();
        let pause = OFTEN.max(began.elapsed() * REST);
        if let Some(these) = waiting.upgrade() {
            let these = these.lock().unwrap_or_else(PoisonError::into_inner);
            for to in names.iter().filter_map(|name| these.get(name)) {
                let _ = to.send(ToJob::Look);
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// Takes all word away. What is said after that is said anew, so it comes before anybody looks.
fn take(dir: &Utf8Path) -> Vec<String> {
    // Opened every time: by that NFS asks whether what it remembers of a directory still holds.
    let entries = dir.read_dir_utf8().into_iter().flatten().flatten();
    let there = entries.filter(|entry| std::fs::remove_file(entry.path()).is_ok());
    there.map(|entry| entry.file_name().to_owned()).collect()
}

/// Leaves word, on a node. The job itself does not depend on it.
pub(super) fn leave(job: &JobDir) {
    if let (Some(run), Some(name)) = (job.0.parent(), job.0.file_name()) {
        let _ = std::fs::File::create(run.join(DIR).join(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn word_of_a_node_reaches_the_job_that_it_is_of_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let run = Utf8Path::from_path(dir.path()).unwrap();
        std::fs::create_dir(run.join(DIR)).unwrap();
        let (one, other) = (JobDir(run.join("one")), JobDir(run.join("other")));
        // Before anybody waits: it is kept until somebody does.
        leave(&one);
        let news = News::follow(run);
        let (to, mut from) = mpsc::unbounded_channel();
        let (to_other, mut from_other) = mpsc::unbounded_channel();
        news.tell("one", to);
        news.tell("other", to_other);
        assert_eq!(from.recv().await, Some(ToJob::Look));
        leave(&other);
        leave(&one);
        assert_eq!(from.recv().await, Some(ToJob::Look));
        assert_eq!(from_other.recv().await, Some(ToJob::Look));
        assert_eq!(run.join(DIR).read_dir_utf8().unwrap().count(), 0);
        news.forget("one");
        assert_eq!(from.recv().await, None);
        // A run without such a directory has its jobs done all the same.
        leave(&JobDir(run.join("elsewhere/job")));
    }
}
