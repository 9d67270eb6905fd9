use calibration::Size;
use perception::Stamp;
use proptest::prelude::*;
use r2r::WrappedTypesupport;
use r2r::sensor_msgs::msg;

use super::*;

const SIZE: Size = Size { width: 5, height: 3 };

fn header(frame_id: &str) -> Header<'_> {
    Header { stamp: Stamp { sec: -3, nanosec: 999_999_999 }, frame_id }
}

fn message(frame_id: &str, encoding: &str, data: Vec<u8>) -> msg::Image {
    let stamp = r2r::builtin_interfaces::msg::Time { sec: -3, nanosec: 999_999_999 };
    msg::Image {
        header: r2r::std_msgs::msg::Header { stamp, frame_id: frame_id.to_owned() },
        height: 3,
        width: 5,
        encoding: encoding.to_owned(),
        is_bigendian: 0,
        step: 20,
        data,
    }
}

/// Against the middleware's own serialisation, for texts of every alignment.
#[test]
fn images_are_the_bytes_that_the_middleware_writes_and_reads() {
    let mut written = Written::default();
    for frame in ["", "a", "ab", "abc", "front_optical"] {
        for encoding in ["32FC1", "rgb8", "mono16"] {
            let pixels: Vec<u8> = (0..60).collect();
            written.image(header(frame), SIZE, encoding, 20).copy_from_slice(&pixels);
            let typed = message(frame, encoding, pixels);
            let theirs = typed.to_serialized_bytes().unwrap();
            // Bytes of alignment are whatever the middleware's memory held.
            assert_eq!(written.bytes().len(), theirs.len(), "{frame:?} {encoding}");
            assert_eq!(msg::Image::from_serialized_bytes(written.bytes()).unwrap(), typed);
            let read = ImageMessageView::read(&theirs).unwrap();
            assert_eq!((read.header, read.encoding), (header(frame), encoding));
            assert_eq!((read.height, read.width, read.step, read.is_bigendian), (3, 5, 20, false));
            assert_eq!(read.data, (0..60).collect::<Vec<u8>>());
        }
    }
}

#[test]
fn clouds_are_what_the_middleware_reads() {
    let mut written = Written::default();
    let layout = CloudLayout { fields: &["x", "y", "z", "rgb", "confidence"] };
    let fill = |points: &mut [u8]| {
        points.iter_mut().enumerate().for_each(|(index, byte)| *byte = index as u8);
        Ok::<(), ()>(())
    };
    written.cloud(header("optical"), SIZE, layout, fill).unwrap();
    let cloud = msg::PointCloud2::from_serialized_bytes(written.bytes()).unwrap();
    assert_eq!((cloud.height, cloud.width, cloud.point_step, cloud.row_step), (3, 5, 20, 100));
    assert_eq!((cloud.is_bigendian, cloud.is_dense, cloud.data.len()), (false, false, 300));
    let offsets: Vec<_> = cloud.fields.iter().map(|field| (field.name.as_str(), field.offset)).collect();
    assert_eq!(offsets, [("x", 0), ("y", 4), ("z", 8), ("rgb", 12), ("confidence", 16)]);
    assert!(cloud.fields.iter().all(|field| (field.datatype, field.count) == (7, 1)));
    assert_eq!(written.bytes().len(), cloud.to_serialized_bytes().unwrap().len());
}

#[test]
fn compressed_images_and_big_endian_ones_are_read() {
    let image = message("f", "jpeg", vec![]);
    let compressed =
        msg::CompressedImage { header: image.header, format: "jpeg".to_owned(), data: vec![7; 9] };
    let bytes = compressed.to_serialized_bytes().unwrap();
    let read = CompressedImageView::read(&bytes).unwrap();
    assert_eq!((read.header, read.format, read.data), (header("f"), "jpeg", &[7; 9][..]));
    let big = [
        &[0, 0, 0, 0][..],
        &[0xff, 0xff, 0xff, 0xfd],
        &999_999_999_u32.to_be_bytes(),
        &[0, 0, 0, 2, b'f', 0, 0, 0],
        &[0, 0, 0, 3, 0, 0, 0, 5],
        &[0, 0, 0, 6, b'm', b'o', b'n', b'o', b'8', 0, 1, 0],
        &[0, 0, 0, 5, 0, 0, 0, 1, 42],
    ]
    .concat();
    let read = ImageMessageView::read(&big).unwrap();
    assert_eq!((read.header, read.encoding, read.is_bigendian), (header("f"), "mono8", true));
    assert_eq!((read.width, read.step, read.data), (5, 5, &[42][..]));
}

#[test]
fn a_second_message_allocates_nothing() {
    let mut written = Written::default();
    written.image(header("camera_optical"), SIZE, "rgb8", 15).fill(1);
    let before = written.bytes().as_ptr();
    written.image(header("camera_optical"), SIZE, "rgb8", 15).fill(2);
    assert_eq!(written.bytes().as_ptr(), before);
}

#[test]
fn faults_name_the_field() {
    let whole = message("front", "rgb8", vec![1; 60]).to_serialized_bytes().unwrap();
    let short = ImageMessageView::read(&whole[..whole.len() - 1]).unwrap_err();
    assert_eq!(short, ReadError::Short { field: "data", expected: 60, left: 59 });
    assert!(matches!(ImageMessageView::read(&[9, 9, 0, 0]), Err(ReadError::Encapsulation(_))));
    assert!(matches!(ImageMessageView::read(&[]), Err(ReadError::Short { field: "encapsulation", .. })));
    let mut text = whole.clone();
    text[16] = 0xff;
    assert_eq!(ImageMessageView::read(&text), Err(ReadError::Text { field: "header.frame_id" }));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..120) {
        let _ = ImageMessageView::read(&bytes);
        let _ = CompressedImageView::read(&bytes);
        let mut damaged = message("front", "rgb8", vec![1; 60]).to_serialized_bytes().unwrap();
        damaged.truncate(cut);
        damaged.iter_mut().skip(4).zip(&bytes).for_each(|(byte, noise)| *byte ^= noise);
        let _ = ImageMessageView::read(&damaged);
    }
}
