//! Pictures of depth, for people.

use crate::confidence::ConfidenceMap;
use crate::depth::DepthMap;
use crate::labels::LabelMap;

/// The range of known depths that a picture shows: from the 2nd to the 98th percentile, metres.
pub fn shown_range(depth: &DepthMap) -> [f32; 2] {
    let near = depth.quantile_meters(0.02).unwrap_or(0.0);
    [near, depth.quantile_meters(0.98).unwrap_or(0.0).max(near + 1e-3)]
}

/// A depth map in colour: RGB, near is warm, far is cold, unknown is black. The range shown is that of [`shown_range`] and is
/// returned in metres.
pub fn depth_in_colour(depth: &DepthMap) -> (Vec<u8>, [f32; 2]) {
    let shown = shown_range(depth);
    (depth_in_colour_between(depth, shown), shown)
}

/// As [`depth_in_colour`], with the nearest and the farthest distance shown, metres, for pictures that are to be compared.
pub fn depth_in_colour_between(depth: &DepthMap, [near, far]: [f32; 2]) -> Vec<u8> {
    let colour = |meters: f32| {
        if meters.is_finite() { turbo(((far - meters) / (far - near)).clamp(0.0, 1.0)) } else { [0; 3] }
    };
    depth.meters().iter().flat_map(|meters| colour(*meters)).collect()
}

/// A confidence map in colour: RGB, 0 is blue, 1 red, not told is black.
pub fn confidence_in_colour(confidence: &ConfidenceMap) -> Vec<u8> {
    let colour = |share: &f32| if share.is_nan() { [0; 3] } else { turbo(*share) };
    confidence.values().iter().flat_map(colour).collect()
}

/// Labels in colour, RGB, over the picture that they belong to: half of each, where there is a picture of their size.
pub fn labels_in_colour(labels: &LabelMap, rgb: &[u8]) -> Vec<u8> {
    let pixels = rgb.as_chunks::<3>().0;
    let colour = |(index, label): (usize, &u16)| {
        let own = label_colour(*label);
        pixels.get(index).map_or(own, |under| {
            std::array::from_fn(|channel| ((u16::from(own[channel]) + u16::from(under[channel])) / 2) as u8)
        })
    };
    labels.labels().iter().enumerate().flat_map(colour).collect()
}

/// A label's colour, that of the PASCAL VOC toolkit: the bits of the label dealt out to the channels, highest first; 0 is black.
pub fn label_colour(label: u16) -> [u8; 3] {
    let mut colour = [0_u8; 3];
    for bit in 0..8_u32 {
        for (channel, value) in colour.iter_mut().enumerate() {
            let is_set = (u32::from(label) >> (3 * bit + channel as u32)) & 1;
            *value |= (is_set as u8) << (7 - bit);
        }
    }
    colour
}

/// Google's Turbo colour map by its published polynomial (Anton Mikhailov, Ruofei Du, 2019; Apache-2.0); 0 is blue, 1 red.
pub fn turbo(x: f32) -> [u8; 3] {
    let powers = [1.0, x, x * x, x.powi(3), x.powi(4), x.powi(5)];
    let channel = |coefficients: [f32; 6]| {
        let value: f32 = coefficients.iter().zip(powers).map(|(c, p)| c * p).sum();
        (value.clamp(0.0, 1.0) * 255.0).round() as u8
    };
    [
        channel([0.135_721_38, 4.615_392_6, -42.660_323, 132.131_08, -152.942_4, 59.286_38]),
        channel([0.091_402_61, 2.194_188_4, 4.842_966_6, -14.185_034, 4.277_298_6, 2.829_566]),
        channel([0.106_673_3, 12.641_946, -60.582_05, 110.362_77, -89.903_11, 27.348_25]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::depth::{DepthRange, FarPolicy};
    use calibration::Size;

    /// The first colours of VOC's own map (its development kit's VOClabelcolormap), and its last.
    #[test]
    fn labels_have_the_colours_of_pascal_voc() {
        let known = [(0, [0, 0, 0]), (1, [128, 0, 0]), (2, [0, 128, 0]), (3, [128, 128, 0]), (8, [64, 0, 0])];
        for (label, colour) in known.into_iter().chain([(15, [192, 128, 128]), (255, [224, 224, 192])]) {
            assert_eq!(label_colour(label), colour, "{label}");
        }
    }

    #[test]
    fn near_is_warm_far_is_cold_unknown_is_black() {
        let range = DepthRange { min_meters: 0.1, max_meters: 100.0 };
        let (size, meters) = (Size { width: 4, height: 1 }, vec![1.0, 7.0, 9.0, f32::NAN]);
        let map = DepthMap::new(size, meters, range, FarPolicy::Nan).unwrap();
        let (rgb, shown) = depth_in_colour(&map);
        assert_eq!(shown, [1.0, 9.0]);
        assert!(rgb[0] > rgb[2], "near: {rgb:?}");
        assert!(rgb[5] > rgb[3], "far: {rgb:?}");
        assert_eq!(rgb[9..], [0, 0, 0]);
    }
}
