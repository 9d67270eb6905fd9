//! How sure a head is.

use calibration::Size;

/// How sure a head is of each pixel's depth: 0 (not at all) to 1, row by row; NaN where it does not say.
///
/// No head of a bundle has one yet; the type is what such a head will fill.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfidenceMap {
    size: Size,
    values: Vec<f32>,
}

impl ConfidenceMap {
    /// A map of a head's output; values outside 0 to 1 become NaN.
    ///
    /// # Errors
    /// When there are not as many values as pixels.
    pub fn new(size: Size, mut values: Vec<f32>) -> Result<Self, String> {
        if values.len() != size.area() {
            return Err(format!("expected {} confidences for {size}, got {}", size.area(), values.len()));
        }
        values.iter_mut().filter(|share| !(0.0..=1.0).contains(*share)).for_each(|share| *share = f32::NAN);
        Ok(Self { size, values })
    }

    /// Size in pixels.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Confidences from 0 to 1, row by row; NaN where the head does not say.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_share_is_unknown() {
        let map = ConfidenceMap::new(Size { width: 4, height: 1 }, vec![0.0, 1.0, 1.1, f32::NAN]).unwrap();
        assert_eq!(map.values()[..2], [0.0, 1.0]);
        assert!(map.values()[2..].iter().all(|share| share.is_nan()));
        assert!(ConfidenceMap::new(Size { width: 4, height: 1 }, vec![0.0]).is_err());
    }
}
