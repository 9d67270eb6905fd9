//! Features of pictures that are looked at one after another: of any number, one is held at a time.

use std::path::Path;

use anyhow::{Result, ensure};
use calibration::Size;
use training::features::{Features, FeaturesOf, FeaturesWriter};

use crate::progress;

/// Pictures that can be looked at again and again.
pub trait Pictures {
    /// How many there should be: what a progress bar runs to.
    fn count(&self, size: Size) -> u64;

    /// Shows each one, RGB at `size`, in an order that stays the same.
    ///
    /// # Errors
    /// The picture that cannot be read, or what `look` says.
    fn each(&self, size: Size, look: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;
}

/// Pictures of that size that are held already, one after another.
impl Pictures for [u8] {
    fn count(&self, size: Size) -> u64 {
        (self.len() / (3 * size.area())) as u64
    }

    fn each(&self, size: Size, look: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.chunks_exact(3 * size.area()).try_for_each(look)
    }
}

/// What tells some pictures from others: another one, another order or another number changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    pictures: usize,
    sum: u64,
}

impl Digest {
    /// Looks at every picture once.
    ///
    /// # Errors
    /// The picture that cannot be read.
    pub fn of<P: Pictures + ?Sized>(pictures: &P, size: Size) -> Result<Self> {
        let bar = progress::items(pictures.count(size), "reading pictures");
        let mut digest = Self::default();
        pictures.each(size, &mut |picture: &[u8]| {
            digest.add(picture);
            bar.inc(1);
            Ok(())
        })?;
        bar.finish_and_clear();
        Ok(digest)
    }

    fn add(&mut self, picture: &[u8]) {
        let mixed = |sum: u64, byte: &u8| sum.wrapping_mul(31).wrapping_add(u64::from(*byte));
        self.sum = picture.iter().fold(self.sum, mixed);
        self.pictures += 1;
    }

    /// How many pictures were looked at.
    pub fn pictures(&self) -> usize {
        self.pictures
    }

    /// As a run's folder keeps it.
    pub fn words(&self, size: Size) -> String {
        format!("{size}, {:016x}", self.sum)
    }
}

/// Computes the features `of` these pictures into a file. `encode` is given one picture after another and writes its features; only
/// then is the next one read.
///
/// # Errors
/// A picture that cannot be read or encoded, or pictures that are no longer those that `of` names.
pub fn write<P: Pictures + ?Sized>(
    path: &Path,
    of: FeaturesOf,
    (pictures, size): (&P, Size),
    mut encode: impl FnMut(&[u8], &mut FeaturesWriter) -> Result<()>,
) -> Result<Features> {
    let bar = progress::items(of.samples as u64, "features");
    let (expected, samples) = (of.data.clone(), of.samples);
    let mut writer = FeaturesWriter::create(path, of)?;
    let mut again = Digest::default();
    pictures.each(size, &mut |picture: &[u8]| {
        again.add(picture);
        encode(picture, &mut writer)?;
        bar.inc(1);
        Ok(())
    })?;
    bar.finish_and_clear();
    ensure!(
        again.words(size) == expected && again.pictures == samples,
        "the pictures changed while their features were computed: expected {samples} ({expected}), got {} ({})",
        again.pictures,
        again.words(size)
    );
    Ok(writer.finish()?)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const SIZE: Size = Size { width: 4, height: 2 };
    const COUNT: usize = 9;

    /// Pictures that are made when somebody looks at them.
    #[derive(Default)]
    struct Made {
        /// How many were made in this pass.
        made: Cell<usize>,
        /// Of other pictures.
        shift: Cell<usize>,
    }

    fn picture(index: usize) -> Vec<u8> {
        (0..3 * SIZE.area()).map(|at| ((at + 3) * (index + 1) % 251) as u8).collect()
    }

    impl Pictures for Made {
        fn count(&self, _: Size) -> u64 {
            COUNT as u64
        }

        fn each(&self, _: Size, look: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
            for index in 0..COUNT {
                self.made.set(index + 1);
                look(&picture(index + self.shift.get()))?;
            }
            Ok(())
        }
    }

    fn of(digest: Digest) -> FeaturesOf {
        FeaturesOf {
            encoder_id: "a".to_owned(),
            taps: vec![0, 1],
            tap_len: 2,
            samples: digest.pictures(),
            data: digest.words(SIZE),
        }
    }

    /// Stands for an encoder: two taps that follow from a picture's bytes.
    fn encode(picture: &[u8], writer: &mut FeaturesWriter) -> Result<()> {
        let sum: f32 = picture.iter().map(|byte| f32::from(*byte)).sum();
        writer.push(&[sum, f32::from(picture[0])])?;
        Ok(writer.push(&[sum / 2.0, f32::from(picture[1])])?)
    }

    #[test]
    fn one_picture_at_a_time_gives_the_features_of_all_held_together() {
        let folder = tempfile::tempdir().unwrap();
        let [held, made] = ["held.f16", "made.f16"].map(|name| folder.path().join(name));
        let all: Vec<u8> = (0..COUNT).flat_map(picture).collect();
        let digest = Digest::of(all.as_slice(), SIZE).unwrap();
        write(&held, of(digest), (all.as_slice(), SIZE), encode).unwrap();

        let pictures = Made::default();
        assert_eq!(Digest::of(&pictures, SIZE).unwrap(), digest);
        let mut done = 0;
        let one = |picture: &[u8], writer: &mut FeaturesWriter| {
            done += 1;
            assert_eq!(pictures.made.get(), done, "made before the one before it was used");
            encode(picture, writer)
        };
        write(&made, of(digest), (&pictures, SIZE), one).unwrap();
        assert_eq!(std::fs::read(held).unwrap(), std::fs::read(made).unwrap());
    }

    /// Features that lie in run folders already are named so.
    #[test]
    fn a_digest_is_that_of_all_bytes_in_a_row() {
        let all: Vec<u8> = (0..COUNT).flat_map(picture).collect();
        let sum = all.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        let digest = Digest::of(all.as_slice(), SIZE).unwrap();
        assert_eq!((digest.words(SIZE), digest.pictures()), (format!("4x2, {sum:016x}"), COUNT));
        let swapped: Vec<u8> = (0..COUNT).rev().flat_map(picture).collect();
        assert_ne!(Digest::of(swapped.as_slice(), SIZE).unwrap(), digest);
    }

    #[test]
    fn what_was_interrupted_is_no_file_of_features_and_is_computed_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("features.f16");
        let pictures = Made::default();
        let digest = Digest::of(&pictures, SIZE).unwrap();
        let mut left = 4;
        let dies = |picture: &[u8], writer: &mut FeaturesWriter| {
            left -= 1;
            ensure!(left > 0, "the engine died");
            encode(picture, writer)
        };
        let error = write(&path, of(digest), (&pictures, SIZE), dies).unwrap_err().to_string();
        assert!(error == "the engine died" && path.exists(), "{error}");
        assert!(Features::open(&path, &of(digest)).unwrap().is_none());
        write(&path, of(digest), (&pictures, SIZE), encode).unwrap();
        assert!(Features::open(&path, &of(digest)).unwrap().is_some());
    }

    #[test]
    fn pictures_that_change_between_two_looks_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("features.f16");
        let pictures = Made::default();
        let digest = Digest::of(&pictures, SIZE).unwrap();
        pictures.shift.set(1);
        let error = write(&path, of(digest), (&pictures, SIZE), encode).unwrap_err().to_string();
        assert!(error.contains("the pictures changed") && error.contains(&digest.words(SIZE)), "{error}");
        assert!(!path.with_extension("json").exists());
    }
}
