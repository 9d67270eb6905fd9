//! Cameras recovered from synthetic views whose truth is known: exactly without noise, within their uncertainty with it,
//! and unmoved by wrong corners.

use calibrating::{
    IntrinsicsError, Isometry3, LensKind, LossKind, MeasuredCamera, Observation, View, calibrate_intrinsics,
};
use calibration::{CameraModel, Distortion, Intrinsics, Size};
use nalgebra::{Point3, Translation3, UnitQuaternion, Vector3};
use proptest::prelude::*;

const SIZE: Size = Size { width: 640, height: 480 };

/// SplitMix64: the same numbers on every machine.
struct Numbers(u64);

impl Numbers {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Box and Muller.
    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.uniform()).ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

fn cameras() -> [(LensKind, CameraModel); 4] {
    let intrinsics = Intrinsics { fx: 536.2, fy: 534.9, cx: 327.4, cy: 235.8 };
    let wide = Intrinsics { fx: 310.5, fy: 311.7, ..intrinsics };
    let fisheye = Intrinsics { fx: 240.3, fy: 241.1, ..intrinsics };
    let rational = [0.3, 0.05, 4e-4, -3e-4, 0.01, 0.6, 0.15, 0.02];
    let made = |intrinsics, distortion| CameraModel::new(SIZE, intrinsics, distortion).unwrap();
    [
        (LensKind::Pinhole, made(intrinsics, Distortion::None)),
        (LensKind::PlumbBob, made(intrinsics, Distortion::PlumbBob([-0.28, 0.09, 8e-4, -6e-4, -0.01]))),
        (LensKind::Rational, made(wide, Distortion::RationalPolynomial(rational))),
        (LensKind::Equidistant, made(fisheye, Distortion::Equidistant([-0.012, 0.006, -0.004, 0.0006]))),
    ]
}

/// A 9x6 board of 25 mm in front of a place of the image, turned by up to 40 degrees about each axis.
fn view(camera: &CameraModel, numbers: &mut Numbers, index: usize) -> Option<View> {
    let turn = Vector3::from_fn(|_, _| numbers.between(-0.7, 0.7));
    let rotation = UnitQuaternion::from_scaled_axis(turn)
        * UnitQuaternion::from_axis_angle(&Vector3::z_axis(), numbers.between(-0.5, 0.5));
    let middle = [numbers.between(100.0, 540.0), numbers.between(90.0, 390.0)];
    let centre = Vector3::from(camera.ray(middle)?) * numbers.between(0.15, 0.4);
    let offset = rotation * Vector3::new(0.1, 0.0625, 0.0);
    let pose = Isometry3::from_parts(Translation3::from(centre - offset), rotation);
    let seen = (0..54).map(|i| [f64::from(i % 9) * 0.025, f64::from(i / 9) * 0.025]).map(|point| {
        let pixel = camera.project((pose * Point3::new(point[0], point[1], 0.0)).into())?;
        camera.contains(pixel).then_some(Observation { point, pixel })
    });
    Some(View { name: format!("view {index}"), observations: seen.collect::<Option<_>>()? })
}

fn views(camera: &CameraModel, count: usize, seed: u64) -> Vec<View> {
    let mut numbers = Numbers(seed);
    (0..10_000).filter_map(|index| view(camera, &mut numbers, index)).take(count).collect()
}

fn truth(camera: &CameraModel) -> Vec<f64> {
    let Intrinsics { fx, fy, cx, cy } = camera.intrinsics();
    [fx, fy, cx, cy].into_iter().chain(camera.distortion().coefficients().iter().copied()).collect()
}

/// Largest distance, over the inner four fifths of the image, between where two cameras see the same directions, pixels.
fn largest_difference(a: &CameraModel, b: &CameraModel) -> f64 {
    let grid = (1..=9).flat_map(|x| (1..=9).map(move |y| [64.0 * f64::from(x), 48.0 * f64::from(y)]));
    let difference = |pixel: [f64; 2]| {
        let other = b.project(a.ray(pixel).unwrap()).unwrap();
        (other[0] - pixel[0]).hypot(other[1] - pixel[1])
    };
    grid.map(difference).fold(0.0, f64::max)
}

#[test]
fn without_noise_every_model_is_recovered_exactly() {
    for (lens, camera) in cameras() {
        let views = views(&camera, 14, 7);
        for loss in [LossKind::Squares, LossKind::Robust] {
            let found = calibrate_intrinsics(SIZE, &views, lens, loss).unwrap();
            assert!(found.rms_pixels < 1e-7, "{lens:?}: {} px", found.rms_pixels);
            let off = largest_difference(&camera, &found.camera);
            assert!(off < 1e-5, "{lens:?}: {off} px");
            assert!(found.warnings.is_empty(), "{:?}", found.warnings);
            assert!(found.views.iter().all(|view| view.rejected == 0));
        }
    }
}

fn noisy(views: &mut [View], sigma: f64, seed: u64) {
    let mut numbers = Numbers(seed);
    for seen in views.iter_mut().flat_map(|view| &mut view.observations) {
        seen.pixel = seen.pixel.map(|value| value + sigma * numbers.normal());
    }
}

/// Errors over their standard deviations, squared and averaged: 1 when the deviations are right.
fn mean_square_of_deviations(found: &MeasuredCamera, truth: &[f64]) -> f64 {
    let squares =
        found.parameters.iter().zip(truth).map(|(p, truth)| ((p.value - truth) / p.deviation).powi(2));
    squares.sum::<f64>() / truth.len() as f64
}

