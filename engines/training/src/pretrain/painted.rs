//! What the network makes of masked images, as pictures.

use network::Architecture;

use super::{Colours, Masked};
use crate::loss::normalisation;
use crate::step::Part;
use crate::{Mode, Parameters, Program, TrainingError};

/// One image three times: as it is, as the encoder sees it (masked patches grey), and painted. RGB rows of `side` pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Painting {
    /// As it is.
    pub original: Vec<u8>,
    /// As the encoder sees it.
    pub seen: Vec<u8>,
    /// Seen patches as they are, masked ones as the decoder paints them, with the brightness and contrast of the original patch,
    /// which the loss does not ask for.
    pub painted: Vec<u8>,
}

/// Grey of a masked patch.
const MASKED: u8 = 128;

/// Runs the network on masked images; returns each image's painting and the mean loss.
///
/// # Errors
/// When images and network do not fit together.
pub fn paint(
    program: &Program,
    parameters: &Parameters,
    images: &Masked,
    architecture: &Architecture,
    colours: &Colours,
) -> Result<(Vec<Painting>, f64), TrainingError> {
    let trace = program.forward(parameters, &images.inputs(), images.samples(), Mode::Inference)?;
    let pixels = program.output(&trace, 0);
    let (patch, grid) = (architecture.patch, architecture.grid);
    let (len, count) = (3 * patch * patch, grid * grid);
    let side = patch * grid;
    let blank = || vec![MASKED; 3 * side * side];
    let mut paintings = Vec::with_capacity(images.samples());
    for ((pixels, target), masked) in pixels
        .chunks_exact(len * count)
        .zip(images.target().chunks_exact(len * count))
        .zip(images.masked().chunks_exact(count))
    {
        let mut painting = Painting { original: blank(), seen: blank(), painted: blank() };
        for at in 0..count {
            let (pixels, target) = (&pixels[at * len..][..len], &target[at * len..][..len]);
            let (mean, inverse) = normalisation(target);
            let own: Vec<f32> = pixels.iter().map(|pixel| pixel / inverse + mean).collect();
            let place = (at / grid * patch * side + at % grid * patch, side, patch);
            put(&mut painting.original, place, target, colours);
            if masked[at] == 0.0 {
                put(&mut painting.seen, place, target, colours);
                put(&mut painting.painted, place, target, colours);
            } else {
                put(&mut painting.painted, place, &own, colours);
            }
        }
        paintings.push(painting);
    }
    Ok((paintings, images.compare(pixels).loss.value))
}

/// Writes a patch, channels last, at (first pixel, row length, side of the patch).
fn put(picture: &mut [u8], (start, side, patch): (usize, usize, usize), values: &[f32], colours: &Colours) {
    for (y, row) in values.chunks_exact(3 * patch).enumerate() {
        let picture = &mut picture[3 * (start + y * side)..][..3 * patch];
        for (at, (pixel, value)) in picture.iter_mut().zip(row).enumerate() {
            let (mean, std) = (colours.mean[at % 3], colours.std[at % 3]);
            *pixel = (255.0 * (value * std + mean)).round().clamp(0.0, 255.0) as u8;
        }
    }
}
