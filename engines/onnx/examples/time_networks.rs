//! Runs a bundle's encoder as often as it is told, for `tests/bench/engines.py`.
//!
//! Arguments: the bundle's folder, the network's input size, a file with its input (float32), a file for its last output, the number of
//! threads, `fp32` or `int8`. It says `ready`; then every line on standard input is one run, answered by its nanoseconds.

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use calibration::Size;
use network::Bundle;
use onnx::{OnnxOptions, OnnxRuntime};
use perception::Engine;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bundle, size, input, output, threads, precision] = arguments.as_slice() else {
        return Err("expected BUNDLE WxH INPUT OUTPUT THREADS fp32|int8".into());
    };
    let size: Size = size.parse()?;
    let int8 = match precision.as_str() {
        "fp32" => false,
        "int8" => true,
        other => return Err(format!("expected fp32 or int8, got {other}").into()),
    };
    let options = OnnxOptions { library: onnx::library(None)?, threads: threads.parse()?, int8 };
    let mut engine = OnnxRuntime::new(options)?;
    let network = Bundle::open(Path::new(bundle))?.backbone(size)?;
    let image = engine.allocate(&network.inputs()[0].shape)?;
    let bytes = std::fs::read(input)?;
    let values: Vec<f32> = bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
    engine.upload(&values, &image)?;
    let mut loaded = engine.load(&network, &[image])?;
    engine.run(&mut loaded)?;
    let identity = engine.identity();
    println!("ready {} {} {}", identity.flavour, identity.version, identity.precision);
    let tokens = engine.outputs(&loaded)[0].clone();
    let mut result = vec![0.0; engine.shape(&tokens).iter().product()];
    for line in std::io::stdin().lock().lines() {
        line?;
        let start = Instant::now();
        engine.run(&mut loaded)?;
        engine.download(&tokens, &mut result)?;
        println!("{}", start.elapsed().as_nanos());
        std::io::stdout().flush()?;
    }
    let bytes: Vec<u8> = result.iter().flat_map(|value| value.to_le_bytes()).collect();
    Ok(std::fs::write(output, bytes)?)
}
