//! Poses from CSV files.

use std::io::Read;
use std::path::{Path, PathBuf};

use nalgebra::{Isometry3, Quaternion, Translation3, UnitQuaternion};

/// Above this many bytes a file is no list of poses.
const MAX_BYTES: u64 = 16 << 20;
/// How far a quaternion's length may be from 1: files keep a few digits.
const LENGTH_TOLERANCE: f64 = 1e-2;
/// Columns that a file must have, in any order, among any others.
const COLUMNS: [&str; 8] = ["name", "x", "y", "z", "qx", "qy", "qz", "qw"];

/// A pose and its name.
pub type NamedPose = (String, Isometry3<f64>);

/// Why a file of poses was refused.
#[derive(Debug, thiserror::Error)]
pub enum PosesError {
    /// The file system said no.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        reason: std::io::Error,
    },
    /// The file is no list of poses.
    #[error("{}: line {line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Column, what was expected and what came.
        problem: String,
    },
}

/// Reads poses by name from a CSV file whose first line names the columns `name x y z qx qy qz qw`: metres, and a quaternion of
/// length 1. Other columns are let pass.
///
/// # Errors
/// A file that cannot be read, lacks a column, or holds something else than a pose in a line; each names file, line and column.
pub fn read_poses(path: &Path) -> Result<Vec<NamedPose>, PosesError> {
    let io = |reason| PosesError::Io { path: path.to_owned(), reason };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(io)?;
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(io)?;
    let refuse = |(line, problem)| PosesError::Line { path: path.to_owned(), line, problem };
    if text.len() as u64 > MAX_BYTES {
        return Err(refuse((1, format!("expected at most {MAX_BYTES} bytes"))));
    }
    parse(&text).map_err(refuse)
}

fn parse(text: &str) -> Result<Vec<NamedPose>, (usize, String)> {
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let (_, head) = lines.next().unwrap_or((1, ""));
    let head: Vec<&str> = head.trim_start_matches('\u{feff}').split(',').map(str::trim).collect();
    let place = |column: &&str| {
        let found = head.iter().position(|name| name == column);
        found.ok_or_else(|| (1, format!("expected the columns {}, found no {column}", COLUMNS.join(","))))
    };
    let places = COLUMNS.iter().map(place).collect::<Result<Vec<_>, _>>()?;
    let mut poses: Vec<NamedPose> = Vec::new();
    for (line, text) in lines.filter(|(_, text)| !text.is_empty() && !text.starts_with('#')) {
        let (name, pose) = row(text, &places).map_err(|problem| (line, problem))?;
        if poses.iter().any(|(known, _)| *known == name) {
            return Err((line, format!("name: expected each once, got {name:?} again")));
        }
        poses.push((name, pose));
    }
    Ok(poses)
}

fn row(text: &str, places: &[usize]) -> Result<NamedPose, String> {
    let cells: Vec<&str> = text.split(',').map(str::trim).collect();
    let cell = |column: usize| {
        cells.get(places[column]).copied().ok_or_else(|| format!("{}: missing", COLUMNS[column]))
    };
    let number = |column: usize| {
        let text = cell(column)?;
        let value = text.parse::<f64>().ok().filter(|value| value.is_finite());
        value.ok_or_else(|| format!("{}: expected a finite number, got {text:?}", COLUMNS[column]))
    };
    let [x, y, z] = [number(1)?, number(2)?, number(3)?];
    let quaternion = Quaternion::new(number(7)?, number(4)?, number(5)?, number(6)?);
    if (quaternion.norm() - 1.0).abs() > LENGTH_TOLERANCE {
        return Err(format!(
            "qx qy qz qw: expected a quaternion of length 1, got length {:.4}",
            quaternion.norm()
        ));
    }
    let rotation = UnitQuaternion::from_quaternion(quaternion);
    Ok((cell(0)?.to_owned(), Isometry3::from_parts(Translation3::new(x, y, z), rotation)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "name,stamp,x,y,z,qx,qy,qz,qw\na, 1.5, 0.1,0.2,0.3, 0,0,0,1\n\n# half a turn about z\nb,2,0,0,1,0,0,1,0\n";

    #[test]
    fn poses_are_read_by_column_name() {
        let poses = parse(GOOD).unwrap();
        assert_eq!(poses.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(poses[0].1.translation.vector.as_slice(), [0.1, 0.2, 0.3]);
        assert!((poses[1].1.rotation.angle() - std::f64::consts::PI).abs() < 1e-12);
    }

    #[test]
    fn refusals_name_file_line_and_column() {
        let cases = [
            ("stamp,x,", "stamp,", 1, "found no x"),
            ("0.2,0.3", "nan,0.3", 2, "y: expected a finite number, got \"nan\""),
            ("0.2,0.3", "1e999,0.3", 2, "y: expected a finite number"),
            ("0,0,0,1\n", "0,0,0\n", 2, "qw: missing"),
            ("0,0,1,0\n", "0,0,2,0\n", 5, "got length 2.0000"),
            ("b,2", "a,2", 5, "got \"a\" again"),
        ];
        for (from, to, line, expected) in cases {
            assert!(GOOD.contains(from));
            let (at, problem) = parse(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(at == line && problem.contains(expected), "line {at}: {problem}");
        }
        assert!(parse("").is_err());
        let error = read_poses(Path::new("/nowhere/poses.csv")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/poses.csv"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn damaged_files_are_read_or_refused(at in 0..GOOD.len(), byte in 0..128_u8, cut in 0..GOOD.len()) {
            let mut bytes = GOOD.as_bytes().to_vec();
            bytes[at] = byte;
            bytes.truncate(cut.max(at + 1));
            if let Ok(poses) = parse(std::str::from_utf8(&bytes).unwrap()) {
                proptest::prop_assert!(poses.iter().all(|(_, pose)| pose.to_matrix().iter().all(|v| v.is_finite())));
            }
        }
    }
}
