//! The middleware: is it there, and does it carry images. docs/transport.md explains each.

use std::path::Path;

use super::machine::Machine;
use super::report::{Area, Check};

/// A 1920x1080 rgb8 image, bytes.
const IMAGE_BYTES: u64 = 1920 * 1080 * 3;
/// Fast DDS's shared-memory segment unless a profile says otherwise, bytes.
const DEFAULT_SEGMENT_BYTES: u64 = 512 << 10;
/// Socket receive buffer that holds an image and some, bytes.
const RECEIVE_BUFFER_BYTES: u64 = 10 << 20;

/// Middlewares that are known here, the default first.
const FAST_DDS: &str = "rmw_fastrtps_cpp";
const CYCLONE: &str = "rmw_cyclonedds_cpp";
const ZENOH: &str = "rmw_zenoh_cpp";

/// All checks of the middleware; none without a sourced ROS.
pub fn checks(machine: &Machine) -> Vec<Check> {
    if machine.variable("ROS_DISTRO").is_none() {
        return Vec::new();
    }
    let name = machine.variable("RMW_IMPLEMENTATION").unwrap_or(FAST_DDS);
    let mut checks = vec![middleware(machine, name)];
    match name {
        FAST_DDS | "rmw_fastrtps_dynamic_cpp" => checks.push(fast_dds(machine)),
        CYCLONE => checks.extend([cyclone(machine), receive_buffer(machine)]),
        ZENOH => checks.push(zenoh(machine)),
        _ => {}
    }
    checks
}

/// The shared-memory segment that a process of this environment makes, bytes; none where there is none.
pub fn segment_bytes(machine: &Machine) -> Option<u64> {
    let name = machine.variable("RMW_IMPLEMENTATION").unwrap_or(FAST_DDS);
    if machine.variable("ROS_DISTRO").is_none() || !name.starts_with("rmw_fastrtps") {
        return None;
    }
    match profile(machine) {
        Profile::Segment(_, bytes) => Some(bytes),
        Profile::None if builtin_transports_share(machine) => Some(DEFAULT_SEGMENT_BYTES),
        _ => None,
    }
}

fn middleware(machine: &Machine, name: &str) -> Check {
    let file = format!("lib{name}.so");
    let prefixes = machine.folders("AMENT_PREFIX_PATH").into_iter().map(|prefix| prefix.join("lib"));
    let mut folders = prefixes.chain(machine.folders("LD_LIBRARY_PATH"));
    if !folders.any(|folder| machine.at(folder.join(&file)).exists()) {
        let package = name.replace('_', "-");
        return Check::fail(
            Area::Transport,
            format!("middleware {name}: {file} is not in any sourced prefix"),
            format!("install ros-$ROS_DISTRO-{package}, or unset RMW_IMPLEMENTATION"),
        );
    }
    if [FAST_DDS, "rmw_fastrtps_dynamic_cpp", CYCLONE, ZENOH].contains(&name) {
        return Check::ok(Area::Transport, format!("middleware {name}"));
    }
    let found = format!("middleware {name}: nothing is known here of how it carries images");
    Check::warn(Area::Transport, found, "measure: ros2 topic hz and ros2 topic delay on the depth")
}

/// What Fast DDS reads at start.
enum Profile {
    /// No file is named.
    None,
    /// A file is named and cannot be used.
    Wrong(String, String),
    /// A file whose participants have a shared-memory segment of that many bytes.
    Segment(String, u64),
    /// A file that switches the built-in transports off and names none with shared memory.
    Unshared(String),
}

/// The variable that names the profile: Fast DDS 3 reads another one than those before it, which Humble, Iron and Jazzy have.
fn profile_variable(machine: &Machine) -> &'static str {
    match machine.variable("ROS_DISTRO") {
        Some("humble" | "iron" | "jazzy") => "FASTRTPS_DEFAULT_PROFILES_FILE",
        _ => "FASTDDS_DEFAULT_PROFILES_FILE",
    }
}

