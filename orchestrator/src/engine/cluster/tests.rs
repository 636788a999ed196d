use super::order::{BatchFile, JobDir, dir_name, write};
use super::progress::{Progress, Watch, seen};
use super::*;
use crate::engine::RunError;
use crate::engine::bus::Bus;
use crate::model::{CellId, Event};
use crate::store::events::{self, EventLog};
use crate::store::runs::RunDir;
use camino::{Utf8Path, Utf8PathBuf};
use tokio_util::sync::CancellationToken;

fn temp() -> (tempfile::TempDir, Utf8PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
    (dir, path)
}

fn cell() -> CellId {
    "s/p/stock/candidate".parse().unwrap()
}

fn started(guest: u32) -> Event {
    Event::GuestStarted {
        cell: cell(),
        guest,
        pid: 1,
    }
}

fn guests(path: &Utf8Path) -> Vec<u32> {
    let events = events::read(path.as_std_path()).unwrap();
    let guest = |e: crate::model::Stamped| match e.what {
        Event::GuestStarted { guest, .. } => Some(guest),
        _ => None,
    };
    events.into_iter().filter_map(guest).collect()
}

#[test]
fn every_start_of_a_job_has_a_number_of_its_own() {
    let (_guard, dir) = temp();
    let job = JobDir(dir);
    let claims = std::thread::scope(|s| {
        let threads: Vec<_> = (0..8)
            .map(|_| s.spawn(|| job.claim("n1").unwrap()))
            .collect();
        let mut claims: Vec<u32> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        claims.sort_unstable();
        claims
    });
    assert_eq!(claims, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn a_batch_names_its_jobs_and_a_wrong_task_is_told() {
    let (_guard, dir) = temp();
    let file = dir.join("run/batches/3.json");
    let jobs = vec![dir_name("cell a", None), dir_name("cell b", None)];
    assert_ne!(jobs[0], jobs[1]);
    write(
        &file,
        &BatchFile {
            format: 1,
            jobs: jobs.clone(),
        },
    )
    .unwrap();
    assert_eq!(
        job_of_batch(&file, 1).unwrap(),
        dir.join("run").join(&jobs[1])
    );
    let wrong = job_of_batch(&file, 2).unwrap_err().to_string();
    assert!(wrong.ends_with("has no job 2: expected 0 to 1"), "{wrong}");
    let absent = job_of_batch(&dir.join("x.json"), 0)
        .unwrap_err()
        .to_string();
    assert!(absent.contains("expected a batch of jobs"), "{absent}");
}

#[tokio::test]
async fn a_store_that_is_away_is_waited_for_and_told_of_once() {
    let (_guard, dir) = temp();
    let run = dir.join("jobs/run");
    // What it looks like where a directory has become something else.
    std::fs::write(dir.join("jobs"), "").unwrap();
    let told = std::cell::RefCell::new(Vec::new());
    let tell = |text: String| told.borrow_mut().push(text);
    let mut attempts = 0;
    let open = || {
        attempts += 1;
        if attempts == 3 {
            std::fs::remove_file(dir.join("jobs")).unwrap();
        }
        std::fs::create_dir_all(&run).map_err(|e| RunError::Host(format!("{run}: {e}")))
    };
    let cancel = CancellationToken::new();
    let opened = super::remote::patiently(&cancel, tell, open).await.unwrap();
    assert_eq!((opened, attempts), (Some(()), 3));
    assert_eq!(told.borrow().len(), 1, "{told:?}");
    assert!(told.borrow()[0].ends_with("; it is tried again"));

    cancel.cancel();
    let never = || Err::<(), _>(RunError::Host("away".to_owned()));
    let ended = super::remote::patiently(&cancel, |_| (), never).await;
    assert_eq!(ended.unwrap(), None);
}

#[test]
fn events_of_all_starts_come_once_also_to_a_second_dispatcher() {
    let (_guard, dir) = temp();
    let (job, run) = (
        JobDir(dir.join("job")),
        RunDir {
            path: dir.join("run").into(),
        },
    );
    std::fs::create_dir_all(&run.path).unwrap();
    let cancel = CancellationToken::new();
    let own = Utf8PathBuf::from_path_buf(run.events_path()).unwrap();

    assert_eq!(job.claim("n1").unwrap(), 1);
    let log = EventLog::open(job.events_path(1).as_std_path()).unwrap();
    let mut first = log.fenced(job.claim_path(2).into());
    first.append(started(1)).unwrap();
    {
        let bus = Bus::new(EventLog::open(&run.events_path()).unwrap());
        let watch = Watch::of(&bus, &cancel);
        let mut progress = Progress::new(&job, Default::default());
        progress.take_in(&watch).unwrap();
        progress.take_in(&watch).unwrap();
    }
    assert_eq!(guests(&own), [1]);
    // The node dies while it writes; another start takes over, and the first comes back.
    first.append(started(2)).unwrap();
    assert_eq!(job.claim("n2").unwrap(), 2);
    assert!(first.append(started(99)).is_err());
    let mut second = EventLog::open(job.events_path(2).as_std_path()).unwrap();
    second.append(started(3)).unwrap();
    // The dispatcher was killed meanwhile: its successor knows what is in the log.
    let bus = Bus::new(EventLog::open(&run.events_path()).unwrap());
    let mut known = seen(&run).unwrap();
    let mut progress = Progress::new(&job, known.remove(&cell()).unwrap());
    progress.take_in(&Watch::of(&bus, &cancel)).unwrap();
    assert_eq!(guests(&own), [1, 2, 3]);
}
