//! What a message type looks like: names, definition texts and hashes of the installed packages.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::RawError;

/// The name of a message type, as `sensor_msgs/msg/Image`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeName {
    package: String,
    name: String,
}

impl TypeName {
    /// The package.
    pub fn package(&self) -> &str {
        &self.package
    }

    /// The name within the package.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for TypeName {
    type Err = RawError;

    /// Names become parts of paths and symbols, so only identifiers are taken.
    fn from_str(text: &str) -> Result<Self, RawError> {
        let identifier = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphabetic())
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        match text.split('/').collect::<Vec<_>>()[..] {
            [package, "msg", name] if identifier(package) && identifier(name) => {
                Ok(Self { package: package.to_owned(), name: name.to_owned() })
            }
            _ => Err(RawError::TypeName(text.to_owned())),
        }
    }
}

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/msg/{}", self.package, self.name)
    }
}

/// A message type's definition, as MCAP's `ros2msg` wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The text of the `.msg` file, then that of every type it needs, depth first, each once, each after a line of 80 `=`
    /// and `MSG: package/Name`.
    pub text: String,
    /// `RIHS01_...`; absent where the ROS distribution (Humble) installs none.
    pub hash: Option<String>,
}

/// The ament prefixes of the environment.
pub fn prefixes() -> Vec<PathBuf> {
    let paths = std::env::var_os("AMENT_PREFIX_PATH").unwrap_or_default();
    std::env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty()).collect()
}

impl Definition {
    /// The definition of a type, from the ament prefixes given.
    ///
    /// # Errors
    /// When the type, or one that it needs, is not installed, or its files cannot be read.
    pub fn find(kind: &TypeName, prefixes: &[PathBuf]) -> Result<Self, RawError> {
        let mut text = read_msg(kind, prefixes)?;
        let mut seen = BTreeSet::from([kind.clone()]);
        let own = text.clone();
        append_needed(kind, &own, prefixes, &mut seen, &mut text)?;
        Ok(Self { text, hash: hash(kind, prefixes)? })
    }
}

/// A file below the first prefix that has it.
pub(super) fn installed(kind: &TypeName, file: &str, prefixes: &[PathBuf]) -> Result<PathBuf, RawError> {
    let found = prefixes.iter().map(|prefix| prefix.join(file)).find(|path| path.is_file());
    found.ok_or_else(|| RawError::NotInstalled {
        kind: kind.to_string(),
        file: file.to_owned(),
        prefixes: prefixes.to_vec(),
    })
}

fn read_msg(kind: &TypeName, prefixes: &[PathBuf]) -> Result<String, RawError> {
    read(kind, &installed(kind, &format!("share/{}/msg/{}.msg", kind.package, kind.name), prefixes)?)
}

fn read(kind: &TypeName, path: &Path) -> Result<String, RawError> {
    std::fs::read_to_string(path).map_err(|error| wrong(kind, path, error.to_string()))
}

fn wrong(kind: &TypeName, path: &Path, reason: impl Into<String>) -> RawError {
    RawError::Definition { kind: kind.to_string(), file: path.to_owned(), reason: reason.into() }
}

fn append_needed(
    kind: &TypeName,
    own: &str,
    prefixes: &[PathBuf],
    seen: &mut BTreeSet<TypeName>,
    text: &mut String,
) -> Result<(), RawError> {
    for needed in needed(kind, own)? {
        if !seen.insert(needed.clone()) {
            continue;
        }
        let body = read_msg(&needed, prefixes)?;
        text.push_str(&format!("\n{}\nMSG: {}/{}\n{body}", "=".repeat(80), needed.package, needed.name));
        append_needed(&needed, &body, prefixes, seen, text)?;
    }
    Ok(())
}

/// The types that a definition's fields name, in order.
fn needed(kind: &TypeName, text: &str) -> Result<Vec<TypeName>, RawError> {
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let (Some(field), Some(_)) = (words.next(), words.next()) else { continue };
        // Arrays are `type[]`, `type[9]` and `type[<=9]`; bounded texts `string<=9`.
        let base = field.split(['[', '<']).next().unwrap_or_default();
        if is_primitive(base) {
            continue;
        }
        let full = match base.split('/').collect::<Vec<_>>()[..] {
            [name] => format!("{}/msg/{name}", kind.package),
            [package, name] => format!("{package}/msg/{name}"),
            _ => base.to_owned(),
        };
        found.push(full.parse()?);
    }
    Ok(found)
}

