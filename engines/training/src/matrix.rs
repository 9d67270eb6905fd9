//! Products of row-major matrices, through nalgebra's safe face of `matrixmultiply`.

use nalgebra::{DMatrixView, DMatrixViewMut, Dyn};

/// Up to this side nalgebra does not call `matrixmultiply` but a loop of its own, which in 0.35.0 counts a strided column's
/// elements by the length of the memory that it spans and writes out of bounds (`axcpy_uninit`).
const FEW: usize = 5;

/// A matrix in a slice, by strides.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows one after another.
    pub(crate) fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self { values, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The first `columns` of rows that lie `row_stride` apart.
    pub(crate) fn strided(values: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self { values, rows, columns, row_stride, column_stride: 1 }
    }

    /// Rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    fn view(&self) -> DMatrixView<'a, f32, Dyn, Dyn> {
        DMatrixView::from_slice_with_strides(
            self.values,
            self.rows,
            self.columns,
            self.row_stride,
            self.column_stride,
        )
    }
}

/// A row-major matrix to write to, whose rows lie `row_stride` apart.
pub(crate) struct MatrixMut<'a> {
    values: &'a mut [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
}

impl<'a> MatrixMut<'a> {
    /// Rows one after another.
    pub(crate) fn new(values: &'a mut [f32], rows: usize, columns: usize) -> Self {
        Self { values, rows, columns, row_stride: columns }
    }

    /// The first `columns` of rows that lie `row_stride` apart.
    pub(crate) fn strided(values: &'a mut [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self { values, rows, columns, row_stride }
    }

    /// Writes the product, or adds it to what is there.
    pub(crate) fn multiply(self, left: Matrix<'_>, right: Matrix<'_>, accumulate: bool) {
        debug_assert_eq!(
            (self.rows, self.columns, left.columns),
            (left.rows, right.columns, right.rows),
            "matrices that do not fit"
        );
        if [self.rows, self.columns, left.columns].iter().any(|side| *side <= FEW) {
            return self.multiply_few(left, right, accumulate);
        }
        let beta = if accumulate { 1.0 } else { 0.0 };
        let mut out: DMatrixViewMut<'_, f32, Dyn, Dyn> = DMatrixViewMut::from_slice_with_strides_mut(
            self.values,
            self.rows,
            self.columns,
            self.row_stride,
            1,
        );
        out.gemm(1.0, &left.view(), &right.view(), beta);
    }

    /// Row by row, each the sum of the right rows.
    fn multiply_few(self, left: Matrix<'_>, right: Matrix<'_>, accumulate: bool) {
        for row in 0..self.rows {
            let out = &mut self.values[row * self.row_stride..][..self.columns];
            if !accumulate {
                out.fill(0.0);
            }
            for inner in 0..left.columns {
                let factor = left.values[row * left.row_stride + inner * left.column_stride];
                let terms = right.values[inner * right.row_stride..].iter().step_by(right.column_stride);
                out.iter_mut().zip(terms).for_each(|(out, term)| *out += factor * term);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiplies_transposed_and_strided() {
        let left: Vec<f32> = (0..6).map(|i| i as f32).collect();
        let right: Vec<f32> = (0..12).map(|i| i as f32 * 0.5).collect();
        // [2, 3] x [3, 4], by hand.
        let expected = [10.0, 11.5, 13.0, 14.5, 28.0, 34.0, 40.0, 46.0];
        let mut out = [1.0_f32; 8];
        MatrixMut::new(&mut out, 2, 4).multiply(Matrix::new(&left, 2, 3), Matrix::new(&right, 3, 4), false);
        assert_eq!(out, expected);
        let mut turned = [0.0_f32; 8];
        MatrixMut::new(&mut turned, 4, 2).multiply(
            Matrix::new(&right, 3, 4).transposed(),
            Matrix::new(&left, 2, 3).transposed(),
            false,
        );
        assert_eq!(turned, [10.0, 28.0, 11.5, 34.0, 13.0, 40.0, 14.5, 46.0]);
        let tall: Vec<f32> = (0..80).map(|i| (i % 7) as f32).collect();
        let mut large = [0.0_f32; 64];
        MatrixMut::new(&mut large, 8, 8).multiply(
            Matrix::new(&tall, 10, 8).transposed(),
            Matrix::new(&tall, 10, 8),
            false,
        );
        let by_hand: f32 = (0..10).map(|k| tall[8 * k + 2] * tall[8 * k + 5]).sum();
        assert_eq!(large[2 * 8 + 5], by_hand);
        MatrixMut::strided(&mut out, 2, 2, 4).multiply(
            Matrix::new(&left, 2, 3),
            Matrix::strided(&right, 3, 2, 4),
            true,
        );
        assert_eq!(out, [20.0, 23.0, 13.0, 14.5, 56.0, 68.0, 40.0, 46.0]);
    }
}
