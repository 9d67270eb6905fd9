//! The messages that an episode of a dataset becomes.

use crate::cdr::CdrWriter;
use crate::{Definition, Topic};

/// A type of message: its name, its text with that of all it is made of, its hash.
pub(super) struct Kind {
    pub name: &'static str,
    text: &'static str,
    hash: &'static str,
}

macro_rules! separator {
    ($type:literal) => {
        concat!(
            "================================================================================\nMSG: ",
            $type,
            "\n"
        )
    };
}

macro_rules! header {
    () => {
        concat!(
            separator!("std_msgs/Header"),
            "builtin_interfaces/Time stamp\nstring frame_id\n",
            separator!("builtin_interfaces/Time"),
            "int32 sec\nuint32 nanosec\n"
        )
    };
}

pub(super) const JOINT_STATE: Kind = Kind {
    name: "sensor_msgs/msg/JointState",
    text: concat!(
        "std_msgs/Header header\nstring[] name\nfloat64[] position\nfloat64[] velocity\nfloat64[] effort\n",
        header!()
    ),
    hash: "RIHS01_a13ee3a330e346c9d87b5aa18d24e11690752bd33a0350f11c5882bc9179260e",
};

pub(super) const IMAGE: Kind = Kind {
    name: "sensor_msgs/msg/Image",
    text: concat!(
        "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\nuint32 step\nuint8[] data\n",
        header!()
    ),
    hash: "RIHS01_d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47",
};

pub(super) const COMPRESSED_IMAGE: Kind = Kind {
    name: "sensor_msgs/msg/CompressedImage",
    text: concat!("std_msgs/Header header\nstring format\nuint8[] data\n", header!()),
    hash: "RIHS01_15640771531571185e2efc8a100baf923961a4d15d5569652e6cb6691e8e371a",
};

pub(super) const NUMBERS: Kind = Kind {
    name: "std_msgs/msg/Float64MultiArray",
    text: concat!(
        "std_msgs/MultiArrayLayout layout\nfloat64[] data\n",
        separator!("std_msgs/MultiArrayLayout"),
        "std_msgs/MultiArrayDimension[] dim\nuint32 data_offset\n",
        separator!("std_msgs/MultiArrayDimension"),
        "string label\nuint32 size\nuint32 stride\n"
    ),
    hash: "RIHS01_1025ddc6b9552d191f89ef1a8d2f60f3d373e28b283d8891ddcc974e8c55397f",
};

pub(super) const TEXT: Kind = Kind {
    name: "std_msgs/msg/String",
    text: "string data\n",
    hash: "RIHS01_df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18",
};

impl Kind {
    pub(super) fn topic(&self, name: &str) -> Topic {
        let definition = Definition { text: self.text.to_owned(), hash: self.hash.to_owned() };
        Topic {
            name: name.to_owned(),
            type_name: self.name.to_owned(),
            definition,
            offered_qos: vec![crate::bag::QosProfile::default()],
        }
    }
}

pub(super) fn joint_state(stamp_nanos: u64, names: &[String], positions: &[f64]) -> Vec<u8> {
    let mut writer = CdrWriter::new();
    writer.header(stamp_nanos, "");
    writer.texts(names);
    writer.doubles(positions);
    writer.doubles(&[]);
    writer.doubles(&[]);
    writer.finish()
}

pub(super) fn image(stamp_nanos: u64, frame: &str, size: calibration::Size, rgb: &[u8]) -> Vec<u8> {
    let mut writer = CdrWriter::new();
    writer.header(stamp_nanos, frame);
    writer.u32(size.height as u32);
    writer.u32(size.width as u32);
    writer.text("rgb8");
    writer.u8(0);
    writer.u32(3 * size.width as u32);
    writer.octets(rgb);
    writer.finish()
}

pub(super) fn compressed_image(stamp_nanos: u64, frame: &str, file: &[u8]) -> Vec<u8> {
    let mut writer = CdrWriter::new();
    writer.header(stamp_nanos, frame);
    writer.text(if file.starts_with(b"\x89PNG") { "png" } else { "jpeg" });
    writer.octets(file);
    writer.finish()
}

pub(super) fn numbers(values: &[f64]) -> Vec<u8> {
    let mut writer = CdrWriter::new();
    writer.u32(0);
    writer.u32(0);
    writer.doubles(values);
    writer.finish()
}

pub(super) fn text(text: &str) -> Vec<u8> {
    let mut writer = CdrWriter::new();
    writer.text(text);
    writer.finish()
}
