use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::bag::{BagOptions, BagReader, BagWriter};
use crate::dataset::Cell;
use crate::message::{Stamps, Topic};

const RULE: &str = "================================================================================";
const MS: u64 = 1_000_000;
const T0: u64 = 1_700_000_000_000_000_000;

fn contract(align: &str, timeline: &str) -> Contract {
    let text = format!(
        "version: 1
robot_type: arm
fps: 10
settle_ms: 150
streams:
  - {{name: state, topic: /state, type: t/msg/Stamped, role: observation, align: {align}, rate_hz: 10, tolerance_ms: 60,
     timeline: {timeline}, fields: [x]}}
  - {{name: command, topic: /command, type: t/msg/Plain, role: action, align: hold, rate_hz: 10, tolerance_ms: 1000,
     timeline: receive, fields: [data], names: [a, b]}}
  - {{name: rest, topic: /rest, type: t/msg/Plain, role: other, rate_hz: 0, tolerance_ms: 1000}}
"
    );
    Contract::parse(&text).unwrap()
}

fn definition(stream: usize) -> Definition {
    let text = match stream {
        0 => format!(
            "std_msgs/Header header\nfloat32 x\n{RULE}\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n\
             {RULE}\nMSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec"
        ),
        _ => "float32[2] data".to_owned(),
    };
    Definition { text, hash: String::new() }
}

fn stamped(stamp: u64, x: f32) -> Bytes {
    let mut bytes = vec![0, 1, 0, 0];
    bytes.extend(((stamp / 1_000_000_000) as u32).to_le_bytes());
    bytes.extend(((stamp % 1_000_000_000) as u32).to_le_bytes());
    bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(x.to_le_bytes());
    Arc::new(bytes)
}

fn plain(a: f32, b: f32) -> Bytes {
    let mut bytes = vec![0, 1, 0, 0];
    bytes.extend(a.to_le_bytes());
    bytes.extend(b.to_le_bytes());
    Arc::new(bytes)
}

fn aligner(contract: &Contract) -> Aligner {
    let mut aligner = Aligner::new(contract);
    (0..3).for_each(|stream| aligner.define(stream, &definition(stream)).unwrap());
    aligner
}

/// Feeds messages (stream, receive stamp in ms after T0, capture stamp in ms, value) and gives the rows.
fn rows(aligner: &mut Aligner, messages: &[(usize, u64, u64, f32)]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (stream, log, stamp, x) in messages {
        let bytes = if *stream == 0 { stamped(T0 + stamp * MS, *x) } else { plain(*x, -x) };
        aligner.push(*stream, T0 + log * MS, &bytes).unwrap();
        rows.extend(std::iter::from_fn(|| aligner.row()));
    }
    rows
}

/// Due time and capture stamp in ms after T0, value, repeated, stale: of the first stream.
fn seen(row: &Row) -> (u64, u64, f32, bool, bool) {
    let Cell::Float32(state) = &row.values[0] else { panic!("{row:?}") };
    let truth = row.streams[0];
    ((row.time_nanos - T0) / MS, (truth.stamp_nanos - T0) / MS, state[0], truth.repeated, truth.stale)
}

/// A state every 100 ms that arrives 20 ms late, except those left out; a command at the start.
fn states(left_out: &[u64], until: u64) -> Vec<(usize, u64, u64, f32)> {
    let mut messages = vec![(1, 0, 0, 7.0)];
    let kept = (0..until).filter(|number| !left_out.contains(number));
    messages.extend(kept.map(|number| (0, 120 + 100 * number, 100 + 100 * number, number as f32)));
    messages
}

#[test]
fn a_missing_message_is_repeated_and_flagged_and_shifts_nothing() {
    let contract = contract("as_of", "header");
    let rows = rows(&mut aligner(&contract), &states(&[2, 3], 8));
    let expected = [
        (100, 100, 0.0, false, false),
        (200, 200, 1.0, false, false),
        (300, 200, 1.0, true, true),
        (400, 200, 1.0, true, true),
        (500, 500, 4.0, false, false),
        (600, 600, 5.0, false, false),
    ];
    assert_eq!(rows.iter().map(seen).collect::<Vec<_>>(), expected);
    assert!(rows.iter().all(|row| row.values[1] == Cell::Float32(vec![7.0, -7.0])));
    assert!(rows.iter().all(|row| !row.streams[1].stale));
    assert_eq!(layout(&contract).unwrap().features().len(), 2);
}

