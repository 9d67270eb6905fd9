use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::align::{BagRows, Failure};
use crate::bag::BagReader;
use crate::dataset::{Cell, DatasetReader, Row};

const MS: u64 = 1_000_000;
const T0: u64 = 1_700_000_000_000_000_000;

fn contract(gate: &str) -> (Contract, String) {
    let text = format!(
        "version: 1
robot_type: arm
fps: 20
streams:
  - {{name: joints, topic: /joints, type: t/msg/Pair, role: observation, align: as_of, rate_hz: 50, tolerance_ms: 60,
     timeline: receive, fields: [data], names: [a, b]}}
  - {{name: sent, topic: /sent, type: t/msg/Pair, role: action, align: hold, rate_hz: 50, tolerance_ms: 60,
     timeline: receive, fields: [data], names: [a, b]}}
gate: {{{gate}}}
"
    );
    (Contract::parse(&text).unwrap(), text)
}

fn open(root: &Path, gate: &str, rows_budget: usize) -> Session {
    let (contract, text) = contract(gate);
    let settings = Settings {
        root: root.to_owned(),
        dataset: true,
        distro: Distro::Jazzy,
        rows_budget,
        recorder: "test".to_owned(),
    };
    let mut session = Session::open(contract, &text, settings).unwrap();
    for (stream, name) in ["/joints", "/sent"].into_iter().enumerate() {
        let definition = Definition { text: "float32[2] data".to_owned(), hash: String::new() };
        let type_name = "t/msg/Pair".to_owned();
        session
            .define(stream, Topic { name: name.to_owned(), type_name, definition, offered_qos: Vec::new() })
            .unwrap();
    }
    session
}

/// Messages of both streams every 20 ms, numbered, from `begin` until `end` in ms.
fn feed(session: &mut Session, begin: u64, end: u64) {
    for ms in (begin..end).step_by(20) {
        let mut bytes = vec![0, 1, 0, 0];
        bytes.extend((ms as f32).to_le_bytes());
        bytes.extend((-(ms as f32)).to_le_bytes());
        let bytes: Bytes = Arc::new(bytes);
        let stamps = Stamps { log_nanos: T0 + ms * MS, publish_nanos: T0 + ms * MS, sequence: 0 };
        (0..2).for_each(|stream| session.message(stream, stamps, &bytes).unwrap());
    }
}

fn rows_of_bag(bag: &Path) -> Vec<Row> {
    let bag = BagReader::open(bag).unwrap();
    BagRows::new(&bag, &contract("").0).unwrap().map(Result::unwrap).collect()
}

/// Rows made live, rows made from the bag because making them live fell behind, and rows converted afterwards are the same.
#[test]
fn rows_are_the_same_whichever_way_they_are_made() {
    let mut files = Vec::new();
    for budget in [1 << 20, 0] {
        let folder = tempfile::tempdir().unwrap();
        let mut session = open(folder.path(), "", budget);
        session.start("wave", T0).unwrap();
        feed(&mut session, 0, 1500);
        session.pause(T0 + 1500 * MS).unwrap();
        feed(&mut session, 1500, 1800);
        session.resume(T0 + 1800 * MS).unwrap();
        feed(&mut session, 1800, 4000);
        let outcome = session.stop("enough", T0 + 4000 * MS).unwrap();
        assert_eq!(
            (outcome.kept, outcome.episode, outcome.rows_from_bag),
            (true, Some(0), budget == 0),
            "{outcome:?}"
        );
        let rows = rows_of_bag(&outcome.bag);
        assert_eq!(outcome.rows, rows.len() as u64);
        assert!(rows.len() > 60, "{}", rows.len());
        let dataset = DatasetReader::open(&folder.path().join("dataset")).unwrap();
        let columns =
            dataset.columns(&dataset.episodes()[0], &["observation.state", "action", "rec.time"]).unwrap();
        let times: Vec<_> = rows.iter().map(|row| row.time_nanos).collect();
        assert!(
            times.iter().all(|time| !(T0 + 1500 * MS..T0 + 1800 * MS).contains(time)),
            "nothing of the pause"
        );
        // Nothing is left out at the ends, though those rows were still to wait for messages under way.
        assert!(times.contains(&(T0 + 1450 * MS)) && times.last() == Some(&(T0 + 3950 * MS)), "{times:?}");
        let states: Vec<_> = rows.iter().map(|row| row.values[0].clone()).collect();
        assert_eq!(states[0], Cell::Float32(vec![0.0, 0.0]));
        files.push((format!("{columns:?}"), rows));
    }
    assert_eq!(files[0], files[1]);
}

