//! `pixio calibrate depth`: a depth head against a metric reference, for one camera.

mod npy;
mod reference;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use calibration::{CameraModel, RectifyMap, read_camera_info_yaml};
use clap::ValueEnum;
use network::Bundle;
use network::manifest::DepthCalibration;
use perception::scale::{Fit, Known, Sample, fit, samples};
use perception::{Encoding, Engine, ImageView, Pipeline, ViewOptions, Wanted};

use self::reference::{Reference, Source};
use super::boards::pictures;
use crate::engine::EngineArguments;
use crate::{photographs, progress};

/// Measure the scale (and shift) of a depth head for one camera, from sparse metric references
///
/// Runs the bundle on pictures, compares with what is known of their depth, and writes what most samples agree on into the
/// bundle's section of that camera (model.toml), where `perception_node` takes it from. The pictures are taken as they come
/// from the camera: --camera takes their distortion out first, as the node does.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The bundle's folder
    bundle: PathBuf,
    /// Pictures of the camera (JPEG, PNG), or folders of them
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Name of the camera, as the node's parameter `cameras` has it
    #[arg(long, value_name = "NAME")]
    camera_name: String,
    #[command(flatten)]
    reference: Reference,
    /// The camera's calibration (ROS camera_info YAML)
    #[arg(long, value_name = "YAML")]
    camera: Option<PathBuf>,
    /// What is fitted
    #[arg(long, value_enum, default_value_t = What::Scale)]
    fit: What,
    /// Depth head [default: the only one, or `depth`]
    #[arg(long, value_name = "NAME")]
    head: Option<String>,
    /// Print the result and leave the bundle as it is
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    engine: EngineArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// The scale alone
    Scale,
    /// Scale and shift: needs references at different depths
    ScaleAndShift,
}

/// Measures, prints, and writes the bundle's section of the camera.
///
/// # Errors
/// When bundle, pictures or reference are refused, or the samples agree on no scale.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let bundle = Bundle::open(&arguments.bundle)?;
    let camera = arguments.camera_model()?;
    let source = arguments.reference.open(camera.as_ref())?;
    let paths = pictures(&arguments.images)?;
    let mut pipeline =
        Pipeline::new(arguments.engine.start(&bundle)?, bundle.clone(), arguments.head.as_deref())?;
    let Some(head) = pipeline.depth_head().map(str::to_owned) else { bail!("the bundle has no depth head") };
    let bar = progress::items(paths.len() as u64, "comparing");
    let mut all = Vec::new();
    let mut used = 0;
    for path in &paths {
        let found = sampled(&mut pipeline, path, &source, camera.as_ref())
            .with_context(|| path.display().to_string())?;
        used += usize::from(!found.is_empty());
        all.extend(found);
        bar.inc(1);
    }
    bar.finish_and_clear();
    println!("samples    {} in {used} of {} pictures", all.len(), paths.len());
    let what = match arguments.fit {
        What::Scale => Fit::Scale,
        What::ScaleAndShift => Fit::ScaleAndShift,
    };
    let found = fit(&all, what)?;
    println!("scale      {:.6}", found.affine.scale);
    println!("shift      {:.6} m", found.affine.shift);
    println!(
        "residual   {:.2} % of the depth (median of the {} samples that agree)",
        100.0 * found.residual,
        found.agreeing
    );
    if arguments.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    let measured = DepthCalibration {
        scale: found.affine.scale,
        shift_meters: found.affine.shift,
        residual: found.residual,
        samples: found.agreeing,
        reference: arguments.reference.describe(used),
    };
    bundle.write_depth_calibration(&arguments.camera_name, &head, measured)?;
    println!(
        "written    {}, camera {}",
        arguments.bundle.join("model.toml").display(),
        arguments.camera_name
    );
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    fn camera_model(&self) -> Result<Option<CameraModel>> {
        let Some(path) = &self.camera else { return Ok(None) };
        let info = read_camera_info_yaml(path)?.info;
        Ok(Some(info.raw().with_context(|| path.display().to_string())?))
    }
}

/// What the head says where the depth of a picture is known, in the unit that the bundle's calibration applies to.
fn sampled<E: Engine>(
    pipeline: &mut Pipeline<E>,
    path: &Path,
    source: &Source,
    camera: Option<&CameraModel>,
) -> Result<Vec<Sample>> {
    let photograph = photographs::read(path)?;
    let known = source.of(path, photograph.size)?;
    if known.is_empty() {
        return Ok(Vec::new());
    }
    let image = ImageView::new(&photograph.rgb, photograph.size, 3 * photograph.size.width, Encoding::Rgb8)?;
    let (model, rectify) = camera.map(rectified).transpose()?.unzip();
    let raw_from = |known: Known| match (camera, &model) {
        (Some(raw), Some(flat)) => Some(Known { pixel: flat.project(raw.ray(known.pixel)?)?, ..known }),
        _ => Some(known),
    };
    let known: Vec<Known> = known.into_iter().filter_map(raw_from).collect();
    let options = ViewOptions { rectify: rectify.flatten(), ..ViewOptions::default() };
    let mut view = pipeline.view_as(photograph.size, options)?;
    view.set_scaling(pipeline.scaling(&view, model.as_ref(), None)?);
    let wanted = Wanted { depth: true, ..Wanted::default() };
    let outputs = pipeline.run(&mut view, &image, wanted)?;
    let values = match (outputs.depth, outputs.relative) {
        (Some(depth), _) => depth.meters().to_vec(),
        (None, Some(relative)) => relative.values().to_vec(),
        (None, None) => bail!("the head gave no depth"),
    };
    Ok(samples(&known, &values, view.geometry()))
}

/// The camera without its distortion, and what takes the distortion out of its pictures.
fn rectified(camera: &CameraModel) -> Result<(CameraModel, Option<Arc<RectifyMap>>)> {
    let flat = camera.without_distortion();
    if camera.distortion().is_none() {
        return Ok((flat, None));
    }
    let identity = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
    Ok((flat, Some(Arc::new(RectifyMap::new(camera, identity, &flat)?))))
}
