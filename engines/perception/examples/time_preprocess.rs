//! Preprocesses one raw frame as often as it is told, for `tests/bench/preprocess.py`.
//!
//! Arguments: a file of raw pixels (tight rows), their encoding, the frame's and the network's size. Every line on standard input is one run,
//! answered by the nanoseconds that the processor worked on it (others may be running); at the end of the input the network's input goes to the file given last, as float32.

use std::io::{BufRead, Write};

use calibration::Size;
use network::manifest::PreprocessingSpec;
use perception::{Encoding, ImageGeometry, ImageView, Preprocessing};

/// Nanoseconds that this thread was on a processor.
fn processor_time() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [pixels, encoding, frame, network, output] = arguments.as_slice() else {
        return Err("expected PIXELS ENCODING WxH WxH OUTPUT".into());
    };
    let (data, encoding): (_, Encoding) = (std::fs::read(pixels)?, encoding.parse()?);
    let (frame, network): (Size, Size) = (frame.parse()?, network.parse()?);
    let image = ImageView::new(&data, frame, encoding.row_bytes(frame.width), encoding)?;
    let mut preprocessing =
        Preprocessing::new(ImageGeometry::new(frame, network)?, &PreprocessingSpec::default());
    let mut input = vec![0.0; 3 * network.area()];
    for line in std::io::stdin().lock().lines() {
        line?;
        let start = processor_time();
        preprocessing.run(&image, &mut input)?;
        println!("{}", processor_time() - start);
        std::io::stdout().flush()?;
    }
    let bytes: Vec<u8> = input.iter().flat_map(|value| value.to_le_bytes()).collect();
    Ok(std::fs::write(output, bytes)?)
}
