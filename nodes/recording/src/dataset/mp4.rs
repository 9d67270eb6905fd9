//! MP4 files with one H.264 track of constant rate: written sample by sample, read without trust (ISO 14496-12 and -15).

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

use calibration::Size;

use super::DatasetError;

/// Ticks per frame; the track counts `fps * 512` per second, so that every stamp is exact.
const TICKS: u32 = 512;
/// A box above this size (an hour of samples has one of half a megabyte) is not read.
const MAX_MOOV: u64 = 64 << 20;

/// Writes one file; the index comes last, so nothing is readable before `finish`.
pub(super) struct Mp4Writer {
    file: std::io::BufWriter<File>,
    size: Size,
    fps: u32,
    at: u64,
    sizes: Vec<u32>,
    keys: Vec<u32>,
    parameters: Option<Parameters>,
}

/// The parameter sets of the stream, without start codes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Parameters {
    sequence: Vec<u8>,
    picture: Vec<u8>,
}

/// Where `mdat`'s payload begins: behind `ftyp` and its own header of 16 bytes.
const MDAT_START: u64 = 40;

impl Mp4Writer {
    pub(super) fn create(path: &Path, size: Size, fps: u32) -> Result<Self, Error> {
        let mut file = std::io::BufWriter::new(File::create(path)?);
        file.write_all(&sized(b"ftyp", b"isom\0\0\x02\0isomavc1".to_vec()))?;
        file.write_all(&[0, 0, 0, 1])?;
        file.write_all(b"mdat")?;
        file.write_all(&[0; 8])?;
        Ok(Self { file, size, fps, at: MDAT_START, sizes: Vec::new(), keys: Vec::new(), parameters: None })
    }

    /// Appends one frame: an access unit with start codes, as the encoder gives it.
    pub(super) fn write(&mut self, access_unit: &[u8]) -> Result<(), Error> {
        let (mut length, mut key) = (0_u32, false);
        for nal in nals(access_unit) {
            match nal[0] & 0x1f {
                7 | 8 => self.parameter(nal)?,
                9 => {}
                kind => {
                    key |= kind == 5;
                    let size = u32::try_from(nal.len()).map_err(|_| invalid("a NAL unit above 4 GB"))?;
                    self.file.write_all(&size.to_be_bytes())?;
                    self.file.write_all(nal)?;
                    length += size + 4;
                }
            }
        }
        if length == 0 {
            return Err(invalid("an access unit without a picture"));
        }
        self.sizes.push(length);
        if key {
            self.keys.push(self.sizes.len() as u32);
        }
        self.at += u64::from(length);
        Ok(())
    }

    fn parameter(&mut self, nal: &[u8]) -> Result<(), Error> {
        let known = self.parameters.get_or_insert(Parameters { sequence: Vec::new(), picture: Vec::new() });
        let place = if nal[0] & 0x1f == 7 { &mut known.sequence } else { &mut known.picture };
        if place.is_empty() {
            nal.clone_into(place);
        }
        if place == nal { Ok(()) } else { Err(invalid("parameter sets that change within the video")) }
    }

    /// Writes the index and syncs. The number of frames is returned.
    pub(super) fn finish(mut self) -> Result<u64, Error> {
        let moov = self.moov()?;
        self.file.write_all(&moov)?;
        self.file.seek(SeekFrom::Start(MDAT_START - 8))?;
        self.file.write_all(&(self.at - MDAT_START + 16).to_be_bytes())?;
        let file = self.file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(self.sizes.len() as u64)
    }

