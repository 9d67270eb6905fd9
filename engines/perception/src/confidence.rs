//! How sure a head is.

use calibration::Size;

/// How sure a head is of each pixel's depth: 0 (not at all) to 1, row by row; NaN where it does not say.
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
    pub fn new(size: Size, values: Vec<f32>) -> Result<Self, String> {
        let mut map = Self::unknown(size);
        map.refill(&values)?;
        Ok(map)
    }

    /// A map that says nothing yet.
    pub(crate) fn unknown(size: Size) -> Self {
        Self { size, values: vec![f32::NAN; size.area()] }
    }

    /// Replaces all values, as [`ConfidenceMap::new`] takes them, without allocating.
    pub(crate) fn refill(&mut self, values: &[f32]) -> Result<(), String> {
        let size = self.size;
        if values.len() != size.area() {
            return Err(format!("expected {} confidences for {size}, got {}", size.area(), values.len()));
        }
        let share = |value: f32| if (0.0..=1.0).contains(&value) { value } else { f32::NAN };
        self.values.iter_mut().zip(values).for_each(|(into, value)| *into = share(*value));
        Ok(())
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