#[test]
fn the_gate_puts_bad_episodes_aside_and_numbers_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut session = open(folder.path(), "min_seconds: 2", 1 << 20);
    session.start("wave", T0).unwrap();
    feed(&mut session, 0, 1000);
    let outcome = session.stop("too early", T0 + 1000 * MS).unwrap();
    assert!(!outcome.kept && outcome.bag.starts_with(folder.path().join("rejected")), "{outcome:?}");
    assert_eq!(outcome.failures, [Failure::Short { seconds: 1.0, expected: 2.0 }]);
    assert_eq!(session.episodes(), 0);
    session.start("wave", T0).unwrap();
    session.lost(1, 3);
    feed(&mut session, 0, 3000);
    let outcome = session.stop("lossy", T0 + 3000 * MS).unwrap();
    assert_eq!(
        outcome.failures.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["sent: 3 messages lost, expected at most 0"]
    );
    session.start("wave", T0).unwrap();
    feed(&mut session, 0, 3000);
    assert_eq!(session.stop("good", T0 + 3000 * MS).unwrap().episode, Some(0));
    session.start("wave", T0).unwrap();
    feed(&mut session, 0, 3000);
    session.discard().unwrap();
    assert_eq!((session.episodes(), session.state()), (1, State::Idle));
    let names = |folder: &Path| std::fs::read_dir(folder).unwrap().count();
    assert_eq!((names(&folder.path().join("bags")), names(&folder.path().join("rejected"))), (1, 2));
}

