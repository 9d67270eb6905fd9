//! The camera's frames: a photograph of a size, as the serialised message that a driver sends.

use anyhow::{Context, Result, ensure};
use calibration::Size;
use image::RgbImage;
use image::imageops::{FilterType, grayscale, resize};
use perception::Stamp;
use wire::{Header, Written};

use crate::photographs;

/// Encodings of the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Encoding {
    Rgb8,
    Bgr8,
    Mono8,
}

impl Encoding {
    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rgb8 => "rgb8",
            Self::Bgr8 => "bgr8",
            Self::Mono8 => "mono8",
        }
    }
}

/// The largest side of a frame, in pixels.
const LARGEST_SIDE: usize = 16_384;

/// A camera's frames, serialised `sensor_msgs/Image`; all show the same photograph.
pub struct Frames {
    size: Size,
    encoding: Encoding,
    pixels: Vec<u8>,
    message: Written,
}

impl Frames {
    /// Frames of a size.
    ///
    /// # Errors
    /// A size that no camera has.
    pub fn new(size: Size, encoding: Encoding) -> Result<Self> {
        let sides = 1..=LARGEST_SIDE;
        ensure!(
            sides.contains(&size.width) && sides.contains(&size.height),
            "--frame: expected sides of 1 to {LARGEST_SIDE} pixels, got {size}"
        );
        let photograph = photographs::built_in()?.into_iter().next().context("the tool has no photograph")?;
        let (width, height) = (photograph.size.width as u32, photograph.size.height as u32);
        let photograph =
            RgbImage::from_raw(width, height, photograph.rgb).context("a photograph of another size")?;
        let rgb = resize(&photograph, size.width as u32, size.height as u32, FilterType::Triangle);
        let pixels = match encoding {
            Encoding::Rgb8 => rgb.into_raw(),
            Encoding::Bgr8 => rgb.pixels().flat_map(|pixel| [pixel[2], pixel[1], pixel[0]]).collect(),
            Encoding::Mono8 => grayscale(&rgb).into_raw(),
        };
        Ok(Self { size, encoding, pixels, message: Written::default() })
    }

    /// The message of the frame with this stamp.
    pub fn message(&mut self, stamp: Stamp) -> &[u8] {
        let header = Header { stamp, frame_id: "camera_optical_frame" };
        let step = self.pixels.len() / self.size.height;
        self.message.image(header, self.size, self.encoding.name(), step).copy_from_slice(&self.pixels);
        self.message.bytes()
    }
}
