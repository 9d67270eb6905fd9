//! Videos through an installed `ffmpeg`: it reads what cameras and phones write (H.264, HEVC, VP9, AV1, MJPEG; any container), which
//! no bundled decoder does, and the tool's build stays free of C++ codecs.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use calibration::Size;

/// Longest side and most pixels of a frame; ffmpeg is not trusted to know better.
const MAX_SIDE: usize = 1 << 14;

/// The program, or what stands for it in a test.
fn ffmpeg() -> Command {
    let mut command = Command::new(std::env::var_os("PIXIO_FFMPEG").unwrap_or_else(|| "ffmpeg".into()));
    command.arg("-nostdin").arg("-hide_banner");
    command
}

fn start(mut command: Command) -> Result<Child> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.spawn().map_err(|error| {
        anyhow!(
            "cannot run {program} ({error}): videos need ffmpeg; install it (Debian: apt install ffmpeg), or name it in \
             PIXIO_FFMPEG, or give pictures"
        )
    })
}

/// Makes sure that ffmpeg is there, before anything is computed.
///
/// # Errors
/// When it cannot be run.
pub fn find_ffmpeg() -> Result<()> {
    let mut command = ffmpeg();
    command.arg("-version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    start(command)?.wait().context("ffmpeg")?;
    Ok(())
}

/// What ffmpeg says of a video; both are estimates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct About {
    /// Frames in a second.
    pub rate: f64,
    /// Number of frames, if the length is known.
    pub frames: Option<u64>,
}

