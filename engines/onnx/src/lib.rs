//! The reference engine: ONNX Runtime on the CPU.
