//! A dataset with one file replaced: `scripts/fuzz.sh dataset`.
#![no_main]

#[path = "../src/recordings.rs"]
mod recordings;

use std::sync::LazyLock;

use recordings::Stage;

static STAGE: LazyLock<Stage> = LazyLock::new(|| Stage::begin("dataset"));

libfuzzer_sys::fuzz_target!(
    init: LazyLock::force(&STAGE),
    |bytes: &[u8]| STAGE.with(bytes).expect("room for it")
);
