//! Mounts recovered from simulated robots: exactly without noise, to the noise with it; motion that leaves the mount free
//! is refused with the reason.

use calibrating::{HandEyeError, HandEyePoses, Isometry3, Mount, calibrate_hand_eye};
use nalgebra::Vector3;
use proptest::prelude::*;

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

    fn vector(&mut self, half: f64) -> Vector3<f64> {
        Vector3::from_fn(|_, _| half * (2.0 * self.uniform() - 1.0))
    }

    /// Box and Muller, per coordinate.
    fn normal(&mut self, sigma: f64) -> Vector3<f64> {
        Vector3::from_fn(|_, _| {
            let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
            sigma * radius * (std::f64::consts::TAU * self.uniform()).cos()
        })
    }
}

struct Robot {
    mount: Mount,
    parent_from_camera: Isometry3<f64>,
    other_from_board: Isometry3<f64>,
}

impl Robot {
    fn new(mount: Mount) -> Self {
        let in_hand = Isometry3::new(Vector3::new(0.03, -0.05, 0.08), Vector3::new(0.1, 0.05, 1.5));
        let on_tripod = Isometry3::new(Vector3::new(1.1, 0.4, 0.7), Vector3::new(-1.9, 0.6, 0.4));
        let on_table = Isometry3::new(Vector3::new(0.6, 0.1, -0.02), Vector3::new(3.0, 0.1, 0.2));
        match mount {
            Mount::EyeInHand => Self { mount, parent_from_camera: in_hand, other_from_board: on_table },
            Mount::EyeToHand => Self { mount, parent_from_camera: on_tripod, other_from_board: in_hand },
        }
    }

    /// What the camera sees of the board while the hand is there.
    fn at(&self, name: usize, base_from_hand: Isometry3<f64>) -> HandEyePoses {
        let hand = match self.mount {
            Mount::EyeInHand => base_from_hand,
            Mount::EyeToHand => base_from_hand.inverse(),
        };
        let camera_from_board = (hand * self.parent_from_camera).inverse() * self.other_from_board;
        HandEyePoses { name: format!("pose {name}"), base_from_hand, camera_from_board }
    }

    fn poses(&self, count: usize, seed: u64) -> Vec<HandEyePoses> {
        let mut numbers = Numbers(seed);
        let hand = |_| Isometry3::new(Vector3::new(0.5, 0.0, 0.4) + numbers.vector(0.2), numbers.vector(0.6));
        (0..count).map(hand).enumerate().map(|(index, pose)| self.at(index, pose)).collect()
    }
}

fn noisy(poses: &mut [HandEyePoses], radians: f64, meters: f64, seed: u64) {
    let mut numbers = Numbers(seed);
    for at in poses {
        let noise = Isometry3::new(Vector3::zeros(), numbers.normal(radians));
        at.camera_from_board.rotation = noise.rotation * at.camera_from_board.rotation;
        at.camera_from_board.translation.vector += numbers.normal(meters);
    }
}

fn error(found: &Isometry3<f64>, truth: &Isometry3<f64>) -> [f64; 2] {
    let off = truth.inverse() * found;
    [off.translation.vector.norm(), off.rotation.angle()]
}

const MOUNTS: [Mount; 2] = [Mount::EyeInHand, Mount::EyeToHand];

#[test]
fn without_noise_both_mounts_are_exact() {
    for mount in MOUNTS {
        let robot = Robot::new(mount);
        for count in [3, 20] {
            let found = calibrate_hand_eye(mount, &robot.poses(count, 1)).unwrap();
            let [meters, radians] = error(&found.parent_from_camera, &robot.parent_from_camera);
            assert!(meters < 1e-8 && radians < 1e-8, "{mount:?}: {meters} m {radians} rad");
            let [meters, radians] = error(&found.other_from_board, &robot.other_from_board);
            assert!(meters < 1e-8 && radians < 1e-8, "{mount:?}: {meters} m {radians} rad");
            assert!(found.residuals.iter().all(|residual| residual.used));
        }
    }
}

