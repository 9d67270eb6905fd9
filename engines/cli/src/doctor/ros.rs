//! ROS 2: is one sourced, which, and can nodes find each other.

use super::machine::Machine;
use super::report::{Area, Check};

/// What r2r builds against and is tried with.
const DISTRIBUTIONS: [&str; 2] = ["humble", "jazzy"];
/// Message packages without which no node here starts.
const PACKAGES: [&str; 3] = ["sensor_msgs", "std_msgs", "rcl_interfaces"];
/// Domains whose UDP ports stay clear of Linux's ephemeral ones.
const LAST_SAFE_DOMAIN: u32 = 101;
const LAST_DOMAIN: u32 = 232;

const SOURCE: &str =
    "source /opt/ros/jazzy/setup.bash, or in this repository: make setup && source .pixio/setup.bash";

/// All checks of ROS.
pub fn checks(machine: &Machine) -> Vec<Check> {
    let Some(distribution) = machine.variable("ROS_DISTRO") else {
        return vec![Check::fail(Area::Ros, "no ROS 2 is sourced: ROS_DISTRO is not set", SOURCE)];
    };
    vec![
        distribution_check(distribution),
        packages(machine),
        launchable(machine),
        domain(machine),
        discovery(machine),
    ]
}

fn distribution_check(distribution: &str) -> Check {
    if DISTRIBUTIONS.contains(&distribution) {
        return Check::ok(Area::Ros, format!("ROS 2 {distribution}"));
    }
    let found = format!("ROS 2 {distribution}: expected one of {}", DISTRIBUTIONS.join(", "));
    Check::fail(
        Area::Ros,
        found,
        "source one of those; the nodes' ROS client (r2r) does not build against others",
    )
}

fn packages(machine: &Machine) -> Check {
    let prefixes = machine.folders("AMENT_PREFIX_PATH");
    if prefixes.is_empty() {
        return Check::fail(Area::Ros, "AMENT_PREFIX_PATH is not set", SOURCE);
    }
    if let Some(gone) = prefixes.iter().find(|prefix| !machine.at(prefix).is_dir()) {
        let found = format!("AMENT_PREFIX_PATH names {}, which is not there", gone.display());
        return Check::fail(Area::Ros, found, "open a new shell and source the workspace again");
    }
    let there = |package: &&str| {
        prefixes.iter().any(|prefix| machine.at(prefix.join("share").join(package)).is_dir())
    };
    let missing: Vec<_> = PACKAGES.into_iter().filter(|package| !there(package)).collect();
    if missing.is_empty() {
        return Check::ok(Area::Ros, format!("message packages found in {} prefix(es)", prefixes.len()));
    }
    let found = format!("message packages missing: {}", missing.join(", "));
    Check::fail(Area::Ros, found, "install ros-$ROS_DISTRO-common-interfaces, or source the right ROS")
}

/// Whether `ros2 launch pixio ...` finds the package.
fn launchable(machine: &Machine) -> Check {
    let marker = |prefix: &std::path::PathBuf| {
        machine.at(prefix.join("share/ament_index/resource_index/packages/pixio")).is_file()
    };
    match machine.folders("AMENT_PREFIX_PATH").iter().find(|prefix| marker(prefix)) {
        Some(prefix) => Check::ok(Area::Ros, format!("package pixio is installed in {}", prefix.display())),
        None => Check::warn(
            Area::Ros,
            "package pixio is not installed where ros2 finds it: ros2 launch and ros2 run will not know it",
            "colcon build, or the three cmake lines of docs/launch.md; then source the workspace",
        ),
    }
}

fn domain(machine: &Machine) -> Check {
    let remedy = "set ROS_DOMAIN_ID to a number of 0 to 101, the same on every machine of the robot";
    let text = machine.variable("ROS_DOMAIN_ID").unwrap_or("0");
    match text.parse::<u32>() {
        Ok(id) if id <= LAST_SAFE_DOMAIN => Check::ok(Area::Ros, format!("ROS_DOMAIN_ID {id}")),
        Ok(id) if id <= LAST_DOMAIN => {
            let found = format!("ROS_DOMAIN_ID {id}: its ports may be taken by other programs on Linux");
            Check::warn(Area::Ros, found, remedy)
        }
        _ => Check::fail(Area::Ros, format!("ROS_DOMAIN_ID {text:?}: expected 0 to {LAST_DOMAIN}"), remedy),
    }
}

