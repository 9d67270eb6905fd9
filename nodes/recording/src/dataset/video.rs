//! H.264 in and out, with a key frame every other frame: training reads frames at random.

use calibration::Size;
use openh264::OpenH264API;
use openh264::decoder::Decoder;
use openh264::encoder::{
    Encoder, EncoderConfig, FrameRate, IntraFramePeriod, QpRange, RateControlMode, UsageType, VuiConfig,
};
use openh264::formats::{YUVBuffer, YUVSource};

use super::yuv;

/// Frames from one key frame to the next, as LeRobot's encoders are set.
pub(super) const KEY_FRAME_EVERY: u32 = 2;

/// Encodes the frames of one episode of one camera.
pub(super) struct VideoEncoder {
    encoder: Encoder,
    size: Size,
}

impl VideoEncoder {
    pub(super) fn new(size: Size, fps: u32) -> Result<Self, String> {
        let config = EncoderConfig::new()
            .usage_type(UsageType::CameraVideoRealTime)
            // Frame k of the file is row k of the table: none may be skipped.
            .skip_frames(false)
            .rate_control_mode(RateControlMode::Off)
            .qp(QpRange::new(18, 28))
            .max_frame_rate(FrameRate::from_hz(fps as f32))
            .intra_frame_period(IntraFramePeriod::from_num_frames(KEY_FRAME_EVERY))
            .scene_change_detect(false)
            .num_threads(1)
            .vui(VuiConfig::bt601());
        let encoder = Encoder::with_api_config(OpenH264API::from_source(), config);
        Ok(Self { encoder: encoder.map_err(|error| error.to_string())?, size })
    }

    /// Encodes one frame of `3 * width * height` bytes.
    pub(super) fn encode(&mut self, rgb: &[u8]) -> Result<Vec<u8>, String> {
        let Size { width, height } = self.size;
        if rgb.len() != 3 * width * height {
            return Err(format!("expected {} bytes of RGB, got {}", 3 * width * height, rgb.len()));
        }
        let yuv = YUVBuffer::from_vec(yuv::from_rgb(self.size, rgb), width, height);
        let unit = self.encoder.encode(&yuv).map_err(|error| error.to_string())?.to_vec();
        if unit.is_empty() {
            return Err("the encoder gave no frame".to_owned());
        }
        Ok(unit)
    }
}

/// Decodes frames in their order, from a key frame on.
pub(super) struct FrameDecoder(Decoder);

impl FrameDecoder {
    pub(super) fn new() -> Result<Self, String> {
        Ok(Self(Decoder::new().map_err(|error| error.to_string())?))
    }

    /// The next frame as RGB.
    pub(super) fn decode(&mut self, unit: &[u8]) -> Result<(Size, Vec<u8>), String> {
        let decoded = self.0.decode(unit).map_err(|error| error.to_string())?;
        let yuv = decoded.ok_or("the decoder gave no frame")?;
        let (width, height) = yuv.dimensions();
        let (size, (luma, cb, cr)) = (Size { width, height }, yuv.strides());
        Ok((size, yuv::to_rgb(size, [(yuv.y(), luma), (yuv.u(), cb), (yuv.v(), cr)])))
    }
}

/// Decodes a key frame and those behind it; gives the last one as RGB.
pub(super) fn decode_last(units: &[Vec<u8>]) -> Result<(Size, Vec<u8>), String> {
    let mut decoder = FrameDecoder::new()?;
    let mut last = Err("no frame to decode".to_owned());
    for unit in units {
        last = Ok(decoder.decode(unit)?);
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::mp4::{Mp4Track, Mp4Writer};

    /// A grey ramp with a bright square that moves.
    fn picture(size: Size, step: usize) -> Vec<u8> {
        let mut pixels = Vec::new();
        for y in 0..size.height {
            for x in 0..size.width {
                let inside = x.abs_diff(10 + 4 * step) < 8 && y.abs_diff(20) < 8;
                pixels.extend(if inside { [230, 40, 40] } else { [(x * 2) as u8, (y * 3) as u8, 90] });
            }
        }
        pixels
    }

    #[test]
    fn every_frame_comes_back_from_the_file_at_its_place() {
        let (size, folder) = (Size { width: 96, height: 64 }, tempfile::tempdir().unwrap());
        let path = folder.path().join("x.mp4");
        let mut encoder = VideoEncoder::new(size, 30).unwrap();
        let mut writer = Mp4Writer::create(&path, size, 30).unwrap();
        for step in 0..15 {
            writer.write(&encoder.encode(&picture(size, step)).unwrap()).unwrap();
        }
        assert_eq!(writer.finish().unwrap(), 15);
        let track = Mp4Track::open(&path).unwrap();
        assert_eq!((track.frames(), track.timescale, track.constant_ticks), (15, 15360, Some(512)));
        assert_eq!((track.size, track.codec.as_str()), (size, "avc1"));
        for step in [0, 1, 7, 14] {
            let units = track.access_units(&path, step).unwrap();
            assert!(units.len() <= KEY_FRAME_EVERY as usize, "{} frames to decode for one", units.len());
            let (decoded, rgb) = decode_last(&units).unwrap();
            assert_eq!(decoded, size);
            let original = picture(size, step);
            let error = rgb.iter().zip(&original).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>();
            assert!(error / (rgb.len() as f64) < 6.0, "mean error {}", error / rgb.len() as f64);
            for channel in 0..3 {
                let of = |picture: &[u8]| {
                    picture.iter().skip(channel).step_by(3).map(|value| f64::from(*value)).sum::<f64>()
                };
                let darker = (of(&original) - of(&rgb)) / (size.width * size.height) as f64;
                assert!(darker.abs() < 1.0, "frame {step}: channel {channel} is {darker} too dark");
            }
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let (size, folder) = (Size { width: 32, height: 32 }, tempfile::tempdir().unwrap());
        let path = folder.path().join("x.mp4");
        let mut encoder = VideoEncoder::new(size, 10).unwrap();
        let mut writer = Mp4Writer::create(&path, size, 10).unwrap();
        for step in 0..4 {
            writer.write(&encoder.encode(&picture(size, step)).unwrap()).unwrap();
        }
        writer.finish().unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(Mp4Track::open(&path).is_err(), "{length} of {}", whole.len());
        }
    }
}
