//! Bags and datasets with bytes changed, cut off, repeated, and lengths made huge: an error or a finding that says where, never a
//! panic.

#![allow(clippy::unwrap_used, clippy::panic)] // A test may panic: that is how it fails.

#[path = "../../../fuzz/src/recordings.rs"]
mod recordings;

use recordings::{conversion, files, use_bag, use_dataset, write_bag, write_dataset};

/// Damaged copies of each file.
const CASES: u64 = 40;

/// A number that looks random and is the same in each run (the finaliser of SplitMix64).
fn scatter(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn damaged(whole: &[u8], case: u64) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    let place = |number: u64| (scatter(case * 7 + number) % whole.len() as u64) as usize;
    match case % 5 {
        0 => bytes.truncate(place(1)),
        1 => (0..4).for_each(|number| {
            let at = place(number);
            bytes[at] ^= 1 << (case % 8);
        }),
        // Lengths and counts become huge.
        2 => {
            let at = place(1);
            bytes.iter_mut().skip(at).take(8).for_each(|byte| *byte = 0xff);
        }
        3 => {
            let (from, at) = (place(1), place(2));
            let piece: Vec<u8> = whole[from..].iter().take(200).copied().collect();
            drop(bytes.splice(at..at, piece));
        }
        _ => {
            let at = place(1);
            bytes.iter_mut().skip(at).take(200).for_each(|byte| *byte = 0);
        }
    }
    bytes
}

/// Every error says where: it names one of the recording's files, features, topics or episodes.
fn assert_says_where(said: &[String], places: &[String], damage: &str) {
    for text in said {
        assert!(places.iter().any(|place| text.contains(place)), "{damage}: it does not say where: {text}");
        let (_, what) = text.split_once(": ").unwrap_or_default();
        assert!(what.len() >= 10 && !what.contains("panicked"), "{damage}: it does not say what: {text}");
    }
}