fn discovery(machine: &Machine) -> Check {
    let range = machine.variable("ROS_AUTOMATIC_DISCOVERY_RANGE").unwrap_or("SUBNET").to_uppercase();
    let local = machine.variable("ROS_LOCALHOST_ONLY") == Some("1");
    match range.as_str() {
        "OFF" => Check::warn(
            Area::Ros,
            "ROS_AUTOMATIC_DISCOVERY_RANGE=OFF: nodes find no others, on this machine neither",
            "unset it, or set LOCALHOST or SUBNET",
        ),
        "LOCALHOST" => Check::ok(Area::Ros, "discovery on this machine only (ROS_AUTOMATIC_DISCOVERY_RANGE)"),
        _ if local => Check::ok(Area::Ros, "discovery on this machine only (ROS_LOCALHOST_ONLY)"),
        "SUBNET" | "SYSTEM_DEFAULT" => Check::ok(Area::Ros, "discovery on the network"),
        other => Check::warn(
            Area::Ros,
            format!("ROS_AUTOMATIC_DISCOVERY_RANGE={other}: not known"),
            "set SUBNET, LOCALHOST, OFF or SYSTEM_DEFAULT",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::machine::tests::stand_in;
    use super::super::report::Status;
    use super::*;

    const FILES: [(&str, &str); 4] = [
        ("/opt/ros/jazzy/share/sensor_msgs/package.xml", ""),
        ("/opt/ros/jazzy/share/std_msgs/package.xml", ""),
        ("/opt/ros/jazzy/share/rcl_interfaces/package.xml", ""),
        ("/ws/install/share/ament_index/resource_index/packages/pixio", ""),
    ];
    const SOURCED: [(&str, &str); 2] =
        [("ROS_DISTRO", "jazzy"), ("AMENT_PREFIX_PATH", "/ws/install:/opt/ros/jazzy")];

    #[test]
    fn a_sourced_ros_with_the_package_is_well() {
        let (machine, _root) = stand_in(&SOURCED, &FILES);
        let checks = checks(&machine);
        assert!(checks.iter().all(|check| check.status == Status::Ok), "{checks:#?}");
    }

    /// Variables besides those of a sound ROS, the status, and words of the line.
    type Case<'a> = (&'a [(&'a str, &'a str)], Status, &'a str);

    #[test]
    fn each_fault_has_its_line_and_remedy() {
        let cases: &[Case<'_>] = &[
            (&[("ROS_DISTRO", "")], Status::Fail, "no ROS 2 is sourced"),
            (&[("ROS_DISTRO", "kilted")], Status::Fail, "expected one of humble, jazzy"),
            (
                &[("AMENT_PREFIX_PATH", "/gone:/ws/install:/opt/ros/jazzy")],
                Status::Fail,
                "/gone, which is not there",
            ),
            (&[("AMENT_PREFIX_PATH", "/ws/install")], Status::Fail, "missing: sensor_msgs, std_msgs"),
            (&[("AMENT_PREFIX_PATH", "/opt/ros/jazzy")], Status::Warn, "pixio is not installed"),
            (&[("ROS_DOMAIN_ID", "seven")], Status::Fail, "\"seven\": expected 0 to 232"),
            (&[("ROS_DOMAIN_ID", "233")], Status::Fail, "expected 0 to 232"),
            (&[("ROS_DOMAIN_ID", "150")], Status::Warn, "ports may be taken"),
            (&[("ROS_AUTOMATIC_DISCOVERY_RANGE", "off")], Status::Warn, "find no others"),
            (&[("ROS_AUTOMATIC_DISCOVERY_RANGE", "HOUSE")], Status::Warn, "not known"),
        ];
        for (variables, status, words) in cases {
            let (machine, _root) = stand_in(&[&SOURCED[..], variables].concat(), &FILES);
            let wrong: Vec<_> =
                checks(&machine).into_iter().filter(|check| check.status != Status::Ok).collect();
            let [check] = &wrong[..] else { panic!("{variables:?}: {wrong:#?}") };
            assert_eq!(check.status, *status, "{check}");
            assert!(check.found.contains(words) && check.remedy.is_some(), "{check}");
        }
    }
}
