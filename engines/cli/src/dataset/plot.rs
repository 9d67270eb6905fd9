//! `pixio dataset plot`: joint curves, stamps and contact sheets as PNG.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use recording::bag::BagReader;
use recording::dataset::{ColumnData, DatasetReader, EpisodeInfo};

use super::Kind;
use super::canvas::{Area, Axes, COLORS, Canvas, LETTER, range};
use crate::progress;

/// Draw recordings as PNG: curves and contact sheets of episodes, intervals and latencies of a bag's topics
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A bag (folder or .mcap file) or a dataset
    recording: PathBuf,
    /// Folder for the pictures
    #[arg(long, default_value = "out/plot")]
    out: PathBuf,
    /// Only these episodes of a dataset [default: all]
    #[arg(long, value_name = "N")]
    episode: Vec<u64>,
    /// Frames of a contact sheet
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=64))]
    frames: u64,
}

const WIDTH: i64 = 1000;
const PANEL: i64 = 180;
const MARGIN: i64 = 24;

/// One panel of a page of curves.
struct Panel {
    title: String,
    unit: &'static str,
    curves: Vec<Curve>,
}

struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
    crosses: bool,
}

/// Draws and says where.
///
/// # Errors
/// When the recording is refused or the folder cannot be written.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    std::fs::create_dir_all(&arguments.out).with_context(|| arguments.out.display().to_string())?;
    match Kind::of(&arguments.recording)? {
        Kind::Bag => bag(&arguments.recording, &arguments.out)?,
        Kind::Dataset => dataset(arguments)?,
    }
    println!("pictures in {}", arguments.out.display());
    Ok(ExitCode::SUCCESS)
}