    fn moov(&self) -> Result<Vec<u8>, Error> {
        let frames = u32::try_from(self.sizes.len()).unwrap_or(u32::MAX);
        let duration = frames.checked_mul(TICKS).ok_or_else(|| invalid("more frames than MP4 can count"))?;
        let scale = self.fps * TICKS;
        let matrix = words(&[0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x4000_0000]);
        let mvhd = [
            words(&[0, 0, 0, scale, duration, 0x10000, 0x100_0000, 0, 0]),
            matrix.clone(),
            words(&[0; 6]),
            words(&[2]),
        ];
        let sides = words(&[(self.size.width as u32) << 16, (self.size.height as u32) << 16]);
        let tkhd = [words(&[3, 0, 0, 1, 0, duration, 0, 0, 0, 0]), matrix, sides];
        let mdhd = words(&[0, 0, 0, scale, duration, 0x55c4_0000]);
        let hdlr = [words(&[0, 0]), b"vide".to_vec(), words(&[0; 3]), b"video\0".to_vec()].concat();
        let dref = [words(&[0, 1]), sized(b"url ", words(&[1]))].concat();
        let minf = [
            sized(b"vmhd", words(&[1, 0, 0])),
            sized(b"dinf", sized(b"dref", dref)),
            sized(b"stbl", self.sample_tables()?),
        ];
        let mdia = [sized(b"mdhd", mdhd), sized(b"hdlr", hdlr), sized(b"minf", minf.concat())];
        let trak = [sized(b"tkhd", tkhd.concat()), sized(b"mdia", mdia.concat())];
        Ok(sized(b"moov", [sized(b"mvhd", mvhd.concat()), sized(b"trak", trak.concat())].concat()))
    }

    fn sample_tables(&self) -> Result<Vec<u8>, Error> {
        let frames = self.sizes.len() as u32;
        let parameters = self.parameters.as_ref().filter(|p| !p.sequence.is_empty() && !p.picture.is_empty());
        let parameters = parameters.ok_or_else(|| invalid("a stream without parameter sets"))?;
        let stsd = [words(&[0, 1]), sized(b"avc1", self.sample_entry(parameters))];
        let stsz = [words(&[0, 0, frames]), words(&self.sizes)];
        let stss = [words(&[0, self.keys.len() as u32]), words(&self.keys)];
        Ok([
            sized(b"stsd", stsd.concat()),
            sized(b"stts", words(&[0, 1, frames, TICKS])),
            sized(b"stss", stss.concat()),
            // One chunk holds all samples.
            sized(b"stsc", words(&[0, 1, 1, frames, 1])),
            sized(b"stsz", stsz.concat()),
            sized(b"stco", words(&[0, 1, MDAT_START as u32])),
        ]
        .concat())
    }

    fn sample_entry(&self, parameters: &Parameters) -> Vec<u8> {
        let Parameters { sequence, picture } = parameters;
        let mut avcc = vec![1, sequence[1], sequence[2], sequence[3], 0xff, 0xe1];
        avcc.extend((sequence.len() as u16).to_be_bytes());
        avcc.extend(sequence);
        avcc.push(1);
        avcc.extend((picture.len() as u16).to_be_bytes());
        avcc.extend(picture);
        let mut entry = words(&[0, 1, 0, 0, 0, 0]);
        entry.extend((self.size.width as u16).to_be_bytes());
        entry.extend((self.size.height as u16).to_be_bytes());
        entry.extend(words(&[0x48_0000, 0x48_0000, 0]));
        entry.extend([0, 1]);
        entry.extend([0; 32]);
        entry.extend([0, 24, 0xff, 0xff]);
        entry.extend(sized(b"avcC", avcc));
        entry
    }
}

/// A box: its size, its name, its payload.
fn sized(name: &[u8; 4], payload: Vec<u8>) -> Vec<u8> {
    let mut bytes = (payload.len() as u32 + 8).to_be_bytes().to_vec();
    bytes.extend(name);
    bytes.extend(payload);
    bytes
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn invalid(problem: &str) -> Error {
    Error::new(ErrorKind::InvalidData, problem.to_owned())
}

/// The NAL units of a stream with start codes, none of them empty.
fn nals(stream: &[u8]) -> Vec<&[u8]> {
    let mut starts = Vec::new();
    let mut at = 0;
    while at + 3 <= stream.len() {
        if stream[at..at + 3] == [0, 0, 1] {
            starts.push(at);
            at += 3;
        } else {
            at += 1;
        }
    }
    let mut units = Vec::new();
    for (index, start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(stream.len());
        let unit = &stream[start + 3..end];
        // Zeros behind a unit belong to the next start code.
        let length = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if length > 0 {
            units.push(&unit[..length]);
        }
    }
    units
}

/// The video track of an MP4 file, of any codec.
#[derive(Debug, Clone)]
pub(super) struct Mp4Track {
    /// Ticks per second.
    pub(super) timescale: u32,
    /// `avc1`, `av01`, `hvc1`, ...
    pub(super) codec: String,
    /// Width and height, pixels.
    pub(super) size: Size,
    /// The frames, in the order of decoding.
    pub(super) samples: Vec<Sample>,
    /// Whether every frame lasts equally long.
    pub(super) constant_ticks: Option<u32>,
    parameters: Option<Parameters>,
}

/// One frame in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    offset: u64,
    size: u32,
    key: bool,
}

