//! Appending to a file past the page cache: copies are most of what recording many images would cost.
//!
//! The MCAP library writes a chunk into the memory that goes to the disk, and corrects the chunk's head there. The chunk's checksum is
//! filled in here: the library would hash every byte twice.

use std::fs::File;
use std::io::{Error, ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

/// What memory, place and length of a direct write are multiples of; no disk wants more.
const BLOCK: usize = 4096;
/// Bytes that are gathered for one write, as far as chunks end there.
const CAPACITY: usize = 1 << 20;
/// How often it is seen whether the disk keeps up.
const PACE: Duration = Duration::from_secs(2);
/// How long the page cache is used when it does not.
const REST: Duration = Duration::from_secs(10);

/// The head of an uncompressed chunk (mcap.dev/spec#chunk-op0x06): opcode and length, first and last time, size, checksum, the length of
/// the compression's name (0), size.
const CHUNK: u8 = 6;
const CHUNK_CRC: usize = 1 + 8 + 3 * 8;
const CHUNK_DATA: usize = CHUNK_CRC + 4 + 4 + 8;

/// Appends to a file, whole blocks directly (`O_DIRECT`), what is left at a flush through the page cache; that part is written again
/// when its block is whole. What was appended since a chunk began stays in memory until the chunk ends, so that its head can be sought
/// and written again.
///
/// A direct write lasts as long as the disk takes. When that is more than three quarters of the time the page cache takes what
/// follows for a while: it gives a slow disk more room than the recorder's queue. So it does on file systems that know no such writes.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    direct: Option<File>,
    /// Memory with room to begin at a multiple of [`BLOCK`].
    memory: Vec<u8>,
    begin: usize,
    filled: usize,
    /// Where in the memory the next byte goes.
    cursor: usize,
    /// The head that is written again.
    head: Option<usize>,
    /// Whether chunks' checksums are filled in.
    checksums: bool,
    /// Where in the file the first byte of the memory belongs.
    at: u64,
    busy: Duration,
    since: Instant,
    /// The page cache is used until then.
    resting: Option<Instant>,
}

/// Memory of a capacity, and where in it a block begins.
fn aligned(capacity: usize) -> (Vec<u8>, usize) {
    let memory = vec![0; capacity + BLOCK];
    let begin = memory.as_ptr().align_offset(BLOCK).min(BLOCK);
    (memory, begin)
}

impl Output {
    /// Appends to `file`, which is new and at `path`. `checksums` says that its chunks are not compressed and lack their checksums.
    pub(super) fn new(path: &Path, file: File, checksums: bool) -> Self {
        let flags = OFlags::DIRECT.bits().cast_signed();
        let direct = File::options().write(true).custom_flags(flags).open(path).ok();
        let (memory, begin) = aligned(2 * CAPACITY);
        let (busy, since) = (Duration::ZERO, Instant::now());
        Self {
            file,
            direct,
            memory,
            begin,
            filled: 0,
            cursor: 0,
            head: None,
            checksums,
            at: 0,
            busy,
            since,
            resting: None,
        }
    }

