//! Where a tool may be.

use nalgebra::{Point3, Vector3};

/// A box along the axes of a link's frame, metres, that a tool must stay in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkspaceBox {
    lowest: Point3<f64>,
    highest: Point3<f64>,
}

/// A workspace was refused, or left.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WorkspaceError {
    /// Corners that make no box.
    #[error("workspace {axis}: expected finite lowest < highest in metres, got {lowest} and {highest}")]
    Corners {
        /// Axis.
        axis: char,
        /// Its lower end.
        lowest: f64,
        /// Its upper end.
        highest: f64,
    },
    /// A point outside.
    #[error("{axis} = {came} m leaves the workspace of {lowest} to {highest} m")]
    Left {
        /// Axis.
        axis: char,
        /// The point's coordinate.
        came: f64,
        /// Lower end.
        lowest: f64,
        /// Upper end.
        highest: f64,
    },
}

impl WorkspaceBox {
    /// A box between two corners.
    ///
    /// # Errors
    /// When a corner is not finite, or the box is empty along an axis.
    pub fn new(lowest: [f64; 3], highest: [f64; 3]) -> Result<Self, WorkspaceError> {
        for (axis, (lowest, highest)) in ['x', 'y', 'z'].into_iter().zip(lowest.into_iter().zip(highest)) {
            if !(lowest.is_finite() && highest.is_finite() && lowest < highest) {
                return Err(WorkspaceError::Corners { axis, lowest, highest });
            }
        }
        Ok(Self { lowest: Point3::from(lowest), highest: Point3::from(highest) })
    }

    /// Checks that a point lies in the box.
    ///
    /// # Errors
    /// The first axis along which it lies outside, or is not a number.
    pub fn check(&self, point: &Vector3<f64>) -> Result<(), WorkspaceError> {
        for (at, axis) in ['x', 'y', 'z'].into_iter().enumerate() {
            let (came, lowest, highest) = (point[at], self.lowest[at], self.highest[at]);
            if !(lowest..=highest).contains(&came) {
                return Err(WorkspaceError::Left { axis, came, lowest, highest });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_outside_names_its_axis() {
        let space = WorkspaceBox::new([-0.5, -0.5, 0.0], [0.5, 0.5, 0.8]).unwrap();
        assert_eq!(space.check(&Vector3::new(0.5, 0.0, 0.0)), Ok(()));
        let error = space.check(&Vector3::new(0.0, 0.0, 0.9)).unwrap_err().to_string();
        assert_eq!(error, "z = 0.9 m leaves the workspace of 0 to 0.8 m");
        assert!(space.check(&Vector3::new(f64::NAN, 0.0, 0.1)).is_err());
        assert!(WorkspaceBox::new([0.0; 3], [1.0, 0.0, 1.0]).is_err());
        assert!(WorkspaceBox::new([f64::NAN; 3], [1.0; 3]).is_err());
    }
}
