//! The parameters of `perception_node`, as the code uses them.

use std::path::PathBuf;
use std::str::FromStr;

use calibration::Size;
use network::Precision;
use perception::scale::{AnchorOptions, Fit};
use perception::{FarPolicy, HeadNames, OutputSize};
use tensorrt::Flavour;

use super::statistics::Thresholds;
use crate::convert::DepthEncoding;
use crate::parameters::{ParameterError, Parameters};

/// Which engine runs the networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineChoice {
    /// ONNX Runtime on the CPU.
    Onnx,
    /// TensorRT or TensorRT-RTX on an NVIDIA GPU.
    TensorRt(Flavour),
}

impl FromStr for EngineChoice {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if name == "onnx" { Ok(Self::Onnx) } else { name.parse().map(Self::TensorRt) }
    }
}

/// What happens when the parity self-test fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// Configuration fails.
    Stop,
    /// Results are published all the same; log and diagnostics say so.
    Warn,
}

/// Which taps the feature topics carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taps {
    /// The last one.
    Last,
    /// All, one below the other.
    All,
}

impl Taps {
    /// Those of all that are carried.
    pub fn chosen<T>(self, all: &[T]) -> &[T] {
        match self {
            Self::Last => &all[all.len().saturating_sub(1)..],
            Self::All => all,
        }
    }
}

/// What is read at configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Folder of the model bundle.
    pub bundle: PathBuf,
    /// Which engine runs the networks.
    pub engine: EngineChoice,
    /// ONNX Runtime's library, if it is not named by the environment.
    pub onnxruntime: Option<PathBuf>,
    /// What networks compute in on TensorRT.
    pub precision: Precision,
    /// Folder of TensorRT's libraries, if neither the environment names it nor the system finds them.
    pub tensorrt: Option<PathBuf>,
    /// Folder of built engines, if it is not the user's.
    pub engine_cache: Option<PathBuf>,
    /// Threads of one network, on the CPU.
    pub threads: usize,
    /// Whether the encoder's products are taken in 8 bits, on the CPU.
    pub int8: bool,
    /// Network input size; none means the bundle's size that keeps most of each camera's image.
    pub network_size: Option<Size>,
    /// Heads for depth, points, segments and actions; none means the only one, or the one called as its task is.
    pub heads: HeadNames,
    /// What happens when the parity self-test fails.
    pub parity: Parity,
    /// Whether distortion is taken out of the image first; else it is taken as rectified.
    pub rectify: bool,
    /// Size of depth and colour.
    pub output: OutputSize,
    /// What becomes of depths that are too far.
    pub far: FarPolicy,
    /// How depth is written.
    pub depth_encoding: DepthEncoding,
    /// Which taps the feature topics carry.
    pub taps: Taps,
    /// Lets scale and shift of the depth follow a reference; none: as the head means its numbers.
    pub anchor: Option<AnchorOptions>,
}

impl Settings {
    /// Reads what the table of the node has not yet refused.
    ///
    /// # Errors
    /// The first parameter that is missing.
    pub fn read(parameters: &Parameters) -> Result<Self, ParameterError> {
        let bundle = parameters.optional("bundle")?;
        let bundle =
            bundle.ok_or_else(|| parameters.refuse("bundle", "the folder of a model bundle"))?.into();
        let size = parameters.optional("network_size")?.map(|text| text.parse()).transpose();
        let threads = match usize::try_from(parameters.integer("threads")?) {
            Ok(threads @ 1..) => threads,
            _ => std::thread::available_parallelism().map_or(1, usize::from),
        };
        Ok(Self {
            bundle,
            engine: parse(parameters, "engine")?,
            onnxruntime: parameters.optional("onnxruntime")?.map(PathBuf::from),
            precision: parse(parameters, "precision")?,
            tensorrt: parameters.optional("tensorrt")?.map(PathBuf::from),
            engine_cache: parameters.optional("engine_cache")?.map(PathBuf::from),
            threads,
            int8: int8(parameters)?,
            network_size: size.map_err(|reason: String| parameters.refuse("network_size", reason))?,
            heads: HeadNames {
                depth: parameters.optional("depth_head")?,
                points: parameters.optional("points_head")?,
                segmentation: parameters.optional("segmentation_head")?,
                policy: parameters.optional("policy_head")?,
            },
            parity: match parameters.text("parity")?.as_str() {
                "warn" => Parity::Warn,
                _ => Parity::Stop,
            },
            rectify: parameters.flag("rectify")?,
            output: parse(parameters, "output_size")?,
            far: parse(parameters, "far_policy")?,
            depth_encoding: match parameters.text("depth_encoding")?.as_str() {
                "16UC1" => DepthEncoding::Millimeters,
                _ => DepthEncoding::Meters,
            },
            taps: match parameters.text("feature_taps")?.as_str() {
                "all" => Taps::All,
                _ => Taps::Last,
            },
            anchor: anchor(parameters)?,
        })
    }
}

/// Whether products are taken in 8 bits, which one engine does.
fn int8(parameters: &Parameters) -> Result<bool, ParameterError> {
    let int8 = parameters.flag("int8")?;
    if int8 && parse::<EngineChoice>(parameters, "engine")? != EngineChoice::Onnx {
        return Err(parameters.refuse("int8", "false, or engine onnx, which alone has it"));
    }
    Ok(int8)
}

/// How the depth is anchored, if it is.
fn anchor(parameters: &Parameters) -> Result<Option<AnchorOptions>, ParameterError> {
    let options = AnchorOptions {
        fit: match parameters.text("anchor_fit")?.as_str() {
            "scale" => Fit::Scale,
            _ => Fit::ScaleAndShift,
        },
        max_age: std::time::Duration::from_secs_f64(parameters.number("anchor_max_age_secs")?),
        ..AnchorOptions::default()
    };
    Ok((parameters.text("scale")? == "anchored").then_some(options))
}

/// A text as what it stands for; the table lets through what can be read.
fn parse<T: FromStr<Err = String>>(parameters: &Parameters, name: &str) -> Result<T, ParameterError> {
    parameters.text(name)?.parse().map_err(|reason: String| parameters.refuse(name, reason))
}

/// The cameras; one without a name when none is named.
///
/// # Errors
/// When a name comes twice.
pub fn camera_names(parameters: &Parameters) -> Result<Vec<String>, ParameterError> {
    let names = parameters.texts("cameras")?;
    if (1..names.len()).any(|index| names[..index].contains(&names[index])) {
        return Err(parameters.refuse("cameras", "different names"));
    }
    Ok(if names.is_empty() { vec![String::new()] } else { names })
}

/// From when on diagnostics warn; they follow their parameters at once.
///
/// # Errors
/// When the table does not declare them.
pub fn thresholds(parameters: &Parameters) -> Result<Thresholds, ParameterError> {
    Ok(Thresholds {
        max_age_secs: parameters.number("max_age_secs")?,
        input_timeout_secs: parameters.number("input_timeout_secs")?,
    })
}