/// Rate and length of a video.
///
/// # Errors
/// When ffmpeg is not there, or finds no video in the file.
pub fn about(path: &Path) -> Result<About> {
    let mut command = ffmpeg();
    // Without an output ffmpeg describes the input, and ends with an error.
    command.arg("-i").arg(path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let said = start(command)?.wait_with_output().context("ffmpeg")?;
    let text = String::from_utf8_lossy(&said.stderr);
    parse_about(&text).with_context(|| format!("ffmpeg finds no video in it: {}", last_line(&text)))
}

fn parse_about(text: &str) -> Option<About> {
    let stream = text.lines().find(|line| line.contains("Stream #") && line.contains("Video:"))?;
    let number = |unit: &str| {
        let part = stream.split(',').map(str::trim).find(|part| part.ends_with(unit))?;
        part.trim_end_matches(unit).trim().parse::<f64>().ok()
    };
    let rate = number("fps").or_else(|| number("tbr")).filter(|rate| rate.is_finite() && *rate > 0.0)?;
    let duration = text.lines().find_map(|line| line.trim().strip_prefix("Duration: "));
    let seconds = duration.and_then(|line| seconds(line.split(',').next()?));
    Some(About { rate, frames: seconds.map(|seconds| (seconds * rate).round() as u64) })
}

/// `HH:MM:SS.ss`.
fn seconds(text: &str) -> Option<f64> {
    text.split(':').try_fold(0.0, |total, part| Some(60.0 * total + part.trim().parse::<f64>().ok()?))
}

fn last_line(text: &str) -> &str {
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it said nothing")
}

/// The frames of a video, one after another.
#[derive(Debug)]
pub struct Reader {
    process: Child,
    frames: BufReader<ChildStdout>,
}

impl Reader {
    /// Starts reading; every `every`th frame is kept, from the first.
    ///
    /// # Errors
    /// When ffmpeg is not there.
    pub fn open(path: &Path, every: usize) -> Result<Self> {
        let mut command = ffmpeg();
        command.args(["-v", "error"]).arg("-i").arg(path);
        // New times, one after another: else frames would be repeated where some are left out. (The option that says so has
        // another name in every generation of ffmpeg.)
        let filter = format!("select=not(mod(n\\,{every})),setpts=N/FRAME_RATE/TB");
        command.args(["-map", "0:v:0", "-vf", &filter]);
        command.args(["-pix_fmt", "rgb24", "-c:v", "ppm", "-f", "image2pipe", "-"]);
        let mut process = start({
            command.stdin(Stdio::null()).stdout(Stdio::piped());
            command
        })?;
        let frames = process.stdout.take().context("ffmpeg has no output")?;
        Ok(Self { process, frames: BufReader::with_capacity(1 << 20, frames) })
    }

    /// The next frame's RGB pixels into `rgb`; nothing after the last.
    ///
    /// # Errors
    /// When ffmpeg fails; it says why on standard error.
    pub fn next(&mut self, rgb: &mut Vec<u8>) -> Result<Option<Size>> {
        if self.frames.fill_buf().context("ffmpeg")?.is_empty() {
            let status = self.process.wait().context("ffmpeg")?;
            if status.success() {
                return Ok(None);
            }
            bail!("ffmpeg failed ({status}) to read the video; it said why above");
        }
        let size = header(&mut self.frames).context("a frame from ffmpeg")?;
        rgb.resize(3 * size.area(), 0);
        self.frames.read_exact(rgb).context("a frame from ffmpeg is cut off")?;
        Ok(Some(size))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `P6 WIDTH HEIGHT 255` and one white space, as binary PPM begins.
fn header(from: &mut impl BufRead) -> Result<Size> {
    let mut word = || -> Result<String> {
        let mut word = String::new();
        for byte in from.by_ref().bytes() {
            match byte? {
                white if white.is_ascii_whitespace() => break,
                _ if word.len() > 8 => bail!("expected a number, got {word:?}..."),
                other => word.push(char::from(other)),
            }
        }
        Ok(word)
    };
    let [magic, width, height, levels] = [word()?, word()?, word()?, word()?];
    let side = |text: &str| text.parse().ok().filter(|side| (1..=MAX_SIDE).contains(side));
    match (magic.as_str(), side(&width), side(&height), levels.as_str()) {
        ("P6", Some(width), Some(height), "255") => Ok(Size { width, height }),
        _ => bail!("expected `P6 WIDTH HEIGHT 255`, got {magic:?} {width:?} {height:?} {levels:?}"),
    }
}

/// A video that is being written.
#[derive(Debug)]
pub struct Writer {
    process: Child,
    frames: Option<ChildStdin>,
}

impl Writer {
    /// Starts a video of this size and rate, in the container that its name says and the codec that ffmpeg chooses for it.
    ///
    /// # Errors
    /// When ffmpeg is not there.
    pub fn create(path: &Path, size: Size, rate: f64) -> Result<Self> {
        let mut command = Command::new(ffmpeg().get_program());
        command.args(["-hide_banner", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]);
        command.args(["-s", &size.to_string(), "-r", &rate.to_string(), "-i", "-"]);
        // What players expect; it needs even sides.
        command.args(["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"]).arg(path);
        let mut process = start({
            command.stdin(Stdio::piped()).stdout(Stdio::null());
            command
        })?;
        let frames = process.stdin.take();
        Ok(Self { process, frames })
    }

    /// Adds a frame of RGB pixels.
    ///
    /// # Errors
    /// When ffmpeg ended.
    pub fn add(&mut self, rgb: &[u8]) -> Result<()> {
        let frames = self.frames.as_mut().context("the video is finished")?;
        frames.write_all(rgb).context("ffmpeg took no more frames; it said why above")
    }

    /// Ends the video.
    ///
    /// # Errors
    /// When ffmpeg failed.
    pub fn finish(mut self) -> Result<()> {
        self.frames = None;
        let status = self.process.wait().context("ffmpeg")?;
        if !status.success() {
            bail!("ffmpeg failed ({status}) to write the video; it said why above");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_length_are_read_from_what_ffmpeg_says() {
        let text = "Input #0, mov,mp4, from 'a.mp4':\n  Duration: 00:01:02.50, start: 0.000000, bitrate: 12 kb/s\n  \
            Stream #0:0[0x1](und): Video: h264 (High), yuv420p, 64x48, 9 kb/s, 25 fps, 25 tbr, 12800 tbn (default)\n\
            At least one output file must be specified";
        assert_eq!(parse_about(text), Some(About { rate: 25.0, frames: Some(1563) }));
        let live = "Duration: N/A, bitrate: N/A\n Stream #0:0: Video: mjpeg, 64x48, 29.97 tbr\n";
        assert_eq!(parse_about(live), Some(About { rate: 29.97, frames: None }));
        assert_eq!(parse_about("a.txt: Invalid data found when processing input"), None);
    }

    #[test]
    fn frames_are_parsed_and_anything_else_is_refused() {
        let mut frame: &[u8] = b"P6\n2 1\n255\nabcdef";
        assert_eq!(header(&mut frame).unwrap(), Size { width: 2, height: 1 });
        assert_eq!(frame, b"abcdef");
        for wrong in [
            "P5\n2 1\n255\n",
            "P6\n0 1\n255\n",
            "P6\n99999 1\n255\n",
            "P6\n2 1\n65535\n",
            "",
            "P6 123456789012",
        ] {
            assert!(header(&mut wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }
}
