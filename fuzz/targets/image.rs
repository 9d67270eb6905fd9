//! Raw images: `scripts/fuzz.sh image`.
#![no_main]

#[path = "../src/decoders.rs"]
mod decoders;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| decoders::image(bytes));
