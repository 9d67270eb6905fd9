//! Builds the stand-in for libcuda and TensorRT, for tests of whole programs: `stand_in tensorrt|tensorrt-rtx FOLDER`. A
//! program that finds the folder in `LD_LIBRARY_PATH` takes it for a machine with a GPU, and computes nothing of worth.
// Run by tests only: a panic is how it fails.
#![allow(clippy::expect_used, clippy::panic)]

#[path = "../tests/standins/make.rs"]
mod make;

use std::path::PathBuf;

use tensorrt::Flavour;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().expect("usage: stand_in tensorrt|tensorrt-rtx FOLDER");
    let (flavour, folder): (Flavour, PathBuf) = (next().parse().expect("flavour"), next().into());
    make::stand_in(flavour, &folder);
}
