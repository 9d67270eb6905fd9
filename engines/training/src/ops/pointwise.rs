//! Operations number by number.

use std::borrow::Cow;

use network::graph::Op;

use super::{Call, Operand, arrange};
use crate::lanes;

/// The operand as large as the result.
fn spread<'a>(call: &Call<'_>, operand: &Operand<'a>) -> Cow<'a, [f32]> {
    if fills(call, operand) {
        Cow::Borrowed(operand.values)
    } else {
        Cow::Owned(arrange::expand(call, operand))
    }
}

fn fills(call: &Call<'_>, operand: &Operand<'_>) -> bool {
    operand.values.len() == call.samples * call.len()
}

pub(super) fn binary(call: &Call<'_>, f: impl Fn(f32, f32) -> f32) -> Vec<f32> {
    let (left, right) = (spread(call, &call.operands[0]), spread(call, &call.operands[1]));
    left.iter().zip(right.iter()).map(|(a, b)| f(*a, *b)).collect()
}

pub(super) fn binary_backward(
    call: &Call<'_>,
    index: usize,
    result: &[f32],
    gradient: &[f32],
    into: &mut [f32],
) {
    let other = || spread(call, &call.operands[1 - index]);
    let with = |factor: &[f32], f: fn(f32, f32) -> f32| -> Vec<f32> {
        gradient.iter().zip(factor).map(|(g, x)| f(*g, *x)).collect()
    };
    let full: Cow<'_, [f32]> = match (call.op, index) {
        (Op::Sub, 1) => gradient.iter().map(|g| -g).collect(),
        (Op::Mul, _) => with(&other(), |g, x| g * x).into(),
        (Op::Div, 0) => with(&other(), |g, x| g / x).into(),
        (Op::Div, _) => {
            let quotient = with(result, |g, x| -g * x);
            let divisor = spread(call, &call.operands[1]);
            quotient.iter().zip(divisor.iter()).map(|(g, x)| g / x).collect()
        }
        _ => Cow::Borrowed(gradient),
    };
    if fills(call, &call.operands[index]) {
        lanes::add(into, &full);
    } else {
        arrange::collapse(call, &call.operands[index], &full, into);
    }
}

pub(super) fn unary(op: &Op, x: &[f32]) -> Vec<f32> {
    match op {
        Op::Gelu => x.iter().map(|x| x * lanes::normal(*x).1).collect(),
        Op::Relu => x.iter().map(|x| x.max(0.0)).collect(),
        Op::Sigmoid => x.iter().map(|x| 1.0 / (1.0 + lanes::exp(-x))).collect(),
        Op::Tanh => x.iter().map(|x| x.tanh()).collect(),
        Op::Sqrt => x.iter().map(|x| x.sqrt()).collect(),
        _ => x.iter().map(|x| lanes::exp(*x)).collect(),
    }
}

pub(super) fn unary_backward(op: &Op, x: &[f32], result: &[f32], gradient: &[f32], into: &mut [f32]) {
    let mut each = |slope: fn(f32, f32) -> f32| {
        for (((into, g), x), y) in into.iter_mut().zip(gradient).zip(x).zip(result) {
            *into += g * slope(*x, *y);
        }
    };
    match op {
        Op::Gelu => each(|x, _| {
            let (density, integral) = lanes::normal(x);
            integral + x * density
        }),
        Op::Relu => each(|_, y| if y > 0.0 { 1.0 } else { 0.0 }),
        Op::Sigmoid => each(|_, y| y * (1.0 - y)),
        Op::Tanh => each(|_, y| 1.0 - y * y),
        // As PyTorch: infinite at zero.
        Op::Sqrt => each(|_, y| 0.5 / y),
        _ => each(|_, y| y),
    }
}
