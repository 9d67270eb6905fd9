//! When `scripts/setup.sh` sets up anew: a copy of it, with a stand-in for every program that would install something.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the script calls to look at the system and to install.
const CALLED: [&str; 9] =
    ["cargo", "cmake", "curl", "dpkg-query", "apt-get", "sudo", "python3", "python3.11", "uname"];

/// Writes down how it was called, and leaves what the script looks for afterwards.
const STAND_IN: &str = r#"#!/usr/bin/env bash
echo "${0##*/} $*" >> "$STAND_IN_LOG"
case "${0##*/} $*" in
  dpkg-query*) echo 'install ok installed' ;;
  'cargo --version') echo 'cargo 999.0.0' ;;
  'cargo vendor '*) mkdir -p vendor/trtx-sys/TensorRT-Headers ;;
  'uname -m') echo x86_64 ;;
  python3*' -m venv '*)
    mkdir -p "${@: -1}"/{bin,share}
    ln -sf "$(readlink -f "$0")" "${@: -1}/bin/python"
    ln -sf "$(readlink -f "$0")" "${@: -1}/bin/pip" ;;
esac
"#;

/// A copy of the repository's scripts, and the stand-ins.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("folder"));
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for name in ["scripts", "Cargo.toml"] {
            let copied = Command::new("cp").arg("-r").arg(repository.join(name)).arg(place.at("")).status();
            assert!(copied.expect("cp").success());
        }
        fs::create_dir(place.at("bin")).expect("bin");
        let stand_in = place.at("bin/stand-in");
        fs::write(&stand_in, STAND_IN).expect("stand-in");
        fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).expect("executable");
        for name in CALLED {
            symlink(&stand_in, place.at("bin").join(name)).expect("link");
        }
        // What it names by its whole path, on whichever system this runs.
        fs::write(place.at("os-release"), "ID=debian\nVERSION_ID=12\n").expect("os-release");
        let script = fs::read_to_string(place.at("scripts/setup.sh")).expect("setup.sh");
        let script = script.replace("/usr/bin/python3.11", &place.text("bin/python3.11"));
        let script = script.replace("/etc/os-release", &place.text("os-release"));
        fs::write(place.at("scripts/setup.sh"), script).expect("setup.sh");
        place
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn text(&self, path: &str) -> String {
        self.at(path).to_str().expect("text").to_owned()
    }

    /// Sets up, beside a sourced ROS or without one; how often pip was called, by this run.
    fn set_up(&self, ros: Option<&str>) -> usize {
        let log = self.at("log");
        fs::write(&log, "").expect("log");
        let mut script = Command::new("bash");
        script.arg(self.at("scripts/setup.sh")).env_clear().env("STAND_IN_LOG", &log);
        script.env("HOME", self.at("")).env("PATH", format!("{}:/usr/bin:/bin", self.text("bin")));
        if let Some(distribution) = ros {
            script.env("ROS_DISTRO", distribution).env("AMENT_PREFIX_PATH", "/opt/ros");
        }
        let output = script.output().expect("bash");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let log = fs::read_to_string(log).expect("log");
        log.lines().filter(|line| line.contains("pip") && line.contains(" install ")).count()
    }
}

/// Each script that the environment is made of, changed: the environment is of the new one.
#[test]
fn a_change_of_a_script_sets_up_anew_and_nothing_else_does() {
    let cases: [(Option<&str>, &[&str]); 2] =
        [(None, &["underlay.bash", "python.bash"]), (Some("jazzy"), &["python.bash"])];
    for (ros, scripts) in cases {
        let place = Place::new();
        assert!(place.set_up(ros) > 0, "{ros:?}: the first time everything is installed");
        assert_eq!(place.set_up(ros), 0, "{ros:?}: nothing is installed twice");
        for script in scripts {
            let line = format!("export CHANGED={script}\n");
            let file = OpenOptions::new().append(true).open(place.at("scripts").join(script));
            file.expect(script).write_all(line.as_bytes()).expect(script);
            assert!(place.set_up(ros) > 0, "{ros:?}: {script} changed");
            let environment = fs::read_to_string(place.at(".pixio/setup.bash")).expect("setup.bash");
            assert!(environment.contains(&line), "{ros:?}: {script} is not in the environment");
            assert_eq!(place.set_up(ros), 0, "{ros:?}: {script} changed once");
        }
    }
}
