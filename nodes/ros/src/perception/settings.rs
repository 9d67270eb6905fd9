//! The parameters of `perception_node`.

use std::path::PathBuf;

use calibration::Size;

use crate::parameters::{ParameterError, Parameters};

/// Which engine runs the networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineChoice {
    /// ONNX Runtime on the CPU.
    Onnx,
}

/// What happens when the parity self-test fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// Nothing is published.
    Stop,
    /// Results are published all the same, and the log says so.
    Warn,
}

/// The parameters of `perception_node`, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Folder of the model bundle.
    pub bundle: PathBuf,
    /// Which engine runs the networks.
    pub engine: EngineChoice,
    /// ONNX Runtime's library, if it is not named by the environment.
    pub onnxruntime: Option<PathBuf>,
    /// Threads of one network.
    pub threads: usize,
    /// Names of the cameras; none means one camera without a name.
    pub cameras: Vec<String>,
    /// Network input size; none means the bundle's size that keeps most of each camera's image.
    pub network_size: Option<Size>,
    /// Head for depth; none means the only one, or `depth`.
    pub depth_head: Option<String>,
    /// What happens when the parity self-test fails.
    pub parity: Parity,
}

const DECLARED: [&str; 8] =
    ["bundle", "engine", "onnxruntime", "threads", "cameras", "network_size", "depth_head", "parity"];

impl Settings {
    /// Reads and checks the parameters that the node was started with.
    ///
    /// # Errors
    /// The first that is missing, unknown or not allowed.
    pub fn read(node: &r2r::Node) -> Result<Self, ParameterError> {
        let parameters = Parameters::of(node, &DECLARED)?;
        let optional = |name: &str| parameters.text(name, "").map(|text| (!text.is_empty()).then_some(text));
        let bundle = optional("bundle")?;
        let bundle =
            bundle.ok_or_else(|| parameters.refuse("bundle", "the folder of a model bundle"))?.into();
        let network_size = optional("network_size")?.map(|text| text.parse()).transpose();
        parameters.choice("engine", &["onnx"])?;
        let cameras = parameters.texts("cameras")?;
        if let Some(reason) = wrong_names(&cameras) {
            return Err(parameters.refuse("cameras", reason));
        }
        let most = i64::from(u16::MAX);
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as i64);
        Ok(Self {
            bundle,
            engine: EngineChoice::Onnx,
            onnxruntime: optional("onnxruntime")?.map(PathBuf::from),
            threads: parameters.integer("threads", cores, 1..=most)? as usize,
            cameras,
            network_size: network_size.map_err(|_: String| {
                parameters.refuse("network_size", "WIDTHxHEIGHT, for example 384x256")
            })?,
            depth_head: optional("depth_head")?,
            parity: match parameters.choice("parity", &["stop", "warn"])?.as_str() {
                "warn" => Parity::Warn,
                _ => Parity::Stop,
            },
        })
    }

    /// The cameras; one without a name when none is named.
    pub fn camera_names(&self) -> Vec<String> {
        if self.cameras.is_empty() { vec![String::new()] } else { self.cameras.clone() }
    }
}

/// What is wrong with camera names, which become parts of topic names.
fn wrong_names(names: &[String]) -> Option<String> {
    let allowed = |name: &String| {
        name.chars().next().is_some_and(|first| first.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let repeated = (1..names.len()).any(|index| names[..index].contains(&names[index]));
    (repeated || !names.iter().all(allowed))
        .then(|| "different names of letters, digits and underscores that begin with a letter".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn camera_names_become_topics() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(wrong_names(&names(&["front", "rear_2"])), None);
        for wrong in [&["front", "front"][..], &["2nd"], &["a/b"], &[""]] {
            assert!(wrong_names(&names(wrong)).is_some(), "{wrong:?}");
        }
    }
}
