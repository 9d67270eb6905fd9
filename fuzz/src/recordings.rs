//! What the fuzz targets do with recordings; `nodes/recording/tests/hostile.rs` does the same with damaged ones on every run of
//! the tests, and looks at what is said, which the functions here give.
#![allow(dead_code)] // Each target uses some of it.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Display;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use calibration::Size;
use recording::Report;
use recording::bag::{BagReader, Distro, check_bag, recover_bag};
use recording::cdr::{FieldPath, Schema};
use recording::contract::Contract;
use recording::convert::{BagsToDataset, Outcome, contract_of, episode_to_bag};
use recording::dataset::{
    Cell, DatasetReader, DatasetWriter, Feature, FeatureKind, Layout, Picture, Row, check_dataset,
};
use serde_json::json;

const SIZE: Size = Size { width: 32, height: 32 };

/// What was said against something, if anything was.
fn said<T, E: Display>(result: Result<T, E>, all: &mut Vec<String>) -> Option<T> {
    result.map_err(|error| all.push(error.to_string())).ok()
}

/// A field's path on the first line, then the definition of a type, and behind a zero a message of it. The text is also read as a
/// contract.
pub fn message(bytes: &[u8]) -> Vec<String> {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (text, data) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let text = String::from_utf8_lossy(text);
    let (path, definition) = text.split_once('\n').unwrap_or(("data", &text));
    let mut all = Vec::new();
    said(Contract::parse(&text), &mut all);
    let Some(schema) = said(Schema::parse("a/msg/A", definition), &mut all) else { return all };
    let (path, value) = (said(FieldPath::parse(path), &mut all), said(schema.decode(data), &mut all));
    if let (Some(path), Some(value)) = (path, value) {
        said(path.numbers(&value, &mut Vec::new()), &mut all);
    }
    all
}

/// A dataset with numbers, pictures in rows, a video, and an episode that a crash left in its log.
///
/// # Errors
/// The file system says no.
pub fn write_dataset(root: &Path) -> Result<(), Box<dyn Error>> {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let feature = |key: &str, kind, all: &[&str]| Feature { key: key.to_owned(), kind, names: names(all) };
    let features = vec![
        feature("observation.state", FeatureKind::Float32, &["pan"]),
        feature("action", FeatureKind::Float32, &["pan"]),
        feature("observation.images.still", FeatureKind::Image(SIZE), &[]),
        feature("observation.images.film", FeatureKind::Video(SIZE), &[]),
    ];
    let mut writer = DatasetWriter::open(root, Layout::new(10, "arm", features, vec![])?)?;
    let push = |writer: &mut DatasetWriter, frame: u64| {
        let pixels = vec![(frame * 20) as u8; 3 * SIZE.width * SIZE.height];
        let picture = Cell::Picture(Arc::new(Picture::Rgb8 { size: SIZE, pixels }));
        let number = Cell::Float32(vec![frame as f32]);
        let values = vec![number.clone(), number, picture.clone(), picture];
        writer.push(&Row { time_nanos: (20 + frame) * 100_000_000, values, streams: vec![] })
    };
    writer.begin_episode("wave")?;
    (0..12).try_for_each(|frame| push(&mut writer, frame))?;
    writer.commit("wave", &json!({}))?;
    writer.begin_episode("wave again")?;
    (0..3).try_for_each(|frame| push(&mut writer, frame))?;
    Ok(())
}

/// The first episode of [`write_dataset`] as a bag that names its contract.
///
/// # Errors
/// The file system says no.
pub fn write_bag(place: &Path) -> Result<(), Box<dyn Error>> {
    let root = place.with_extension("dataset");
    write_dataset(&root)?;
    let dataset = DatasetReader::open(&root)?;
    episode_to_bag(&dataset, &dataset.episodes()[0], place, Distro::Jazzy)?;
    std::fs::remove_dir_all(root)?;
    Ok(())
}

/// All files below a folder, by name.
///
/// # Errors
/// The file system says no.
pub fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn findings(report: Report, all: &mut Vec<String>) {
    all.extend(report.findings.into_iter().map(|finding| format!("{}: {}", finding.place, finding.problem)));
}

/// Everything that reads a dataset.
pub fn use_dataset(root: &Path) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(report) = said(check_dataset(root, |_| ()), &mut all) {
        findings(report, &mut all);
    }
    if let Some(reader) = said(DatasetReader::open(root), &mut all) {
        for episode in reader.episodes().iter().take(3) {
            said(reader.numbers(episode, "observation.state"), &mut all);
            for key in ["observation.images.still", "observation.images.film"] {
                said(reader.picture(episode, key, 1), &mut all);
                for picture in said(reader.pictures(episode, key), &mut all).into_iter().flatten().take(20) {
                    said(picture, &mut all);
                }
            }
        }
    }
    if let Some(mut writer) = said(DatasetWriter::reopen(root), &mut all) {
        for log in said(writer.left_over(), &mut all).unwrap_or_default() {
            if log.rows > 0 {
                said(writer.recover(&log), &mut all);
            }
        }
    }
    all
}