#[test]
fn a_clock_that_goes_back_is_told_and_the_episode_can_be_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut session = open(folder.path(), "", 1 << 20);
    session.start("wave", T0).unwrap();
    feed(&mut session, 0, 3000);
    let back = Stamps { log_nanos: T0 - 60_000 * MS, publish_nanos: 0, sequence: 0 };
    let bytes: Bytes = Arc::new(vec![0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(matches!(session.message(0, back, &bytes), Err(SessionError::ClockBack(62))));
    assert!(session.stop("the clock jumped", 0).unwrap().kept);
}

#[test]
fn what_a_crash_leaves_is_saved_when_a_session_opens() {
    let folder = tempfile::tempdir().unwrap();
    let mut session = open(folder.path(), "", 1 << 20);
    session.start("wave", T0).unwrap();
    feed(&mut session, 0, 3000);
    session.flush().unwrap();
    // As a crash leaves it: neither finished nor discarded.
    session.abandon();
    drop(session);
    let session = open(folder.path(), "", 1 << 20);
    let [left] = session.left_behind() else { panic!("{:?}", session.left_behind()) };
    let saved = left.saved.clone().unwrap();
    assert_eq!(saved, folder.path().join("recovered/episode_000000"));
    assert_eq!(session.left_over_rows().len(), 1);
    assert!(rows_of_bag(&saved).len() > 40);
    let start = BagRows::start_event(&BagReader::open(&saved).unwrap()).unwrap();
    assert!(matches!(start, Some(Event::Start { task, .. }) if task == "wave"));
    assert_eq!(std::fs::read_dir(folder.path().join("bags")).unwrap().count(), 0);
}

#[test]
fn a_session_without_messages_of_a_stream_says_which() {
    let folder = tempfile::tempdir().unwrap();
    let mut session = open(folder.path(), "failing: warn", 1 << 20);
    session.start("wave", T0).unwrap();
    let outcome = session.stop("nothing came", T0 + 3000 * MS).unwrap();
    let expected = "no row could be made: no message that can be used came from: joints, sent";
    assert!(!outcome.kept && outcome.bag.starts_with(folder.path().join("rejected")), "{outcome:?}");
    assert_eq!(outcome.failures.last(), Some(&Failure::Rows { reason: expected.to_owned() }));
    let bag = BagReader::open(&outcome.bag).unwrap();
    let told = &bag.metadata().unwrap().custom_data["gate"];
    assert!(told.ends_with(expected), "{told}");
    // Messages that cannot be read are none that can be used.
    session.start("again", T0).unwrap();
    for ms in (0..3000).step_by(20) {
        let stamps = Stamps { log_nanos: T0 + ms * MS, ..Stamps::default() };
        let whole: Bytes = Arc::new(vec![0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let torn: Bytes = Arc::new(vec![0, 1, 0, 0, 0, 0]);
        session.message(0, stamps, &whole).unwrap();
        session.message(1, stamps, &torn).unwrap();
    }
    let outcome = session.stop("damaged", T0 + 3000 * MS).unwrap();
    let expected = "no row could be made: no message that can be used came from: sent";
    let left_out = Failure::LeftOut { stream: "sent".to_owned(), share: 1.0, expected: 0.05 };
    let no_rows = Failure::Rows { reason: expected.to_owned() };
    assert_eq!((outcome.kept, outcome.failures), (false, vec![left_out, no_rows]));
    assert_eq!(std::fs::read_dir(folder.path().join("bags")).unwrap().count(), 0);
}

/// The rows are made only after the bag is whole: the gate judges them all the same, and its verdict is in the bag.
#[test]
fn rows_made_from_the_bag_are_judged_too() {
    let folder = tempfile::tempdir().unwrap();
    let verdict = |bag: &Path| BagReader::open(bag).unwrap().metadata().unwrap().custom_data["gate"].clone();
    let mut session = open(folder.path(), "min_rate: 0.1, max_gap_periods: 1000", 0);
    session.start("wave", T0).unwrap();
    feed(&mut session, 0, 1000);
    // The joints alone are silent for a while.
    for ms in (1000..3000).step_by(20) {
        let bytes: Bytes = Arc::new(vec![0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        session.message(1, Stamps { log_nanos: T0 + ms * MS, ..Stamps::default() }, &bytes).unwrap();
    }
    let outcome = session.stop("enough", T0 + 3000 * MS).unwrap();
    assert!(!outcome.kept && outcome.rows_from_bag && outcome.rows == 60, "{outcome:?}");
    let expected = "joints: missing in 65.0 % of the rows, expected at most 5.0";
    assert_eq!(verdict(&outcome.bag), expected);
    assert_eq!((session.episodes(), session.left_over_rows().len()), (0, 0));

    // No row can be made.
    session.start("wave", T0).unwrap();
    let bytes: Bytes = Arc::new(vec![0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for ms in (0..3000).step_by(20) {
        session.message(0, Stamps { log_nanos: T0 + ms * MS, ..Stamps::default() }, &bytes).unwrap();
    }
    let outcome = session.stop("enough", T0 + 3000 * MS).unwrap();
    assert!(!outcome.kept && outcome.rows_from_bag, "{outcome:?}");
    let expected = "no row could be made: no message that can be used came from: sent";
    assert!(verdict(&outcome.bag).ends_with(expected), "{}", verdict(&outcome.bag));

    session.start("wave", T0).unwrap();
    feed(&mut session, 0, 3000);
    let outcome = session.stop("enough", T0 + 3000 * MS).unwrap();
    assert!(outcome.kept && outcome.rows_from_bag, "{outcome:?}");
    assert_eq!(verdict(&outcome.bag), "passed");
    drop(session);
    let spools = std::fs::read_dir(folder.path().join("dataset/.rec")).unwrap().flatten();
    let left: Vec<_> = spools.filter(|e| e.file_name().to_string_lossy().starts_with("spool")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A second recorder must not take the open bag for one that a crash left.
#[test]
fn a_root_is_recorded_to_by_one_at_a_time() {
    for dataset in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let (contract, text) = contract("");
        let settings = Settings {
            root: folder.path().to_owned(),
            dataset,
            distro: Distro::Jazzy,
            rows_budget: 1 << 20,
            recorder: "test".to_owned(),
        };
        let begin = || Session::open(contract.clone(), &text, settings.clone());
        let mut session = begin().unwrap();
        session.start("wave", T0).unwrap();
        session.flush().unwrap();
        let refused = begin().unwrap_err().to_string();
        assert!(refused.ends_with("another recorder records there"), "{refused}");
        assert!(folder.path().join("bags/episode_000000.recording").exists());
        assert!(!folder.path().join("recovered").exists());
        session.discard().unwrap();
        drop(session);
        begin().unwrap();
    }
}

/// Rows that cannot be written any more are told for as long as the episode lasts, and the gate refuses it.
#[test]
fn rows_that_cannot_be_written_put_the_bag_aside() {
    let folder = tempfile::tempdir().unwrap();
    let mut session = open(folder.path(), "failing: warn", 1 << 20);
    session.start("wave", T0).unwrap();
    feed(&mut session, 0, 1000);
    std::fs::remove_dir_all(folder.path().join("dataset/.rec")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(600));
    feed(&mut session, 1000, 3000);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while session.rows_failed().is_none() {
        assert!(std::time::Instant::now() < end);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let told = session.rows_failed().unwrap();
    assert!(told.contains("removed while recording"), "{told}");
    assert_eq!(session.rows_failed(), Some(told.clone()), "it is not told once only");
    let outcome = session.stop("enough", T0 + 3000 * MS).unwrap();
    assert_eq!(outcome.failures, [Failure::Rows { reason: format!("rows could not be written: {told}") }]);
    assert!(!outcome.kept && outcome.bag.starts_with(folder.path().join("rejected")), "{outcome:?}");
}

/// The episode cannot be saved, which is told; the session is ready for what follows, and says what is gone.
#[test]
fn a_folder_that_vanishes_ends_the_episode_with_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let mut session = open(&root, "", 1 << 20);
    session.start("wave", T0).unwrap();
    feed(&mut session, 0, 2000);
    std::fs::remove_dir_all(&root).unwrap();
    let refused = session.stop("enough", T0 + 2000 * MS).unwrap_err().to_string();
    assert!(refused.contains("episode_000000"), "{refused}");
    assert_eq!(session.state(), State::Idle);
    let refused = session.start("again", T0 + 3000 * MS).unwrap_err().to_string();
    assert!(refused.contains("dataset"), "{refused}");
    assert_eq!(session.state(), State::Idle);
    assert_eq!(std::fs::read_dir(root.join("bags")).unwrap().count(), 0, "nothing half-begun is left");
}

/// An episode that was let go does not keep the next one from being recorded.
#[test]
fn an_abandoned_episode_is_left_for_recovery_and_the_next_one_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let mut session = open(folder.path(), "", 1 << 20);
    session.start("wave", T0).unwrap();
    feed(&mut session, 0, 2000);
    session.abandon();
    session.start("wave", T0 + 3000 * MS).unwrap();
    feed(&mut session, 3000, 6000);
    assert_eq!(session.stop("enough", T0 + 6000 * MS).unwrap().episode, Some(0));
    drop(session);
    let session = open(folder.path(), "", 1 << 20);
    assert_eq!((session.left_behind().len(), session.left_over_rows().len()), (1, 1));
    assert!(rows_of_bag(session.left_behind()[0].saved.as_ref().unwrap()).len() > 20);
}
