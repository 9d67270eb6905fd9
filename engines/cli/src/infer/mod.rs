//! `pixio infer`: pictures and videos to depth, points and features as files.

mod camera;
mod files;
mod ply;
mod session;
mod sheet;
pub mod sources;
mod video;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use calibration::Size;
use image::RgbImage;
use network::Bundle;
use perception::{FarPolicy, OutputSize, Pipeline};

use crate::engine::EngineArguments;
use crate::{photographs, progress};
use camera::Camera;
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
/// Videos are read and written by ffmpeg, which must be installed (PIXIO_FFMPEG names another). Files that cannot be read are told
/// of, the others are run, and the exit code is 1; it is 2 where nothing could go on.
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
    /// The camera's calibration (ROS camera_info YAML, or Kalibr's camchain of one camera): its distortion is taken out first, and points need it
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

/// Why a file gave no results, or not all of them.
enum Failure {
    /// The file's own fault: the others are run all the same.
    File(anyhow::Error),
    /// What would befall the next file too, as a full disk or an engine that fails.
    Run(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Run(error)
    }
}

/// Runs every file and says where the results are; those that cannot be read are told of, and make the exit code 1.
///
/// # Errors
/// When bundle, engine or arguments are refused, or a result cannot be written.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let sources = sources::find(&arguments.files)?;
    let (pictures, videos): (Vec<_>, Vec<_>) =
        sources.iter().partition(|source| matches!(source, Source::Picture(_)));
    if !videos.is_empty() {
        video::find_ffmpeg()?;
    }
    let camera = Camera::of(arguments)?;
    let bundle = Bundle::open(&arguments.bundle)?;
    arguments.check_size(&bundle.manifest().sizes)?;
    let engine = arguments.engine.start(&bundle)?;
    let mut pipeline = Pipeline::new(engine, bundle, arguments.head.as_deref())?;
    pipeline.set_far_policy(arguments.far_policy);
    std::fs::create_dir_all(&arguments.out).with_context(|| arguments.out.display().to_string())?;
    let mut session = Session::new(arguments, camera, pipeline);
    let bar = progress::items(pictures.len() as u64, "pictures");
    let (mut sheet, mut read) = (sheet::Sheet::default(), 0);
    for source in &pictures {
        let outcome = picture_file(&mut session, source);
        if let Some(pair) = bar.suspend(|| settle(outcome, source))? {
            pair.iter().for_each(|pair| sheet.add(pair));
            read += 1;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    sheet.save(&arguments.out.join("contact_sheet.png"))?;
    let (mut frames, mut films) = (0, 0);
    for source in &videos {
        if let Some(of_it) = settle(video_file(&mut session, source), source)? {
            (frames, films) = (frames + of_it, films + 1);
        }
    }
    let of_videos =
        if videos.is_empty() { String::new() } else { format!(", {frames} frames of {films} videos") };
    println!("{read} pictures{of_videos} -> {}", arguments.out.display());
    let failed = sources.len() - read - films;
    if failed > 0 {
        eprintln!("{failed} of {} files failed, as told above", sources.len());
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells of a file that failed; nothing then.
///
/// # Errors
/// What stops the run.
fn settle<T>(outcome: Result<T, Failure>, source: &Source) -> Result<Option<T>> {
    let place = source.path().display();
    match outcome {
        Ok(results) => Ok(Some(results)),
        Err(Failure::Run(error)) => Err(error.context(place.to_string())),
        Err(Failure::File(error)) => {
            eprintln!("error: {place}: {error:#}");
            Ok(None)
        }
    }
}

/// Runs a picture; gives it beside its depth in colour, if the bundle has depth.
fn picture_file<E: perception::Engine>(
    session: &mut Session<'_, E>,
    source: &Source,
) -> Result<Option<RgbImage>, Failure> {
    let bytes = std::fs::read(source.path()).map_err(|error| Failure::File(error.into()))?;
    let photograph = photographs::decode(&bytes).map_err(Failure::File)?;
    session.prepare(photograph.size)?;
    Ok(session.picture(&photograph, &source.stem())?)
}

/// Runs a video; the number of frames used. What comes before a damaged place is run and kept.
fn video_file<E: perception::Engine>(session: &mut Session<'_, E>, source: &Source) -> Result<u64, Failure> {
    let arguments = session.arguments();
    let every = arguments.every as usize;
    let about = video::about(source.path()).map_err(Failure::File)?;
    session.begin_video();
    let bar = progress::items(about.frames.unwrap_or_default() / every as u64, &source.stem());
    let mut reader = video::Reader::open(source.path(), every)?;
    let (mut rgb, mut frames, mut writer) = (Vec::new(), 0, None);
    let ended = loop {
        let size = match reader.next(&mut rgb) {
            Ok(Some(size)) => size,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error.context(format!("after {frames} frames"))),
        };
        session.prepare(size)?;
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
    };
    bar.finish_and_clear();
    writer.map_or(Ok(()), video::Writer::finish)?;
    ended.map_err(Failure::File)?;
    if frames == 0 {
        return Err(Failure::File(anyhow!("the video has no frames")));
    }
    Ok(frames)
}

impl Arguments {
    fn writes(&self, kind: Kind, otherwise: bool) -> bool {
        if self.write.is_empty() { otherwise } else { self.write.contains(&kind) }
    }

    fn check_size(&self, of_bundle: &[Size]) -> Result<()> {
        if let Some(size) = self.size.filter(|size| !of_bundle.contains(size)) {
            let known = of_bundle.iter().map(Size::to_string).collect::<Vec<_>>().join(", ");
            bail!("--size {size}: expected one of the bundle's sizes, {known}");
        }
        Ok(())
    }
}