#[test]
fn drop_leaves_rows_out() {
    let contract = contract("drop", "header");
    let rows = rows(&mut aligner(&contract), &states(&[2, 3], 8));
    let times: Vec<_> = rows.iter().map(|row| seen(row).0).collect();
    assert_eq!(times, [100, 200, 500, 600]);
}

#[test]
fn next_takes_what_follows_the_row() {
    let contract = contract("next", "receive");
    let messages = [
        (0, 10, 10, 1.0),
        (1, 20, 0, 0.0),
        (0, 130, 130, 2.0),
        (0, 300, 300, 3.0),
        (1, 320, 0, 0.0),
        (1, 600, 0, 0.0),
    ];
    let rows = rows(&mut aligner(&contract), &messages);
    // Due at 20, 120, 220, 320, 420: 130 answers 120, nothing within 60 ms follows 20, 220 and later.
    let expected = [
        (20, 10, 1.0, false, true),
        (120, 130, 2.0, false, false),
        (220, 130, 2.0, true, true),
        (320, 300, 3.0, false, true),
        (420, 300, 3.0, true, true),
    ];
    assert_eq!(rows.iter().map(seen).collect::<Vec<_>>(), expected);
}

#[test]
fn messages_that_arrive_late_or_out_of_order_still_count() {
    let contract = contract("as_of", "header");
    let mut messages = states(&[], 8);
    // Number 3 (stamp 400) arrives after number 4 (at 520 ms), within the 150 ms that rows wait.
    messages.swap(4, 5);
    messages[5].1 = messages[4].1;
    let rows = rows(&mut aligner(&contract), &messages);
    assert!(rows.iter().map(seen).all(|(due, stamp, ..)| due == stamp), "{rows:?}");
}

#[test]
fn a_message_that_cannot_be_read_costs_itself_only() {
    let contract = contract("as_of", "header");
    let mut aligner = aligner(&contract);
    let mut found = rows(&mut aligner, &states(&[], 2));
    let torn: Bytes = Arc::new((*stamped(T0 + 300 * MS, 2.0)).as_ref()[..18].to_vec());
    aligner.push(0, T0 + 320 * MS, &torn).unwrap();
    found.extend(rows(&mut aligner, &[(0, 420, 400, 3.0), (0, 520, 500, 4.0), (0, 620, 600, 5.0)]));
    assert_eq!(found.iter().map(|row| seen(row).1).collect::<Vec<_>>(), [100, 200, 200, 400]);
    let errors = aligner.take_errors();
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0].to_string().starts_with("stream state: message: field x: expected 4 bytes"),
        "{}",
        errors[0]
    );
    let nan = stamped(T0 + 700 * MS, f32::NAN);
    aligner.push(0, T0 + 700 * MS, &nan).unwrap();
    aligner.push(0, T0 + 900 * MS, &stamped(T0 + 900 * MS, 1.0)).unwrap();
    while aligner.row().is_some() {}
    assert!(aligner.take_errors()[0].to_string().contains("expected finite numbers, got NaN"));
}

#[test]
fn clocks_that_do_not_fit_are_refused_by_name() {
    let contract = contract("hold", "header");
    let mut aligner = aligner(&contract);
    let refused = |stamp: u64, log: u64, aligner: &mut Aligner| {
        aligner.push(0, log, &stamped(stamp, 0.0)).unwrap_err().to_string()
    };
    assert!(refused(5_000_000_000, T0, &mut aligner).contains("expected a stamp within 10 s of its arrival"));
    aligner.push(0, T0, &stamped(T0, 0.0)).unwrap();
    assert_eq!(refused(T0, T0 - 5_000 * MS, &mut aligner), "stream state: the clock jumped back by 5 s");
    assert!(aligner.push(0, T0 - 10 * MS, &stamped(T0, 0.0)).is_ok(), "jitter");
    let plain = Definition { text: "float32 x".into(), hash: String::new() };
    assert!(Aligner::new(&contract).define(0, &plain).unwrap_err().to_string().contains("std_msgs/Header"));
}