impl Mp4Track {
    /// Reads a file's index.
    ///
    /// # Errors
    /// Not an MP4 file with a video track, or damaged.
    pub(super) fn open(path: &Path) -> Result<Self, DatasetError> {
        let damaged = |problem: String| DatasetError::Video { path: path.to_owned(), problem };
        let mut file = File::open(path).map_err(super::at(path))?;
        let length = file.metadata().map_err(super::at(path))?.len();
        let moov = read_moov(&mut file, length).map_err(|error| damaged(error.to_string()))?;
        let tracks = children(&moov).map_err(&damaged)?;
        for (_, track) in tracks.iter().filter(|(name, _)| name == b"trak") {
            if let Some(track) = read_track(track, length).map_err(&damaged)? {
                return Ok(track);
            }
        }
        Err(damaged("no video track".to_owned()))
    }

    /// The frame `index` and all it needs, as a stream with start codes each: from the last key frame on.
    pub(super) fn access_units(&self, path: &Path, index: usize) -> Result<Vec<Vec<u8>>, DatasetError> {
        let mut file = File::open(path).map_err(super::at(path))?;
        (self.key_frame_before(index)..=index).map(|frame| self.access_unit(path, &mut file, frame)).collect()
    }

    /// The last frame at or before `index` that needs no other.
    pub(super) fn key_frame_before(&self, index: usize) -> usize {
        let samples = self.samples.get(..=index).unwrap_or(&self.samples);
        samples.iter().rposition(|sample| sample.key).unwrap_or(0)
    }

    /// One frame as a stream with start codes.
    pub(super) fn access_unit(
        &self,
        path: &Path,
        file: &mut File,
        index: usize,
    ) -> Result<Vec<u8>, DatasetError> {
        let damaged =
            |problem: &str| DatasetError::Video { path: path.to_owned(), problem: problem.to_owned() };
        let other = || damaged(&format!("expected H.264 (avc1) to decode, got {}", self.codec));
        let parameters = self.parameters.as_ref().ok_or_else(other)?;
        let sample = self.samples.get(index).ok_or_else(|| damaged("fewer frames than rows"))?;
        file.seek(SeekFrom::Start(sample.offset)).map_err(super::at(path))?;
        let mut bytes = vec![0; sample.size as usize];
        file.read_exact(&mut bytes).map_err(super::at(path))?;
        let mut unit = Vec::with_capacity(bytes.len() + 64);
        if sample.key {
            for set in [&parameters.sequence, &parameters.picture] {
                unit.extend([0, 0, 0, 1]);
                unit.extend(set);
            }
        }
        append_start_coded(&bytes, &mut unit).ok_or_else(|| damaged("a NAL unit longer than its sample"))?;
        Ok(unit)
    }

    /// How many frames it has.
    pub(super) fn frames(&self) -> usize {
        self.samples.len()
    }
}

/// Lengths become start codes.
fn append_start_coded(mut sample: &[u8], unit: &mut Vec<u8>) -> Option<()> {
    while let Some((length, rest)) = sample.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        unit.extend([0, 0, 0, 1]);
        unit.extend(rest.get(..length)?);
        sample = &rest[length..];
    }
    sample.is_empty().then_some(())
}

