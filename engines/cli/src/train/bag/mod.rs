//! Recordings as training data: colour images of MCAP bags, the depth taken with them, and their camera.
//!
//! A bag is read twice: once for stamps, encodings and cameras, so that topics can be chosen and images paired, then for the pixels of
//! the pairs alone, which are brought to the network's size as they come. No image is held at its own size.

mod camera;
mod contents;
mod depth;
mod pairing;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use calibration::{CameraModel, Intrinsics, Size};
use perception::Decompressor;
use perception::geometry::ImageGeometry;
use perception::parity::Photograph;
use recording::bag::IN_PROGRESS;
use wire::{CompressedImageView, ImageMessageView};

use self::contents::{Bag, Content, Kind};
use self::pairing::{Pair, TOLERANCE_NANOS};
use super::folder::{self, Pairs};
use super::pictures;
use crate::progress;

/// Which colour images of a recording are taken.
#[derive(Debug, Clone, clap::Args)]
pub struct ImageArguments {
    /// Of a recording: topic of its colour images (Image, CompressedImage) [default: the only one]
    #[arg(long, value_name = "TOPIC")]
    image: Option<String>,
    /// Of a recording: take every Nth image alone, for at 30 Hz neighbours are nearly alike [default: all]
    #[arg(long, value_name = "N")]
    every: Option<NonZeroUsize>,
}

/// Which colour and depth images of a recording are taken.
#[derive(Debug, Clone, clap::Args)]
pub struct PairArguments {
    #[command(flatten)]
    images: ImageArguments,
    /// Of a recording: topic of its depth images (Image, 32FC1 or 16UC1), registered to the colour images [default: the only one]
    #[arg(long, value_name = "TOPIC")]
    depth: Option<String>,
}

/// Which camera took a recording's colour images.
#[derive(Debug, Clone, clap::Args)]
pub struct CameraArguments {
    /// Of a recording: topic of its colour images' camera_info [default: the only one]
    #[arg(long, value_name = "TOPIC")]
    info: Option<String>,
    /// Of a recording: its colour images are rectified, so that their intrinsics are camera_info's P, whatever K and D say
    #[arg(long)]
    rectified: bool,
}

/// What a recording teaches.
#[derive(Debug, Default)]
pub struct Recorded {
    /// Pictures and depth, millimetres.
    pub pairs: Pairs<u16>,
    /// Each picture's pinhole at the network's size, where it was asked for.
    pub cameras: Vec<Intrinsics>,
}

/// The bags of a recording: an MCAP file, a bag's folder, or the bags in a folder by their names, such as a recorder's, which has them
/// in `bags/`. None where a path is no recording.
pub fn bags(path: &Path) -> Vec<PathBuf> {
    if is_mcap(path) || is_bag(path) {
        return vec![path.to_owned()];
    }
    if path.join("rgb").is_dir() {
        return Vec::new();
    }
    let inside = |folder: &Path| -> Vec<PathBuf> {
        let paths = folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
        let is_whole = |path: &PathBuf| is_bag(path) && !path.to_string_lossy().ends_with(IN_PROGRESS);
        let mut found: Vec<PathBuf> = paths.filter(is_whole).collect();
        found.sort();
        found
    };
    let own = inside(path);
    if own.is_empty() { inside(&path.join("bags")) } else { own }
}

fn is_bag(folder: &Path) -> bool {
    let mut entries = folder.read_dir().into_iter().flatten().flatten();
    folder.join("metadata.yaml").is_file() || entries.any(|entry| is_mcap(&entry.path()))
}

fn is_mcap(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "mcap")
}

/// Refuses options of recordings where there is none.
fn check<'p>(given: &[(&str, bool)], mut sources: impl Iterator<Item = &'p Path>) -> Result<()> {
    let Some((option, _)) = given.iter().find(|(_, is_given)| *is_given) else { return Ok(()) };
    ensure!(
        sources.any(|source| !bags(source).is_empty()),
        "{option}: expected a recording (an .mcap file, a bag's folder, or a folder of bags) in --data or --held-out, there is none"
    );
    Ok(())
}

impl ImageArguments {
    fn given(&self) -> [(&'static str, bool); 2] {
        [("--image", self.image.is_some()), ("--every", self.every.is_some())]
    }

    fn step(&self) -> usize {
        self.every.map_or(1, NonZeroUsize::get)
    }

    /// Checks that there is a recording for what was typed.
    ///
    /// # Errors
    /// When there is none.
    pub fn check<'p>(&self, sources: impl Iterator<Item = &'p Path>) -> Result<()> {
        check(&self.given(), sources)
    }