#[test]
fn pauses_and_long_silences_begin_anew() {
    let contract = contract("as_of", "header");
    let mut aligner = aligner(&contract);
    let mut found = rows(&mut aligner, &states(&[], 4));
    aligner.pause();
    found.extend(rows(&mut aligner, &[(0, 700, 700, 9.0)]));
    aligner.resume();
    found.extend(rows(&mut aligner, &[(1, 2000, 0, 1.0), (0, 2010, 2005, 5.0), (0, 2160, 2155, 6.0)]));
    // Twelve seconds of nothing.
    found.extend(rows(
        &mut aligner,
        &[(1, 14_200, 0, 1.0), (0, 14_250, 14_240, 8.0), (0, 14_400, 14_390, 8.5)],
    ));
    let times: Vec<_> = found.iter().map(|row| (seen(row).0, seen(row).2)).collect();
    assert_eq!(times, [(100, 0.0), (200, 1.0), (2005, 5.0), (14_240, 8.0)]);
    assert!(aligner.awaited().is_empty());
    assert_eq!(Aligner::new(&contract).awaited(), ["state", "command"]);
}

/// A command that is published on change holds over a pause and a silence, and begins no row in them.
#[test]
fn what_holds_goes_on_to_hold_after_a_pause() {
    let contract = contract("as_of", "header");
    let mut aligner = aligner(&contract);
    let mut found = rows(&mut aligner, &states(&[], 4));
    aligner.settle(T0 + 450 * MS);
    found.extend(std::iter::from_fn(|| aligner.row()));
    aligner.pause();
    aligner.resume();
    // Received after the pause, of before it.
    found.extend(rows(&mut aligner, &[(0, 2000, 440, 5.0), (0, 2010, 2005, 6.0), (0, 2160, 2155, 7.0)]));
    found.extend(rows(&mut aligner, &[(0, 14_250, 14_240, 8.0), (0, 14_400, 14_390, 8.5)]));
    let times: Vec<_> = found.iter().map(|row| (seen(row).0, seen(row).2)).collect();
    assert_eq!(times, [(100, 0.0), (200, 1.0), (300, 2.0), (400, 3.0), (2000, 5.0), (14_250, 8.0)]);
    assert!(found.iter().all(|row| row.values[1] == Cell::Float32(vec![7.0, -7.0])));
    assert!(found[4].streams[1].repeated && found[4].streams[1].stale);
}

/// Damage and another size cost the picture, not the rows behind it.
#[test]
fn a_damaged_picture_costs_itself_only() {
    use crate::dataset::{DatasetWriter, Picture};
    use image::codecs::jpeg::JpegEncoder;

    let jpeg = |side: u32, grey: u8| {
        let mut bytes = Vec::new();
        let pixels = vec![grey; (3 * side * side) as usize];
        JpegEncoder::new(&mut bytes).encode(&pixels, side, side, image::ExtendedColorType::Rgb8).unwrap();
        bytes
    };
    let message = |picture: &[u8]| -> Bytes {
        let mut bytes = vec![0, 1, 0, 0, 5, 0, 0, 0];
        bytes.extend(b"jpeg\0\0\0\0");
        bytes.extend((picture.len() as u32).to_le_bytes());
        bytes.extend(picture);
        Arc::new(bytes)
    };
    let whole = jpeg(32, 200);
    let mut broken = whole.clone();
    broken[4..160].fill(0x55);
    let cut = whole[..whole.len() - 40].to_vec();
    for pictures in ["video", "image"] {
        let text = format!(
            "version: 1
robot_type: arm
fps: 10
settle_ms: 150
streams:
  - {{name: eye, topic: /eye, type: sensor_msgs/msg/CompressedImage, role: observation, align: as_of, rate_hz: 10,
     tolerance_ms: 60, timeline: receive, camera: eye, size: 32x32, pictures: {pictures}}}
  - {{name: command, topic: /command, type: t/msg/Plain, role: action, align: hold, rate_hz: 10, tolerance_ms: 1000,
     timeline: receive, fields: [data], names: [a, b]}}
"
        );
        let contract = Contract::parse(&text).unwrap();
        let mut aligner = Aligner::new(&contract);
        let definition = |text: &str| Definition { text: text.into(), hash: String::new() };
        aligner.define(0, &definition("string format\nuint8[] data")).unwrap();
        aligner.define(1, &definition("float32[2] data")).unwrap();
        aligner.push(1, T0, &plain(1.0, 2.0)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut writer = DatasetWriter::open(folder.path(), layout(&contract).unwrap()).unwrap();
        writer.begin_episode("look").unwrap();
        let sent = [&whole, &broken, &cut, &jpeg(16, 9), &b"GIF89a".to_vec(), &whole, &whole, &whole];
        let mut stale = Vec::new();
        for (number, picture) in (0..).zip(sent) {
            aligner.push(0, T0 + 100 * MS * number, &message(picture)).unwrap();
            while let Some(row) = aligner.row() {
                writer.push(&row).unwrap();
                stale.push(row.streams[0].stale);
                let Cell::Picture(picture) = &row.values[1] else { panic!() };
                assert_eq!(matches!(**picture, Picture::Rgb8 { .. }), pictures == "video");
            }
        }
        assert_eq!(stale, [false, true, true, true, true, false], "{pictures}");
        let errors: Vec<_> = aligner.take_errors().iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), 4, "{errors:?}");
        assert!(errors[1].contains("one that is cut off") && errors[2].contains("16x16"), "{errors:?}");
    }
}

