//! Links Python's library into the nodes where the ROS underlay of `scripts/setup.sh` needs it.
//!
//! `librcl.so` of PyPI's wheels depends on libraries that use Python's symbols without naming its library. A ROS from
//! Debian packages does not, and sets no such variable.

/// The message package that a ROS underlay of before may lack.
const LATEST_PACKAGE: &str = "control_msgs";

fn main() {
    println!("cargo:rerun-if-env-changed=AMENT_PREFIX_PATH");
    let prefixes = std::env::var_os("AMENT_PREFIX_PATH").unwrap_or_default();
    if !std::env::split_paths(&prefixes).any(|prefix| prefix.join("share").join(LATEST_PACKAGE).is_dir()) {
        println!(
            "cargo::error={LATEST_PACKAGE} is not in AMENT_PREFIX_PATH: run scripts/setup.sh, or install and source it"
        );
    }
    println!("cargo:rerun-if-env-changed=PIXIO_LIBPYTHON");
    if let Ok(library) = std::env::var("PIXIO_LIBPYTHON") {
        println!("cargo:rustc-link-arg=-Wl,--no-as-needed,{library},--as-needed");
    }
}
