//! The episode in progress: an append-only log of rows outside the dataset's folders, readable up to where it was cut.

use std::fs::File;
use std::io::{BufReader, Error, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use super::layout::{Feature, FeatureKind, Layout};
use super::row::{Cell, StreamTruth};
use super::stats::Histogram;

const MAGIC: &[u8; 8] = b"PIXROWS1";
/// Above this many bytes a record is damage, not a row.
const MAX_RECORD: u32 = 1 << 30;

/// A row as it is kept: pictures compressed, with what statistics need of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SpooledRow {
    pub(super) time_nanos: u64,
    pub(super) streams: Vec<StreamTruth>,
    pub(super) cells: Vec<SpooledCell>,
}

/// A value of a spooled row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum SpooledCell {
    Plain(Cell),
    /// Bytes of the picture or access unit, and a histogram per channel when this frame was counted.
    Picture {
        bytes: Vec<u8>,
        histograms: Vec<Histogram>,
    },
}

/// Appends rows, each by one write.
#[derive(Debug)]
pub(super) struct SpoolWriter {
    path: PathBuf,
    file: File,
    record: Vec<u8>,
    rows: u64,
    failed: bool,
}

impl SpoolWriter {
    /// Starts a log that says what it belongs to.
    pub(super) fn create(path: PathBuf, task: &str) -> Result<Self, Error> {
        let mut file = File::create_new(&path)?;
        let mut head = MAGIC.to_vec();
        put_bytes(&mut head, task.as_bytes());
        file.write_all(&head)?;
        Ok(Self { path, file, record: Vec::new(), rows: 0, failed: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The open log.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Appends a row. After a failure nothing more is taken: what follows a torn record could not be read.
    pub(super) fn append(&mut self, row: &SpooledRow) -> Result<(), Error> {
        if self.failed {
            return Err(Error::new(ErrorKind::StorageFull, "an earlier row could not be written"));
        }
        self.record.clear();
        self.record.extend([0; 8]);
        put_row(&mut self.record, row);
        let length = u32::try_from(self.record.len() - 8).ok().filter(|length| *length <= MAX_RECORD);
        let length = length.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "a row above 1 GB"))?;
        let checksum = crc32fast::hash(&self.record[8..]);
        self.record[..4].copy_from_slice(&length.to_le_bytes());
        self.record[4..8].copy_from_slice(&checksum.to_le_bytes());
        let written = self.file.write_all(&self.record);
        self.failed = written.is_err();
        written?;
        self.rows += 1;
        Ok(())
    }
}

/// Reads a log back, row by row, until it ends or is torn.
pub(super) struct SpoolReader<'a> {
    file: BufReader<File>,
    layout: &'a Layout,
    task: String,
    left: u64,
    torn: bool,
}

impl<'a> SpoolReader<'a> {
    pub(super) fn open(path: &Path, layout: &'a Layout) -> Result<Self, Error> {
        let file = File::open(path)?;
        let left = file.metadata()?.len();
        let mut reader = Self { file: BufReader::new(file), layout, task: String::new(), left, torn: false };
        let mut magic = [0; 8];
        reader.file.read_exact(&mut magic)?;
        let mut length = [0; 4];
        reader.file.read_exact(&mut length)?;
        let length = u64::from(u32::from_le_bytes(length));
        if &magic != MAGIC || length + 12 > left {
            return Err(Error::new(ErrorKind::InvalidData, "not a log of rows"));
        }
        let mut task = vec![0; length as usize];
        reader.file.read_exact(&mut task)?;
        reader.task = String::from_utf8_lossy(&task).into_owned();
        reader.left -= 12 + length;
        Ok(reader)
    }

    /// The task that the episode was begun with.
    pub(super) fn task(&self) -> &str {
        &self.task
    }

    /// Whether reading ended at a torn record.
    pub(super) fn torn(&self) -> bool {
        self.torn
    }

