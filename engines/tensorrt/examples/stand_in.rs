//! Builds the stand-in for libcuda and TensorRT, for tests of whole programs: `stand_in tensorrt|tensorrt-rtx FOLDER`. A
//! program that finds the folder in `LD_LIBRARY_PATH` takes it for a machine with a GPU, and computes nothing of worth.
//! With `--without-driver` it stands for TensorRT alone, on a real GPU: `scripts/gpu-pack.sh`.
// Run by tests only: a panic is how it fails.
#![allow(clippy::expect_used, clippy::panic)]

#[path = "../tests/standins/make.rs"]
mod make;

use std::path::PathBuf;

use tensorrt::Flavour;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next =
        || arguments.next().expect("usage: stand_in tensorrt|tensorrt-rtx FOLDER [--without-driver]");
    let (flavour, folder): (Flavour, PathBuf) = (next().parse().expect("flavour"), next().into());
    match arguments.next().as_deref() {
        None => make::stand_in(flavour, &folder),
        Some("--without-driver") => make::on_real_driver(flavour, &folder),
        Some(other) => panic!("expected --without-driver, got {other}"),
    };
}
