//! Shape rules: what an operation makes of its operands' shapes.

use super::Op;

/// Shape of the result of `op`, or what was expected of its operands.
pub(super) fn infer(op: &Op, operands: &[&[usize]]) -> Result<Vec<usize>, String> {
    match (op, operands) {
        (Op::MatMul, [left, right]) => mat_mul(left, right),
        (Op::Linear, [x, weight, bias]) => linear(x, weight, bias),
        (Op::Add | Op::Sub | Op::Mul | Op::Div, [left, right]) => broadcast(left, right),
        (Op::LayerNorm { .. }, [x, scale, bias]) => layer_norm(x, scale, bias),
        (Op::BatchNorm { .. }, [x, statistics @ ..]) if statistics.len() == 4 => batch_norm(x, statistics),
        (Op::Softmax | Op::Gelu | Op::Relu | Op::Sigmoid | Op::Tanh | Op::Exp | Op::Sqrt, [x]) => {
            Ok(x.to_vec())
        }
        (Op::Transpose { order }, [x]) => transpose(x, order),
        (Op::Reshape { shape }, [x]) => reshape(x, shape),
        (Op::Expand { shape }, [x]) => expand(x, shape),
        (Op::Concat { axis }, [first, rest @ ..]) => concat(*axis, first, rest),
        (Op::Slice { axis, start, end }, [x]) => slice(x, *axis, *start, *end),
        (Op::Mean { axis }, [x]) => mean(x, *axis),
        (Op::Conv { stride, padding }, [x, weight, bias @ ..]) if bias.len() < 2 => {
            conv(x, weight, bias.first().copied(), *stride, *padding)
        }
        (Op::ConvTranspose { stride }, [x, weight, bias]) => conv_transpose(x, weight, bias, *stride),
        (Op::ResizeBilinear { height, width }, [x]) => resize(x, *height, *width),
        _ => Err(format!("another number of operands than {}", operands.len())),
    }
}

fn require(holds: bool, expected: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(expected.to_owned()) }
}

fn mat_mul(left: &[usize], right: &[usize]) -> Result<Vec<usize>, String> {
    let rank = left.len();
    require(rank >= 2 && right.len() == rank, "two operands of the same rank, 2 or more")?;
    require(left[..rank - 2] == right[..rank - 2], "equal leading axes")?;
    require(left[rank - 1] == right[rank - 2], "columns of the first equal to rows of the second")?;
    let mut shape = left.to_vec();
    shape[rank - 1] = right[rank - 1];
    Ok(shape)
}

fn linear(x: &[usize], weight: &[usize], bias: &[usize]) -> Result<Vec<usize>, String> {
    let (&[rows, columns], &[out, inner]) = (x, weight) else {
        return Err("a matrix and a weight [out, in]".to_owned());
    };
    require(columns == inner, "as many columns as the weight has inputs")?;
    require(bias == [out], "a bias of the weight's outputs")?;
    Ok(vec![rows, out])
}

fn broadcast(left: &[usize], right: &[usize]) -> Result<Vec<usize>, String> {
    let rank = left.len().max(right.len());
    let axis = |shape: &[usize], i: usize| (i + shape.len()).checked_sub(rank).map_or(1, |at| shape[at]);
    (0..rank)
        .map(|i| match (axis(left, i), axis(right, i)) {
            (a, b) if a == b || b == 1 => Ok(a),
            (1, b) => Ok(b),
            _ => Err("axes that are equal or 1".to_owned()),
        })
        .collect()
}

fn layer_norm(x: &[usize], scale: &[usize], bias: &[usize]) -> Result<Vec<usize>, String> {
    let last = x.last().copied().ok_or("at least one axis")?;
    require(scale == [last] && bias == [last], "scale and bias of the last axis' length")?;
    Ok(x.to_vec())
}

fn batch_norm(x: &[usize], statistics: &[&[usize]]) -> Result<Vec<usize>, String> {
    let channels = x.get(1).copied().ok_or("at least two axes")?;
    require(statistics.iter().all(|shape| *shape == [channels]), "statistics of the channels' length")?;
    Ok(x.to_vec())
}

fn transpose(x: &[usize], order: &[usize]) -> Result<Vec<usize>, String> {
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    require(sorted.iter().copied().eq(0..x.len()), "an order that names each axis once")?;
    Ok(order.iter().map(|&axis| x[axis]).collect())
}

fn reshape(x: &[usize], shape: &[usize]) -> Result<Vec<usize>, String> {
    require(x.iter().product::<usize>() == shape.iter().product::<usize>(), "the same number of values")?;
    Ok(shape.to_vec())
}

fn expand(x: &[usize], shape: &[usize]) -> Result<Vec<usize>, String> {
    require(x.len() == shape.len(), "the same rank")?;
    require(x.iter().zip(shape).all(|(from, to)| from == to || *from == 1), "axes that are equal or 1")?;
    Ok(shape.to_vec())
}

fn concat(axis: usize, first: &[usize], rest: &[&[usize]]) -> Result<Vec<usize>, String> {
    require(axis < first.len(), "an axis below the rank")?;
    let others = |shape: &[usize]| -> Vec<usize> {
        shape.iter().enumerate().filter(|(i, _)| *i != axis).map(|(_, length)| *length).collect()
    };
    let fits = |shape: &&&[usize]| shape.len() == first.len() && others(shape) == others(first);
    require(rest.iter().filter(fits).count() == rest.len(), "equal lengths of the other axes")?;
    let mut shape = first.to_vec();
    shape[axis] += rest.iter().map(|other| other[axis]).sum::<usize>();
    Ok(shape)
}

