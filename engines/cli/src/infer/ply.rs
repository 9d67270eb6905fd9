//! Point clouds as binary PLY, the form that Open3D, MeshLab and CloudCompare read.

use std::io::{self, Write};

/// One coloured point: metres in the camera's optical frame, and red, green, blue.
pub type ColouredPoint = ([f32; 3], [u8; 3]);

/// Writes the points as binary little-endian PLY; points with a NaN are left out.
///
/// # Errors
/// Whatever `out` says.
pub fn write(out: &mut impl Write, points: &[ColouredPoint]) -> io::Result<()> {
    let valid: Vec<_> = points.iter().filter(|(xyz, _)| xyz.iter().all(|v| v.is_finite())).collect();
    write!(out, "ply\nformat binary_little_endian 1.0\ncomment metres, camera optical frame\n")?;
    writeln!(out, "element vertex {}", valid.len())?;
    for axis in ["x", "y", "z"] {
        writeln!(out, "property float {axis}")?;
    }
    for channel in ["red", "green", "blue"] {
        writeln!(out, "property uchar {channel}")?;
    }
    writeln!(out, "end_header")?;
    for (xyz, rgb) in valid {
        for value in xyz {
            out.write_all(&value.to_le_bytes())?;
        }
        out.write_all(rgb)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_valid_points_only() {
        let points = [([1.0, 2.0, 3.0], [1, 2, 3]), ([f32::NAN, 0.0, 0.0], [9, 9, 9])];
        let mut file = Vec::new();
        write(&mut file, &points).unwrap();
        let header_end = file.windows(11).position(|w| w == b"end_header\n").unwrap() + 11;
        let header = String::from_utf8(file[..header_end].to_vec()).unwrap();
        assert!(header.contains("element vertex 1\n"), "{header}");
        let mut expected = Vec::new();
        expected.extend([1.0_f32, 2.0, 3.0].iter().flat_map(|v| v.to_le_bytes()));
        expected.extend([1, 2, 3]);
        assert_eq!(&file[header_end..], expected);
    }
}
