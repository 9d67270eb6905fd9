//! Rows of recorded episodes, read and checked.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use calibration::Size;
use network::Bundle;
use network::manifest::Scaling;
use perception::geometry::ImageGeometry;
use recording::dataset::{ColumnData, DatasetReader, EpisodeInfo};

use super::Arguments;
use crate::train::pictures;
use crate::train::stream::Pictures;

/// Rows of all datasets.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Where the pictures are, or nothing where tokens were recorded.
    pub seen: Seen,
    /// Class tokens that were recorded, if they were asked for.
    pub tokens: Vec<f32>,
    /// In the data's units.
    pub state: Vec<f64>,
    pub actions: Vec<f64>,
    /// Rows of each episode that is trained on.
    pub training: Vec<Range<usize>>,
    /// Rows of each that is not.
    pub held_out: Vec<Range<usize>>,
    pub state_names: Vec<String>,
    pub action_names: Vec<String>,
    /// Rows a second.
    pub fps: f64,
    pub count: usize,
}

/// A feature with pictures of each dataset. They are read when somebody looks at them, and are not held: thirty seconds at 30 Hz
/// are 177 MB at 256x256.
#[derive(Debug, Default)]
pub(super) struct Seen(Vec<(DatasetReader, String)>);

impl Pictures for Seen {
    fn count(&self, _: Size) -> u64 {
        self.0.iter().flat_map(|(reader, _)| reader.episodes()).map(|episode| episode.frames).sum()
    }

    fn each(&self, size: Size, look: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        for (reader, image) in &self.0 {
            for episode in reader.episodes() {
                pictures::show_episode(reader, episode, image, size, look)?;
            }
        }
        Ok(())
    }
}

impl Rows {
    /// Changes when a number or the length of an episode does.
    pub fn sum(&self) -> u64 {
        let mixed = |sum: u64, word: u64| sum.wrapping_mul(31).wrapping_add(word);
        let numbers = self.state.iter().chain(&self.actions).map(|number| number.to_bits());
        let ends = self.training.iter().chain(&self.held_out).map(|rows| rows.end as u64);
        numbers.chain(ends).fold(0, mixed)
    }
}

/// Numbers of the data as those of the network.
pub(super) fn normalised(values: &[f64], scalings: &[Scaling]) -> Vec<f32> {
    let scaled = values.iter().zip(scalings.iter().cycle());
    scaled.map(|(value, scaling)| scaling.normalise(*value) as f32).collect()
}

impl Arguments {
    /// Reads the numbers of every dataset; pictures are looked at later.
    ///
    /// # Errors
    /// The file and the row that are refused.
    pub(super) fn rows(&self, bundle: &Bundle) -> Result<Rows> {
        let mut rows = Rows::default();
        let mut later = Vec::new();
        for root in &self.data {
            let reader = DatasetReader::open(root)?;
            self.check_names(root, &reader, &mut rows)?;
            self.check_tokens(root, &reader, bundle)?;
            let image = if self.tokens.is_none() { Some(self.image_key(root, &reader)?) } else { None };
            if let Some(image) = &image {
                warn_of_size(root, &reader, image, &bundle.manifest().sizes);
            }
            let count = reader.episodes().len();
            ensure!(
                self.held_out < count,
                "{}: expected more than {} episodes, got {count}",
                root.display(),
                self.held_out
            );
            for (index, episode) in reader.episodes().iter().enumerate() {
                let first = rows.count;
                self.episode(&reader, episode, &mut rows)?;
                let range = first..rows.count;
                if index + self.held_out < count { rows.training.push(range) } else { later.push(range) }
            }
            rows.seen.0.extend(image.map(|image| (reader, image)));
        }
        rows.held_out = later;
        ensure!(!rows.training.is_empty(), "expected episodes to train on, got none");
        Ok(rows)
    }

