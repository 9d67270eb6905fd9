//! Appending to a file past the page cache: the copy into it is most of what recording many images would cost.

use std::fs::File;
use std::io::{Error, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

/// What memory, place and length of a direct write are multiples of; no disk wants more.
const BLOCK: usize = 4096;
/// Bytes that are gathered for one write.
const CAPACITY: usize = 1 << 20;
/// How often it is seen whether the disk keeps up.
const PACE: Duration = Duration::from_secs(2);
/// How long the page cache is used when it does not.
const REST: Duration = Duration::from_secs(10);

/// Appends to a file, whole blocks directly (`O_DIRECT`), what is left at a flush through the page cache; that part is written again
/// when its block is whole.
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
    /// Where in the file the first byte of the memory belongs.
    at: u64,
    busy: Duration,
    since: Instant,
    /// The page cache is used until then.
    resting: Option<Instant>,
}

impl Output {
    /// Appends to `file`, which is new and at `path`.
    pub(super) fn new(path: &Path, file: File) -> Self {
        let flags = OFlags::DIRECT.bits().cast_signed();
        let direct = File::options().write(true).custom_flags(flags).open(path).ok();
        let memory = vec![0; CAPACITY + BLOCK];
        let begin = memory.as_ptr().align_offset(BLOCK).min(BLOCK);
        let (busy, since) = (Duration::ZERO, Instant::now());
        Self { file, direct, memory, begin, filled: 0, at: 0, busy, since, resting: None }
    }

    /// Writes what is left, and has the disk keep all.
    ///
    /// # Errors
    /// The disk is full or gone.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.flush()?;
        self.filled = 0;
        self.file.sync_all()
    }

    fn write_out(&mut self) -> Result<(), Error> {
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
        self.file.write_all_at(rest, self.at + whole as u64)?;
        self.at += whole as u64;
        self.filled = rest.len();
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
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let taken = bytes.len().min(CAPACITY - self.filled);
        let place = self.begin + self.filled;
        self.memory[place..place + taken].copy_from_slice(&bytes[..taken]);
        self.filled += taken;
        if self.filled == CAPACITY {
            self.write_out()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.write_out()
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
        let mut output = Output::new(path, File::create_new(path).unwrap());
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
}
