//! Mesh files that a URDF names.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use nalgebra::{Point3, Vector3};

use crate::shape::Mesh;

/// Above this many bytes a file is no link's mesh.
const MAX_BYTES: u64 = 256 << 20;

/// Bytes before the triangles of a binary STL file, and of one triangle.
const STL_HEADER: usize = 84;
const STL_TRIANGLE: usize = 50;

/// Where mesh files are looked for: relative names beside the URDF, `package://` names in the package that the URDF lies in and
/// under the `share` folders of ament prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeshFolders {
    beside: Option<PathBuf>,
    prefixes: Vec<PathBuf>,
}

impl MeshFolders {
    /// The ament prefixes of the environment (`AMENT_PREFIX_PATH`), for a description that came without a file.
    pub fn of_environment() -> Self {
        let prefixes = std::env::var_os("AMENT_PREFIX_PATH")
            .map(|paths| std::env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty()).collect());
        Self { beside: None, prefixes: prefixes.unwrap_or_default() }
    }

    /// Those of the environment, and the folder and package of a URDF file.
    pub fn of_file(urdf: &Path) -> Self {
        let beside = urdf.parent().map(Path::to_owned);
        Self { beside, ..Self::of_environment() }
    }

    /// Loads an STL file; `scale` per axis.
    pub(crate) fn load(&self, name: &str, scale: Vector3<f64>) -> Result<Mesh, String> {
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension).to_lowercase();
        if extension != "stl" {
            let advice = "convert it, or give the link <collision> shapes";
            return Err(format!("mesh {name}: expected an STL file, got .{extension}; {advice}"));
        }
        if scale.iter().any(|factor| *factor == 0.0) {
            return Err(format!(
                "mesh {name}: scale: expected factors other than 0, got {:?}",
                scale.as_slice()
            ));
        }
        let path = self.find(name)?;
        let length = path.metadata().map_err(|error| format!("mesh {}: {error}", path.display()))?.len();
        if length > MAX_BYTES {
            return Err(format!("mesh {}: expected at most {MAX_BYTES} bytes, got {length}", path.display()));
        }
        let bytes = std::fs::read(&path).map_err(|error| format!("mesh {}: {error}", path.display()))?;
        read_stl(bytes, scale).map_err(|reason| format!("mesh {}: {reason}", path.display()))
    }

    /// The file that a name stands for.
    fn find(&self, name: &str) -> Result<PathBuf, String> {
        let candidates: Vec<PathBuf> = if let Some(rest) = name.strip_prefix("package://") {
            let (package, inside) = rest.split_once('/').unwrap_or((rest, ""));
            let own = self.package_root(package).into_iter();
            let shared = self.prefixes.iter().map(|prefix| prefix.join("share").join(package));
            own.chain(shared).map(|root| root.join(inside)).collect()
        } else if let Some(path) = name.strip_prefix("file://") {
            vec![PathBuf::from(path)]
        } else if Path::new(name).is_absolute() {
            vec![PathBuf::from(name)]
        } else if name.contains("://") {
            return Err(format!("mesh {name}: expected package://, file:// or a path"));
        } else {
            self.beside.iter().map(|folder| folder.join(name)).collect()
        };
        let found = candidates.iter().find(|path| path.is_file()).cloned();
        found.ok_or_else(|| {
            let looked: Vec<_> = candidates.iter().map(|path| path.display().to_string()).collect();
            let looked = if looked.is_empty() { "nowhere to look".to_owned() } else { looked.join(", ") };
            format!("mesh {name}: no such file (looked at: {looked})")
        })
    }

    /// The folder above the URDF that is the named package's source: it holds a `package.xml` of that name.
    fn package_root(&self, package: &str) -> Option<PathBuf> {
        let named = format!("<name>{package}</name>");
        let beside = self.beside.as_ref()?.canonicalize().ok()?;
        let of_package = |folder: &&Path| {
            std::fs::read_to_string(folder.join("package.xml")).is_ok_and(|text| text.contains(&named))
        };
        beside.ancestors().find(of_package).map(Path::to_owned)
    }
}

/// Triangles of an STL file's bytes.
fn read_stl(mut bytes: Vec<u8>, scale: Vector3<f64>) -> Result<Mesh, String> {
    let count = bytes.get(80..STL_HEADER).and_then(|count| count.try_into().ok()).map(u32::from_le_bytes);
    let binary = count.is_some_and(|count| {
        (count as usize).checked_mul(STL_TRIANGLE).and_then(|body| body.checked_add(STL_HEADER))
            == Some(bytes.len())
    });
    if binary {
        // Some exporters begin a binary file's comment with "solid", which marks a text file.
        bytes[..80].fill(b' ');
    } else if !bytes.starts_with(b"solid") {
        return Err(format!("expected an STL file, got {} bytes that are none", bytes.len()));
    }
    let mut bytes = Cursor::new(bytes);
    let read = stl_io::create_stl_reader(&mut bytes).map_err(|error| error.to_string())?;
    let mut triangles = Vec::new();
    for triangle in read {
        let triangle = triangle.map_err(|error| error.to_string())?;
        let corners = triangle.vertices.map(|vertex| {
            Point3::from(Vector3::new(vertex[0], vertex[1], vertex[2]).cast::<f64>().component_mul(&scale))
        });
        if corners.iter().any(|corner| corner.iter().any(|value| !value.is_finite())) {
            return Err(format!("triangle {}: expected finite corners, got {corners:?}", triangles.len()));
        }
        triangles.push(corners);
    }
    if triangles.is_empty() {
        return Err("expected at least one triangle, got none".to_owned());
    }
    Ok(Mesh { triangles })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stl(header: &[u8], triangles: &[[f32; 9]]) -> Vec<u8> {
        let mut bytes = header.to_vec();
        bytes.resize(80, 0);
        bytes.extend_from_slice(&(triangles.len() as u32).to_le_bytes());
        for triangle in triangles {
            bytes.extend_from_slice(&[0; 12]);
            triangle.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
            bytes.extend_from_slice(&[0; 2]);
        }
        bytes
    }

    #[test]
    fn binary_and_text_files_give_the_same_triangles() {
        let corners = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 2.0, 0.5];
        let text =
            b"solid part\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 2 0.5\n\
            endloop\nendfacet\nendsolid part\n";
        let scale = Vector3::new(2.0, 1.0, -1.0);
        let expected = [[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 2.0, -0.5]].map(Point3::from);
        for bytes in [stl(b"made", &[corners]), stl(b"solid made", &[corners]), text.to_vec()] {
            assert_eq!(read_stl(bytes, scale).unwrap().triangles, [expected]);
        }
    }

    #[test]
    fn what_is_no_mesh_is_refused() {
        let one = Vector3::repeat(1.0);
        let nan = stl(b"", &[[f32::NAN; 9]]);
        let mut cut = stl(b"", &[[0.0; 9]]);
        cut.truncate(100);
        let mut huge = stl(b"", &[]);
        huge[80..84].fill(255);
        for bytes in [vec![], nan, cut, huge, stl(b"", &[]), b"solid x\nfacet".to_vec(), b"<html>".to_vec()] {
            assert!(read_stl(bytes.clone(), one).is_err(), "{bytes:?}");
        }
    }
}
