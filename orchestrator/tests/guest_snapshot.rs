//! Real guests that are saved and restored. They need the images that `fallout image build` makes,
//! and fail without them.

#[path = "support/guests.rs"]
mod guests;

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use camino::{Utf8Path, Utf8PathBuf};
use fallout::crash::Recogniser;
use fallout::engine::guests::{GuestOrder, RaiseError, raise};
use fallout::guest::{Guest, GuestError, State};
use fallout::image::cache::read_record;
use fallout::model::CameUp;
use fallout::store::snapshots::Snapshots;
use guests::{LIMITS, image, output, spec, try_output};

const ROOM: u64 = 1 << 30;

/// A cache of saved guests of its own, and an order for guests of a port from it.
struct Place {
    dir: tempfile::TempDir,
    name: &'static str,
    order: GuestOrder,
    told: Mutex<Vec<String>>,
}

impl Place {
    fn new(name: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let image = Utf8PathBuf::from_path_buf(image(name)).unwrap();
        let record = read_record(&image).unwrap();
        let cache = Utf8Path::from_path(dir.path()).unwrap();
        let order = GuestOrder::new(&guests::port(name), &record, Snapshots::new(cache, ROOM));
        Self {
            dir,
            name,
            order,
            told: Mutex::default(),
        }
    }

    async fn try_raise(&self, console: &str) -> Result<(Guest, CameUp), RaiseError> {
        let mut spec = spec(self.name, self.dir.path());
        spec.console_file = self.dir.path().join(console);
        let tell = |text| self.told.lock().unwrap().push(text);
        raise(&spec, &self.order, &tell).await
    }

    async fn raise(&self, console: &str) -> (Guest, CameUp) {
        let up = self.try_raise(console).await;
        up.unwrap_or_else(|e| panic!("{}: {e:?}", self.name))
    }

    /// A new process of fallout's would see the cache anew.
    fn begin_anew(&mut self) {
        let cache = Utf8Path::from_path(self.dir.path()).unwrap();
        self.order.snapshots = Snapshots::new(cache, ROOM);
    }
}

/// 32 bytes of each of the kernel's sources of random numbers, and where a new program was put.
async fn random(guest: &mut Guest) -> Vec<String> {
    let what = "head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n'; echo; \
                cat /proc/sys/kernel/random/uuid; grep stack /proc/self/maps";
    let (said, status) = output(guest, what).await;
    assert_eq!(status, 0, "{said}");
    let lines: Vec<String> = said.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 3, "{said}");
    lines
}

/// Seconds by which the guest's clock differs from the host's.
async fn clock_error(guest: &mut Guest) -> u64 {
    let (said, _) = output(guest, "date +%s").await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let there: u64 = said.trim().parse().unwrap();
    now.unwrap().as_secs().abs_diff(there)
}