fn read_moov(file: &mut File, length: u64) -> Result<Vec<u8>, Error> {
    let mut at = 0_u64;
    while at + 8 <= length {
        file.seek(SeekFrom::Start(at))?;
        let mut header = [0; 16];
        file.read_exact(&mut header[..8])?;
        let mut head = 8;
        let mut size = u64::from(u32_at(&header, 0)?);
        if size == 1 {
            file.read_exact(&mut header[8..])?;
            (head, size) = (16, u64::from(u32_at(&header, 8)?) << 32 | u64::from(u32_at(&header, 12)?));
        } else if size == 0 {
            size = length - at;
        }
        let end = at.checked_add(size).filter(|end| size >= head && *end <= length);
        let end = end.ok_or_else(|| invalid("a box that ends outside the file: cut off?"))?;
        if &header[4..8] == b"moov" {
            if size > MAX_MOOV {
                return Err(invalid("an index above 64 MB"));
            }
            let mut moov = vec![0; (size - head) as usize];
            file.read_exact(&mut moov)?;
            return Ok(moov);
        }
        at = end;
    }
    Err(invalid("no index (moov): cut off?"))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, Error> {
    let word =
        bytes.get(at..).and_then(|rest| rest.first_chunk()).ok_or_else(|| invalid("a box too short"))?;
    Ok(u32::from_be_bytes(*word))
}

type Part<'a> = ([u8; 4], &'a [u8]);

/// The boxes within a box.
fn children(mut bytes: &[u8]) -> Result<Vec<Part<'_>>, String> {
    let mut found = Vec::new();
    while let Some((header, _)) = bytes.split_first_chunk::<8>() {
        let [a, b, c, d, name @ ..] = *header;
        let size = u32::from_be_bytes([a, b, c, d]) as usize;
        let size = if size == 0 { bytes.len() } else { size };
        let payload = bytes.get(8..size).ok_or("a box that ends outside its parent")?;
        found.push((name, payload));
        bytes = &bytes[size..];
    }
    Ok(found)
}

/// The payload of a box below others.
fn find<'a>(bytes: &'a [u8], path: &[&[u8; 4]]) -> Result<&'a [u8], String> {
    let mut at = bytes;
    for name in path {
        let found = children(at)?.into_iter().find(|(known, _)| known == *name);
        at = found.ok_or_else(|| format!("no box {}", String::from_utf8_lossy(*name)))?.1;
    }
    Ok(at)
}

fn word(bytes: &[u8], at: usize) -> Result<u32, String> {
    u32_at(bytes, at).map_err(|error| error.to_string())
}

/// A track when it is one of video.
fn read_track(track: &[u8], length: u64) -> Result<Option<Mp4Track>, String> {
    let mdia = find(track, &[b"mdia"])?;
    if find(mdia, &[b"hdlr"])?.get(8..12) != Some(b"vide") {
        return Ok(None);
    }
    let mdhd = find(mdia, &[b"mdhd"])?;
    let timescale = word(mdhd, if mdhd.first() == Some(&1) { 20 } else { 12 })?;
    let tables = find(mdia, &[b"minf", b"stbl"])?;
    let entries = find(tables, &[b"stsd"])?.get(8..).ok_or("a box too short")?;
    let (codec, entry) = children(entries)?.into_iter().next().ok_or("no sample entry")?;
    let sides = word(entry, 24)?;
    let size = Size { width: (sides >> 16) as usize, height: (sides & 0xffff) as usize };
    let parameters = match &codec {
        b"avc1" => Some(read_parameters(find(entry.get(78..).ok_or("a box too short")?, &[b"avcC"])?)?),
        _ => None,
    };
    let samples = read_samples(tables, length)?;
    let stts = find(tables, &[b"stts"])?;
    let ticks = (0..word(stts, 4)? as usize).map(|run| word(stts, 12 + 8 * run));
    let mut ticks: Vec<u32> = ticks.take(1 << 16).collect::<Result<_, _>>()?;
    ticks.dedup();
    let constant_ticks = if ticks.len() == 1 { Some(ticks[0]) } else { None };
    let codec = String::from_utf8_lossy(&codec).into_owned();
    Ok(Some(Mp4Track { timescale, codec, size, samples, constant_ticks, parameters }))
}