    /// Writes what is left, and has the disk keep all.
    ///
    /// # Errors
    /// The disk is full or gone.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.flush()?;
        (self.filled, self.cursor) = (0, 0);
        self.file.sync_all()
    }

    fn make_room(&mut self, needed: usize) {
        if self.memory.len() - self.begin >= needed {
            return;
        }
        let (mut memory, begin) = aligned(needed.next_power_of_two());
        memory[begin..begin + self.filled]
            .copy_from_slice(&self.memory[self.begin..self.begin + self.filled]);
        (self.memory, self.begin) = (memory, begin);
    }

    /// Writes all whole blocks, and, at a flush, what is left.
    fn write_out(&mut self, flushed: bool) -> Result<(), Error> {
        let whole = self.filled - self.filled % BLOCK;
        let (blocks, rest) = self.memory[self.begin..self.begin + self.filled].split_at(whole);
        let direct = self.direct.as_ref().filter(|_| self.resting.is_none() && whole > 0);
        let started = Instant::now();
        // What fails only because it is direct goes the other way, from now on.
        let written = direct.is_some_and(|direct| direct.write_all_at(blocks, self.at).is_ok());
        self.busy += direct.map_or(Duration::ZERO, |_| started.elapsed());
        if !written {
            self.file.write_all_at(blocks, self.at)?;
        }
        let refused = direct.is_some() && !written;
        if flushed {
            self.file.write_all_at(rest, self.at + whole as u64)?;
        }
        self.at += whole as u64;
        self.filled = rest.len();
        self.cursor = self.filled;
        self.memory.copy_within(self.begin + whole..self.begin + whole + self.filled, self.begin);
        if refused {
            self.direct = None;
        }
        self.look_at_pace();
        Ok(())
    }

    fn look_at_pace(&mut self) {
        if self.resting.is_some_and(|until| Instant::now() < until) {
            return;
        }
        let past = self.since.elapsed();
        if self.resting.take().is_none() && past < PACE {
            return;
        }
        if self.busy > past * 3 / 4 {
            self.resting = Some(Instant::now() + REST);
        }
        (self.busy, self.since) = (Duration::ZERO, Instant::now());
    }

    /// Fills in the checksum of the chunk whose head was written again: it reaches to the end of what is there.
    fn fill_in_checksum(&mut self, head: usize) -> Result<(), Error> {
        let chunk = &mut self.memory[self.begin + head..self.begin + self.filled];
        let whole =
            chunk.len() >= CHUNK_DATA && chunk[0] == CHUNK && chunk[CHUNK_CRC + 4..CHUNK_CRC + 8] == [0; 4];
        if !whole {
            return Err(Error::other("expected the head of an uncompressed chunk to be written again"));
        }
        let checksum = crc32fast::hash(&chunk[CHUNK_DATA..]);
        chunk[CHUNK_CRC..CHUNK_CRC + 4].copy_from_slice(&checksum.to_le_bytes());
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        self.make_room(self.cursor + bytes.len());
        let place = self.begin + self.cursor;
        self.memory[place..place + bytes.len()].copy_from_slice(bytes);
        self.cursor += bytes.len();
        self.filled = self.filled.max(self.cursor);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.write_out(true)
    }
}

impl Seek for Output {
    /// To a chunk's head, and back to the end when that is written, where the chunk is over.
    fn seek(&mut self, to: SeekFrom) -> Result<u64, Error> {
        match to {
            SeekFrom::Current(0) => {}
            SeekFrom::Start(place) => {
                let cursor = place.checked_sub(self.at).map(|cursor| cursor as usize);
                let Some(cursor) = cursor.filter(|cursor| *cursor <= self.filled) else {
                    let problem = format!("expected a place from {} on, got {place}: it is written", self.at);
                    return Err(Error::new(ErrorKind::InvalidInput, problem));
                };
                (self.cursor, self.head) = (cursor, Some(cursor));
            }
            SeekFrom::End(0) => {
                self.cursor = self.filled;
                if let Some(head) = self.head.take().filter(|_| self.checksums) {
                    self.fill_in_checksum(head)?;
                }
                if self.filled >= CAPACITY {
                    self.write_out(false)?;
                }
            }
            other => {
                let problem = format!("expected the end or a place from the start, got {other:?}");
                return Err(Error::new(ErrorKind::Unsupported, problem));
            }
        }
        Ok(self.at + self.cursor as u64)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // As a BufWriter: who wants to know whether it worked calls `finish`.
        let _ = self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces of all sizes, with and without a flush behind them.
    fn pieces() -> Vec<(usize, bool)> {
        let sizes = [1, 4095, 4096, 4097, 0, 70_000, 3, CAPACITY - 5, CAPACITY, 2 * CAPACITY + 9, 12_288];
        sizes
            .iter()
            .zip([true, false, true, true].iter().cycle())
            .map(|(size, flush)| (*size, *flush))
            .collect()
    }

    fn write_pieces(path: &Path, after: impl Fn(&mut Output, usize)) -> Vec<u8> {
        let mut output = Output::new(path, File::create_new(path).unwrap(), true);
        let mut expected = Vec::new();
        for (number, (size, flush)) in pieces().into_iter().enumerate() {
            let piece: Vec<u8> = (0..size).map(|at| (at * 7 + number * 31) as u8).collect();
            output.write_all(&piece).unwrap();
            expected.extend(piece);
            if flush {
                output.flush().unwrap();
                assert!(std::fs::read(path).unwrap() == expected, "flushed piece {number}");
            }
            after(&mut output, number);
        }
        output.finish().unwrap();
        expected
    }

    #[test]
    fn all_that_was_flushed_is_in_the_file_whatever_the_sizes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let expected = write_pieces(&path, |_, _| ());
        assert!(std::fs::read(&path).unwrap() == expected);
    }

