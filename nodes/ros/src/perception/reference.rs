//! What `perception_node` declares.

use calibration::Size;

use crate::declare::{Allowed, Change, Declared, Direction, Preset, Reference, Service, Topic};
use crate::diagnostics;

/// What `perception_node` declares.
pub const REFERENCE: Reference = Reference {
    name: "perception_node",
    about: "Camera images in; metric depth, points, segments, features and actions out, from one pass of the encoder.",
    managed: true,
    parameters: PARAMETERS,
    topics: TOPICS,
    services: &[Service {
        name: "~/reset_policy",
        kind: "std_srvs/srv/Trigger",
        description: "forgets the images that the policy saw: the next one begins a new history, as an episode does",
    }],
};

const PARAMETERS: &[Declared] = &[
    Declared {
        name: "bundle",
        preset: Preset::Text(""),
        unit: "",
        description: "folder of the model bundle; required",
        allowed: Allowed::Any,
        change: Change::Unconfigured,
    },
    Declared {
        name: "engine",
        preset: Preset::Text("onnx"),
        unit: "",
        description: "what runs the networks, with no fallback to another; onnx: ONNX Runtime on the CPU; tensorrt: NVIDIA GPUs \
                      and Jetson; tensorrt-rtx: NVIDIA RTX GPUs (docs/tensorrt.md)",
        allowed: Allowed::Choices(&["onnx", "tensorrt", "tensorrt-rtx"]),
        change: Change::Unconfigured,
    },
    Declared {
        name: "onnxruntime",
        preset: Preset::Text(""),
        unit: "",
        description: "file libonnxruntime.so.*; empty: what the environment variable PIXIO_ONNXRUNTIME names",
        allowed: Allowed::Any,
        change: Change::Unconfigured,
    },
    Declared {
        name: "precision",
        preset: Preset::Text("fp16"),
        unit: "",
        description: "what the networks compute in on tensorrt and tensorrt-rtx; LayerNorm, softmax and the last sums stay in fp32; \
                      onnx always computes in fp32",
        allowed: Allowed::Choices(&["fp16", "fp32"]),
        change: Change::Unconfigured,
    },
    Declared {
        name: "tensorrt",
        preset: Preset::Text(""),
        unit: "",
        description: "folder of the libraries of TensorRT; empty: what the environment variable PIXIO_TENSORRT (tensorrt-rtx: \
                      PIXIO_TENSORRT_RTX) names, else where the system finds libraries",
        allowed: Allowed::Any,
        change: Change::Unconfigured,
    },
    Declared {
        name: "engine_cache",
        preset: Preset::Text(""),
        unit: "",
        description: "folder of the engines that pixio build has built for tensorrt and tensorrt-rtx, and where missing ones are built \
                      at start; empty: what the environment variable PIXIO_CACHE names, else pixio/engines in the user's cache folder",
        allowed: Allowed::Any,
        change: Change::Unconfigured,
    },
    Declared {
        name: "threads",
        preset: Preset::Integer(0),
        unit: "threads",
        description: "threads of one network on the engine onnx; 0: all cores",
        allowed: Allowed::Integers(0, 1024),
        change: Change::Unconfigured,
    },
    Declared {
        name: "int8",
        preset: Preset::Flag(false),
        unit: "",
        description: "take the products of the encoder's linear layers in 8 bits on the engine onnx: faster, less exact",
        allowed: Allowed::Any,
        change: Change::Unconfigured,
    },
    Declared {
        name: "cameras",
        preset: Preset::Texts(&[]),
        unit: "",
        description: "names of the cameras: inputs become <camera>/image, outputs ~/<camera>/...; empty: one without a name",
        allowed: Allowed::Texts {
            expected: "different names of letters, digits and underscores that begin with a letter",
            fits: is_camera_name,
        },
        change: Change::AtStart,
    },
    Declared {
        name: "network_size",
        preset: Preset::Text(""),
        unit: "pixels",
        description: "input of the network; empty: the bundle's size that keeps most of each camera's image",
        allowed: Allowed::Texts {
            expected: "WIDTHxHEIGHT, for example 384x256",
            fits: |text| text.parse::<Size>().is_ok(),
        },
        change: Change::Unconfigured,
    },
    Declared {
        name: "depth_head",
        preset: Preset::Text(""),
        unit: "",
        description: "name of the bundle's head for depth; empty: the only one, or the one named depth",
        allowed: Allowed::Any,
        change: Change::Unconfigured,
    },
    Declared {
        name: "points_head",
        preset: Preset::Text(""),
        unit: "",
        description: "name of the bundle's head for point maps; empty: the only one, or the one named points",
        allowed: Allowed::Any,
        change: Change::Unconfigured,
    },
    Declared {
        name: "segmentation_head",
        preset: Preset::Text(""),
        unit: "",
        description: "name of the bundle's head for segments; empty: the only one, or the one named segmentation",
        allowed: Allowed::Any,
        change: Change::Unconfigured,
    },
    Declared {
        name: "policy_head",
        preset: Preset::Text(""),
        unit: "",
        description: "name of the bundle's head for actions; empty: the only one, or the one named policy",
        allowed: Allowed::Any,
        change: Change::Unconfigured,
    },
    Declared {
        name: "parity",
        preset: Preset::Text("stop"),
        unit: "",
        description: "when the engine's numbers are out of tolerance against the bundle's golden outputs; \
                      stop: configuration fails; warn: publish all the same, diagnostics say ERROR",
        allowed: Allowed::Choices(&["stop", "warn"]),
        change: Change::Unconfigured,
    },
    Declared {
        name: "image_transport",
        preset: Preset::Text("raw"),
        unit: "",
        description: "raw: Image on image; compressed: CompressedImage on image/compressed (JPEG, PNG)",
        allowed: Allowed::Choices(&["raw", "compressed"]),
        change: Change::AtStart,
    },
    Declared {
        name: "rectify",
        preset: Preset::Flag(true),
        unit: "",
        description: "take the distortion that camera_info names (K, D, R, P) out of the image first; \
                      false: the image is rectified already, P counts",
        allowed: Allowed::Any,
        change: Change::Unconfigured,
    },
    Declared {
        name: "output_size",
        preset: Preset::Text("network"),
        unit: "",
        description: "size of depth, colour and points; network: the network's input; image: the camera's image",
        allowed: Allowed::Choices(&["network", "image"]),
        change: Change::Unconfigured,
    },
    Declared {
        name: "far_policy",
        preset: Preset::Text("nan"),
        unit: "",
        description: "depth at or beyond the head's largest; nan: unknown (nvblox lets infinity through); \
                      inf: too far (REP 117); clamp: the largest depth",
        allowed: Allowed::Choices(&["nan", "inf", "clamp"]),
        change: Change::Unconfigured,
    },
    Declared {
        name: "depth_encoding",
        preset: Preset::Text("32FC1"),
        unit: "",
        description: "32FC1: metres, NaN where unknown; 16UC1: millimetres, 0 where unknown or beyond 65.534 m, clamped or \
                      not",
        allowed: Allowed::Choices(&["32FC1", "16UC1"]),
        change: Change::Unconfigured,
    },
    Declared {
        name: "scale",
        preset: Preset::Text("head"),
        unit: "",
        description: "head: metres as the bundle's head means them (metric; focal-normalised, by camera_info), times what \
                      `pixio calibrate depth` measured for the camera of that name; a relative head then publishes no depth; \
                      anchored: scale and shift follow reference/depth, without it no depth is published",
        allowed: Allowed::Choices(&["head", "anchored"]),
        change: Change::Unconfigured,
    },
    Declared {
        name: "anchor_fit",
        preset: Preset::Text("scale-and-shift"),
        unit: "",
        description: "with scale anchored, what is fitted to the reference; scale: the scale alone",
        allowed: Allowed::Choices(&["scale", "scale-and-shift"]),
        change: Change::Unconfigured,
    },
    Declared {
        name: "anchor_max_age_secs",
        preset: Preset::Number(1.0),
        unit: "s",
        description: "with scale anchored, the largest time from a reference to an image that its scale is used for",
        allowed: Allowed::Numbers(0.001, 3600.0),
        change: Change::Unconfigured,
    },
    Declared {
        name: "feature_taps",
        preset: Preset::Text("last"),
        unit: "",
        description: "which of the bundle's taps the feature topics carry; all: one below the other",
        allowed: Allowed::Choices(&["last", "all"]),
        change: Change::Unconfigured,
    },
    Declared {
        name: "self_filter",
        preset: Preset::Flag(false),
        unit: "",
        description: "depth and points become unknown where the camera sees the robot's own links; a frame whose joints or \
                      camera frame are not known at its stamp is not published then",
        allowed: Allowed::Any,
        change: Change::AtStart,
    },
    Declared {
        name: "self_filter_padding",
        preset: Preset::Number(0.02),
        unit: "m",
        description: "how far around its links' shapes the robot is taken out",
        allowed: Allowed::Numbers(0.0, 0.5),
        change: Change::AtStart,
    },
    Declared {
        name: "robot_description",
        preset: Preset::Text(""),
        unit: "",
        description: "the robot for self_filter: a URDF file, or its text; empty: the topic robot_description",
        allowed: Allowed::Any,
        change: Change::AtStart,
    },
    Declared {
        name: "max_age_secs",
        preset: Preset::Number(0.5),
        unit: "s",
        description: "diagnostics warn when results are older than this (99 of 100)",
        allowed: Allowed::Numbers(0.001, 3600.0),
        change: Change::Anytime,
    },
    Declared {
        name: "input_timeout_secs",
        preset: Preset::Number(5.0),
        unit: "s",
        description: "diagnostics say ERROR when a camera that had sent images is silent for so long",
        allowed: Allowed::Numbers(0.1, 3600.0),
        change: Change::Anytime,
    },
];