fn profile(machine: &Machine) -> Profile {
    let Some(path) = machine.variable(profile_variable(machine)) else { return Profile::None };
    let Some(text) = machine.read(path) else {
        return Profile::Wrong(path.to_owned(), "it cannot be read, and Fast DDS goes on without it".into());
    };
    match segment_of(&text) {
        Err(error) => Profile::Wrong(path.to_owned(), format!("it is no XML: {error}")),
        Ok(Some(bytes)) => Profile::Segment(path.to_owned(), bytes),
        Ok(None) => Profile::Unshared(path.to_owned()),
    }
}

/// The largest shared-memory segment that a participant of the profile uses, bytes.
fn segment_of(text: &str) -> Result<Option<u64>, roxmltree::Error> {
    let document = roxmltree::Document::parse(text)?;
    let named = |name: &'static str| {
        document.descendants().filter(move |node| node.is_element() && node.tag_name().name() == name)
    };
    let inside = |node: roxmltree::Node<'_, '_>, name: &str| {
        let found = node.children().find(|child| child.tag_name().name() == name)?;
        found.text().map(|text| text.trim().to_owned())
    };
    let used: Vec<_> = named("userTransports")
        .flat_map(|transports| transports.children())
        .filter_map(|transport| transport.text().map(|text| text.trim().to_owned()))
        .collect();
    let builtin_off = named("useBuiltinTransports").any(|node| node.text().map(str::trim) == Some("false"));
    let shared = named("transport_descriptor").filter(|descriptor| {
        inside(*descriptor, "type").is_some_and(|kind| kind == "SHM")
            && inside(*descriptor, "transport_id").is_some_and(|id| used.contains(&id))
    });
    let size = |descriptor| {
        let text = inside(descriptor, "segment_size");
        text.and_then(|text| text.parse().ok()).unwrap_or(DEFAULT_SEGMENT_BYTES)
    };
    Ok(shared.map(size).max().or((!builtin_off).then_some(DEFAULT_SEGMENT_BYTES)))
}

/// Whether Fast DDS's built-in transports, as the environment chooses them, have shared memory.
fn builtin_transports_share(machine: &Machine) -> bool {
    let chosen = machine.variable("FASTDDS_BUILTIN_TRANSPORTS").unwrap_or("DEFAULT");
    let chosen = chosen.split('?').next().unwrap_or_default();
    !matches!(chosen, "UDPv4" | "UDPv6" | "NONE")
}

fn fast_dds(machine: &Machine) -> Check {
    let variable = profile_variable(machine);
    let remedy = format!(
        "export {variable}=<share of pixio>/launch/fastdds.xml for camera drivers and nodes alike: \
         the segment belongs to the sender (docs/transport.md)"
    );
    let warn = |found: String| Check::warn(Area::Transport, found, remedy.clone());
    match profile(machine) {
        Profile::Wrong(path, why) => {
            Check::fail(Area::Transport, format!("Fast DDS profile {path}: {why}"), remedy.clone())
        }
        Profile::None if builtin_transports_share(machine) => warn(format!(
            "no Fast DDS profile in {variable}: the shared-memory segment of {} kB holds no image, \
             so images go through UDP in fragments",
            DEFAULT_SEGMENT_BYTES >> 10
        )),
        Profile::None => {
            warn("FASTDDS_BUILTIN_TRANSPORTS leaves shared memory out: images go through UDP".into())
        }
        Profile::Unshared(path) => {
            warn(format!("Fast DDS profile {path} has no shared memory: images go through UDP"))
        }
        Profile::Segment(path, bytes) if bytes < 2 * IMAGE_BYTES => warn(format!(
            "Fast DDS profile {path}: a segment of {} kB holds less than two 1920x1080 rgb8 images",
            bytes >> 10
        )),
        Profile::Segment(path, bytes) => Check::ok(
            Area::Transport,
            format!("Fast DDS profile {path}: shared-memory segment of {} MB", bytes >> 20),
        ),
    }
}

