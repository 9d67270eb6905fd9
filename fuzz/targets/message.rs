//! Definitions, messages and contracts: `scripts/fuzz.sh message`.
#![no_main]

#[path = "../src/recordings.rs"]
mod recordings;

libfuzzer_sys::fuzz_target!(init: recordings::begin_messages(), |bytes: &[u8]| drop(recordings::message(bytes)));