fn is_primitive(name: &str) -> bool {
    let names = ["bool", "byte", "char", "float32", "float64", "string", "wstring"];
    let integer = |bits: &str| matches!(bits, "8" | "16" | "32" | "64");
    names.contains(&name) || name.strip_prefix('u').unwrap_or(name).strip_prefix("int").is_some_and(integer)
}

/// The type's hash from the description that Iron and later install beside the `.msg` file.
fn hash(kind: &TypeName, prefixes: &[PathBuf]) -> Result<Option<String>, RawError> {
    let Ok(path) = installed(kind, &format!("share/{}/msg/{}.json", kind.package, kind.name), prefixes)
    else {
        return Ok(None);
    };
    let description: serde_json::Value =
        serde_json::from_str(&read(kind, &path)?).map_err(|error| wrong(kind, &path, error.to_string()))?;
    let entries = description["type_hashes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let own = entries.iter().find(|entry| entry["type_name"].as_str() == Some(&kind.to_string()));
    let hash = own.and_then(|entry| entry["hash_string"].as_str()).filter(|hash| hash.starts_with("RIHS01_"));
    let expected = || wrong(kind, &path, "expected type_hashes with a hash_string RIHS01_... of this type");
    hash.map(|hash| Some(hash.to_owned())).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_before_they_become_paths() {
        let name: TypeName = "sensor_msgs/msg/Image".parse().unwrap();
        assert_eq!(
            (name.package(), name.name(), name.to_string().as_str()),
            ("sensor_msgs", "Image", "sensor_msgs/msg/Image")
        );
        for wrong in [
            "Image",
            "sensor_msgs/Image",
            "a/srv/B",
            "../msg/x",
            "a/msg/../x",
            "a/msg/",
            "a/msg/B/c",
            "9a/msg/B",
            "",
        ] {
            assert_eq!(wrong.parse::<TypeName>(), Err(RawError::TypeName(wrong.to_owned())));
        }
    }

    #[test]
    fn dependencies_come_depth_first_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let write = |package: &str, name: &str, text: &str| {
            let folder = folder.path().join("share").join(package).join("msg");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(format!("{name}.msg")), text).unwrap();
        };
        write(
            "a",
            "Top",
            "# b/No comment\nb/Mid[<=3] mids\nLeaf leaf\nint32 X=3 # a/No\nstring<=9 s\nuint8[] d\n",
        );
        write("b", "Mid", "a/Leaf[2] leaves\nwstring w");
        write("a", "Leaf", "float64 x");
        let prefixes = [folder.path().to_owned()];
        let found = Definition::find(&"a/msg/Top".parse().unwrap(), &prefixes).unwrap();
        let line = "=".repeat(80);
        assert!(found.text.ends_with(&format!(
            "\n{line}\nMSG: b/Mid\na/Leaf[2] leaves\nwstring w\n{line}\nMSG: a/Leaf\nfloat64 x"
        )));
        assert_eq!(found.text.matches("MSG: ").count(), 2);
        assert_eq!(found.hash, None);

        write("a", "Cyclic", "Cyclic again");
        assert!(Definition::find(&"a/msg/Cyclic".parse().unwrap(), &prefixes).is_ok());
        write("a", "Lost", "gone/Type field");
        let refused = Definition::find(&"a/msg/Lost".parse().unwrap(), &prefixes).unwrap_err().to_string();
        assert!(refused.contains("type gone/msg/Type: share/gone/msg/Type.msg is in none"), "{refused}");
    }

    /// Against the texts and hashes that r2r's ROS installs; the hash is ROS 2 Jazzy's published one.
    #[test]
    fn finds_the_types_of_the_sourced_ros() {
        let found = Definition::find(&"sensor_msgs/msg/JointState".parse().unwrap(), &prefixes()).unwrap();
        for part in ["float64[] position", "\nMSG: std_msgs/Header\n", "\nMSG: builtin_interfaces/Time\n"] {
            assert!(found.text.contains(part), "{part}");
        }
        if let Some(hash) = found.hash {
            assert_eq!(hash, "RIHS01_a13ee3a330e346c9d87b5aa18d24e11690752bd33a0350f11c5882bc9179260e");
        }
    }
}