fn slice(x: &[usize], axis: usize, start: usize, end: usize) -> Result<Vec<usize>, String> {
    let length = x.get(axis).copied().ok_or("an axis below the rank")?;
    require(start < end && end <= length, "a range inside the axis")?;
    let mut shape = x.to_vec();
    shape[axis] = end - start;
    Ok(shape)
}

fn mean(x: &[usize], axis: usize) -> Result<Vec<usize>, String> {
    let mut shape = x.to_vec();
    *shape.get_mut(axis).ok_or("an axis below the rank")? = 1;
    Ok(shape)
}

fn conv(
    x: &[usize],
    weight: &[usize],
    bias: Option<&[usize]>,
    stride: usize,
    padding: usize,
) -> Result<Vec<usize>, String> {
    let (&[n, channels, h, w], &[out, inner, kh, kw]) = (x, weight) else {
        return Err("x [n, in, h, w] and weight [out, in, kh, kw]".to_owned());
    };
    require(channels == inner, "as many channels as the weight has inputs")?;
    require(bias.is_none_or(|bias| bias == [out]), "a bias of the weight's outputs")?;
    require(stride > 0 && h + 2 * padding >= kh && w + 2 * padding >= kw, "a kernel inside the image")?;
    Ok(vec![n, out, (h + 2 * padding - kh) / stride + 1, (w + 2 * padding - kw) / stride + 1])
}

fn conv_transpose(
    x: &[usize],
    weight: &[usize],
    bias: &[usize],
    stride: usize,
) -> Result<Vec<usize>, String> {
    let (&[n, channels, h, w], &[inner, out, kh, kw]) = (x, weight) else {
        return Err("x [n, in, h, w] and weight [in, out, kh, kw]".to_owned());
    };
    require(channels == inner, "as many channels as the weight has inputs")?;
    require(bias == [out], "a bias of the weight's outputs")?;
    require(stride > 0 && h > 0 && w > 0, "a positive stride and size")?;
    Ok(vec![n, out, (h - 1) * stride + kh, (w - 1) * stride + kw])
}

fn resize(x: &[usize], height: usize, width: usize) -> Result<Vec<usize>, String> {
    let &[n, channels, h, w] = x else {
        return Err("x [n, channels, h, w]".to_owned());
    };
    require(h > 0 && w > 0 && height > 0 && width > 0, "sizes above zero")?;
    Ok(vec![n, channels, height, width])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Operation, operand shapes, and the shape that PyTorch gives (none where PyTorch refuses).
    type Case = (Op, &'static [&'static [usize]], Option<&'static [usize]>);

    #[test]
    fn shapes_are_those_of_pytorch() {
        let cases: &[Case] = &[
            (Op::MatMul, &[&[1, 2, 5, 4], &[1, 2, 4, 7]], Some(&[1, 2, 5, 7])),
            (Op::MatMul, &[&[5, 4], &[5, 4]], None),
            (Op::Linear, &[&[5, 4], &[7, 4], &[7]], Some(&[5, 7])),
            (Op::Linear, &[&[5, 4], &[4, 7], &[7]], None),
            (Op::Add, &[&[2, 1, 4], &[3, 1]], Some(&[2, 3, 4])),
            (Op::Add, &[&[2, 3], &[2]], None),
            (Op::Transpose { order: vec![2, 0, 1] }, &[&[2, 3, 4]], Some(&[4, 2, 3])),
            (Op::Transpose { order: vec![0, 0, 1] }, &[&[2, 3, 4]], None),
            (Op::Reshape { shape: vec![6, 4] }, &[&[2, 3, 4]], Some(&[6, 4])),
            (Op::Reshape { shape: vec![6, 5] }, &[&[2, 3, 4]], None),
            (Op::Expand { shape: vec![1, 9, 4] }, &[&[1, 1, 4]], Some(&[1, 9, 4])),
            (Op::Expand { shape: vec![1, 9, 4] }, &[&[1, 3, 4]], None),
            (Op::Concat { axis: 1 }, &[&[1, 8, 4], &[1, 6, 4]], Some(&[1, 14, 4])),
            (Op::Concat { axis: 1 }, &[&[1, 8, 4], &[1, 6, 5]], None),
            (Op::Slice { axis: 1, start: 8, end: 14 }, &[&[1, 14, 4]], Some(&[1, 6, 4])),
            (Op::Slice { axis: 1, start: 8, end: 15 }, &[&[1, 14, 4]], None),
            (Op::Mean { axis: 1 }, &[&[1, 8, 4]], Some(&[1, 1, 4])),
            (
                Op::Conv { stride: 16, padding: 0 },
                &[&[1, 3, 32, 48], &[6, 3, 16, 16], &[6]],
                Some(&[1, 6, 2, 3]),
            ),
            (Op::Conv { stride: 2, padding: 1 }, &[&[1, 3, 5, 8], &[6, 3, 3, 3]], Some(&[1, 6, 3, 4])),
            (Op::Conv { stride: 1, padding: 0 }, &[&[1, 3, 2, 2], &[6, 3, 3, 3]], None),
            (Op::ConvTranspose { stride: 4 }, &[&[1, 3, 5, 7], &[3, 6, 4, 4], &[6]], Some(&[1, 6, 20, 28])),
            (Op::ResizeBilinear { height: 9, width: 7 }, &[&[1, 3, 5, 8]], Some(&[1, 3, 9, 7])),
            (Op::LayerNorm { epsilon: 1e-6 }, &[&[5, 4], &[4], &[5]], None),
            (Op::Relu, &[&[1], &[1]], None),
        ];
        for (op, operands, expected) in cases {
            assert_eq!(infer(op, operands).ok().as_deref(), *expected, "{op:?} of {operands:?}");
        }
    }
}