    /// Adds the colour images of a recording, RGB at `size`; whether it is one.
    ///
    /// # Errors
    /// The bag, topic or message that is refused.
    pub fn read(&self, root: &Path, size: Size, rgb: &mut Vec<u8>) -> Result<bool> {
        let bags = bags(root);
        for path in &bags {
            let bag = Bag::open(path)?;
            let topic = bag.choose(Content::Colour, self.image.as_deref())?;
            let (kind, step) = (bag.tracks[topic].kind, self.step());
            let mut decoder = Decoder::default();
            let bar = progress::items(bag.tracks[topic].taken.len() as u64, "reading pictures");
            bag.read(&[topic], |_, number, data| {
                bar.inc(1);
                if number.is_multiple_of(step) {
                    rgb.extend(pictures::fit(&decoder.picture(kind, data)?, size)?);
                }
                Ok(())
            })?;
            bar.finish_and_clear();
        }
        Ok(!bags.is_empty())
    }
}

impl PairArguments {
    /// Checks that there is a recording for what was typed.
    ///
    /// # Errors
    /// When there is none.
    pub fn check<'p>(
        &self,
        camera: Option<&CameraArguments>,
        sources: impl Iterator<Item = &'p Path>,
    ) -> Result<()> {
        let [image, every] = self.images.given();
        let info = camera.is_some_and(|camera| camera.info.is_some());
        let rectified = camera.is_some_and(|camera| camera.rectified);
        let depth = ("--depth", self.depth.is_some());
        check(&[image, depth, ("--info", info), ("--rectified", rectified), every], sources)
    }

    /// Reads the pairs of a recording, with their cameras where they are asked for; nothing where it is none.
    ///
    /// # Errors
    /// The bag, topic or message that is refused.
    pub fn read(
        &self,
        root: &Path,
        size: Size,
        camera: Option<&CameraArguments>,
    ) -> Result<Option<Recorded>> {
        let bags = bags(root);
        let mut recorded = Recorded::default();
        for path in &bags {
            self.read_bag(path, size, camera, &mut recorded)?;
        }
        Ok((!bags.is_empty()).then_some(recorded))
    }

    fn read_bag(
        &self,
        path: &Path,
        size: Size,
        camera: Option<&CameraArguments>,
        recorded: &mut Recorded,
    ) -> Result<()> {
        let bag = Bag::open(path)?;
        let image = bag.choose(Content::Colour, self.images.image.as_deref())?;
        let depth = bag.choose(Content::Depth, self.depth.as_deref())?;
        let (of_image, of_depth) = (&bag.tracks[image], &bag.tracks[depth]);
        ensure!(
            of_image.frame == of_depth.frame,
            "{}: expected depth registered to {}, in its frame {:?}, got it in frame {:?}: record the driver's aligned depth, or that of \
             depth_image_proc's register node",
            bag.place(depth),
            of_image.name,
            of_image.frame,
            of_depth.frame
        );
        let camera = camera.map(|camera| camera.read(&bag, image)).transpose()?;
        let pairs: Vec<Pair> = paired(&bag, image, depth)?.into_iter().step_by(self.images.step()).collect();
        read_pairs(&bag, [image, depth], &pairs, size, &mut recorded.pairs)?;
        if let (Some((topic, camera)), Some(from)) = (camera, recorded.pairs.from) {
            let came = camera.size();
            ensure!(
                came == from,
                "{}: expected the camera of images of {from}, got one of {came}",
                bag.place(topic)
            );
            let pinhole = ImageGeometry::new(from, size)?.camera(&camera)?.intrinsics();
            recorded.cameras.extend(std::iter::repeat_n(pinhole, pairs.len()));
        }
        Ok(())
    }
}

impl CameraArguments {
    /// The topic of the camera that took the images of a topic, and its pinhole.
    fn read(&self, bag: &Bag, image: usize) -> Result<(usize, CameraModel)> {
        let topic = bag.choose(Content::Camera, self.info.as_deref())?;
        let (track, of_image) = (&bag.tracks[topic], &bag.tracks[image]);
        ensure!(
            track.frame == of_image.frame,
            "{}: expected the camera of {}, in its frame {:?}, got one in frame {:?}",
            bag.place(topic),
            of_image.name,
            of_image.frame,
            track.frame
        );
        let info = track.camera.as_ref().with_context(|| bag.place(topic))?;
        let pinhole = camera::pinhole(info, self.rectified).with_context(|| bag.place(topic))?;
        Ok((topic, pinhole))
    }
}

