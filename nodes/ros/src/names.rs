//! What the arguments of a process say, as rcl reads them; r2r does not tell.

use crate::rosout::Level;

/// The full name of a topic of a node, after the remaps of the command line.
///
/// `arguments` are the process's; `node` is the node's full name with namespace. Rules are `from:=to`, perhaps limited to
/// a node as `node:from:=to`; names in them may be relative, private (`~/`) or full. The first rule that fits counts.
pub fn resolve(topic: &str, node: &str, arguments: impl IntoIterator<Item = String>) -> String {
    let (namespace, name) = node.rsplit_once('/').unwrap_or(("", node));
    let expand = |topic: &str| match topic.strip_prefix("~/") {
        Some(private) => format!("{node}/{private}"),
        None if topic.starts_with('/') => topic.to_owned(),
        None => format!("{namespace}/{topic}"),
    };
    let full = expand(topic);
    let fits = |rule: &(String, String)| {
        let (limited, from) = match rule.0.split_once(':') {
            Some((node, from)) => (Some(node), from),
            None => (None, rule.0.as_str()),
        };
        limited.is_none_or(|limited| limited == name) && expand(from) == full
    };
    rules(arguments).into_iter().find(fits).map_or(full.clone(), |(_, to)| expand(&to))
}

/// The values of options among a process's ROS arguments, in their order.
pub fn values(options: &[&str], arguments: impl IntoIterator<Item = String>) -> Vec<String> {
    let (mut ros, mut next, mut found) = (false, false, Vec::new());
    for argument in arguments {
        match argument.as_str() {
            "--ros-args" => ros = true,
            "--" => ros = false,
            _ if std::mem::take(&mut next) => found.push(argument),
            option => next = ros && options.contains(&option),
        }
    }
    found
}

/// The remap rules among a process's ROS arguments.
fn rules(arguments: impl IntoIterator<Item = String>) -> Vec<(String, String)> {
    let pair = |rule: String| rule.split_once(":=").map(|(from, to)| (from.to_owned(), to.to_owned()));
    values(&["-r", "--remap"], arguments).into_iter().filter_map(pair).collect()
}

/// The least level that a logger logs: `--log-level LEVEL`, or `--log-level LOGGER:=LEVEL` for it or one above it.
pub fn log_level(logger: &str, arguments: impl IntoIterator<Item = String>) -> Level {
    let (mut general, mut own) = (None, None);
    for level in values(&["--log-level"], arguments) {
        match level.split_once(":=") {
            None => general = Level::named(&level).or(general),
            Some((name, level)) if is_above(name, logger) => own = Level::named(level).or(own),
            Some(_) => {}
        }
    }
    own.or(general).unwrap_or(Level::Info)
}

/// Whether a logger is that of the name, or below it.
fn is_above(name: &str, logger: &str) -> bool {
    logger.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_levels_are_read_as_rcl_does() {
        let cases: &[(&[&str], Level)] = &[
            (&[], Level::Info),
            (&["--ros-args", "--log-level", "debug"], Level::Debug),
            (&["--ros-args", "--log-level", "WARN"], Level::Warn),
            (&["--ros-args", "--log-level", "other:=debug"], Level::Info),
            (&["--ros-args", "--log-level", "robot:=debug", "--log-level", "error"], Level::Debug),
            (&["--log-level", "debug"], Level::Info),
        ];
        for (arguments, expected) in cases {
            let arguments = arguments.iter().map(|argument| (*argument).to_owned());
            assert_eq!(log_level("robot.perception_node", arguments), *expected);
        }
    }

    /// What `ros2 topic list` shows for each set of arguments (rcl's rules, design.ros2.org/articles/static_remapping).
    #[test]
    fn resolves_as_rcl_does() {
        let cases: &[(&str, &str, &[&str], &str)] = &[
            ("image", "/perception", &[], "/image"),
            ("image", "/robot/perception", &[], "/robot/image"),
            ("~/points", "/robot/perception", &[], "/robot/perception/points"),
            ("image", "/robot/perception", &["--ros-args", "-r", "image:=/cam/raw"], "/cam/raw"),
            ("image", "/robot/perception", &["--ros-args", "--remap", "image:=raw"], "/robot/raw"),
            ("image", "/robot/perception", &["--ros-args", "-r", "/robot/image:=/x"], "/x"),
            ("image", "/perception", &["--ros-args", "-r", "other:image:=/x"], "/image"),
            ("image", "/perception", &["--ros-args", "-r", "perception:image:=/x"], "/x"),
            ("image", "/perception", &["-r", "image:=/x"], "/image"),
        ];
        for (topic, node, arguments, expected) in cases {
            let arguments = arguments.iter().map(|argument| (*argument).to_owned());
            assert_eq!(resolve(topic, node, arguments), *expected, "{topic} of {node}");
        }
    }
}