async fn alike_but_for_chance(name: &'static str) {
    let place = Place::new(name);
    let (mut first, came_up) = place.raise("first").await;
    assert_eq!(came_up, CameUp::Booted);
    let mut seen = random(&mut first).await;
    // What is done in the first guest must not be found in the others.
    assert_eq!(output(&mut first, "echo dirt >/dirt").await.1, 0);
    // The clock of those below would be late by this much if nobody set it.
    tokio::time::sleep(Duration::from_secs(3)).await;

    for console in ["second", "third"] {
        let begun = Instant::now();
        let (mut guest, came_up) = place.raise(console).await;
        let CameUp::Restored { boot } = came_up else {
            panic!("{name}: booted: {:?}", place.told.lock().unwrap());
        };
        assert_eq!(boot, first.boot_time());
        assert_eq!(guest.kernel(), first.kernel());
        assert_eq!(guest.found(), first.found());
        seen.extend(random(&mut guest).await);
        // It was set at some moment since the wish for the guest; a slow host is no wrong clock.
        let error = clock_error(&mut guest).await;
        let most = begun.elapsed().as_secs() + 1;
        assert!(error <= most, "{name}: {error} s");
        assert_eq!(output(&mut guest, "[ ! -e /dirt ]").await.1, 0);
        // The kernel has noticed nothing.
        let complaints =
            "dmesg | grep -iE 'lockup|stall|blocked for|hung|unstable|skew|backwards' >&2";
        let (said, status) = output(&mut guest, complaints).await;
        assert_eq!(status, 1, "{name}: {said}");
        // The console: what is typed there runs, and only that is in its file.
        guest
            .console()
            .type_keys(b"echo typed $((6*7)) >/tmp/typed\n")
            .await;
        let typed = "for i in 1 2 3 4 5 6 7 8 9 10; do [ -s /tmp/typed ] && break; sleep 0.5; done; cat /tmp/typed";
        assert_eq!(output(&mut guest, typed).await.0, "typed 42\n");
        let file = std::fs::read_to_string(place.dir.path().join(console)).unwrap();
        assert!(
            file.contains("echo typed") && !file.contains("Linux version"),
            "{file}"
        );
        guest.end(false).await;
    }
    let all = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(
        seen.len(),
        all,
        "{name}: two guests have the same random numbers: {seen:?}"
    );
    first.end(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_from_one_file_differ_in_what_must_differ_s390x() {
    alike_but_for_chance("s390x").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_from_one_file_differ_in_what_must_differ_arm64() {
    alike_but_for_chance("arm64").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_guests_that_are_wanted_at_once_one_boots() {
    let place = Place::new("s390x");
    let (a, b, c) = tokio::join!(place.raise("a"), place.raise("b"), place.raise("c"));
    let mut booted = 0;
    for (mut guest, came_up) in [a, b, c] {
        booted += u32::from(came_up == CameUp::Booted);
        assert_eq!(output(&mut guest, "echo up").await.0, "up\n");
        guest.end(false).await;
    }
    assert_eq!(booted, 1);
    assert!(place.told.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_guest_that_panics_is_recognised() {
    let place = Place::new("s390x");
    let (first, _) = place.raise("first").await;
    first.end(false).await;
    let (mut guest, came_up) = place.raise("second").await;
    assert!(matches!(came_up, CameUp::Restored { .. }));
    let (said, end) = try_output(
        &mut guest,
        "printf before; sync; echo c >/proc/sysrq-trigger",
    )
    .await;
    assert_eq!(said, "before");
    match end {
        Err(GuestError::Crashed(crash)) => assert!(crash.title.contains("sysrq"), "{crash:?}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(guest.state(), State::Ended);
    guest.end(false).await;
}

fn damage(state: &Path, how: &str) {
    let bytes = std::fs::read(state).unwrap();
    let bad = match how {
        // Shorter than what is recorded: not taken for a saved guest at all.
        "truncated" => bytes[..bytes.len() / 2].to_vec(),
        // As long as it was, but nothing that an emulator reads.
        _ => vec![b'x'; bytes.len()],
    };
    std::fs::write(state, bad).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_guest_that_does_not_come_up_is_booted_instead() {
    let mut place = Place::new("s390x");
    let key = place.order.snapshot.clone().unwrap();
    for how in ["truncated", "overwritten"] {
        let (first, came_up) = place.raise("first").await;
        assert_eq!(came_up, CameUp::Booted, "{how}");
        first.end(false).await;
        let state = place.order.snapshots.get(&key).unwrap().state();
        damage(state.as_std_path(), how);
        let (mut guest, came_up) = place.raise("second").await;
        assert_eq!(came_up, CameUp::Booted, "{how}");
        assert_eq!(output(&mut guest, "echo up").await.0, "up\n");
        guest.end(false).await;
        place.begin_anew();
        if how == "overwritten" {
            let told = place.told.lock().unwrap();
            assert!(
                told.iter()
                    .any(|t| t.contains("was not to be restored and is removed")),
                "{told:?}"
            );
            assert!(!state.exists());
        } else {
            // Made anew by the boot, and sound.
            let saved = place.order.snapshots.get(&key).unwrap();
            place.order.snapshots.discard(saved);
            place.begin_anew();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_with_something_in_it_is_not_saved() {
    let dir = tempfile::tempdir().unwrap();
    let watch = Box::new(Recogniser::new());
    let mut guest = Guest::boot(&spec("s390x", dir.path()), LIMITS, watch)
        .await
        .unwrap();
    assert_eq!(output(&mut guest, "true").await.1, 0);
    let file = dir.path().join("state");
    let refused = guest.save(&file).await;
    assert!(
        matches!(refused, Err(GuestError::Snapshot { .. })),
        "{refused:?}"
    );
    assert!(!file.exists());
    assert_eq!(output(&mut guest, "echo on").await.0, "on\n");
    guest.end(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_kernel_than_the_one_ordered_is_refused() {
    let mut place = Place::new("s390x");
    let right = place.order.kernel.clone();
    assert!(
        right.version.is_some() && !right.build_ids.is_empty(),
        "{right:?}"
    );
    // The same kernel built anew, as far as anybody can tell: only the build id differs.
    place.order.kernel.build_ids = vec!["5".repeat(40)];
    let refused = place.try_raise("first").await.err();
    let Some(RaiseError::WrongKernel(why)) = refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("by its build id"), "{why}");
    assert!(
        why.contains("555555555555") && why.contains("Debian"),
        "{why}"
    );
    // Nothing of it was kept for others.
    assert!(place.order.snapshots.list().is_empty());
}

#[test]
fn every_image_says_which_kernel_it_has() {
    for name in guests::ports() {
        let image = Utf8PathBuf::from_path_buf(image(&name)).unwrap();
        let kernel = read_record(&image).unwrap().kernel;
        let version = kernel.version.unwrap_or_default();
        assert!(
            version.starts_with("#1 ") && version.contains("Debian"),
            "{name}: {version}"
        );
        assert!(!kernel.build_ids.is_empty(), "{name}");
    }
}
