//! Each engine against the conformance suite.

use perception::Either;
use perception::dummy::Dummy;
use tests::{conformance, onnx_runtime};

#[test]
fn onnx_runtime_behaves() {
    conformance::seam(&mut onnx_runtime());
}

#[test]
fn onnx_runtime_shares_tensors() {
    conformance::sharing(&mut onnx_runtime());
}

#[test]
fn onnx_runtime_computes_as_pytorch() {
    conformance::operations(&mut onnx_runtime());
}

#[test]
fn the_dummy_behaves() {
    conformance::seam(&mut Dummy::default());
}

#[test]
fn either_of_two_engines_behaves() {
    type Two = Either<onnx::OnnxRuntime, Dummy>;
    conformance::seam(&mut Two::First(onnx_runtime()));
    conformance::sharing(&mut Two::First(onnx_runtime()));
    conformance::seam(&mut Two::Second(Dummy::default()));
}

#[test]
fn a_second_library_in_one_process_is_refused() {
    let _first = onnx_runtime();
    let other = tempfile::NamedTempFile::new().unwrap();
    let options = onnx::OnnxOptions::new(other.path().to_owned(), 1);
    let refused = onnx::OnnxRuntime::new(options).unwrap_err().to_string();
    assert!(
        refused.contains("has loaded") && refused.contains(&other.path().display().to_string()),
        "{refused}"
    );
}