#[test]
fn with_noise_the_error_is_what_the_deviations_say() {
    for mount in MOUNTS {
        let robot = Robot::new(mount);
        let mut squares = Vec::new();
        for seed in 0..25 {
            let mut poses = robot.poses(20, 40 + seed);
            noisy(&mut poses, 2e-3, 1e-3, seed);
            let found = calibrate_hand_eye(mount, &poses).unwrap();
            // Three coordinates of 1 mm and of 2 mrad each, less what the parameters take up.
            assert!((1.2e-3..2.2e-3).contains(&found.rms[0]), "{} m", found.rms[0]);
            assert!((2.4e-3..4.4e-3).contains(&found.rms[1]), "{} rad", found.rms[1]);
            let shift =
                found.parent_from_camera.translation.vector - robot.parent_from_camera.translation.vector;
            let turn = found.parent_from_camera.rotation * robot.parent_from_camera.rotation.inverse();
            let errors = turn.scaled_axis().iter().chain(shift.iter()).copied().collect::<Vec<_>>();
            squares.extend(errors.iter().zip(found.deviations).map(|(error, sigma)| (error / sigma).powi(2)));
        }
        let mean = squares.iter().sum::<f64>() / squares.len() as f64;
        assert!((0.6..1.6).contains(&mean), "{mount:?}: {mean}");
    }
}

#[test]
fn wrong_board_poses_are_left_out() {
    for mount in MOUNTS {
        let robot = Robot::new(mount);
        let mut poses = robot.poses(24, 9);
        noisy(&mut poses, 1e-3, 5e-4, 4);
        let clean = calibrate_hand_eye(mount, &poses).unwrap();
        for index in [2, 11, 17] {
            let wrong = Isometry3::new(Vector3::new(0.03, 0.0, 0.02), Vector3::new(0.0, 0.1, 0.1));
            poses[index].camera_from_board *= wrong;
        }
        let found = calibrate_hand_eye(mount, &poses).unwrap();
        let left_out: Vec<_> = found.residuals.iter().filter(|r| !r.used).map(|r| r.name.as_str()).collect();
        assert_eq!(left_out, ["pose 2", "pose 11", "pose 17"]);
        assert!(found.warnings.iter().any(|warning| warning.contains("3 of 24 poses")));
        let [meters, radians] = error(&found.parent_from_camera, &clean.parent_from_camera);
        assert!(meters < 1e-3 && radians < 1e-3, "{meters} m {radians} rad");
    }
}

/// A board pose of 0.5 mm and 1 mrad in each coordinate, which each mistake leaves as it is.
fn with_little_noise(mount: Mount, seed: u64) -> Vec<HandEyePoses> {
    let mut poses = Robot::new(mount).poses(15, seed);
    noisy(&mut poses, 1e-3, 5e-4, seed);
    poses
}

#[test]
fn millimetres_and_the_other_mount_are_refused_and_named() {
    for (mount, other) in [(MOUNTS[0], MOUNTS[1]), (MOUNTS[1], MOUNTS[0])] {
        for seed in 0..10 {
            let poses = with_little_noise(mount, 60 + seed);
            let found = calibrate_hand_eye(mount, &poses).unwrap();
            assert!(!found.warnings.iter().any(|warning| warning.contains("more than noise makes")));
            let mut in_millimetres = poses.clone();
            in_millimetres.iter_mut().for_each(|at| at.base_from_hand.translation.vector *= 1e3);
            let mut board_in_millimetres = poses.clone();
            board_in_millimetres.iter_mut().for_each(|at| at.camera_from_board.translation.vector *= 1e3);
            let what = match mount {
                Mount::EyeInHand => "the hand carries the camera",
                Mount::EyeToHand => "the hand carries the board",
            };
            let mistakes = [
                (mount, in_millimetres, "hand's positions are millimetres"),
                (mount, board_in_millimetres, "board's positions are millimetres"),
                (other, poses, what),
            ];
            for (taken, poses, named) in mistakes {
                let refused = calibrate_hand_eye(taken, &poses).unwrap_err();
                assert!(
                    matches!(&refused, HandEyeError::Misfit { millimeters, degrees, .. } if *millimeters > 50.0 || *degrees > 5.0)
                        && refused.to_string().contains(named),
                    "{taken:?} {seed}: {refused}"
                );
            }
        }
    }
}

#[test]
fn more_than_noise_is_warned_of() {
    for mount in MOUNTS {
        let robot = Robot::new(mount);
        for (radians, meters) in [(1e-3, 5e-3), (1.4e-2, 5e-4)] {
            let mut poses = robot.poses(20, 3);
            noisy(&mut poses, radians, meters, 3);
            let found = calibrate_hand_eye(mount, &poses).unwrap();
            let warned = found.warnings.iter().any(|warning| warning.contains("more than noise makes"));
            assert!(warned, "{:?} {:?}", found.rms, found.warnings);
        }
    }
}

