//! `pixio infer`: photographs to depth, points and features as files.

mod files;
mod ply;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use calibration::{CameraModel, Distortion, Intrinsics, Size};
use network::Bundle;
use perception::{Encoding, ImageView, Pipeline, Wanted};

use crate::engine::EngineArguments;
use crate::{photographs, progress};

/// Run a bundle on photographs: 16-bit depth PNG (mm), depth in colour, points as PLY, features
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The bundle's folder
    bundle: PathBuf,
    /// Photographs (JPEG, PNG), or folders of them
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Folder to write to; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Network input size, one of the bundle's [default: the one that keeps most of the picture]
    #[arg(long, value_name = "WxH")]
    size: Option<Size>,
    /// Depth head [default: the only one, or `depth`]
    #[arg(long, value_name = "NAME")]
    head: Option<String>,
    /// The camera's calibration (ROS camera_info YAML), for the points
    #[arg(long, value_name = "YAML", conflicts_with = "field_of_view")]
    camera: Option<PathBuf>,
    /// Horizontal field of view in degrees to assume for the points when there is no calibration
    #[arg(long, value_name = "DEGREES")]
    field_of_view: Option<f64>,
    #[command(flatten)]
    engine: EngineArguments,
}

/// Runs every photograph and names the files written.
///
/// # Errors
/// When bundle, engine or a picture is refused, or a file cannot be written.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let bundle = Bundle::open(&arguments.bundle)?;
    let images = pictures(&arguments.images)?;
    let mut pipeline = Pipeline::new(arguments.engine.start()?, bundle, arguments.head.as_deref())?;
    std::fs::create_dir_all(&arguments.out).with_context(|| arguments.out.display().to_string())?;
    let bar = progress::items(images.len() as u64, "photographs");
    for path in &images {
        infer(arguments, &mut pipeline, path).with_context(|| path.display().to_string())?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    println!("{} photographs -> {}", images.len(), arguments.out.display());
    Ok(ExitCode::SUCCESS)
}

/// The files named, and the pictures of the folders named, sorted.
fn pictures(named: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in named {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).with_context(|| path.display().to_string())?;
        let mut inside = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        inside.retain(|path| is_picture(path));
        inside.sort();
        if inside.is_empty() {
            bail!("{}: expected .jpg, .jpeg or .png pictures in this folder, found none", path.display());
        }
        found.extend(inside);
    }
    Ok(found)
}

fn is_picture(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    matches!(extension.as_deref(), Some("jpg" | "jpeg" | "png"))
}

fn infer<E: perception::Engine>(
    arguments: &Arguments,
    pipeline: &mut Pipeline<E>,
    path: &Path,
) -> Result<()> {
    let photograph = photographs::read(path)?;
    let image = ImageView::new(&photograph.rgb, photograph.size, 3 * photograph.size.width, Encoding::Rgb8)?;
    let mut view = pipeline.view(photograph.size, arguments.size)?;
    let rays = match arguments.camera_model(photograph.size)? {
        Some(model) => Some(view.network_camera(&model)?.1),
        None => None,
    };
    let wanted = Wanted { depth: pipeline.depth_range().is_some(), features: true, color: true };
    let outputs = pipeline.run(&mut view, &image, wanted)?;
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let files = files::Files { folder: &arguments.out, stem: &stem };
    if let (Some(depth), Some(color)) = (outputs.depth, outputs.color) {
        files.depth(depth, color)?;
        if let Some(rays) = rays {
            files.points(&rays, depth, color)?;
        }
    }
    files.features(outputs.features.unwrap_or_default())
}

impl Arguments {
    /// The camera of a photograph, as far as it was told; points need one.
    fn camera_model(&self, size: Size) -> Result<Option<CameraModel>> {
        if let Some(path) = &self.camera {
            let named = calibration::read_camera_info_yaml(path)?;
            return Ok(Some(named.info.rectified().with_context(|| path.display().to_string())?));
        }
        let Some(degrees) = self.field_of_view else { return Ok(None) };
        if !(1.0..=170.0).contains(&degrees) {
            bail!("--field-of-view: expected 1 to 170 degrees, got {degrees}");
        }
        let focal = size.width as f64 / 2.0 / (degrees.to_radians() / 2.0).tan();
        let centre = |side: usize| (side as f64 - 1.0) / 2.0;
        let intrinsics = Intrinsics { fx: focal, fy: focal, cx: centre(size.width), cy: centre(size.height) };
        Ok(Some(CameraModel::new(size, intrinsics, Distortion::None)?))
    }
}
