//! The parameters that pre-training begins with, as the official code draws them.

use network::Architecture;
use network::modules::pretraining::Decoder;

use crate::{Numbers, Parameters};

/// Deviation of tokens and position embeddings.
const TOKENS: f64 = 0.02;

/// Streams of random numbers.
const INITIAL: u64 = 11;

/// Encoder (below `encoder.`) and decoder (below `pretraining.`): weights uniform after Glorot and Bengio 2010, biases 0, scales
/// 1, tokens and positions normal with deviation 0.02.
pub fn initial(architecture: &Architecture, decoder: &Decoder, seed: u64) -> Parameters {
    let encoder = architecture.tensors().into_iter().map(|(name, shape)| (format!("encoder.{name}"), shape));
    let tensors = decoder.tensors(architecture).into_iter();
    let decoder = tensors.map(|(name, shape)| (format!("pretraining.{name}"), shape));
    let mut parameters = Parameters::default();
    for (index, (name, shape)) in encoder.chain(decoder).enumerate() {
        let values = draw(&name, &shape, &mut Numbers::of(seed, &[INITIAL, index as u64]));
        parameters.insert(name, shape, values);
    }
    parameters
}

fn draw(name: &str, shape: &[usize], numbers: &mut Numbers) -> Vec<f32> {
    let count = shape.iter().product();
    match shape {
        [_] => vec![if name.contains("norm") && name.ends_with("weight") { 1.0 } else { 0.0 }; count],
        [_, _, _] => (0..count).map(|_| cut_normal(numbers) as f32).collect(),
        [outer, ..] => {
            let inner = count / outer.max(&1);
            let most = (6.0 / (inner + outer) as f64).sqrt();
            (0..count).map(|_| numbers.between(-most, most) as f32).collect()
        }
        [] => vec![0.0],
    }
}

/// Normal, at most two deviations out.
fn cut_normal(numbers: &mut Numbers) -> f64 {
    loop {
        let value = numbers.normal();
        if value.abs() <= 2.0 {
            return TOKENS * value;
        }
    }
}
