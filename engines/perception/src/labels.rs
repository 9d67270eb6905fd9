//! Which class every pixel belongs to.

use calibration::Size;

/// The class of every pixel, row by row: label k is the head's k-th class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelMap {
    size: Size,
    labels: Vec<u16>,
}

impl LabelMap {
    /// A map of the first class everywhere.
    pub fn first(size: Size) -> Self {
        Self { size, labels: vec![0; size.area()] }
    }

    /// Each pixel's class of the largest of its logits, which lie class after class, row by row; the first of equals, and NaN is never
    /// the largest. `largest` is scratch memory.
    ///
    /// # Errors
    /// When there are no logits, or not as many for each class as pixels.
    pub fn decode(&mut self, logits: &[f32], largest: &mut Vec<f32>) -> Result<(), String> {
        let area = self.size.area();
        if logits.is_empty() || area == 0 || !logits.len().is_multiple_of(area) {
            return Err(format!("expected logits for {} pixels, got {} numbers", area, logits.len()));
        }
        self.labels.fill(0);
        largest.clear();
        largest.resize(area, f32::NEG_INFINITY);
        for (class, plane) in logits.chunks_exact(area).enumerate() {
            for ((label, best), logit) in self.labels.iter_mut().zip(largest.iter_mut()).zip(plane) {
                if *logit > *best {
                    (*label, *best) = (class as u16, *logit);
                }
            }
        }
        Ok(())
    }

    /// Size in pixels.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Labels, row by row.
    pub fn labels(&self) -> &[u16] {
        &self.labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_logit_names_the_class() {
        let mut map = LabelMap::first(Size { width: 2, height: 2 });
        let logits = [[-1.0, 3.0, 0.0, f32::NAN], [-2.0, 4.0, 0.0, f32::NAN], [-3.0, 3.5, f32::NAN, -9.0]];
        map.decode(&logits.concat(), &mut Vec::new()).unwrap();
        assert_eq!(map.labels(), [0, 1, 0, 2]);
        assert!(map.decode(&logits.concat()[1..], &mut Vec::new()).is_err());
        assert!(map.decode(&[], &mut Vec::new()).is_err());
    }
}
