//! The functions of the fuzz targets, on random bytes and on damaged pictures: whatever comes, no panic.

#[path = "../../fuzz/src/decoders.rs"]
mod decoders;

use proptest::prelude::*;
use proptest::sample::Index;

/// Real files, a JPEG and a PNG.
fn files() -> [Vec<u8>; 2] {
    let photos = tests::golden::folder().with_file_name("photos");
    ["chelsea.jpg", "coffee_small.png"].map(|name| std::fs::read(photos.join(name)).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_raw_images(
        head in any::<[u8; 4]>(),
        sides in prop::option::of((0_u8..12, 0_u8..12, 0_u8..4)),
        data in prop::collection::vec(any::<u8>(), 0..1500),
    ) {
        let mut bytes = head.to_vec();
        if let Some((width, height, padding)) = sides {
            bytes[1..].copy_from_slice(&[width, height, padding]);
        }
        bytes.extend(data);
        decoders::image(&bytes);
    }

    #[test]
    fn random_compressed_images(
        which in any::<u8>(),
        magic in prop::sample::select(vec![&b""[..], b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]),
        data in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        decoders::compressed(&[&[which], magic, &data[..]].concat());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn damaged_pictures(
        which in any::<u8>(),
        file in 0_usize..2,
        damage in prop::collection::vec((any::<Index>(), any::<u8>()), 1..12),
        in_header in any::<bool>(),
        cut in prop::option::of(any::<Index>()),
    ) {
        let mut bytes = files()[file].clone();
        let reach = if in_header { bytes.len().min(700) } else { bytes.len() };
        for (at, value) in damage {
            bytes[at.index(reach)] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        decoders::compressed(&[&[which], &bytes[..]].concat());
    }
}