    #[test]
    fn a_disk_that_does_not_keep_up_is_written_to_through_the_page_cache_for_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let expected = write_pieces(&path, |output, number| match number {
            2 => {
                output.busy = PACE;
                output.since = Instant::now().checked_sub(PACE).unwrap();
                output.flush().unwrap();
                assert!(output.resting.is_some());
            }
            6 => {
                assert!(output.resting.is_some() && output.busy == Duration::ZERO);
                output.resting = Some(Instant::now());
                output.flush().unwrap();
                assert!(output.resting.is_none());
            }
            _ => {}
        });
        assert!(std::fs::read(&path).unwrap() == expected);
    }

    #[test]
    fn a_file_system_without_direct_writes_will_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let expected =
            write_pieces(&path, |output, _| output.direct = output.direct.take().filter(|_| false));
        assert!(std::fs::read(&path).unwrap() == expected);
    }

    /// A chunk's head as the library writes it: at first with lengths that it does not know yet, then with the right ones.
    fn head(size: u64, times: u64) -> Vec<u8> {
        let mut head = vec![CHUNK];
        for number in [40 + size, times, times + 9, size] {
            head.extend(number.to_le_bytes());
        }
        head.extend([0; 8]);
        head.extend(size.to_le_bytes());
        head
    }

    #[test]
    fn chunks_get_their_checksums_and_leave_when_they_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut output = Output::new(&path, File::create_new(&path).unwrap(), true);
        let mut expected = b"before".to_vec();
        output.write_all(b"before").unwrap();
        for (number, size) in [(1, 0), (2, 300), (3, 5 * CAPACITY + 1), (4, 10), (5, CAPACITY)] {
            let start = output.stream_position().unwrap();
            assert_eq!(start, expected.len() as u64);
            output.write_all(&head(u64::MAX - 40, 0)).unwrap();
            let data: Vec<u8> = (0..size).map(|at| (at * 7 + number) as u8).collect();
            data.chunks(70_001).for_each(|part| output.write_all(part).unwrap());
            assert!(std::fs::read(&path).unwrap().len() <= start as usize, "an open chunk stays in memory");
            output.seek(SeekFrom::Start(start)).unwrap();
            output.write_all(&head(size as u64, 7)).unwrap();
            assert_eq!(output.stream_position().unwrap(), start + CHUNK_DATA as u64);
            output.seek(SeekFrom::End(0)).unwrap();
            let mut chunk = head(size as u64, 7);
            chunk[CHUNK_CRC..CHUNK_CRC + 4].copy_from_slice(&crc32fast::hash(&data).to_le_bytes());
            expected.extend([chunk, data].concat());
            expected.extend(b"behind");
            output.write_all(b"behind").unwrap();
        }
        assert!(output.seek(SeekFrom::Start(3)).unwrap_err().to_string().contains("it is written"));
        assert!(output.seek(SeekFrom::End(-1)).is_err());
        output.seek(SeekFrom::End(0)).unwrap();
        output.finish().unwrap();
        assert!(std::fs::read(&path).unwrap() == expected);
    }
}