#[test]
fn what_the_gate_will_refuse_is_warned_of_while_recording() {
    let mut contract = contract("as_of", "header");
    contract.streams[1].role = crate::contract::Role::Observation;
    let mut quality = Quality::new(&contract);
    quality.resume(T0);
    let step = |number: u64, skew: u64, stale: bool, quality: &mut Quality| {
        let now = T0 + 100 * MS * number;
        (0..2).for_each(|stream| quality.message(stream, now));
        let truth = |stamp_nanos, stale| StreamTruth { stamp_nanos, repeated: stale, stale };
        let streams = vec![truth(now, stale), truth(now - skew * MS, false)];
        quality.row(&Row { time_nanos: now, values: Vec::new(), streams });
        now
    };
    for number in 0..30 {
        step(number, 100, number == 3, &mut quality);
    }
    let good = quality.warnings(T0 + 3000 * MS);
    assert!(good.is_empty(), "one row of thirty without a message is allowed: {good:?}");
    for number in 30..32 {
        step(number, 100, true, &mut quality);
    }
    step(32, 201, false, &mut quality);
    quality.lost(1, 2);
    // A second without any message, after which all go on.
    let now = step(43, 0, false, &mut quality);
    let warned = quality.warnings(now);
    let words: Vec<String> = warned.iter().map(ToString::to_string).collect();
    let expected = [
        "state: a gap of 1.100 s, expected at most 1.000",
        "command: a gap of 1.100 s, expected at most 1.000",
        "state: missing in 8.8 % of the rows, expected at most 5.0",
        "command: 2 messages lost, expected at most 0",
        "observations of a row 0.201 s apart, expected at most 0.200",
    ];
    assert_eq!(words, expected);
    quality.pause(now);
    assert_eq!(quality.failures(), warned);
}

/// What the gate says of rows that had to do without messages.
fn said_of(contract: &Contract, rows: &[Row], aligner: &Aligner) -> Vec<String> {
    let mut quality = Quality::new(contract);
    rows.iter().for_each(|row| quality.row(row));
    quality.misses(aligner.misses());
    let words = quality.failures().iter().map(ToString::to_string).collect::<Vec<_>>();
    words.into_iter().filter(|text| text.contains("% of the rows")).collect()
}

#[test]
fn rows_that_are_left_out_fail_the_gate() {
    let contract = contract("drop", "header");
    let mut aligner = aligner(&contract);
    let found = rows(&mut aligner, &states(&[2, 3], 8));
    let state = StreamMisses { left_out: 2, outdated: 0 };
    assert_eq!(aligner.misses(), &Misses { rows: 2, streams: vec![state, StreamMisses::default()] });
    let expected = ["state: its absence left out 33.3 % of the rows, expected at most 5.0"];
    assert_eq!(said_of(&contract, &found, &aligner), expected);
}