/// Everything that reads a bag; `made` is for what is made of it.
pub fn use_bag(bag: &Path, made: &Path, conversion: &BagsToDataset) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(report) = said(check_bag(bag, |_| ()), &mut all) {
        findings(report, &mut all);
    }
    if let Some(reader) = said(BagReader::open(bag), &mut all)
        && let Some(messages) = said(reader.messages(), &mut all)
    {
        for message in messages.take(10_000) {
            said(message, &mut all);
        }
    }
    said(recover_bag(bag, &made.join("bag"), Distro::Jazzy, BTreeMap::new()), &mut all);
    if let Some(converted) = said(conversion.run(&[bag.to_owned()], &made.join("set"), |_| ()), &mut all) {
        for one in converted {
            all.extend(one.problems);
            if let Outcome::Failed(error) = one.outcome {
                all.push(error.to_string());
            }
        }
    }
    let _ = std::fs::remove_dir_all(made);
    all
}

/// How the bag of [`write_bag`] becomes a dataset.
///
/// # Errors
/// The bag is not whole.
pub fn conversion(bag: &Path) -> Result<BagsToDataset, Box<dyn Error>> {
    let (contract, contract_text) = contract_of(bag)?;
    Ok(BagsToDataset { contract, contract_text, task: None, ignore_gate: true, jobs: NonZeroUsize::MIN })
}

/// Panics of the Parquet library on damaged files are caught by the reader: only those that nobody catches end the run. With
/// RUST_BACKTRACE each is printed.
fn let_panics_be_caught() {
    drop(std::panic::take_hook());
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        std::panic::set_hook(Box::new(|_| ()));
    }
}

/// Inputs to begin with go to the folder that `PIXIO_FUZZ_SEEDS` names.
fn write_seeds(seeds: &[Vec<u8>]) {
    let Some(folder) = std::env::var_os("PIXIO_FUZZ_SEEDS") else { return };
    for (number, seed) in seeds.iter().enumerate() {
        let path = Path::new(&folder).join(format!("seed_{number}"));
        std::fs::write(&path, seed).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// What the target `message` begins with.
pub fn begin_messages() {
    const MESSAGE: &[u8] = b"poses[0].position[1]\na/Pose[] poses\nfloat64[<=4] data\nstring name\n\
        ================================================================================\n\
        MSG: a/Pose\nfloat32[3] position\nint8 LIMIT=3\nbuiltin_interfaces/Time stamp\n\0\0\x01\0\0\x01\0\0\0\
        \0\0\x80\x3f\0\0\0\x40\0\0\x40\x40\x07\0\0\0\x08\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\xf0\x3f\x03\0\0\0ab\0";
    write_seeds(&[MESSAGE.to_vec(), include_bytes!("../../launch/contracts/so101.yaml").to_vec()]);
}

/// A recording of which one file is replaced: the first byte of the input chooses which, the rest is its content.
pub struct Stage {
    root: PathBuf,
    original: Vec<(PathBuf, Vec<u8>)>,
    conversion: Option<BagsToDataset>,
}

impl Stage {
    /// In memory, where the system offers that.
    ///
    /// # Errors
    /// The file system says no.
    fn new(kind: &str) -> Result<Self, Box<dyn Error>> {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let root = folder.join(format!("pixio_fuzz_{kind}_{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(&root)?;
        let recording = root.join("recording");
        let conversion = if kind == "bag" {
            write_bag(&recording)?;
            Some(conversion(&recording)?)
        } else {
            write_dataset(&recording)?;
            None
        };
        let mut original = Vec::new();
        for path in files(&recording)? {
            original.push((path.clone(), std::fs::read(&path)?));
        }
        // The lock is empty, and stays.
        original.retain(|(_, bytes)| !bytes.is_empty());
        Ok(Self { root, original, conversion })
    }

    /// What the targets `bag` and `dataset` begin with.
    pub fn begin(kind: &str) -> Self {
        let stage = Self::new(kind).unwrap_or_else(|error| panic!("no recording to damage: {error}"));
        write_seeds(&stage.seeds());
        let_panics_be_caught();
        stage
    }

    /// Inputs that change nothing: the recording's own files.
    fn seeds(&self) -> Vec<Vec<u8>> {
        (0..).zip(&self.original).map(|(which, (_, bytes))| [&[which][..], bytes].concat()).collect()
    }

    /// Uses the recording with one file replaced.
    ///
    /// # Errors
    /// The file system says no.
    pub fn with(&self, bytes: &[u8]) -> std::io::Result<()> {
        let Some((which, content)) = bytes.split_first() else { return Ok(()) };
        let recording = self.root.join("recording");
        std::fs::remove_dir_all(&recording)?;
        for (number, (path, original)) in self.original.iter().enumerate() {
            std::fs::create_dir_all(path.parent().unwrap_or(&recording))?;
            let replaced = number == usize::from(*which) % self.original.len();
            std::fs::write(path, if replaced { content } else { original })?;
        }
        match &self.conversion {
            Some(conversion) => drop(use_bag(&recording, &self.root.join("made"), conversion)),
            None => drop(use_dataset(&recording)),
        }
        Ok(())
    }
}
