//! `pixio infer`: pictures and videos to depth, points and features as files.

mod files;
mod ply;
mod session;
mod sheet;
pub mod sources;
mod video;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use calibration::{CameraModel, Distortion, Intrinsics, RectifyMap, Size};
use network::Bundle;
use perception::{FarPolicy, OutputSize, Pipeline};

use crate::engine::EngineArguments;
use crate::{photographs, progress};
use session::Session;
use sources::Source;

/// Run a bundle on pictures and videos: depth, points, segments and features as files
///
/// Written to the folder of --out, for each picture STEM.jpg or .png:
///   STEM_depth.png             16 bit, millimetres, 0 where unknown or too far
///   STEM_depth_colour.png      near is warm, far is cold, unknown is black
///   STEM_input.png             the picture at the depth's size (rectified with --camera)
///   STEM_features.safetensors  per tap: cls_BLOCK, patches_BLOCK
///   STEM_points.ply            metres, camera optical frame (of a point map head; else with --camera or --field-of-view)
/// with a point map head
///   STEM_confidence.png        how sure the head is: blue is 0, red is 1
///   STEM_intrinsics.json       the pinhole that its rays imply at the network's size
/// with a segmentation head
///   STEM_segmentation.png      label ids, 8 bit (16 bit for ids above 255)
///   STEM_segmentation_colour.png  labels in colour over the picture
/// and, for more than one picture, contact_sheet.png. For each video STEM.mp4:
///   STEM_side_by_side.mp4      picture and depth in colour
///   STEM_000123_depth.png ...  for each frame, as far as --write asks [default: depth]
///
/// Videos are read and written by ffmpeg, which must be installed (PIXIO_FFMPEG names another).
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// The bundle's folder
    bundle: PathBuf,
    /// Pictures (JPEG, PNG), videos (MP4, MOV, MKV, WebM, AVI, GIF), or folders of them
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Folder to write to; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Network input size, one of the bundle's [default: the one that keeps most of the picture]
    #[arg(long, value_name = "WxH")]
    size: Option<Size>,
    /// Size of depth and points: `network`, or `image` (NaN where the network's crop ends)
    #[arg(long, value_name = "SIZE", default_value = "network")]
    output_size: OutputSize,
    /// What a depth beyond the head's range becomes: nan, inf or clamp
    #[arg(long, value_name = "POLICY", default_value = "nan")]
    far_policy: FarPolicy,
    /// Depth head [default: the only one, or `depth`]
    #[arg(long, value_name = "NAME")]
    head: Option<String>,
    /// What to write, separated by commas [default: everything for pictures, depth for videos]
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    write: Vec<Kind>,
    /// Use every Nth frame of a video
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    every: u32,
    /// The camera's calibration (ROS camera_info YAML): its distortion is taken out first, and points need it
    #[arg(long, value_name = "YAML", conflicts_with = "field_of_view")]
    camera: Option<PathBuf>,
    /// Horizontal field of view in degrees to assume for the points when there is no calibration
    #[arg(long, value_name = "DEGREES")]
    field_of_view: Option<f64>,
    #[command(flatten)]
    engine: EngineArguments,
}

/// A kind of file that a picture gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Millimetres
    Depth,
    /// Depth in colour
    Colour,
    /// The picture at the depth's size
    Input,
    /// A point cloud
    Points,
    /// The class of every pixel
    Segmentation,
    /// Tokens of every tap
    Features,
}

/// Runs every file and says where the results are.
///
/// # Errors
/// When bundle, engine or a file is refused, or a result cannot be written.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let sources = sources::find(&arguments.files)?;
    let bundle = Bundle::open(&arguments.bundle)?;
    let engine = arguments.engine.start(&bundle)?;
    let mut pipeline = Pipeline::new(engine, bundle, arguments.head.as_deref())?;
    pipeline.set_far_policy(arguments.far_policy);
    std::fs::create_dir_all(&arguments.out).with_context(|| arguments.out.display().to_string())?;
    let mut session = Session::new(arguments, pipeline);
    let videos = sources.iter().filter(|source| matches!(source, Source::Video(_))).count();
    let pictures = sources.len() - videos;
    let bar = progress::items(pictures as u64, "pictures");
    let mut sheet = sheet::Sheet::default();
    for source in &sources {
        if let Source::Picture(path) = source {
            let pair = photographs::read(path)
                .and_then(|photograph| session.picture(&photograph, &source.stem()))
                .with_context(|| path.display().to_string())?;
            pair.iter().for_each(|pair| sheet.add(pair));
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    sheet.save(&arguments.out.join("contact_sheet.png"))?;
    let mut frames = 0;
    for source in &sources {
        if let Source::Video(path) = source {
            frames += video_file(&mut session, source).with_context(|| path.display().to_string())?;
        }
    }
    let of_videos = if videos == 0 { String::new() } else { format!(", {frames} frames of {videos} videos") };
    println!("{pictures} pictures{of_videos} -> {}", arguments.out.display());
    Ok(ExitCode::SUCCESS)
}

/// Runs a video; the number of frames used.
fn video_file<E: perception::Engine>(session: &mut Session<'_, E>, source: &Source) -> Result<u64> {
    let arguments = session.arguments();
    let every = arguments.every as usize;
    let about = video::about(source.path())?;
    session.begin_video();
    let bar = progress::items(about.frames.unwrap_or_default() / every as u64, &source.stem());
    let mut reader = video::Reader::open(source.path(), every)?;
    let (mut rgb, mut frames, mut writer) = (Vec::new(), 0, None);
    while let Some(size) = reader.next(&mut rgb)? {
        let stem = format!("{}_{:06}", source.stem(), frames * every as u64);
        if let Some((pair, size)) = session.frame(size, &rgb, &stem)? {
            let writer = match &mut writer {
                Some(writer) => writer,
                none => {
                    let path = arguments.out.join(format!("{}_side_by_side.mp4", source.stem()));
                    none.insert(video::Writer::create(&path, size, about.rate / every as f64)?)
                }
            };
            writer.add(&pair)?;
        }
        frames += 1;
        bar.inc(1);
    }
    bar.finish_and_clear();
    if frames == 0 {
        bail!("the video has no frames");
    }
    writer.map_or(Ok(()), video::Writer::finish)?;
    Ok(frames)
}

impl Arguments {
    fn writes(&self, kind: Kind, otherwise: bool) -> bool {
        if self.write.is_empty() { otherwise } else { self.write.contains(&kind) }
    }

    /// The rectified camera of a picture, as far as it was told, and what takes the picture there; points need one.
    fn rectification(&self, size: Size) -> Result<Option<(CameraModel, Option<RectifyMap>)>> {
        let Some(path) = &self.camera else { return Ok(self.assumed(size)?.map(|camera| (camera, None))) };
        let info = calibration::read_camera_info_yaml(path)?.info;
        let place = || path.display().to_string();
        ensure!(
            info.size == size,
            "{}: expected a calibration for {size}, got one for {}",
            place(),
            info.size
        );
        Ok(Some(info.rectification().with_context(place)?))
    }

    /// The camera that --field-of-view means.
    fn assumed(&self, size: Size) -> Result<Option<CameraModel>> {
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