#[test]
fn with_noise_parameters_lie_within_their_uncertainty() {
    for (lens, camera) in cameras() {
        let mut truth = truth(&camera);
        if lens == LensKind::Rational {
            // Many sets of eight coefficients are nearly the same curve: noise moves them far from where they are linear.
            truth.truncate(4);
        }
        let mut means = Vec::new();
        for seed in 0..6 {
            let mut views = views(&camera, 14, 100 + seed);
            noisy(&mut views, 0.2, seed);
            let found = calibrate_intrinsics(SIZE, &views, lens, LossKind::Squares).unwrap();
            // Two coordinates of 0.2 px each, less what the parameters take up.
            assert!((found.rms_pixels / (0.2 * 2.0_f64.sqrt()) - 1.0).abs() < 0.1, "{}", found.rms_pixels);
            means.push(mean_square_of_deviations(&found, &truth));
            for (parameter, truth) in found.parameters.iter().zip(&truth) {
                assert!(
                    (parameter.value - truth).abs() < 5.0 * parameter.deviation,
                    "{parameter:?} for {truth}"
                );
            }
        }
        let mean = means.iter().sum::<f64>() / means.len() as f64;
        assert!((0.4..2.0).contains(&mean), "{lens:?}: {mean} of {means:?}");
    }
}

#[test]
fn wrong_corners_do_not_move_the_result() {
    for (lens, camera) in cameras() {
        for sigma in [0.0, 0.2] {
            let mut views = views(&camera, 14, 31);
            noisy(&mut views, sigma, 5);
            let clean = calibrate_intrinsics(SIZE, &views, lens, LossKind::Squares).unwrap();
            let mut numbers = Numbers(77);
            let mut wrong = 0;
            for seen in views.iter_mut().flat_map(|view| &mut view.observations) {
                // One corner in seven, by 5 to 40 pixels.
                if numbers.uniform() < 1.0 / 7.0 {
                    let (far, around) = (numbers.between(5.0, 40.0), numbers.between(0.0, 6.0));
                    let moved = [seen.pixel[0] + far * around.cos(), seen.pixel[1] + far * around.sin()];
                    if camera.contains(moved) {
                        seen.pixel = moved;
                        wrong += 1;
                    }
                }
            }
            assert!(wrong > 70);
            let found = calibrate_intrinsics(SIZE, &views, lens, LossKind::Robust).unwrap();
            let rejected: usize = found.views.iter().map(|view| view.rejected).sum();
            assert!((wrong..wrong + 5).contains(&rejected), "{rejected} of {wrong}");
            // Many sets of eight coefficients are nearly the same curve.
            let compared = if lens == LensKind::Rational { 4 } else { clean.parameters.len() };
            for (ours, clean) in found.parameters.iter().zip(&clean.parameters).take(compared) {
                let off = (ours.value - clean.value).abs();
                let bound =
                    if sigma == 0.0 { 1e-6 * clean.value.abs().max(1.0) } else { 1.5 * clean.deviation };
                assert!(off < bound, "{lens:?}, noise {sigma}: {ours:?} for {clean:?}");
            }
            if sigma == 0.0 {
                assert!(largest_difference(&camera, &found.camera) < 1e-5);
            }
        }
    }
}

#[test]
fn what_determines_no_camera_is_refused_with_the_reason() {
    let (lens, camera) = cameras()[1];
    let good = views(&camera, 5, 3);
    let refused = |views: &[View]| calibrate_intrinsics(SIZE, views, lens, LossKind::Robust).unwrap_err();
    assert_eq!(refused(&good[..2]), IntrinsicsError::Views { came: 2 });
    let mut few = good.clone();
    few[1].observations.truncate(5);
    assert!(refused(&few).to_string().contains("view "), "{}", refused(&few));
    for bad in [f64::NAN, f64::INFINITY, -40.0, 1e9] {
        let mut outside = good.clone();
        outside[2].observations[4].pixel[1] = bad;
        assert!(matches!(refused(&outside), IntrinsicsError::Corners { came: 53, .. }));
    }
    // A board that always faces the camera leaves the focal length free.
    let facing: Vec<View> = (0..5)
        .map(|index| {
            let pose = Isometry3::from_parts(
                Translation3::new(-0.1, -0.06, 0.3 + 0.02 * f64::from(index)),
                UnitQuaternion::identity(),
            );
            let seen = (0..54).map(|i| [f64::from(i % 9) * 0.025, f64::from(i / 9) * 0.025]).map(|point| {
                let pixel = camera.project((pose * Point3::new(point[0], point[1], 0.0)).into()).unwrap();
                Observation { point, pixel }
            });
            View { name: index.to_string(), observations: seen.collect() }
        })
        .collect();
    let outcome = calibrate_intrinsics(SIZE, &facing, lens, LossKind::Squares);
    assert!(outcome.as_ref().map_or(true, |found| !found.warnings.is_empty()), "{outcome:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever corners come, the answer is a camera of finite numbers or a refusal.
    #[test]
    fn corners_from_anywhere_are_answered(
        pixels in proptest::collection::vec((0.0..640.0_f64, 0.0..480.0_f64, -1.0..1.0_f64, -1.0..1.0_f64), 24),
        lens in prop::sample::select(vec![LensKind::Pinhole, LensKind::PlumbBob, LensKind::Equidistant]),
    ) {
        let views: Vec<View> = pixels
            .chunks(8)
            .map(|chunk| View {
                name: "any".to_owned(),
                observations: chunk.iter().map(|(u, v, x, y)| Observation { point: [*x, *y], pixel: [*u, *v] }).collect(),
            })
            .collect();
        if let Ok(found) = calibrate_intrinsics(SIZE, &views, lens, LossKind::Robust) {
            prop_assert!(found.parameters.iter().all(|p| p.value.is_finite() && p.deviation.is_finite()));
        }
    }
}
