//! AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), and the schedule of its learning rate.

use std::collections::BTreeMap;

use crate::{Gradients, Parameters};

/// Settings of AdamW.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the gradient's running mean.
    pub beta1: f32,
    /// Decay of its running square.
    pub beta2: f32,
    /// Added to the root of the square.
    pub epsilon: f32,
    /// Share by which weights shrink, times the learning rate.
    pub weight_decay: f32,
}

impl Default for AdamW {
    /// PyTorch's defaults.
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }
    }
}

/// Running moments of one parameter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// Running mean of the gradient.
    pub first: Vec<f32>,
    /// Running mean of its square.
    pub second: Vec<f32>,
}

/// AdamW with its memory.
#[derive(Clone, Debug)]
pub struct Optimiser {
    settings: AdamW,
    /// Moments by parameter.
    pub moments: BTreeMap<String, Moments>,
}

impl Optimiser {
    /// An optimiser that has seen nothing yet.
    pub fn new(settings: AdamW) -> Self {
        Self { settings, moments: BTreeMap::new() }
    }

    /// Changes the parameters by a gradient; `step` counts from 1. Only weights of two or more axes decay; biases, scales and
    /// tokens do not, as in the official trainer.
    pub fn step(&mut self, parameters: &mut Parameters, gradients: &Gradients, rate: f64, step: u64) {
        let AdamW { beta1, beta2, epsilon, weight_decay } = self.settings;
        let corrected = |beta: f32| 1.0 - f64::from(beta).powf(step as f64);
        let rate_corrected = (rate / corrected(beta1)) as f32;
        let root = (1.0 / corrected(beta2).sqrt()) as f32;
        for (name, gradient) in &gradients.parameters {
            let decays = parameters.get(name).is_some_and(|parameter| decays(name, &parameter.shape));
            let keep = if decays { 1.0 - (rate * f64::from(weight_decay)) as f32 } else { 1.0 };
            let Some(values) = parameters.values_mut(name) else { continue };
            let moments = self.moments.entry(name.clone()).or_insert_with(|| Moments {
                first: vec![0.0; gradient.len()],
                second: vec![0.0; gradient.len()],
            });
            let memory = moments.first.iter_mut().zip(&mut moments.second);
            for ((value, g), (first, second)) in values.iter_mut().zip(gradient).zip(memory) {
                *first = beta1 * *first + (1.0 - beta1) * g;
                *second = beta2 * *second + (1.0 - beta2) * g * g;
                *value = *value * keep - rate_corrected * *first / (second.sqrt() * root + epsilon);
            }
        }
    }
}

/// Whether weight decay shrinks this tensor.
fn decays(name: &str, shape: &[usize]) -> bool {
    let token = ["cls_token", "mask_token", "pos_embed"].iter().any(|end| name.ends_with(end));
    shape.len() > 1 && !token
}

/// Scales gradients down so that their joint length is at most `most`; returns the length that they had.
pub fn clip(gradients: &mut Gradients, most: f64) -> f64 {
    let squares = |gradient: &Vec<f32>| gradient.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>();
    let length = gradients.parameters.values().map(squares).sum::<f64>().sqrt();
    if length > most {
        let scale = (most / length) as f32;
        gradients.parameters.values_mut().flatten().for_each(|g| *g *= scale);
    }
    length
}

/// Linear warm-up, then half a cosine down to a share of the peak.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Highest learning rate.
    pub peak: f64,
    /// Steps of the warm-up.
    pub warm_up: u64,
    /// Steps in all.
    pub steps: u64,
    /// Rate of the last step, as a share of the peak.
    pub floor: f64,
}

impl Schedule {
    /// Learning rate of a step, counted from 0.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warm_up {
            return self.peak * (step + 1) as f64 / self.warm_up as f64;
        }
        let along = (step - self.warm_up) as f64 / (self.steps.saturating_sub(self.warm_up)).max(1) as f64;
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * along.min(1.0)).cos());
        self.peak * (self.floor + (1.0 - self.floor) * cosine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_climbs_and_falls() {
        let schedule = Schedule { peak: 1.0, warm_up: 4, steps: 104, floor: 0.1 };
        let rates: Vec<f64> = [0, 3, 4, 54, 104].map(|step| schedule.rate(step)).to_vec();
        for (rate, expected) in rates.iter().zip([0.25, 1.0, 1.0, 0.55, 0.1]) {
            assert!((rate - expected).abs() < 1e-9, "{rates:?}");
        }
    }

    #[test]
    fn clipping_keeps_the_direction() {
        let mut gradients = Gradients { parameters: [("a".to_owned(), vec![3.0, 4.0])].into() };
        assert_eq!(clip(&mut gradients, 1.0), 5.0);
        assert_eq!(gradients.parameters["a"], [0.6, 0.8]);
        assert!((clip(&mut gradients, 2.0) - 1.0).abs() < 1e-6);
    }
}
