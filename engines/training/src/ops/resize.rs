//! Bilinear resize with the corners kept.

use super::Call;

/// First source index, second source index, and the second one's weight, of each place of an axis.
fn taps(outputs: usize, inputs: usize) -> Vec<(usize, usize, f32)> {
    let scale = if outputs > 1 { (inputs - 1) as f32 / (outputs - 1) as f32 } else { 0.0 };
    (0..outputs)
        .map(|index| {
            let at = index as f32 * scale;
            let first = (at as usize).min(inputs - 1);
            (first, (first + 1).min(inputs - 1), at - first as f32)
        })
        .collect()
}

struct Axes {
    rows: Vec<(usize, usize, f32)>,
    columns: Vec<(usize, usize, f32)>,
    width: usize,
    len: usize,
}

fn axes(call: &Call<'_>) -> Axes {
    let (from, to) = (call.operands[0].shape, call.shape);
    Axes { rows: taps(to[2], from[2]), columns: taps(to[3], from[3]), width: from[3], len: from[2] * from[3] }
}

pub(super) fn forward(call: &Call<'_>) -> Vec<f32> {
    let axes = axes(call);
    let mut out = Vec::with_capacity(call.samples * call.len());
    let mut line = vec![0.0; axes.width];
    for image in call.operands[0].values.chunks_exact(axes.len) {
        for &(top, bottom, weight) in &axes.rows {
            let (upper, lower) = (&image[top * axes.width..], &image[bottom * axes.width..]);
            for ((line, a), b) in line.iter_mut().zip(upper).zip(lower) {
                *line = a + weight * (b - a);
            }
            out.extend(
                axes.columns
                    .iter()
                    .map(|&(left, right, weight)| line[left] + weight * (line[right] - line[left])),
            );
        }
    }
    out
}

pub(super) fn backward(call: &Call<'_>, gradient: &[f32], into: &mut [f32]) {
    let axes = axes(call);
    let mut line = vec![0.0; axes.width];
    let plane = axes.rows.len() * axes.columns.len();
    for (image, gradient) in into.chunks_exact_mut(axes.len).zip(gradient.chunks_exact(plane)) {
        for (&(top, bottom, weight), gradient) in
            axes.rows.iter().zip(gradient.chunks_exact(axes.columns.len()))
        {
            line.fill(0.0);
            for (&(left, right, weight), g) in axes.columns.iter().zip(gradient) {
                line[left] += (1.0 - weight) * g;
                line[right] += weight * g;
            }
            let width = axes.width;
            image[top * width..].iter_mut().zip(&line).for_each(|(into, g)| *into += (1.0 - weight) * g);
            image[bottom * width..].iter_mut().zip(&line).for_each(|(into, g)| *into += weight * g);
        }
    }
}