fn cyclone(machine: &Machine) -> Check {
    let remedy = "see docs/transport.md for a configuration that suits images";
    let Some(uri) = machine.variable("CYCLONEDDS_URI") else {
        let found = "CYCLONEDDS_URI is not set: images go in UDP fragments over default buffers";
        return Check::warn(Area::Transport, found, remedy);
    };
    let text = if uri.trim_start().starts_with('<') {
        Some(uri.to_owned())
    } else {
        machine.read(uri.strip_prefix("file://").unwrap_or(uri))
    };
    let Some(text) = text else {
        return Check::fail(Area::Transport, format!("CYCLONEDDS_URI {uri}: no such file"), remedy);
    };
    // Fragments of documents are allowed there; what counts is whether the buffer is named.
    if text.contains("SocketReceiveBufferSize") {
        Check::ok(Area::Transport, "Cyclone's configuration names SocketReceiveBufferSize")
    } else {
        let found =
            "Cyclone's configuration does not name SocketReceiveBufferSize: bursts of fragments overflow it";
        Check::warn(Area::Transport, found, remedy)
    }
}

fn receive_buffer(machine: &Machine) -> Check {
    let path = Path::new("/proc/sys/net/core/rmem_max");
    let remedy = "sudo sysctl -w net.core.rmem_max=2147483647 net.ipv4.ipfrag_high_thresh=134217728 \
                  (in /etc/sysctl.d to keep it; on the host, when in a container)";
    match machine.read(path).and_then(|text| text.trim().parse::<u64>().ok()) {
        Some(bytes) if bytes >= RECEIVE_BUFFER_BYTES => Check::ok(
            Area::Transport,
            format!("socket buffers may hold {} MB (net.core.rmem_max)", bytes >> 20),
        ),
        Some(bytes) => {
            let found = format!(
                "net.core.rmem_max is {} kB: fragments of one 1920x1080 rgb8 image ({} kB) overflow it",
                bytes >> 10,
                IMAGE_BYTES >> 10
            );
            Check::warn(Area::Transport, found, remedy)
        }
        None => Check::warn(Area::Transport, format!("{} cannot be read", path.display()), remedy),
    }
}

fn zenoh(machine: &Machine) -> Check {
    for name in ["ZENOH_SESSION_CONFIG_URI", "ZENOH_ROUTER_CONFIG_URI"] {
        if let Some(path) = machine.variable(name)
            && !machine.at(path).is_file()
        {
            return Check::fail(
                Area::Transport,
                format!("{name} {path}: no such file"),
                "correct or unset it",
            );
        }
    }
    let shared = machine.variable("ZENOH_CONFIG_OVERRIDE").is_some_and(|text| {
        text.split(';').any(|part| part.trim().replace(' ', "") == "transport/shared_memory/enabled=true")
    });
    if shared {
        return Check::ok(
            Area::Transport,
            "Zenoh with shared memory; nodes need the router: ros2 run rmw_zenoh_cpp rmw_zenohd",
        );
    }
    Check::warn(
        Area::Transport,
        "Zenoh without shared memory, as far as the environment tells: images go through TCP",
        "export ZENOH_CONFIG_OVERRIDE='transport/shared_memory/enabled=true', and start the router: \
         ros2 run rmw_zenoh_cpp rmw_zenohd",
    )
}

#[cfg(test)]
mod tests {
    use super::super::machine::tests::stand_in;
    use super::super::report::{Status, worst};
    use super::*;

    const OURS: &str = include_str!("../../../../launch/fastdds.xml");
    const SMALL: &str = "<profiles><transport_descriptors><transport_descriptor><transport_id>a</transport_id>\
        <type>SHM</type><segment_size>1048576</segment_size></transport_descriptor></transport_descriptors>\
        <participant><rtps><userTransports><transport_id>a</transport_id></userTransports></rtps></participant></profiles>";
    const UDP: &str = "<profiles><participant><rtps><useBuiltinTransports>false</useBuiltinTransports></rtps>\
        </participant></profiles>";

    fn files() -> Vec<(&'static str, &'static str)> {
        vec![
            ("/ros/lib/librmw_fastrtps_cpp.so", ""),
            ("/ros/lib/librmw_cyclonedds_cpp.so", ""),
            ("/ros/lib/librmw_zenoh_cpp.so", ""),
            ("/ours.xml", OURS),
            ("/small.xml", SMALL),
            ("/udp.xml", UDP),
            ("/text.xml", "no XML"),
            ("/buffer.xml", "<General/><Internal><SocketReceiveBufferSize min=\"10MB\"/></Internal>"),
            ("/proc/sys/net/core/rmem_max", "212992\n"),
        ]
    }

