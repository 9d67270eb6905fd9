//! Bags and datasets with bytes changed, cut off, repeated, and lengths made huge: an error or a finding, never a panic.

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

#[test]
fn damaged_datasets_are_refused_or_read() {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original");
    write_dataset(&original).unwrap();
    let all = files(&original).unwrap();
    assert!(all.len() >= 8, "{all:?}");
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
            use_dataset(&root);
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
    for path in files(&original).unwrap() {
        let whole = std::fs::read(&path).unwrap();
        for case in 0..CASES {
            std::fs::write(&path, damaged(&whole, case)).unwrap();
            use_bag(&original, &folder.path().join("made"), &conversion);
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
    (0..100 * CASES).for_each(|case| recordings::message(&damaged(&whole, case)));
}