fn is_camera_name(name: &str) -> bool {
    name.chars().next().is_some_and(|first| first.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

const OUT: &str = "reliable, volatile, keep last 1";
const FOLLOWING: &str = "reliable when every publisher offers it, else best effort; volatile, keep last 1";

const TOPICS: &[Topic] = &[
    Topic {
        name: "image",
        kind: "sensor_msgs/msg/Image",
        direction: Direction::In,
        per_camera: true,
        qos: FOLLOWING,
        description: "the camera's image, with image_transport raw: rgb8 bgr8 rgba8 bgra8 mono8 mono16 yuv422 (both \
                      orders) nv12 nv21 nv24 and 8-bit Bayer; 16 bit little endian",
    },
    Topic {
        name: "image/compressed",
        kind: "sensor_msgs/msg/CompressedImage",
        direction: Direction::In,
        per_camera: true,
        qos: FOLLOWING,
        description: "with image_transport compressed: JPEG or PNG; below the topic that image is remapped to",
    },
    Topic {
        name: "camera_info",
        kind: "sensor_msgs/msg/CameraInfo",
        direction: Direction::In,
        per_camera: true,
        qos: "best effort, volatile, keep last 1",
        description: "the camera's calibration; the newest one counts, whatever its stamp",
    },
    Topic {
        name: "joint_states",
        kind: "sensor_msgs/msg/JointState",
        direction: Direction::In,
        per_camera: false,
        qos: "best effort, volatile, keep last 100",
        description: "with self_filter: positions of all joints that move by themselves; with a policy head: the numbers of its \
                      state; in one message or several, interpolated to the image's stamp between messages at most 0.2 s apart",
    },
    Topic {
        name: "robot_description",
        kind: "std_msgs/msg/String",
        direction: Direction::In,
        per_camera: false,
        qos: "reliable, transient local, keep last 1",
        description: "with self_filter, unless the parameter robot_description is set: the URDF, as robot_state_publisher gives it",
    },
    Topic {
        name: "/tf",
        kind: "tf2_msgs/msg/TFMessage",
        direction: Direction::In,
        per_camera: false,
        qos: "best effort, volatile, keep last 100",
        description: "with self_filter: where a camera frame is that the URDF does not have",
    },
    Topic {
        name: "/tf_static",
        kind: "tf2_msgs/msg/TFMessage",
        direction: Direction::In,
        per_camera: false,
        qos: "reliable, transient local, keep last 100",
        description: "as /tf",
    },
    Topic {
        name: "reference/depth",
        kind: "sensor_msgs/msg/Image",
        direction: Direction::In,
        per_camera: true,
        qos: "best effort, volatile, keep last 1",
        description: "with scale anchored: sparse or dense depth in the frame and view of the (rectified) image, 32FC1 metres or 16UC1 \
                      millimetres, of any size of its shape; 0, NaN and infinity are unknown",
    },
    Topic {
        name: "~/depth/image_rect",
        kind: "sensor_msgs/msg/Image",
        direction: Direction::Out,
        per_camera: true,
        qos: OUT,
        description: "32FC1: metres along Z (REP 118), NaN where unknown; or 16UC1 (depth_encoding); tightly packed; stamp and \
                      frame of the image",
    },
    Topic {
        name: "~/depth/camera_info",
        kind: "sensor_msgs/msg/CameraInfo",
        direction: Direction::Out,
        per_camera: true,
        qos: OUT,
        description: "K and P for the depth's size, D zero, R identity; constant for a frame_id",
    },
    Topic {
        name: "~/color/image_rect",
        kind: "sensor_msgs/msg/Image",
        direction: Direction::Out,
        per_camera: true,
        qos: OUT,
        description: "rgb8: what the network saw, or the whole (rectified) image, at the depth's size",
    },
    Topic {
        name: "~/points",
        kind: "sensor_msgs/msg/PointCloud2",
        direction: Direction::Out,
        per_camera: true,
        qos: OUT,
        description: "organised; x y z (metres, optical frame) and rgb; NaN where unknown. Of the depth and the camera info; with a \
                      head for point maps of that, at the network's size, with its confidence",
    },
    Topic {
        name: "~/confidence",
        kind: "sensor_msgs/msg/Image",
        direction: Direction::Out,
        per_camera: true,
        qos: OUT,
        description: "32FC1: how sure the head for point maps is, 0 to 1, at the network's size",
    },
    Topic {
        name: "~/segmentation",
        kind: "sensor_msgs/msg/Image",
        direction: Direction::Out,
        per_camera: true,
        qos: OUT,
        description: "label ids at the network's size: mono8, with more than 256 classes mono16",
    },
    Topic {
        name: "~/segmentation/labels",
        kind: "std_msgs/msg/String",
        direction: Direction::Out,
        per_camera: true,
        qos: "reliable, transient local, keep last 1",
        description: "JSON: names of the label ids (docs/heads.md); after the first image",
    },
    Topic {
        name: "~/action_chunk",
        kind: "trajectory_msgs/msg/JointTrajectory",
        direction: Direction::Out,
        per_camera: true,
        qos: OUT,
        description: "the policy's raw prediction, not yet safe to command: names and positions or velocities of its action \
                      space; stamp of the image; point k is due k periods after it, and its time_from_start is the end of its \
                      period, k + 1 periods",
    },
    Topic {
        name: "~/features/cls",
        kind: "sensor_msgs/msg/Image",
        direction: Direction::Out,
        per_camera: true,
        qos: OUT,
        description: "32FC1: one class token a row, the width is the token's",
    },
    Topic {
        name: "~/features/patches",
        kind: "sensor_msgs/msg/Image",
        direction: Direction::Out,
        per_camera: true,
        qos: OUT,
        description: "32FC1: one patch token a row, patches row by row, the width is the token's",
    },
    Topic {
        name: "~/features/info",
        kind: "std_msgs/msg/String",
        direction: Direction::Out,
        per_camera: true,
        qos: "reliable, transient local, keep last 1",
        description: "JSON: encoder id, taps, grid, geometry (docs/features.md); after the first image",
    },
    Topic {
        name: "~/depth/scale",
        kind: "std_msgs/msg/String",
        direction: Direction::Out,
        per_camera: true,
        qos: "reliable, transient local, keep last 1",
        description: "JSON: where the depth's metres come from (docs/calibration.md); after the first image, and when it changes",
    },
    diagnostics::TOPIC,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn camera_names_become_topics() {
        for name in ["front", "rear_2"] {
            assert!(is_camera_name(name), "{name}");
        }
        for name in ["2nd", "a/b", "", "_x"] {
            assert!(!is_camera_name(name), "{name}");
        }
    }
}