fn dataset(arguments: &Arguments) -> Result<()> {
    let reader = DatasetReader::open(&arguments.recording)?;
    let wanted =
        |episode: &&EpisodeInfo| arguments.episode.is_empty() || arguments.episode.contains(&episode.episode);
    let episodes: Vec<_> = reader.episodes().iter().filter(wanted).collect();
    ensure!(
        !episodes.is_empty(),
        "--episode: expected numbers below {}, got {:?}",
        reader.info().total_episodes,
        arguments.episode
    );
    let bar = progress::items(episodes.len() as u64, "drawing");
    for episode in episodes {
        let name = |what: &str| arguments.out.join(format!("episode_{:06}_{what}.png", episode.episode));
        draw(&curves(&reader, episode)?, &name("curves"))?;
        let stamps = stamps(&reader, episode)?;
        if !stamps.is_empty() {
            draw(&stamps, &name("stamps"))?;
        }
        contact_sheet(&reader, episode, arguments.frames, &name("frames"))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// A panel per vector feature, a curve per element.
fn curves(reader: &DatasetReader, episode: &EpisodeInfo) -> Result<Vec<Panel>> {
    let fps = reader.info().fps;
    let mut panels = Vec::new();
    for (key, feature) in &reader.info().features.0 {
        let own =
            ["timestamp", "frame_index", "episode_index", "index", "task_index"].contains(&key.as_str());
        let floats = feature.dtype.starts_with("float");
        if own || !floats || key.starts_with("sync.") {
            continue;
        }
        let columns = reader.columns(episode, &[key])?;
        let Some(ColumnData::Numbers { length, values }) = columns.get(key) else { continue };
        let name =
            |element: usize| feature.names[element].as_str().map_or(element.to_string(), str::to_owned);
        let curve = |element: usize| Curve {
            name: name(element),
            points: column(values, *length, element).map(|(frame, value)| (frame / fps, value)).collect(),
            crosses: false,
        };
        panels.push(Panel { title: key.clone(), unit: "", curves: (0..*length).map(curve).collect() });
    }
    Ok(panels)
}

fn column(values: &[f64], length: usize, element: usize) -> impl Iterator<Item = (f64, f64)> + '_ {
    values
        .iter()
        .skip(element)
        .step_by(length.max(1))
        .enumerate()
        .map(|(frame, value)| (frame as f64, *value))
}

/// A panel per stream: the age of what each frame shows, crosses where it is repeated or stale.
fn stamps(reader: &DatasetReader, episode: &EpisodeInfo) -> Result<Vec<Panel>> {
    let keys = ["sync.age", "rec.repeated", "rec.stale"];
    let Some(feature) = reader.info().features.get("sync.age") else { return Ok(Vec::new()) };
    let columns = reader.columns(episode, &keys)?;
    let numbers = |key: &str| match columns.get(key) {
        Some(ColumnData::Numbers { values, .. }) => values.as_slice(),
        _ => &[],
    };
    let (ages, fps, streams) = (numbers("sync.age"), reader.info().fps, feature.length());
    let mut panels = Vec::new();
    for stream in 0..streams {
        let age = || column(ages, streams, stream).map(|(frame, age)| (frame / fps, age * 1e3));
        let marked = |key: &str, name: &str| Curve {
            name: name.to_owned(),
            points: age()
                .zip(column(numbers(key), streams, stream))
                .filter(|(_, mark)| mark.1 > 0.0)
                .map(|(p, _)| p)
                .collect(),
            crosses: true,
        };
        let title = feature.names[stream].as_str().unwrap_or("stream").to_owned();
        let age = Curve { name: "age".to_owned(), points: age().collect(), crosses: false };
        let curves = vec![age, marked("rec.repeated", "repeated"), marked("rec.stale", "stale")];
        panels.push(Panel { title, unit: "ms", curves });
    }
    Ok(panels)
}

/// A message of a bag: when after the first, how long after the one before, and how long it travelled.
struct Arrival {
    seconds: f64,
    interval_ms: f64,
    latency_ms: f64,
}

/// A panel per topic: the time since the message before, and from sending to receipt.
fn bag(path: &Path, out: &Path) -> Result<()> {
    let bag = BagReader::open(path)?;
    let bar = progress::items(bag.message_count().unwrap_or(0), "reading");
    let mut topics: BTreeMap<usize, Vec<Arrival>> = BTreeMap::new();
    let (mut last, mut start) = (BTreeMap::new(), None);
    for message in bag.messages()? {
        let message = message?;
        let log = message.stamps.log_nanos;
        let seconds = |from: u64, to: u64| (i128::from(to) - i128::from(from)) as f64 * 1e-9;
        let since = last.insert(message.topic, log).map_or(f64::NAN, |before| seconds(before, log));
        let at = seconds(*start.get_or_insert(log), log);
        let latency = seconds(message.stamps.publish_nanos, log);
        let arrival = Arrival { seconds: at, interval_ms: since * 1e3, latency_ms: latency * 1e3 };
        topics.entry(message.topic).or_default().push(arrival);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let panels = topics.into_iter().map(|(topic, points)| {
        let curve = |name: &str, of: &dyn Fn(&Arrival) -> f64| Curve {
            name: name.to_owned(),
            points: points.iter().map(|point| (point.seconds, of(point))).collect(),
            crosses: false,
        };
        let curves = vec![
            curve("interval", &|point| point.interval_ms),
            curve("sending to receipt", &|point| point.latency_ms),
        ];
        Panel { title: bag.topics()[topic].name.clone(), unit: "ms", curves }
    });
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    draw(&panels.collect::<Vec<_>>(), &out.join(format!("{name}_stamps.png")))
}

fn draw(panels: &[Panel], path: &Path) -> Result<()> {
    let step = PANEL + 3 * MARGIN;
    let mut canvas = Canvas::new(WIDTH as u32, (step * panels.len().max(1) as i64) as u32);
    for (number, panel) in (0..).zip(panels) {
        let area =
            Area { left: MARGIN, top: number * step + MARGIN, width: WIDTH - 2 * MARGIN, height: PANEL };
        let all = || panel.curves.iter().flat_map(|curve| &curve.points);
        let axes = Axes { x: range(all().map(|point| point.0)), y: range(all().map(|point| point.1)) };
        canvas.text(area.left, area.top - 14, &panel.title, [0; 3]);
        canvas.labels(area, axes, panel.unit);
        let mut legend = area.left + (panel.title.len() as i64 + 2) * LETTER;
        for (curve, color) in panel.curves.iter().zip(COLORS.into_iter().cycle()) {
            let points = curve.points.iter().copied();
            match curve.crosses {
                true => canvas.crosses(area, axes, points, color),
                false => canvas.curve(area, axes, points, color),
            }
            canvas.text(legend, area.top - 14, &curve.name, color);
            legend += (curve.name.len() as i64 + 2) * LETTER;
        }
    }
    canvas.0.save(path).with_context(|| path.display().to_string())
}

/// A row per camera, frames spread evenly over the episode.
fn contact_sheet(reader: &DatasetReader, episode: &EpisodeInfo, count: u64, path: &Path) -> Result<()> {
    let pictures = reader
        .info()
        .features
        .0
        .iter()
        .filter(|(_, feature)| feature.is_picture() && feature.shape.get(2) == Some(&3));
    let keys: Vec<&String> = pictures.map(|(key, _)| key).collect();
    if keys.is_empty() || episode.frames == 0 {
        return Ok(());
    }
    let count = count.min(episode.frames) as i64;
    let side = (WIDTH - MARGIN) / count - 4;
    let step = side * 3 / 4 + 2 * MARGIN;
    let mut canvas = Canvas::new(WIDTH as u32, (step * keys.len() as i64) as u32);
    for (row, key) in (0..).zip(keys) {
        canvas.text(MARGIN / 2, row * step + 4, key, [0; 3]);
        for place in 0..count {
            let frame = place as u64 * (episode.frames - 1) / (count as u64 - 1).max(1);
            let (size, pixels) = reader.picture(episode, key, frame)?;
            let height = (side * size.height as i64 / size.width.max(1) as i64).min(side * 3 / 4);
            let area =
                Area { left: MARGIN / 2 + place * (side + 4), top: row * step + 16, width: side, height };
            canvas.picture(area, size.width, &pixels);
            canvas.text(area.left, area.top + height + 4, &frame.to_string(), [0; 3]);
        }
    }
    canvas.0.save(path).with_context(|| path.display().to_string())
}