/// Damage, and stamps of another clock: what a stream holds then is not the newest there was.
#[test]
fn what_holds_only_because_newer_messages_cannot_be_used_fails_the_gate() {
    let contract = contract("hold", "header");
    let mut aligner = aligner(&contract);
    let mut found = rows(&mut aligner, &states(&[], 2));
    let torn: Bytes = Arc::new((*stamped(T0 + 300 * MS, 2.0)).as_ref()[..18].to_vec());
    aligner.push(0, T0 + 320 * MS, &torn).unwrap();
    aligner.push(0, T0 + 420 * MS, &stamped(5_000_000_000, 3.0)).unwrap_err();
    found.extend(rows(&mut aligner, &[(0, 520, 500, 4.0), (0, 620, 600, 5.0), (0, 720, 700, 6.0)]));
    assert_eq!(found.iter().map(|row| seen(row).1).collect::<Vec<_>>(), [100, 200, 200, 200, 500]);
    assert_eq!(aligner.misses().streams[0], StreamMisses { left_out: 0, outdated: 2 });
    let expected = ["state: newer messages could not be used in 40.0 % of the rows, expected at most 5.0"];
    assert_eq!(said_of(&contract, &found, &aligner), expected);
    // However old a value is that nobody has replaced, it is the newest.
    let mut silent = Aligner::new(&contract);
    (0..3).for_each(|stream| silent.define(stream, &definition(stream)).unwrap());
    let found = rows(&mut silent, &[(1, 0, 0, 7.0), (0, 120, 100, 1.0), (2, 3000, 0, 0.0)]);
    assert!(found.len() > 20 && said_of(&contract, &found, &silent).is_empty());
}

/// A bag of these messages, with events, through a file.
fn bag_rows(
    contract: &Contract,
    messages: &[(usize, u64, Bytes)],
    folder: &std::path::Path,
) -> (Vec<Row>, Option<String>) {
    let place = folder.join("episode");
    let mut writer = BagWriter::create(&place, BagOptions::default()).unwrap();
    let event = Topic {
        name: EVENT_TOPIC.into(),
        type_name: EVENT_TYPE.into(),
        definition: Definition { text: EVENT_DEFINITION.into(), hash: String::new() },
        offered_qos: Vec::new(),
    };
    let event = writer.channel(&event).unwrap();
    let channels: Vec<_> = contract
        .streams
        .iter()
        .enumerate()
        .map(|(index, stream)| {
            let topic = Topic {
                name: stream.topic.clone(),
                type_name: stream.kind.clone(),
                definition: definition(index),
                offered_qos: Vec::new(),
            };
            writer.channel(&topic).unwrap()
        })
        .collect();
    let stamps = |log| Stamps { log_nanos: log, publish_nanos: log, sequence: 0 };
    let start = Event::Start { task: "stack".into(), contract: String::new(), recorder: String::new() };
    let first = messages.first().map_or(0, |message| message.1);
    writer.write(event, stamps(first), &start.to_cdr()).unwrap();
    for (stream, log, bytes) in messages {
        writer.write(channels[*stream], stamps(*log), (**bytes).as_ref()).unwrap();
    }
    writer.finish().unwrap();
    let bag = BagReader::open(&place).unwrap();
    let mut from_bag = BagRows::new(&bag, contract).unwrap();
    let rows = from_bag.by_ref().map(Result::unwrap).collect();
    (rows, from_bag.task().map(str::to_owned))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Live and offline alignment are the same rows, whatever comes: jitter, gaps, silence, damage.
    #[test]
    fn live_and_offline_rows_are_identical(
        steps in proptest::collection::vec((0_usize..3, 0_u64..90, 0_u64..400, 0_u8..12), 1..150),
        align in prop::sample::select(vec!["hold", "as_of", "drop", "next"]),
    ) {
        let contract = contract(if align == "next" { "as_of" } else { align }, "header");
        let (mut log, mut messages) = (T0, Vec::<(usize, u64, Bytes)>::new());
        for (stream, wait, age, kind) in steps {
            log += if kind == 11 { 1_500 * MS } else { wait * MS };
            let whole = match stream {
                0 => stamped(log - age * MS, age as f32),
                _ => plain(wait as f32, age as f32),
            };
            let cut = if kind == 10 { 9 } else { (*whole).as_ref().len() };
            messages.push((stream, log, Arc::new((*whole).as_ref()[..cut].to_vec())));
        }
        let mut live = aligner(&contract);
        let mut rows = Vec::new();
        for (stream, log, bytes) in &messages {
            let _ = live.push(*stream, *log, bytes);
            rows.extend(std::iter::from_fn(|| live.row()));
        }
        let folder = tempfile::tempdir().unwrap();
        let (offline, task) = bag_rows(&contract, &messages, folder.path());
        prop_assert_eq!(rows, offline);
        prop_assert_eq!(task.as_deref(), Some("stack"));
    }
}
