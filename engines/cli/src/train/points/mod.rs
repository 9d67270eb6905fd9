//! `pixio train points`: heads that say where every pixel looks, how far it is, and how sure they are.

mod evaluate;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use calibration::{Intrinsics, Size};
use network::manifest::{DepthMeaning, HeadScale};
use network::{Bundle, HeadKind, HeadSpec, Meaning};
use onnx::OnnxRuntime;
use perception::depth::DepthRange;
use serde_json::json;
use training::dense::Target;
use training::points::PointsLoss;

use self::evaluate::{Blind, Judge};
use super::bag::{CameraArguments, PairArguments, Recorded};
use super::dense::{Common, MIN_DEPTH_METERS};
use super::folder::{self, Cameras, Pairs};
use super::{head, pictures};
use crate::info;

/// Train a point map head: rays, distances along them, and confidences, from depth and each picture's intrinsics
///
/// The folder holds depth/ as for `pixio train depth` and a camera.json with fx, fy, cx and cy of every picture, which is
/// without distortion; a recording holds the camera_info of its colour images. The trained head needs no intrinsics: it says those that its
/// rays imply.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Name of the head
    #[arg(long, default_value = "points")]
    name: String,
    /// Distance of a saturated output, metres along the ray; farther truth teaches rays and confidence only
    #[arg(long, default_value_t = 10.0)]
    max_distance: f32,
    /// How much the rays count in the loss; the distances count 1
    #[arg(long, default_value_t = 1.0)]
    ray_weight: f64,
    /// How much the confidence counts in the loss
    #[arg(long, default_value_t = 0.2)]
    confidence_weight: f64,
    /// Teach no confidence where depth is unknown: for data in which that means that nothing is there, as in rendered skies. If not given,
    /// pixels of unknown depth teach no confidence at all
    #[arg(long)]
    doubt_unknown: bool,
    #[command(flatten)]
    recording: PairArguments,
    #[command(flatten)]
    camera: CameraArguments,
    #[command(flatten)]
    common: Common,
}

/// Pictures with their depth and cameras.
struct Seen {
    pairs: Pairs<u16>,
    cameras: Vec<Intrinsics>,
}

impl Arguments {
    /// Trains, writes the bundle, and evaluates it on held-out pictures beside predictors that see nothing.
    ///
    /// # Errors
    /// When data, bundle or run are refused.
    pub fn run(&self) -> Result<ExitCode> {
        let common = &self.common;
        self.check()?;
        let bundle = common.head.open()?;
        let mut engine = common.engine.start()?;
        let size = common.size(&bundle);
        let spec = self.spec(&bundle)?;
        head::check(&bundle, &self.name, &spec)?;
        let seen = self.read(&common.data, &bundle)?;
        let held_out = common.read_held_out(|root| self.read(root, &bundle))?;
        let blind = Blind::new(&seen.pairs.maps, &seen.cameras, size, self.range())
            .with_context(|| common.data.display().to_string())?;
        let (millimeters, cameras) = (seen.pairs.maps.clone(), seen.cameras.clone());
        let target = Target::Points { millimeters, cameras, size, loss: self.loss() };
        let folder = common.run.begin()?;
        let trained =
            common.train(&folder, &mut engine, &bundle, (&self.name, &spec), &seen.pairs.rgb, target)?;
        info::print(&trained);
        let mut found = serde_json::Map::new();
        for (root, truth) in &held_out {
            let rows = self.evaluate(&mut engine, &trained, &blind, truth)?;
            println!("\n{} ({} pictures)", root.display(), truth.pairs.count);
            pictures::warn_of_trained(root, &seen.pairs.rgb, &truth.pairs.rgb, size);
            evaluate::print(&rows);
            let named: serde_json::Map<_, _> =
                rows.iter().map(|(name, row)| (name.clone(), json!(row))).collect();
            found.insert(root.display().to_string(), named.into());
        }
        folder.keep(&found.into())?;
        Ok(ExitCode::SUCCESS)
    }

    fn check(&self) -> Result<()> {
        self.common.check()?;
        self.recording.check(Some(&self.camera), self.common.sources())?;
        for (name, weight) in
            [("--ray-weight", self.ray_weight), ("--confidence-weight", self.confidence_weight)]
        {
            ensure!(weight.is_finite() && weight >= 0.0, "{name}: expected 0 or more, got {weight}");
        }
        Ok(())
    }

    fn spec(&self, bundle: &Bundle) -> Result<HeadSpec> {
        let dpt = |features, out_channels| HeadKind::DptPoints { features, out_channels };
        let kind = self.common.kind(HeadKind::LinearPoints {}, dpt)?;
        let range = DepthMeaning {
            min_depth_meters: MIN_DEPTH_METERS,
            max_depth_meters: self.max_distance,
            scale: HeadScale::Metric,
        };
        let taps = kind.official_taps(bundle.manifest().architecture.blocks);
        Ok(HeadSpec { kind, taps, meaning: Meaning::Depth(range) })
    }

    fn range(&self) -> DepthRange {
        DepthRange { min_meters: MIN_DEPTH_METERS, max_meters: self.max_distance }
    }

    fn loss(&self) -> PointsLoss {
        PointsLoss {
            rays: self.ray_weight,
            confidence: self.confidence_weight,
            range: (MIN_DEPTH_METERS, self.max_distance),
            doubt_unknown: self.doubt_unknown,
        }
    }

    fn read(&self, root: &Path, bundle: &Bundle) -> Result<Seen> {
        let size = self.common.size(bundle);
        if let Some(Recorded { pairs, cameras }) = self.recording.read(root, size, Some(&self.camera))? {
            return Ok(Seen { pairs, cameras });
        }
        // Before the pictures, which take long to read.
        let cameras = Cameras::open(root)?;
        let pairs = self.common.read(root, "depth", bundle, folder::millimeters)?;
        let cameras = cameras.of(&pairs, size)?;
        Ok(Seen { pairs, cameras })
    }

    fn evaluate(
        &self,
        engine: &mut OnnxRuntime,
        trained: &Bundle,
        blind: &Blind,
        truth: &Seen,
    ) -> Result<Vec<(String, evaluate::Row)>> {
        let size: Size = self.common.size(trained);
        let judge = Judge { size, range: self.range(), depth: &truth.pairs.maps, cameras: &truth.cameras };
        let head = judge.head(engine, trained, &self.name, &truth.pairs.rgb)?;
        Ok(vec![
            (self.name.clone(), head),
            ("constant depth".to_owned(), judge.blind(blind, false)?),
            ("per-pixel median".to_owned(), judge.blind(blind, true)?),
        ])
    }
}