/// The pairs of two topics; says how many images have no partner.
fn paired(bag: &Bag, image: usize, depth: usize) -> Result<Vec<Pair>> {
    let (images, depths) = (&bag.tracks[image], &bag.tracks[depth]);
    let pairs = pairing::pairs(&images.taken, &depths.taken);
    let milliseconds = |nanos: u64| nanos as f64 / 1e6;
    let most = milliseconds(TOLERANCE_NANOS);
    ensure!(
        !pairs.is_empty(),
        "{}: expected images within {most} ms of those of {} by their stamps, the nearest are {} ms apart",
        bag.place(depth),
        images.name,
        pairing::least_difference(&images.taken, &depths.taken).map_or(f64::INFINITY, milliseconds)
    );
    let blank = match depths.blank {
        0 => String::new(),
        blank => format!(", {blank} depth images know no depth"),
    };
    eprintln!(
        "{} and {}: {} pairs; {} colour and {} depth images have no partner within {most} ms{blank}",
        bag.place(image),
        depths.name,
        pairs.len(),
        images.taken.len() - pairs.len(),
        depths.taken.len() - pairs.len()
    );
    Ok(pairs)
}

/// Adds pairs of a bag, each at its place as it comes.
fn read_pairs(
    bag: &Bag,
    [image, depth]: [usize; 2],
    pairs: &[Pair],
    size: Size,
    found: &mut Pairs<u16>,
) -> Result<()> {
    let (first, area) = (found.count, size.area());
    found.count += pairs.len();
    found.rgb.resize(3 * area * found.count, 0);
    found.maps.resize(area * found.count, 0);
    found.names.extend(pairs.iter().map(|pair| format!("{}: message {}", bag.place(image), pair.image)));
    let numbers = |number: fn(&Pair) -> usize| -> HashMap<usize, usize> {
        pairs.iter().map(number).zip(first..).collect()
    };
    let places = [numbers(|pair| pair.image), numbers(|pair| pair.depth)];
    let (kind, mut decoder, mut map_size) = (bag.tracks[image].kind, Decoder::default(), None);
    let bar = progress::items(2 * pairs.len() as u64, "reading pictures");
    bag.read(&[image, depth], |role, number, data| {
        let Some(place) = places[role].get(&number) else { return Ok(()) };
        if role == 0 {
            let picture = decoder.picture(kind, data)?;
            agree(&mut found.from, picture.size, "pictures")?;
            found.rgb[3 * area * place..][..3 * area].copy_from_slice(&pictures::fit(&picture, size)?);
        } else {
            let (came, map) = depth::millimeters(&ImageMessageView::read(data)?)?;
            agree(&mut map_size, came, "depth images")?;
            found.maps[area * place..][..area].copy_from_slice(&folder::nearest(&map, came, size)?);
        }
        bar.inc(1);
        let (Some(image_size), Some(map_size)) = (found.from, map_size) else { return Ok(()) };
        ensure!(
            image_size == map_size,
            "expected depth of {image_size} on {}, the size of {}, got {map_size}: it must be registered to the colour images",
            bag.tracks[depth].name,
            bag.tracks[image].name
        );
        Ok(())
    })?;
    bar.finish_and_clear();
    Ok(())
}

fn agree(expected: &mut Option<Size>, came: Size, what: &str) -> Result<()> {
    let expected = *expected.get_or_insert(came);
    ensure!(came == expected, "expected {expected}, the size of the {what} before it, got {came}");
    Ok(())
}

/// Decodes colour images as `perception_node` does, into a buffer that it keeps.
#[derive(Default)]
struct Decoder(Decompressor);

impl Decoder {
    fn picture(&mut self, kind: Kind, data: &[u8]) -> Result<Photograph> {
        let view = if kind == Kind::CompressedImage {
            let message = CompressedImageView::read(data)?;
            self.0.decode(message.format, message.data)?
        } else {
            wire::results::image(&ImageMessageView::read(data)?)?
        };
        let mut rgb = vec![0; 3 * view.size().area()];
        view.write_rgb(&mut rgb);
        Ok(Photograph { size: view.size(), rgb })
    }
}
