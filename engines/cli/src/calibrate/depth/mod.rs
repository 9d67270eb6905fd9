//! `pixio calibrate depth`: a depth head against a metric reference, for one camera.

mod npy;
mod reference;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use calibration::{CameraInfo, CameraModel, RectifyMap};
use clap::ValueEnum;
use network::Bundle;
use network::manifest::DepthCalibration;
use perception::parity::Photograph;
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
    /// The camera's calibration (ROS camera_info YAML, or Kalibr's camchain of one camera)
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
    let source = arguments.reference.open(camera.as_ref().map(|camera| &camera.raw))?;
    let paths = pictures(&arguments.images)?;
    let mut pipeline =
        Pipeline::new(arguments.engine.start(&bundle)?, bundle.clone(), arguments.head.as_deref())?;
    let Some(head) = pipeline.depth_head().map(str::to_owned) else { bail!("the bundle has no depth head") };
    let bar = progress::items(paths.len() as u64, "comparing");
    let mut all = Vec::new();
    let mut used = 0;
    for path in &paths {
        let photograph = photographs::read(path)?;
        let found = sampled(&mut pipeline, (path, &photograph), &source, camera.as_ref())
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
    fn camera_model(&self) -> Result<Option<Camera>> {
        let Some(path) = &self.camera else { return Ok(None) };
        let info = crate::camera_file::read(path)?;
        Ok(Some(Camera::of(&info).with_context(|| path.display().to_string())?))
    }
}

/// A camera, and what its pictures become before the network sees them.
struct Camera {
    raw: CameraModel,
    /// `rectified_from_raw`: how the frame is turned, row by row.
    turn: [f64; 9],
    rectified: CameraModel,
    map: Option<Arc<RectifyMap>>,
}

impl Camera {
    fn of(info: &CameraInfo) -> Result<Self> {
        let (rectified, map) = info.rectification()?;
        Ok(Self { raw: info.raw()?, turn: info.rectified_from_camera()?, rectified, map: map.map(Arc::new) })
    }

    /// What is known of a pixel of the raw picture, in the rectified one; nothing for what is not in front of it.
    fn rectify(&self, known: &Known) -> Option<Known> {
        let [x, y, z] = self.raw.ray(known.pixel)?;
        if z <= 0.0 {
            return None;
        }
        let along = known.meters / z;
        let axis = |row: &[f64]| along * (row[0] * x + row[1] * y + row[2] * z);
        let point = [axis(&self.turn[..3]), axis(&self.turn[3..6]), axis(&self.turn[6..])];
        Some(Known { pixel: self.rectified.project(point)?, meters: point[2] })
    }
}

/// What the head says where the depth of a picture is known, in the unit that the bundle's calibration applies to.
fn sampled<E: Engine>(
    pipeline: &mut Pipeline<E>,
    (path, photograph): (&Path, &Photograph),
    source: &Source,
    camera: Option<&Camera>,
) -> Result<Vec<Sample>> {
    let known = source.of(path, photograph.size)?;
    if known.is_empty() {
        return Ok(Vec::new());
    }
    let image = ImageView::new(&photograph.rgb, photograph.size, 3 * photograph.size.width, Encoding::Rgb8)?;
    let known = match camera {
        Some(camera) => known.iter().filter_map(|known| camera.rectify(known)).collect(),
        None => known,
    };
    let options =
        ViewOptions { rectify: camera.and_then(|camera| camera.map.clone()), ..ViewOptions::default() };
    let mut view = pipeline.view_as(photograph.size, options)?;
    view.set_scaling(pipeline.scaling(&view, camera.map(|camera| &camera.rectified), None)?);
    let wanted = Wanted { depth: true, ..Wanted::default() };
    let outputs = pipeline.run(&mut view, &image, wanted)?;
    let values = match (outputs.depth, outputs.relative) {
        (Some(depth), _) => depth.meters().to_vec(),
        (None, Some(relative)) => relative.values().to_vec(),
        (None, None) => bail!("the head gave no depth"),
    };
    Ok(samples(&known, &values, view.geometry()))
}

#[cfg(test)]
mod tests {
    use calibration::{Distortion, Intrinsics, Size};

    use super::*;

    #[test]
    fn what_is_known_of_a_raw_pixel_is_known_of_the_rectified_one() {
        let intrinsics = Intrinsics { fx: 52.0, fy: 51.0, cx: 31.5, cy: 23.5 };
        let distortion = Distortion::PlumbBob([-0.3, 0.1, 1e-3, 0.0, 0.0]);
        let raw = CameraModel::new(Size { width: 64, height: 48 }, intrinsics, distortion).unwrap();
        let (sin, cos) = 0.1_f64.sin_cos();
        // About y, as a stereo pair's cameras are turned; and P is not K.
        let r = [cos, 0.0, sin, 0.0, 1.0, 0.0, -sin, 0.0, cos];
        let mut info = CameraInfo { r, ..CameraInfo::of(&raw) };
        info.p[0] = 40.0;
        let point = [0.2, -0.1, 1.5];
        let known = Known { pixel: raw.project(point).unwrap(), meters: point[2] };
        let found = Camera::of(&info).unwrap().rectify(&known).unwrap();
        let [x, y, z] = [cos * point[0] + sin * point[2], point[1], cos * point[2] - sin * point[0]];
        let expected = [40.0 * x / z + 31.5, 51.0 * y / z + 23.5];
        assert!((found.meters - z).abs() < 1e-9, "{} for {z}", found.meters);
        assert!(
            found.pixel.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6),
            "{:?} for {expected:?}",
            found.pixel
        );
    }
}
