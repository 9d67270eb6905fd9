//! `pixio calibrate intrinsics`: pictures of a board to a camera_info file.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use calibrating::{Board, LensKind, LossKind, MeasuredCamera, calibrate_intrinsics, coverage};
use calibration::{CameraInfo, NamedCameraInfo, write_camera_info_yaml};
use clap::ValueEnum;
use image::RgbImage;
use serde_json::json;

use super::boards::{self, Boards};
use super::live;

/// Measure focal length, principal point and distortion from pictures of a board
///
/// Take 15 to 40 pictures: the board near and far, in every corner of the image, turned by 30 degrees and more about
/// different axes, standing still. Writes a ROS camera_info file and a picture of where the board was seen.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Pictures (JPEG, PNG) of the board, or folders of them
    #[arg(required_unless_present = "topic", value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// The board: chessboard:COLUMNSxROWS:SQUARE with inner corners and metres, or
    /// charuco:COLUMNSxROWS:SQUARE:MARKER:DICTIONARY with squares, metres and a dictionary as 5X5_100 or APRILTAG_36h11
    #[arg(long, value_name = "BOARD")]
    board: Board,
    /// camera_info file to write
    #[arg(long, value_name = "YAML")]
    out: PathBuf,
    /// Lens model
    #[arg(long, value_enum, default_value_t = Lens::PlumbBob)]
    lens: Lens,
    /// The camera's name [default: the file's]
    #[arg(long)]
    name: Option<String>,
    /// What is done about wrong corners
    #[arg(long, value_enum, default_value_t = Loss::Robust)]
    loss: Loss,
    /// Picture of where the board was seen [default: beside the camera_info file, as _coverage.png]
    #[arg(long, value_name = "PNG")]
    coverage: Option<PathBuf>,
    /// Write all numbers as JSON too
    #[arg(long, value_name = "JSON")]
    report: Option<PathBuf>,
    #[command(flatten)]
    live: live::Arguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Lens {
    /// No distortion
    Pinhole,
    /// Brown-Conrady, five coefficients: most lenses
    PlumbBob,
    /// Rational polynomial, eight coefficients: wide lenses
    Rational,
    /// Kannala-Brandt, four coefficients: fisheye lenses
    Equidistant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Loss {
    /// Find those that agree, leave out the others
    Robust,
    /// Plain least squares over all corners, as OpenCV
    Squares,
}

/// Measures, prints what came out and how well it is known, and writes the files.
///
/// # Errors
/// When pictures are refused, show too little, or do not determine the camera.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let name = arguments.camera_name()?;
    let recorded = arguments.live.record(&[])?;
    let images: Vec<PathBuf> = arguments.images.iter().cloned().chain(recorded).collect();
    let Boards { size, views } = boards::find(&images, &arguments.board)?;
    let lens = match arguments.lens {
        Lens::Pinhole => LensKind::Pinhole,
        Lens::PlumbBob => LensKind::PlumbBob,
        Lens::Rational => LensKind::Rational,
        Lens::Equidistant => LensKind::Equidistant,
    };
    let loss = match arguments.loss {
        Loss::Robust => LossKind::Robust,
        Loss::Squares => LossKind::Squares,
    };
    let mut measured = calibrate_intrinsics(size, &views, lens, loss)?;
    let covered = coverage(size, &views);
    if covered.share < 0.6 {
        let percent = 100.0 * covered.share;
        measured.warnings.push(format!(
            "the board was seen in {percent:.0} % of the image only; distortion is a guess elsewhere"
        ));
    }
    print(&measured, covered.share);
    let named = NamedCameraInfo { name, info: CameraInfo::of(&measured.camera) };
    write_camera_info_yaml(&arguments.out, &named)?;
    let picture_path = arguments.coverage_path();
    let picture = RgbImage::from_raw(size.width as u32, size.height as u32, covered.rgb);
    let picture = picture.context("coverage picture of another size")?;
    picture.save(&picture_path).with_context(|| picture_path.display().to_string())?;
    if let Some(path) = &arguments.report {
        let text = serde_json::to_string_pretty(&report(&measured, covered.share))?;
        std::fs::write(path, text + "\n").with_context(|| path.display().to_string())?;
    }
    println!("written    {}, {}", arguments.out.display(), picture_path.display());
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    fn camera_name(&self) -> Result<String> {
        let stem = self.out.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        match self.name.clone().or(stem) {
            Some(name) => Ok(name),
            None => bail!("--out: expected a file to write, got {}", self.out.display()),
        }
    }

    fn coverage_path(&self) -> PathBuf {
        let stem = self.out.file_stem().unwrap_or_default().to_string_lossy();
        self.coverage.clone().unwrap_or_else(|| self.out.with_file_name(format!("{stem}_coverage.png")))
    }
}

fn print(measured: &MeasuredCamera, covered: f64) {
    println!("{:32} {:>7} {:>6} {:>8} {:>8}", "view", "corners", "wrong", "rms px", "max px");
    for view in &measured.views {
        println!(
            "{:32} {:>7} {:>6} {:>8.3} {:>8.3}",
            view.name, view.used, view.rejected, view.rms_pixels, view.max_pixels
        );
    }
    println!("error      {:.4} px rms over {} views", measured.rms_pixels, measured.views.len());
    println!("covered    {:.0} % of the image", 100.0 * covered);
    for parameter in &measured.parameters {
        println!("{:10} {:>12.6} +- {:.6}", parameter.name, parameter.value, parameter.deviation);
    }
    measured.warnings.iter().for_each(|warning| println!("WARNING    {warning}"));
}

fn report(measured: &MeasuredCamera, covered: f64) -> serde_json::Value {
    let parameters: Vec<_> = measured
        .parameters
        .iter()
        .map(|p| json!({ "name": p.name, "value": p.value, "standard_deviation": p.deviation }))
        .collect();
    let views: Vec<_> = measured
        .views
        .iter()
        .map(|view| {
            json!({
                "name": view.name, "corners": view.used, "wrong": view.rejected,
                "rms_pixels": view.rms_pixels, "max_pixels": view.max_pixels,
            })
        })
        .collect();
    json!({
        "rms_pixels": measured.rms_pixels, "covered": covered, "parameters": parameters, "views": views,
        "warnings": measured.warnings,
    })
}
