//! How long the self-filter takes for the example arm at 640x480.
//!
//!     cargo run --release -p robot --example self_filter_speed

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use calibration::{Intrinsics, Size};
use robot::{BodyMask, Robot, SelfFilter};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let urdf = Path::new(env!("CARGO_MANIFEST_DIR")).join("robots/arm.urdf");
    let robot = Arc::new(Robot::read(&urdf)?);
    let size = Size { width: 640, height: 480 };
    let intrinsics = Intrinsics { fx: 525.0, fy: 525.0, cx: 319.5, cy: 239.5 };
    for (camera, padding) in [
        ("static_camera_optical", 0.0),
        ("static_camera_optical", 0.02),
        ("wrist_camera_optical", 0.0),
        ("wrist_camera_optical", 0.02),
    ] {
        let filter = SelfFilter::new(robot.clone(), padding)?;
        let mut mask = BodyMask::none(size);
        let mut micros = Vec::new();
        for step in 0..200 {
            let start = Instant::now();
            let poses = robot.poses(|_| Some(0.01 + 0.002 * f64::from(step)))?;
            let camera_from_root = poses.root_from(camera)?.inverse();
            filter.cover(&mut mask, intrinsics, &camera_from_root, &poses);
            micros.push(start.elapsed().as_micros());
        }
        micros.sort_unstable();
        let share = 100.0 * mask.count() as f64 / size.area() as f64;
        println!(
            "{camera}, padding {padding} m: least {} us, p50 {} us, p95 {} us, {share:.1} % of the image covered",
            micros[0], micros[100], micros[190]
        );
    }
    Ok(())
}