    /// Names and rate, the same in every dataset.
    fn check_names(&self, root: &Path, reader: &DatasetReader, rows: &mut Rows) -> Result<()> {
        let names = |key: &str| -> Result<Vec<String>> {
            let feature = reader.info().features.get(key);
            let feature = feature
                .with_context(|| format!("{}: expected a feature {key}, there is none", root.display()))?;
            let name = |index: usize| feature.names[index].as_str().map(str::to_owned);
            let named: Option<Vec<_>> = (0..feature.length()).map(name).collect();
            named.with_context(|| {
                format!("{}: {key}: expected a name for each of its numbers", root.display())
            })
        };
        let state = if self.state.is_empty() { Vec::new() } else { names(&self.state)? };
        let (action, fps) = (names(&self.action)?, reader.info().fps);
        if rows.action_names.is_empty() {
            (rows.state_names, rows.action_names, rows.fps) = (state, action, fps);
        } else if (&rows.state_names, &rows.action_names, rows.fps) != (&state, &action, fps) {
            bail!(
                "{}: expected the names and rate of the datasets before it ({:?}, {:?}, {} Hz), got {state:?}, {action:?}, {fps} Hz",
                root.display(),
                rows.state_names,
                rows.action_names,
                rows.fps
            );
        }
        Ok(())
    }

    /// Tokens of another encoder look the same and mean something else.
    fn check_tokens(&self, root: &Path, reader: &DatasetReader, bundle: &Bundle) -> Result<()> {
        let Some(key) = &self.tokens else { return Ok(()) };
        let feature = reader.info().features.get(key);
        let feature = feature
            .with_context(|| format!("{}: expected a feature {key}, there is none", root.display()))?;
        let architecture = &bundle.manifest().architecture;
        let expected = architecture.class_tokens * architecture.dim;
        ensure!(
            feature.length() == expected,
            "{}: {key}: expected {} class tokens of {} numbers, the encoder's last tap; got {} numbers",
            root.display(),
            architecture.class_tokens,
            architecture.dim,
            feature.length()
        );
        let (expected, came) = (bundle.manifest().encoder_id.as_str(), feature.encoder_id());
        ensure!(
            came == Some(expected),
            "{}: {key}: expected tokens of the bundle's encoder {expected}, got those of {}; \
             without --tokens features are computed from the pictures",
            root.display(),
            came.unwrap_or("one that is not named")
        );
        Ok(())
    }

    fn episode(&self, reader: &DatasetReader, episode: &EpisodeInfo, rows: &mut Rows) -> Result<()> {
        let wanted: Vec<&str> = [&self.state, &self.action]
            .into_iter()
            .chain(&self.tokens)
            .map(String::as_str)
            .filter(|key| !key.is_empty())
            .collect();
        let columns = reader.columns(episode, &wanted)?;
        for key in wanted {
            let Some(ColumnData::Numbers { length, values }) = columns.get(key) else {
                bail!("{}: {key}: expected numbers", reader.data_file(episode).display());
            };
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                bail!(
                    "{}: {key}: row {} of episode {}: expected finite numbers, got {}",
                    reader.data_file(episode).display(),
                    at / length,
                    episode.episode,
                    values[at]
                );
            }
            match key {
                key if key == self.action => rows.actions.extend_from_slice(values),
                key if Some(key) == self.tokens.as_deref() => {
                    rows.tokens.extend(values.iter().map(|value| *value as f32));
                }
                _ => rows.state.extend_from_slice(values),
            }
        }
        rows.count += episode.frames as usize;
        Ok(())
    }

    /// The feature with the pictures.
    fn image_key(&self, root: &Path, reader: &DatasetReader) -> Result<String> {
        let keys = pictures::picture_features(reader);
        match (&self.image, keys.as_slice()) {
            (Some(image), _) => Ok(image.clone()),
            (None, [only]) => Ok(only.clone()),
            (None, _) => bail!(
                "{}: expected one feature of pictures, got {keys:?}; choose with --image",
                root.display()
            ),
        }
    }
}

