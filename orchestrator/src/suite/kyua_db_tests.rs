//! Tests of the reader of Kyua's results database.

use std::path::PathBuf;

use super::*;
use crate::suite::Runner;
use crate::suite::event::SuiteEvent;

const REAL: &[u8] = include_bytes!("../../tests/fixtures/suite/kyua-0.14.db");

fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("results.db");
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn read_file(path: &Path) -> Result<Vec<DbResult>, SuiteError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(read(path, DbLimits::default()))
}

fn read_bytes(bytes: &[u8]) -> Result<Vec<DbResult>, SuiteError> {
    let (_dir, path) = file(bytes);
    read_file(&path)
}

/// The real database after some SQL.
fn altered(sql: &'static str) -> Result<Vec<DbResult>, SuiteError> {
    let (_dir, path) = file(REAL);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let mut db = SqliteConnectOptions::new()
                .filename(&path)
                .foreign_keys(false)
                .pragma("writable_schema", "ON")
                .connect()
                .await
                .unwrap();
            sqlx::raw_sql(sql).execute(&mut db).await.unwrap();
            db.close().await.unwrap();
        });
    read_file(&path)
}

fn detail(result: Result<Vec<DbResult>, SuiteError>) -> String {
    match result.unwrap_err() {
        SuiteError::DbForm { detail, .. } => detail,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_database_agrees_with_the_console() {
    let results = read_bytes(REAL).unwrap();
    let mut parser = Runner::Kyua.parser();
    let events = parser.feed(include_bytes!(
        "../../tests/fixtures/suite/kyua-0.14.console"
    ));
    let told: Vec<_> = events
        .into_iter()
        .filter_map(|event| match event {
            SuiteEvent::CaseEnded {
                case,
                outcome,
                reason,
                ..
            } => Some((case, outcome, reason)),
            _ => None,
        })
        .collect();
    let kept: Vec<_> = results
        .into_iter()
        .map(|r| (r.case, r.outcome, r.reason))
        .collect();
    assert_eq!(kept, told);
    assert_eq!(kept.len(), 30);
}

#[test]
fn outputs_and_times() {
    let results = read_bytes(REAL).unwrap();
    let get = |case: &str| results.iter().find(|r| r.case.case == case).unwrap();
    let pass = get("pass");
    assert_eq!(pass.stdout.as_deref(), Some("to stdout\n"));
    assert_eq!(pass.stderr.as_deref(), Some("to stderr\n"));
    assert_eq!(
        pass.output().as_deref(),
        Some("to stdout\n[standard error]\nto stderr\n")
    );
    assert_eq!(get("skip").output(), None);
    let odd = get("odd_output").stdout.as_deref();
    assert_eq!(odd, Some("tc-end: 1.0, x, passed\nred\nno end"));
    let slow = get("timeout").duration.unwrap();
    assert!((1.0..2.0).contains(&slow.as_secs_f64()), "{slow:?}");
    assert!(pass.started.unwrap() > Duration::from_secs(1_700_000_000));
}

#[test]
fn a_guest_that_died_leaves_an_empty_database() {
    assert!(matches!(read_bytes(b""), Err(SuiteError::DbEmpty { .. })));
    let emptied = altered("DELETE FROM test_results");
    assert!(
        matches!(emptied, Err(SuiteError::DbEmpty { .. })),
        "{emptied:?}"
    );
}

#[test]
fn damage_is_an_error_and_never_a_panic() {
    for cut in [10, 100, 4096, 5000, 20_000, REAL.len() - 4096] {
        let result = read_bytes(&REAL[..cut]);
        assert!(result.is_err(), "cut at {cut}: {result:?}");
    }
    assert!(matches!(
        read_bytes(&[b'x'; 5000]),
        Err(SuiteError::DbUnreadable { .. })
    ));
    // Whatever a flipped byte does, it gives a value.
    for at in (0..REAL.len()).step_by(1301) {
        let mut bytes = REAL.to_vec();
        bytes[at] ^= 0x55;
        let _ = read_bytes(&bytes);
    }
}

#[test]
fn only_plain_tables_are_read() {
    assert_eq!(
        detail(altered(
            "DROP TABLE files; CREATE VIEW files AS SELECT 1 AS file_id, 2 AS contents;"
        )),
        "it has views or triggers"
    );
    assert_eq!(
        detail(altered(
            "DROP TABLE files; CREATE TABLE files (file_id INTEGER PRIMARY KEY, \
             contents BLOB AS (zeroblob(1000000000)));"
        )),
        "table files has no plain column contents"
    );
    assert_eq!(
        detail(altered("DROP TABLE test_results;")),
        "table test_results has no plain column test_case_id"
    );
    assert_eq!(
        detail(altered("UPDATE metadata SET schema_version = 4")),
        "it is schema 4"
    );
}

#[test]
fn odd_values_are_bounded_or_left_out() {
    let results = altered(
        "UPDATE test_results SET result_type = 'odd' WHERE test_case_id = 1; \
         UPDATE test_results SET end_time = -5, result_reason = printf('%.*c', 100000, 'x') \
            WHERE test_case_id = 2; \
         UPDATE test_results SET start_time = 'text' WHERE test_case_id = 3; \
         UPDATE test_cases SET name = x'1b5b41ff' WHERE test_case_id = 4; \
         UPDATE files SET contents = CAST(printf('%.*c', 300000, 'y') AS BLOB);",
    )
    .unwrap();
    assert_eq!(results.len(), 29);
    assert_eq!(results[0].duration, None);
    assert_eq!(results[0].reason.as_ref().unwrap().len(), REASON_MAX_BYTES);
    assert_eq!(results[1].started, None);
    assert_eq!(results[2].case.case, "\u{fffd}");
    let output = results.iter().find_map(|r| r.stdout.as_ref()).unwrap();
    assert_eq!(output.chars().count(), OUTPUT_MAX_BYTES);
}

#[test]
fn limits_and_odd_paths() {
    let (dir, path) = file(REAL);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let small = DbLimits {
        file_bytes: 1000,
        ..DbLimits::default()
    };
    assert!(matches!(
        runtime.block_on(read(&path, small)),
        Err(SuiteError::DbTooLarge {
            size_bytes: 90112,
            limit_bytes: 1000,
            ..
        })
    ));
    let few = DbLimits {
        cases: 3,
        ..DbLimits::default()
    };
    assert_eq!(runtime.block_on(read(&path, few)).unwrap().len(), 3);
    assert!(matches!(
        read_file(dir.path()),
        Err(SuiteError::DbOpen { .. })
    ));
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(matches!(read_file(&link), Err(SuiteError::DbOpen { .. })));
}
