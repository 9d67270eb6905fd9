//! What parameter files say for this node and r2r does not read.

use std::path::Path;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::names;

/// Where a node's parameters begin in a file.
const PARAMETERS: &str = "ros__parameters";

/// Sees that no parameter file of the command line names the node (its full name) with a wildcard other than `/**` alone: rclcpp
/// would take such an entry, r2r passes over it.
///
/// # Errors
/// The first entry that would have no effect.
pub fn check(node: &str, arguments: impl IntoIterator<Item = String>) -> Result<()> {
    for file in names::values(&["--params-file"], arguments) {
        // rcl has read the file before; where this reader does not follow, the user is not at fault.
        let Some(content) = read(Path::new(&file)) else { continue };
        let mut names = Vec::new();
        node_names(&content, &mut Vec::new(), &mut names);
        let parts: Vec<&str> = node.split('/').filter(|part| !part.is_empty()).collect();
        let is_wild = |name: &[&str]| name.iter().any(|part| part.contains('*')) && name != ["**"];
        if let Some(name) = names.iter().find(|name| is_wild(name) && fits(name, &parts)) {
            let bare = parts.last().unwrap_or(&"");
            bail!(
                "parameter file {file}: \"/{}\" names this node with a wildcard, which has no effect here: expected \"/**\", \
                 {node:?} or {bare:?}",
                name.join("/")
            );
        }
    }
    Ok(())
}

fn read(file: &Path) -> Option<Value> {
    serde_saphyr::from_str(&std::fs::read_to_string(file).ok()?).ok()
}

/// The names that a file has parameters for, in parts; namespaces may be nested.
fn node_names<'a>(content: &'a Value, above: &mut Vec<&'a str>, into: &mut Vec<Vec<&'a str>>) {
    let Value::Object(entries) = content else { return };
    for (key, below) in entries {
        if key == PARAMETERS {
            into.push(above.clone());
            continue;
        }
        let length = above.len();
        above.extend(key.split('/').filter(|part| !part.is_empty()));
        node_names(below, above, into);
        above.truncate(length);
    }
}

/// Whether a name with wildcards means a node: `*` is any part, `**` any number of parts (design.ros2.org, rclcpp's parameter map).
fn fits(pattern: &[&str], name: &[&str]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((&"**", rest)) => (0..=name.len()).any(|skipped| fits(rest, &name[skipped..])),
        Some((first, rest)) => name
            .split_first()
            .is_some_and(|(part, more)| (*first == "*" || first == part) && fits(rest, more)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_r2r_passes_over_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("parameters.yaml");
        let arguments = || ["node", "--ros-args", "--params-file", file.to_str().unwrap()].map(str::to_owned);
        let cases = [
            ("/**: {ros__parameters: {a: 1}}", None),
            ("perception: {ros__parameters: {a: 1}}", None),
            ("/robot/perception: {ros__parameters: {a: 1}}", None),
            ("/**/perception: {ros__parameters: {a: 1}}", Some("\"/**/perception\"")),
            ("/**: {perception: {ros__parameters: {a: 1}}}", Some("\"/**/perception\"")),
            ("/robot/*: {ros__parameters: {a: 1}}", Some("\"/robot/*\"")),
            ("/*/perception: {ros__parameters: {a: 1}}", Some("\"/*/perception\"")),
            ("/*/camera: {ros__parameters: {a: 1}}", None),
            ("/*: {ros__parameters: {a: 1}}", None),
        ];
        for (content, expected) in cases {
            std::fs::write(&file, content).unwrap();
            let said = check("/robot/perception", arguments()).map_err(|error| error.to_string());
            match expected {
                None => assert_eq!(said, Ok(()), "{content}"),
                Some(words) => {
                    assert!(said.as_ref().is_err_and(|error| error.contains(words)), "{content}: {said:?}")
                }
            }
        }
    }
}