    const SOURCED: [(&str, &str); 2] = [("ROS_DISTRO", "jazzy"), ("AMENT_PREFIX_PATH", "/ros")];

    /// Variables besides those of a sound ROS, the status, and words of a line.
    type Case<'a> = (&'a [(&'a str, &'a str)], Status, &'a str);

    #[test]
    fn each_middleware_is_judged_by_what_it_reads() {
        let profile = "FASTRTPS_DEFAULT_PROFILES_FILE";
        let rmw = "RMW_IMPLEMENTATION";
        let cyclone = (rmw, "rmw_cyclonedds_cpp");
        let zenoh = (rmw, "rmw_zenoh_cpp");
        let cases: &[Case<'_>] = &[
            (&[], Status::Warn, "segment of 512 kB holds no image"),
            (&[(profile, "/ours.xml")], Status::Ok, "segment of 64 MB"),
            (
                &[("FASTDDS_DEFAULT_PROFILES_FILE", "/ours.xml")],
                Status::Warn,
                "no Fast DDS profile in FASTRTPS_",
            ),
            (
                &[("ROS_DISTRO", "kilted"), ("FASTDDS_DEFAULT_PROFILES_FILE", "/ours.xml")],
                Status::Ok,
                "segment of 64 MB",
            ),
            (
                &[("ROS_DISTRO", "kilted"), (profile, "/ours.xml")],
                Status::Warn,
                "no Fast DDS profile in FASTDDS_",
            ),
            (&[(profile, "/small.xml")], Status::Warn, "1024 kB"),
            (&[(profile, "/udp.xml")], Status::Warn, "no shared memory"),
            (&[(profile, "/text.xml")], Status::Fail, "no XML"),
            (&[(profile, "/gone.xml")], Status::Fail, "cannot be read"),
            (&[("FASTDDS_BUILTIN_TRANSPORTS", "UDPv4")], Status::Warn, "leaves shared memory out"),
            (&[(rmw, "rmw_connextdds")], Status::Fail, "librmw_connextdds.so is not in any"),
            (&[cyclone], Status::Warn, "CYCLONEDDS_URI is not set"),
            (&[cyclone], Status::Warn, "rmem_max is 208 kB"),
            (
                &[cyclone, ("CYCLONEDDS_URI", "file:///buffer.xml")],
                Status::Warn,
                "names SocketReceiveBufferSize",
            ),
            (&[cyclone, ("CYCLONEDDS_URI", "/gone.xml")], Status::Fail, "no such file"),
            (&[zenoh], Status::Warn, "without shared memory"),
            (
                &[zenoh, ("ZENOH_CONFIG_OVERRIDE", "a=1; transport/shared_memory/enabled=true")],
                Status::Ok,
                "router",
            ),
            (&[zenoh, ("ZENOH_SESSION_CONFIG_URI", "/gone.json5")], Status::Fail, "no such file"),
        ];
        for (variables, status, words) in cases {
            let (machine, _root) = stand_in(&[&SOURCED[..], variables].concat(), &files());
            let checks = checks(&machine);
            assert_eq!(worst(&checks), *status, "{variables:?}: {checks:#?}");
            assert!(checks.iter().any(|check| check.found.contains(words)), "{variables:?}: {checks:#?}");
        }
    }

    #[test]
    fn the_segment_is_what_the_environment_makes() {
        let cases = [
            ("RMW_IMPLEMENTATION", "", Some(512 << 10)),
            ("FASTRTPS_DEFAULT_PROFILES_FILE", "/ours.xml", Some(64 << 20)),
            ("FASTRTPS_DEFAULT_PROFILES_FILE", "/udp.xml", None),
            ("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp", None),
        ];
        for (variable, value, expected) in cases {
            let (machine, _root) = stand_in(&[&SOURCED[..], &[(variable, value)]].concat(), &files());
            assert_eq!(segment_bytes(&machine), expected, "{variable}={value}");
        }
        let (machine, _root) = stand_in(&[], &[]);
        assert_eq!(segment_bytes(&machine), None);
        assert!(checks(&machine).is_empty());
    }
}
