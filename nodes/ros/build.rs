//! Links Python's library into the nodes where the ROS underlay of `scripts/setup.sh` needs it.
//!
//! `librcl.so` of PyPI's wheels depends on libraries that use Python's symbols without naming its library. A ROS from
//! Debian packages does not, and sets no such variable.

fn main() {
    println!("cargo:rerun-if-env-changed=PIXIO_LIBPYTHON");
    if let Ok(library) = std::env::var("PIXIO_LIBPYTHON") {
        println!("cargo:rustc-link-arg=-Wl,--no-as-needed,{library},--as-needed");
    }
}