    /// The next whole row; `None` at the end or where the log is torn.
    pub(super) fn next(&mut self) -> Result<Option<SpooledRow>, Error> {
        if self.left == 0 || self.torn {
            return Ok(None);
        }
        self.torn = true;
        if self.left < 8 {
            return Ok(None);
        }
        let mut head = [0; 8];
        self.file.read_exact(&mut head)?;
        let [a, b, c, d, crc @ ..] = head;
        let length = u64::from(u32::from_le_bytes([a, b, c, d]));
        if length + 8 > self.left {
            return Ok(None);
        }
        let mut record = vec![0; length as usize];
        self.file.read_exact(&mut record)?;
        if crc32fast::hash(&record) != u32::from_le_bytes(crc) {
            return Ok(None);
        }
        let row = Reader(&record).row(self.layout);
        if row.is_some() {
            self.left -= length + 8;
            self.torn = false;
        }
        Ok(row)
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(bytes);
}

fn put_row(out: &mut Vec<u8>, row: &SpooledRow) {
    out.extend(row.time_nanos.to_le_bytes());
    for stream in &row.streams {
        out.extend(stream.stamp_nanos.to_le_bytes());
        out.push(u8::from(stream.repeated) | u8::from(stream.stale) << 1);
    }
    for cell in &row.cells {
        match cell {
            SpooledCell::Plain(Cell::Float32(values)) => {
                values.iter().for_each(|v| out.extend(v.to_le_bytes()))
            }
            SpooledCell::Plain(Cell::Float64(values)) => {
                values.iter().for_each(|v| out.extend(v.to_le_bytes()))
            }
            SpooledCell::Plain(Cell::Int64(values)) => {
                values.iter().for_each(|v| out.extend(v.to_le_bytes()))
            }
            SpooledCell::Plain(Cell::Bool(values)) => values.iter().for_each(|v| out.push(u8::from(*v))),
            SpooledCell::Plain(Cell::Text(text)) => put_bytes(out, text.as_bytes()),
            // Pictures are compressed before they are spooled.
            SpooledCell::Plain(Cell::Picture(_)) => {}
            SpooledCell::Picture { bytes, histograms } => {
                put_bytes(out, bytes);
                out.push(histograms.len() as u8);
                for Histogram(counts) in histograms {
                    out.extend((counts.len() as u32).to_le_bytes());
                    for (value, count) in counts {
                        out.extend(value.to_le_bytes());
                        out.extend(count.to_le_bytes());
                    }
                }
            }
        }
    }
}

/// Takes a record apart; `None` when it is not one of the layout's rows.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = u32::from_le_bytes(self.take()?) as usize;
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken.to_vec())
    }

    fn many<T>(&mut self, count: usize, one: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        (0..count).map(|_| one(self)).collect()
    }

    fn row(mut self, layout: &Layout) -> Option<SpooledRow> {
        let time_nanos = u64::from_le_bytes(self.take()?);
        let streams = self.many(layout.streams().len(), |reader| {
            let stamp_nanos = u64::from_le_bytes(reader.take()?);
            let [flags] = reader.take()?;
            Some(StreamTruth { stamp_nanos, repeated: flags & 1 > 0, stale: flags & 2 > 0 })
        })?;
        let cells = layout.features().iter().map(|feature| self.cell(feature)).collect::<Option<_>>()?;
        self.0.is_empty().then_some(SpooledRow { time_nanos, streams, cells })
    }

    fn cell(&mut self, feature: &Feature) -> Option<SpooledCell> {
        let count = feature.names.len();
        let plain = match feature.kind {
            FeatureKind::Float32 => Cell::Float32(self.many(count, |r| Some(f32::from_le_bytes(r.take()?)))?),
            FeatureKind::Float64 => Cell::Float64(self.many(count, |r| Some(f64::from_le_bytes(r.take()?)))?),
            FeatureKind::Int64 => Cell::Int64(self.many(count, |r| Some(i64::from_le_bytes(r.take()?)))?),
            FeatureKind::Bool => Cell::Bool(self.many(count, |r| Some(r.take::<1>()? != [0]))?),
            FeatureKind::Text => Cell::Text(String::from_utf8(self.bytes()?).ok()?),
            FeatureKind::Image(_) | FeatureKind::Video(_) | FeatureKind::Depth(_) => {
                let bytes = self.bytes()?;
                let [channels] = self.take()?;
                let histograms = self.many(usize::from(channels), Self::histogram)?;
                return Some(SpooledCell::Picture { bytes, histograms });
            }
        };
        Some(SpooledCell::Plain(plain))
    }

    fn histogram(&mut self) -> Option<Histogram> {
        let count = u32::from_le_bytes(self.take()?) as usize;
        let pairs = self.many(count.min(1 << 16), |reader| {
            Some((u16::from_le_bytes(reader.take()?), u64::from_le_bytes(reader.take()?)))
        })?;
        Some(Histogram(pairs.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use calibration::Size;

    use super::*;

    fn layout() -> Layout {
        let feature = |key: &str, kind, names: &[&str]| Feature {
            key: key.to_owned(),
            kind,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let features = vec![
            feature("observation.state", FeatureKind::Float32, &["a", "b"]),
            feature("rec.note", FeatureKind::Text, &[]),
            feature("rec.flag", FeatureKind::Bool, &["x"]),
            feature("observation.images.cam", FeatureKind::Image(Size { width: 4, height: 2 }), &[]),
        ];
        Layout::new(30, "arm", features, vec!["joints".into(), "cam".into()]).unwrap()
    }

    fn row(number: u64) -> SpooledRow {
        let stream = StreamTruth {
            stamp_nanos: number * 7,
            repeated: number.is_multiple_of(2),
            stale: number.is_multiple_of(3),
        };
        let histograms = vec![Histogram([(3, number), (200, 1)].into()); 3];
        SpooledRow {
            time_nanos: number,
            streams: vec![stream; 2],
            cells: vec![
                SpooledCell::Plain(Cell::Float32(vec![number as f32, 0.5])),
                SpooledCell::Plain(Cell::Text(format!("row {number}"))),
                SpooledCell::Plain(Cell::Bool(vec![true])),
                SpooledCell::Picture { bytes: vec![number as u8; 9], histograms },
            ],
        }
    }

    fn read(path: &Path, layout: &Layout) -> (Vec<SpooledRow>, bool) {
        let mut reader = SpoolReader::open(path, layout).unwrap();
        assert_eq!(reader.task(), "pick it up");
        let mut rows = Vec::new();
        while let Some(row) = reader.next().unwrap() {
            rows.push(row);
        }
        (rows, reader.torn())
    }

    #[test]
    fn a_log_cut_anywhere_gives_back_its_whole_rows() {
        let (folder, layout) = (tempfile::tempdir().unwrap(), layout());
        let path = folder.path().join("rows");
        let mut writer = SpoolWriter::create(path.clone(), "pick it up").unwrap();
        let mut ends = vec![std::fs::metadata(&path).unwrap().len()];
        for number in 0..4 {
            writer.append(&row(number)).unwrap();
            ends.push(std::fs::metadata(&path).unwrap().len());
        }
        let whole = std::fs::read(&path).unwrap();
        for length in ends[0]..=ends[4] {
            std::fs::write(&path, &whole[..length as usize]).unwrap();
            let (rows, torn) = read(&path, &layout);
            let expected = ends.iter().filter(|end| **end <= length).count() as u64 - 1;
            assert_eq!(rows, (0..expected).map(row).collect::<Vec<_>>());
            assert_eq!(torn, !ends.contains(&length));
        }
    }

    #[test]
    fn a_flipped_bit_ends_the_log_there() {
        let (folder, layout) = (tempfile::tempdir().unwrap(), layout());
        let path = folder.path().join("rows");
        let mut writer = SpoolWriter::create(path.clone(), "pick it up").unwrap();
        let mut ends = Vec::new();
        for number in 0..3 {
            writer.append(&row(number)).unwrap();
            ends.push(std::fs::metadata(&path).unwrap().len() as usize);
        }
        let whole = std::fs::read(&path).unwrap();
        for at in ends[0]..ends[1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            std::fs::write(&path, &damaged).unwrap();
            assert_eq!(read(&path, &layout), (vec![row(0)], true));
        }
    }
}