fn read_parameters(avcc: &[u8]) -> Result<Parameters, String> {
    let set = |at: usize| -> Result<(Vec<u8>, usize), String> {
        let short = "avcC: a parameter set that is cut off";
        let length = u16::from_be_bytes(*avcc.get(at..).and_then(|rest| rest.first_chunk()).ok_or(short)?);
        let end = at + 2 + usize::from(length);
        Ok((avcc.get(at + 2..end).ok_or(short)?.to_vec(), end))
    };
    if avcc.get(4).is_none_or(|lengths| lengths & 3 != 3) {
        return Err("avcC: expected lengths of 4 bytes".to_owned());
    }
    let (sequence, end) = set(6)?;
    let (picture, _) = set(end + 1)?;
    Ok(Parameters { sequence, picture })
}

/// Sizes, places and key frames of all samples.
fn read_samples(tables: &[u8], length: u64) -> Result<Vec<Sample>, String> {
    let stsz = find(tables, &[b"stsz"])?;
    let (common, count) = (word(stsz, 4)?, word(stsz, 8)? as usize);
    if common == 0 && count > stsz.len() / 4 || count > 1 << 24 {
        return Err(format!("stsz: {count} samples in {} bytes", stsz.len()));
    }
    let chunks = chunk_places(tables)?;
    let stsc = find(tables, &[b"stsc"])?;
    let runs = word(stsc, 4)? as usize;
    let mut samples: Vec<Sample> = Vec::with_capacity(count);
    for (chunk, place) in chunks.iter().enumerate() {
        let mut in_chunk = 0;
        for run in 0..runs.min(stsc.len() / 12) {
            if word(stsc, 8 + 12 * run)? as usize <= chunk + 1 {
                in_chunk = word(stsc, 12 + 12 * run)?;
            }
        }
        let mut offset = *place;
        for _ in 0..in_chunk {
            if samples.len() == count {
                break;
            }
            let size = if common > 0 { common } else { word(stsz, 12 + 4 * samples.len())? };
            if offset.checked_add(u64::from(size)).is_none_or(|end| end > length) {
                return Err(format!("frame {} lies outside the file: cut off?", samples.len()));
            }
            samples.push(Sample { offset, size, key: false });
            offset += u64::from(size);
        }
    }
    if samples.len() != count {
        return Err(format!("expected {count} frames in chunks, got {}", samples.len()));
    }
    mark_keys(tables, &mut samples)?;
    Ok(samples)
}

fn chunk_places(tables: &[u8]) -> Result<Vec<u64>, String> {
    if let Ok(stco) = find(tables, &[b"stco"]) {
        let count = (word(stco, 4)? as usize).min(stco.len() / 4);
        return (0..count).map(|index| word(stco, 8 + 4 * index).map(u64::from)).collect();
    }
    let co64 = find(tables, &[b"co64"])?;
    let count = (word(co64, 4)? as usize).min(co64.len() / 8);
    let place =
        |index| Ok(u64::from(word(co64, 8 + 8 * index)?) << 32 | u64::from(word(co64, 12 + 8 * index)?));
    (0..count).map(place).collect()
}

/// Without a table of key frames every frame is one.
fn mark_keys(tables: &[u8], samples: &mut [Sample]) -> Result<(), String> {
    let Ok(stss) = find(tables, &[b"stss"]) else {
        samples.iter_mut().for_each(|sample| sample.key = true);
        return Ok(());
    };
    for index in 0..(word(stss, 4)? as usize).min(stss.len() / 4) {
        let number = word(stss, 8 + 4 * index)? as usize;
        if let Some(sample) = number.checked_sub(1).and_then(|number| samples.get_mut(number)) {
            sample.key = true;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_codes_of_both_lengths_part_the_units() {
        let stream = [0, 0, 0, 1, 0x67, 5, 0, 0, 1, 0x68, 0, 0, 0, 1, 0x65, 1, 2, 0];
        assert_eq!(nals(&stream), [&[0x67, 5][..], &[0x68], &[0x65, 1, 2]]);
        assert!(nals(&[]).is_empty());
    }
}
