//! How long the self-filter takes for the example arm at 640x480, with the hand's mesh as it is and split into small triangles.
//!
//!     cargo run --release -p robot --example self_filter_speed

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use calibration::{Intrinsics, Size};
use nalgebra::Point3;
use robot::{BodyMask, Geometry, Robot, SelfFilter};

const SIZE: Size = Size { width: 640, height: 480 };
const INTRINSICS: Intrinsics = Intrinsics { fx: 525.0, fy: 525.0, cx: 319.5, cy: 239.5 };

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let urdf = Path::new(env!("CARGO_MANIFEST_DIR")).join("robots/arm.urdf");
    let arm = Arc::new(Robot::read(&urdf)?);
    let folder = tempfile::tempdir()?;
    for halvings in [0, 4] {
        let robot = Arc::new(with_split_hand(&urdf, &arm, folder.path(), halvings)?);
        println!("hand of {} triangles", hand(&robot).len());
        for camera in ["static_camera_optical", "wrist_camera_optical"] {
            for padding in [0.0, 0.02] {
                measure(&robot, camera, padding)?;
            }
        }
    }
    Ok(())
}

fn measure(robot: &Arc<Robot>, camera: &str, padding: f64) -> Result<(), Box<dyn std::error::Error>> {
    let filter = SelfFilter::new(robot.clone(), padding)?;
    let mut mask = BodyMask::none(SIZE);
    let mut micros = Vec::new();
    for step in 0..200 {
        let start = Instant::now();
        let poses = robot.poses(|_| Some(0.01 + 0.002 * f64::from(step)))?;
        let camera_from_root = poses.root_from(camera)?.inverse();
        filter.cover(&mut mask, INTRINSICS, &camera_from_root, &poses);
        micros.push(start.elapsed().as_micros());
    }
    micros.sort_unstable();
    let share = 100.0 * mask.count() as f64 / SIZE.area() as f64;
    println!(
        "  {camera}, padding {padding} m: least {} us, p50 {} us, p95 {} us, {share:.1} % of the image covered",
        micros[0], micros[100], micros[190]
    );
    Ok(())
}

type Triangle = [Point3<f64>; 3];

/// The triangles of the arm's only mesh, metres.
fn hand(robot: &Robot) -> &[Triangle] {
    let shapes = robot.links().iter().flat_map(|link| &link.shapes);
    let meshes =
        shapes.filter_map(|shape| if let Geometry::Mesh(mesh) = &shape.geometry { Some(mesh) } else { None });
    meshes.map(|mesh| mesh.triangles.as_slice()).next().unwrap_or_default()
}

/// The arm with each triangle of the hand split into four, so many times.
fn with_split_hand(
    urdf: &Path,
    arm: &Robot,
    folder: &Path,
    halvings: u32,
) -> Result<Robot, Box<dyn std::error::Error>> {
    let mut triangles = hand(arm).to_vec();
    for _ in 0..halvings {
        triangles = triangles.iter().flat_map(split).collect();
    }
    let path = folder.join(format!("hand{halvings}.stl"));
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
    file.write_all(&[0; 80])?;
    file.write_all(&(triangles.len() as u32).to_le_bytes())?;
    for triangle in triangles {
        file.write_all(&[0; 12])?;
        for value in triangle.iter().flat_map(|corner| corner.coords.data.0[0]) {
            file.write_all(&(value as f32).to_le_bytes())?;
        }
        file.write_all(&[0; 2])?;
    }
    file.flush()?;
    let text = std::fs::read_to_string(urdf)?;
    let text = text.replace("package://pixio/urdf/robots/meshes/hand.stl", &path.display().to_string());
    let text = text.replace("scale=\"0.001 0.001 0.001\"", "");
    Ok(Robot::parse(&text, "the arm with another hand", &robot::MeshFolders::default())?)
}

/// A triangle as four, by the middles of its edges.
fn split([a, b, c]: &Triangle) -> [Triangle; 4] {
    let middle = nalgebra::center;
    let (ab, bc, ca) = (middle(a, b), middle(b, c), middle(c, a));
    [[*a, ab, ca], [ab, *b, bc], [ca, bc, *c], [ab, bc, ca]]
}
