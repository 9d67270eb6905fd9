//! The strict reading that `urdf-rs` leaves out: it skips what is no number in a vector, cannot tell a missing `<limit>`
//! from one of zeros, names no lines, and drops `<ros2_control>`.

use std::collections::BTreeMap;

use roxmltree::{Document, Node};

use crate::error::Fault;

/// Above this many bytes a text is no robot description.
pub const MAX_BYTES: u64 = 16 << 20;

/// Elements inside each other; `urdf-rs` recurses over them.
const MAX_DEPTH: usize = 64;

/// Numbers that elements may hold: element, attribute, how many.
const NUMBERS: [(&str, &str, usize); 20] = [
    ("origin", "xyz", 3),
    ("origin", "rpy", 3),
    ("origin", "quat_xyzw", 4),
    ("axis", "xyz", 3),
    ("limit", "lower", 1),
    ("limit", "upper", 1),
    ("limit", "effort", 1),
    ("limit", "velocity", 1),
    ("limit", "acceleration", 1),
    ("limit", "deceleration", 1),
    ("limit", "jerk", 1),
    ("mimic", "multiplier", 1),
    ("mimic", "offset", 1),
    ("box", "size", 3),
    ("sphere", "radius", 1),
    ("cylinder", "radius", 1),
    ("cylinder", "length", 1),
    ("capsule", "radius", 1),
    ("capsule", "length", 1),
    ("mesh", "scale", 3),
];

/// What the strict reading finds beside what `urdf-rs` gives.
#[derive(Debug, Default)]
pub struct Extras {
    /// Largest accelerations of joints, from `<ros2_control>`: `max` of the command interface `acceleration`.
    pub accelerations: BTreeMap<String, f64>,
}

/// Checks a description's XML.
///
/// # Errors
/// When it is no well-formed URDF, a number is none, or a joint that needs a `<limit>` has none.
pub fn check(text: &str) -> Result<Extras, Fault> {
    if text.len() as u64 > MAX_BYTES {
        return Err(Fault::Xml(format!("expected at most {MAX_BYTES} bytes, got {}", text.len())));
    }
    let document = Document::parse(text).map_err(|error| Fault::Xml(format!("not XML: {error}")))?;
    let robot = document.root_element();
    if robot.tag_name().name() != "robot" {
        let came = robot.tag_name().name();
        return Err(Fault::Xml(format!("expected the root element <robot>, got <{came}>")));
    }
    let mut extras = Extras::default();
    for node in robot.children().filter(Node::is_element) {
        match (node.tag_name().namespace(), node.tag_name().name()) {
            (Some(_), name) => {
                let advice = "expected plain URDF, got the extension";
                return Err(Fault::Xml(format!(
                    "{advice} <{name}>; expand it first: xacro FILE -o FILE.urdf"
                )));
            }
            (None, what @ ("link" | "joint")) => check_part(node, what)?,
            (None, "ros2_control") => accelerations(node, &mut extras)?,
            _ => {}
        }
    }
    Ok(extras)
}

fn line(node: Node<'_, '_>) -> u32 {
    node.document().text_pos_at(node.range().start).row
}

/// Checks all numbers of one link or joint.
fn check_part(part: Node<'_, '_>, what: &str) -> Result<(), Fault> {
    let Some(name) = part.attribute("name").filter(|name| !name.is_empty()) else {
        return Err(Fault::Xml(format!("line {}: {what}: expected a name, got none", line(part))));
    };
    let depth = part.ancestors().count();
    for node in part.descendants().filter(Node::is_element) {
        if node.ancestors().count() - depth > MAX_DEPTH {
            return Err(Fault::Xml(format!("line {}: elements more than {MAX_DEPTH} deep", line(node))));
        }
        let element = node.tag_name().name();
        for (_, attribute, count) in NUMBERS.iter().filter(|(of, ..)| *of == element) {
            let Some(came) = node.attribute(*attribute) else { continue };
            let place = || format!("{what} {name}: <{element}>");
            numbers(came, *count).map_err(|expected| Fault::Number {
                line: line(node),
                place: place(),
                attribute,
                expected,
                came: came.to_owned(),
            })?;
        }
    }
    let limited = what == "joint" && matches!(part.attribute("type"), Some("revolute" | "prismatic"));
    if limited && !part.children().any(|child| child.has_tag_name("limit")) {
        let problem =
            format!("line {}: expected a <limit> with lower, upper, effort and velocity", line(part));
        return Err(Fault::Joint { joint: name.to_owned(), problem });
    }
    Ok(())
}

/// So many numbers, none of them NaN; a limit may be infinite, a place may not.
fn numbers(text: &str, count: usize) -> Result<Vec<f64>, &'static str> {
    let expected = match count {
        1 => "a number",
        3 => "three finite numbers",
        _ => "four finite numbers",
    };
    let values: Option<Vec<f64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
    let sound = |value: &f64| if count == 1 { !value.is_nan() } else { value.is_finite() };
    values.filter(|values| values.len() == count && values.iter().all(sound)).ok_or(expected)
}

/// Reads `<joint name><command_interface name="acceleration"><param name="max">`.
fn accelerations(control: Node<'_, '_>, extras: &mut Extras) -> Result<(), Fault> {
    for joint in control.children().filter(|child| child.has_tag_name("joint")) {
        let name = joint.attribute("name").unwrap_or_default();
        let interface = |node: &Node<'_, '_>| {
            node.has_tag_name("command_interface") && node.attribute("name") == Some("acceleration")
        };
        let of_interface = joint.children().filter(interface).flat_map(|node| node.children());
        for param in of_interface.filter(|node| node.attribute("name") == Some("max")) {
            let came = param.text().unwrap_or_default().trim();
            match numbers(came, 1).as_deref() {
                Ok([value]) if *value > 0.0 => drop(extras.accelerations.insert(name.to_owned(), *value)),
                _ => {
                    return Err(Fault::Number {
                        line: line(param),
                        place: format!("ros2_control joint {name}: <command_interface>"),
                        attribute: "max",
                        expected: "a number above 0",
                        came: came.to_owned(),
                    });
                }
            }
        }
    }
    Ok(())
}