#[test]
fn three_poses_that_disagree_ask_for_more() {
    let mut refusals = 0;
    for seed in 0..20 {
        let mut poses = Robot::new(Mount::EyeInHand).poses(3, seed);
        noisy(&mut poses, 2e-3, 1e-3, seed);
        match calibrate_hand_eye(Mount::EyeInHand, &poses) {
            Ok(found) => assert!(found.residuals.iter().all(|residual| residual.used)),
            Err(HandEyeError::Disagreeing { agree, came: 3 }) => {
                refusals += 1;
                let text = HandEyeError::Disagreeing { agree, came: 3 }.to_string();
                assert!(text.contains(&format!("at least {} more needed", 3 - agree)), "{text}");
            }
            Err(other) => panic!("{seed}: {other}"),
        }
    }
    assert!(refusals > 0);
}

#[test]
fn motion_that_leaves_the_mount_free_is_refused_with_the_reason() {
    let mut numbers = Numbers(5);
    for mount in MOUNTS {
        let robot = Robot::new(mount);
        let refusal = |hands: Vec<Isometry3<f64>>, noise: f64| {
            let mut poses: Vec<_> =
                hands.into_iter().enumerate().map(|(i, hand)| robot.at(i, hand)).collect();
            noisy(&mut poses, noise, noise, 1);
            calibrate_hand_eye(mount, &poses).unwrap_err()
        };
        for noise in [0.0, 5e-4] {
            let turn = Vector3::new(0.1, 0.2, 0.3);
            let shifts = (0..12).map(|_| Isometry3::new(numbers.vector(0.3), turn)).collect();
            assert!(matches!(refusal(shifts, noise), HandEyeError::NoTurn { .. }));
            let axis = Vector3::new(0.0, 0.6, 0.8);
            let about_one =
                (0..12).map(|i| Isometry3::new(numbers.vector(0.3), axis * (0.15 * f64::from(i)))).collect();
            let refused = refusal(about_one, noise);
            assert!(matches!(refused, HandEyeError::OneAxis { .. }), "{refused}");
            assert!(
                refused.to_string().contains("0.60 0.80") || refused.to_string().contains("-0.60 -0.80"),
                "{refused}"
            );
        }
    }
}

#[test]
fn what_is_no_set_of_poses_is_refused() {
    let robot = Robot::new(Mount::EyeInHand);
    let good = robot.poses(10, 2);
    let refused = |poses: &[HandEyePoses]| calibrate_hand_eye(Mount::EyeInHand, poses).unwrap_err();
    assert_eq!(refused(&good[..2]), HandEyeError::Poses { came: 2 });
    let mut broken = good.clone();
    broken[4].base_from_hand.translation.vector.x = f64::NAN;
    assert_eq!(refused(&broken), HandEyeError::NotFinite { name: "pose 4".to_owned() });
    let mut shuffled = good.clone();
    for index in 0..10 {
        shuffled[index].camera_from_board = good[(index * 3 + 1) % 10].camera_from_board;
    }
    assert!(matches!(refused(&shuffled), HandEyeError::Unrelated { .. }));
    let mut numbers = Numbers(8);
    let little: Vec<_> = (0..12)
        .map(|index| {
            let turn = Vector3::new(0.1 * numbers.uniform(), 0.1 * numbers.uniform(), 0.15 * index as f64);
            robot.at(index, Isometry3::new(numbers.vector(0.2), turn))
        })
        .collect();
    let found = calibrate_hand_eye(Mount::EyeInHand, &little).unwrap();
    let warned = found.warnings.iter().any(|warning| warning.contains("turn about another axis"));
    assert!(warned, "{:?}", found.warnings);
}

proptest! {
    /// Whatever poses come, the answer is a mount of finite numbers or a refusal.
    #[test]
    fn poses_from_anywhere_are_answered(
        poses in proptest::collection::vec(proptest::array::uniform12(-4.0..4.0_f64), 3..9), in_hand: bool,
    ) {
        let pose = |v: &[f64]| Isometry3::new(Vector3::new(v[0], v[1], v[2]), Vector3::new(v[3], v[4], v[5]));
        let poses: Vec<_> = poses
            .iter()
            .map(|v| HandEyePoses {
                name: String::new(),
                base_from_hand: pose(&v[..6]),
                camera_from_board: pose(&v[6..]),
            })
            .collect();
        let mount = if in_hand { Mount::EyeInHand } else { Mount::EyeToHand };
        if let Ok(found) = calibrate_hand_eye(mount, &poses) {
            prop_assert!(found.deviations.iter().chain(&found.rms).all(|value| value.is_finite()));
        }
    }
}