/// Says when perception_node would run the policy at another of the bundle's sizes than the one that it learns at, the first.
fn warn_of_size(root: &Path, reader: &DatasetReader, image: &str, sizes: &[Size]) {
    let shape = reader.info().features.get(image).map(|feature| feature.shape.as_slice());
    let (Some([height, width, 3]), Some(first)) = (shape, sizes.first()) else { return };
    let came = Size { width: *width, height: *height };
    if let Some(best) = ImageGeometry::best_size(came, sizes).filter(|best| best != first) {
        eprintln!(
            "warning: {}: the policy learns at {first}, the bundle's first size; \
             perception_node takes {best} for pictures of {came}, unless its network_size is {first}",
            root.display()
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use recording::dataset::{Cell, DatasetWriter, Feature, FeatureKind, Layout, Picture, Row};
    use serde_json::json;

    use super::*;
    use crate::photographs;

    const KEY: &str = "observation.images.eye";
    const CAMERA: Size = Size { width: 64, height: 48 };
    const NETWORK: Size = Size { width: 32, height: 32 };
    const EPISODES: usize = 2;
    const ROWS: usize = 5;

    fn write_dataset(root: &Path, first: usize) {
        let feature = |key: &str, kind, names| Feature { key: key.to_owned(), kind, names };
        let state = feature("observation.state", FeatureKind::Float32, vec!["x".to_owned()]);
        let eye = feature(KEY, FeatureKind::Image(CAMERA), vec![]);
        let layout = Layout::new(10, "arm", vec![state, eye], vec![]).unwrap();
        let mut writer = DatasetWriter::open(root, layout).unwrap();
        for episode in 0..EPISODES {
            writer.begin_episode("look").unwrap();
            for row in 0..ROWS {
                let number = first + episode * ROWS + row;
                let pixels = (0..3 * CAMERA.area()).map(|at| (at * (number + 1) % 251) as u8).collect();
                let picture = Picture::Rgb8 { size: CAMERA, pixels };
                let values = vec![Cell::Float32(vec![number as f32]), Cell::Picture(Arc::new(picture))];
                writer.push(&Row { time_nanos: number as u64, values, streams: vec![] }).unwrap();
            }
            writer.commit("look", &json!({})).unwrap();
        }
    }

    /// What is shown before it ends, and how it ends.
    fn look(seen: &Seen) -> (Vec<Vec<u8>>, Result<()>) {
        let mut shown = Vec::new();
        let ended = seen.each(NETWORK, &mut |picture: &[u8]| {
            shown.push(picture.to_vec());
            Ok(())
        });
        (shown, ended)
    }

    #[test]
    fn pictures_are_shown_in_the_order_of_the_rows_and_none_is_read_before() {
        let place = tempfile::tempdir().unwrap();
        let roots = ["one", "other"].map(|name| place.path().join(name));
        let (mut seen, mut expected) = (Seen::default(), Vec::new());
        for (index, root) in roots.iter().enumerate() {
            write_dataset(root, 100 * index);
            let reader = DatasetReader::open(root).unwrap();
            for episode in reader.episodes() {
                let columns = reader.columns(episode, &[KEY]).unwrap();
                let Some(ColumnData::Pictures(files)) = columns.get(KEY) else { panic!("{columns:?}") };
                for picture in files.iter().map(|bytes| photographs::decode(bytes).unwrap()) {
                    expected.push(pictures::fit(&picture, NETWORK).unwrap());
                }
            }
            seen.0.push((reader, KEY.to_owned()));
        }
        let (shown, ended) = look(&seen);
        assert!(ended.is_ok() && shown == expected, "{ended:?}");
        assert_eq!((shown.len() as u64, shown.len()), (seen.count(NETWORK), 2 * EPISODES * ROWS));

        std::fs::remove_dir_all(roots[1].join("data")).unwrap();
        let (shown, ended) = look(&seen);
        let error = format!("{:#}", ended.unwrap_err());
        assert!(error.contains("other/data"), "{error}");
        assert!(shown == expected[..EPISODES * ROWS], "those of the first dataset were shown");
    }
}
