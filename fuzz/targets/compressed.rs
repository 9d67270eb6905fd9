//! Compressed images: `scripts/fuzz.sh compressed`.
#![no_main]

#[path = "../src/decoders.rs"]
mod decoders;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| decoders::compressed(bytes));