fn name(path: &std::path::Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// Words that say where something is.
fn places(all: &[std::path::PathBuf], more: &[&str]) -> Vec<String> {
    all.iter().map(|path| name(path)).chain(more.iter().map(|word| (*word).to_owned())).collect()
}

#[test]
fn damaged_datasets_are_refused_or_read() {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original");
    write_dataset(&original).unwrap();
    let all = files(&original).unwrap();
    assert!(all.len() >= 8, "{all:?}");
    let places = places(&all, &["episode ", "observation.", "action", ".rec/"]);
    for path in &all {
        let whole = std::fs::read(path).unwrap();
        if whole.is_empty() {
            continue; // The lock.
        }
        for case in 0..CASES {
            let root = folder.path().join("damaged");
            for source in &all {
                let copy = root.join(source.strip_prefix(&original).unwrap());
                std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
                let bytes =
                    if source == path { damaged(&whole, case) } else { std::fs::read(source).unwrap() };
                std::fs::write(copy, bytes).unwrap();
            }
            let (said, damage) = (use_dataset(&root), format!("{} case {case}", path.display()));
            assert_says_where(&said, &places, &damage);
            // Logs are read as far as they go.
            let is_log = name(path).starts_with("spool-") || name(path).ends_with(".jsonl");
            let cut_off = case % 5 == 0 && !is_log;
            let told = said.iter().any(|text| text.contains(&name(path)));
            assert!(told || !cut_off, "{damage}: a file that is cut off is not told: {said:?}");
            std::fs::remove_dir_all(&root).unwrap();
        }
    }
}

#[test]
fn damaged_bags_are_refused_or_read() {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("bag");
    write_bag(&original).unwrap();
    let conversion = conversion(&original).unwrap();
    let all = files(&original).unwrap();
    let places =
        places(&all, &["/bag: ", "/observation/", "/action", "/task", "/pixio/", "stream_", "statistics"]);
    for path in all {
        let whole = std::fs::read(&path).unwrap();
        for case in 0..CASES {
            std::fs::write(&path, damaged(&whole, case)).unwrap();
            let said = use_bag(&original, &folder.path().join("made"), &conversion);
            let damage = format!("{} case {case}", path.display());
            assert_says_where(&said, &places, &damage);
            let told = said.iter().any(|text| text.contains(&name(&path)));
            assert!(told || case % 5 != 0, "{damage}: a file that is cut off is not told: {said:?}");
        }
        std::fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn damaged_definitions_and_messages_are_refused_or_read() {
    let text = "pose.position.x\ngeometry_msgs/Pose pose\nfloat64[<=4] data\nstring name\n\
                ================================================================================\n\
                MSG: geometry_msgs/Pose\nfloat32[3] position\n\0\0\u{1}\0\0";
    let whole = [text.as_bytes(), &[2, 0, 0, 0, 9, 8, 7, 6], &[0; 40]].concat();
    for case in 0..100 * CASES {
        let bytes = damaged(&whole, case);
        let first = bytes.split(|byte| matches!(byte, 0 | b'\n')).next().unwrap();
        let path = format!("{}: ", String::from_utf8_lossy(first));
        let begins = ["contract: ", "definition of a/msg/A: ", "message: ", "data: ", &path];
        for text in recordings::message(&bytes) {
            assert!(
                begins.iter().any(|begin| text.starts_with(begin)),
                "case {case}: it does not say where: {text}"
            );
        }
    }
}

const EXTREME: &str = "version: 1
robot_type: arm
fps: 10
streams:
  - {name: state, topic: /state, type: t/msg/Stamped, role: observation, align: as_of, rate_hz: 10, tolerance_ms: 60, fields: [x]}
  - {name: command, topic: /command, type: t/msg/Plain, role: action, align: next, rate_hz: 10, tolerance_ms: 200,
     timeline: receive, fields: [x]}
";

/// A bag whose messages have these receive stamps and numbers, with stamps of their own at the ends of the range.
fn write_extreme_bag(place: &std::path::Path, case: &[(u64, u32)]) {
    use recording::align::{EVENT_DEFINITION, EVENT_TOPIC, EVENT_TYPE, Event};
    use recording::bag::{BagOptions, BagWriter};
    use recording::{Definition, Stamps, Topic};

    let rule = "=".repeat(80);
    let header = format!(
        "std_msgs/Header header\nfloat32 x\n{rule}\nMSG: std_msgs/Header\nint32 sec\nuint32 nanosec\nstring frame_id\n"
    );
    let mut bag = BagWriter::create(place, BagOptions::default()).unwrap();
    let mut channel = |name: &str, kind: &str, text: &str| {
        let definition = Definition { text: text.to_owned(), hash: String::new() };
        let (name, type_name) = (name.to_owned(), kind.to_owned());
        bag.channel(&Topic { name, type_name, definition, offered_qos: Vec::new() }).unwrap()
    };
    let events = channel(EVENT_TOPIC, EVENT_TYPE, EVENT_DEFINITION);
    let state = channel("/state", "t/msg/Stamped", &header);
    let command = channel("/command", "t/msg/Plain", "float32 x\n");
    let start = Event::Start { task: "wave".into(), contract: EXTREME.into(), recorder: String::new() };
    let stamps = |log_nanos, sequence| Stamps { log_nanos, publish_nanos: u64::MAX, sequence };
    bag.write(events, stamps(case[0].0, 0), &start.to_cdr()).unwrap();
    for (log, sequence) in case {
        for sec in [(log / 1_000_000_000) as i32, i32::MIN, i32::MAX] {
            let mut bytes = vec![0, 1, 0, 0];
            bytes.extend(sec.to_le_bytes());
            bytes.extend([0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            bag.write(state, stamps(*log, *sequence), &bytes).unwrap();
        }
        bag.write(command, stamps(*log, *sequence), &[0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
    }
    for event in [Event::Pause, Event::Resume, Event::Stop { reason: "the end".into() }] {
        bag.write(events, stamps(u64::MAX, 0), &event.to_cdr()).unwrap();
    }
    bag.finish().unwrap();
}

/// Numbers at the ends of their ranges, which random damage does not hit.
#[test]
fn extreme_numbers_are_refused_or_read() {
    let last = u64::MAX;
    let cases: [&[(u64, u32)]; 5] = [
        &[(0, u32::MAX), (1, 0), (2, u32::MAX), (3, u32::MAX)],
        &[(last - 2_000_000_000, 1), (last - 1_000_000_000, 2), (last - 1, 3), (last, 4)],
        &[(last, 1), (last, 2)],
        &[(1_700_000_000_000_000_000, 1), (1_700_000_000_100_000_000, 2), (last, 3), (last, 4)],
        &[(1 << 63, 1), ((1 << 63) + 1_000_000_000, 2), ((1 << 63) + 2_000_000_000, 3)],
    ];
    let places =
        ["bag", "/state", "/command", "/pixio/", "stream state", "stream command"].map(str::to_owned);
    for (number, case) in cases.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let (place, made) = (folder.path().join("bag"), folder.path().join("made"));
        write_extreme_bag(&place, case);
        let mut conversion = conversion(&place).unwrap();
        let said = use_bag(&place, &made, &conversion);
        assert_says_where(&said, &places, &format!("case {number}"));
        let foreign = "stream state: expected a stamp within 10 s of its arrival";
        assert!(said.iter().any(|text| text.contains(foreign)), "case {number}: {said:?}");
        // With the stamps of receipt rows come until the end of the clock.
        let receive =
            EXTREME.replace("fields: [x]}\n  - {name: c", "timeline: receive, fields: [x]}\n  - {name: c");
        conversion.contract = recording::contract::Contract::parse(&receive).unwrap();
        assert_says_where(&use_bag(&place, &made, &conversion), &places, &format!("case {number}, received"));
    }
}
