//! Shared memory: does it hold the segments that the middleware makes.

use super::machine::Machine;
use super::report::{Area, Check};
use super::transport;

/// What Docker gives a container that does not ask, bytes.
const DOCKERS_DEFAULT_BYTES: u64 = 64 << 20;

/// The check of /dev/shm.
pub fn checks(machine: &Machine) -> Vec<Check> {
    let remedy = "in a container: docker run --shm-size=1g (compose: shm_size: 1gb), or --ipc=host to share the host's; \
                  elsewhere: sudo mount -o remount,size=1g /dev/shm";
    let Some(space) = machine.shared_memory else {
        return vec![Check::warn(Area::Memory, "/dev/shm is not there: images go through UDP", remedy)];
    };
    let size = format!("/dev/shm has {} MB, {} MB of it free", space.total >> 20, space.free >> 20);
    let segment = transport::segment_bytes(machine).unwrap_or(0);
    // Fast DDS's file is larger than the segment by 4.7 % (measured: 70255136 bytes for 67108864).
    let file = segment + segment / 20;
    if space.free < file {
        let left = machine.names("/dev/shm").iter().filter(|name| name.starts_with("fastrtps_")).count();
        let remedy = match left {
            0 => remedy.to_owned(),
            left => format!(
                "{left} files of Fast DDS are there, perhaps of dead processes: fastdds shm clean; else {remedy}"
            ),
        };
        let found = format!(
            "{size}: less than one segment of {} MB, so that no node can make its own",
            segment >> 20
        );
        return vec![Check::fail(Area::Memory, found, remedy)];
    }
    if space.total <= DOCKERS_DEFAULT_BYTES {
        let found =
            format!("{size}: Docker's default; every process that sends images has a segment of its own");
        return vec![Check::warn(Area::Memory, found, remedy)];
    }
    // A camera driver, the node, and one consumer that publishes.
    if space.free < 3 * file {
        let found = format!("{size}: room for fewer than three segments of {} MB", segment >> 20);
        return vec![Check::warn(Area::Memory, found, remedy)];
    }
    vec![Check::ok(Area::Memory, size)]
}

#[cfg(test)]
mod tests {
    use super::super::machine::Space;
    use super::super::machine::tests::stand_in;
    use super::super::report::Status;
    use super::*;

    #[test]
    fn shared_memory_holds_segments_or_says_so() {
        let profile = include_str!("../../../../launch/fastdds.xml");
        let variables = [("ROS_DISTRO", "jazzy"), ("FASTRTPS_DEFAULT_PROFILES_FILE", "/ours.xml")];
        let (mut machine, _root) =
            stand_in(&variables, &[("/ours.xml", profile), ("/dev/shm/fastrtps_1", "")]);
        let megabytes = |total: u64, free: u64| Some(Space { total: total << 20, free: free << 20 });
        let cases = [
            (megabytes(8192, 8000), Status::Ok, "8192 MB"),
            (megabytes(256, 100), Status::Warn, "fewer than three segments of 64 MB"),
            (megabytes(64, 64), Status::Fail, "less than one segment"),
            (megabytes(4096, 66), Status::Fail, "less than one segment"),
            (None, Status::Warn, "not there"),
        ];
        for (space, status, words) in cases {
            machine.shared_memory = space;
            let checks = checks(&machine);
            assert_eq!(checks[0].status, status, "{checks:#?}");
            assert!(checks[0].found.contains(words), "{checks:#?}");
        }
        machine.shared_memory = megabytes(64, 1);
        assert!(checks(&machine)[0].remedy.as_ref().unwrap().contains("1 files of Fast DDS"));
        machine.shared_memory = megabytes(64, 64);
        machine.environment.clear();
        assert!(
            checks(&machine)[0].found.contains("Docker's default"),
            "without ROS there is no segment to hold"
        );
    }
}
