//! The messages of ONNX's protobuf schema that a network needs (onnx.proto3, field numbers as published).

use crate::precision::Number;

/// `TensorProto.DataType.FLOAT`
const FLOAT: i32 = 1;
/// `TensorProto.DataType.INT8`
const INT8: i32 = 3;
/// `TensorProto.DataType.INT64`
const INT64: i32 = 7;
/// `TensorProto.DataType.FLOAT16`
const FLOAT16: i32 = 10;
/// `TensorProto.DataType.BFLOAT16`
const BFLOAT16: i32 = 16;
/// `TensorProto.DataLocation.EXTERNAL`
const EXTERNAL: i32 = 1;
/// `AttributeProto.AttributeType`: FLOAT, INT, STRING, INTS
const ATTRIBUTE_TYPES: [i32; 4] = [1, 2, 3, 7];

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Model {
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    #[prost(string, tag = "2")]
    pub producer_name: String,
    #[prost(string, tag = "3")]
    pub producer_version: String,
    #[prost(message, optional, tag = "7")]
    pub graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSet>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OperatorSet {
    #[prost(string, tag = "1")]
    pub domain: String,
    #[prost(int64, tag = "2")]
    pub version: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Graph {
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<Node>,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfo>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Node {
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<Attribute>,
    #[prost(string, tag = "7")]
    pub domain: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Attribute {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(float, optional, tag = "2")]
    pub f: Option<f32>,
    #[prost(int64, optional, tag = "3")]
    pub i: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub s: Option<Vec<u8>>,
    #[prost(int64, repeated, tag = "8")]
    pub ints: Vec<i64>,
    #[prost(int32, tag = "20")]
    pub kind: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    pub dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    #[prost(string, tag = "8")]
    pub name: String,
    #[prost(bytes = "vec", optional, tag = "9")]
    pub raw_data: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "13")]
    pub external_data: Vec<StringEntry>,
    #[prost(int32, tag = "14")]
    pub data_location: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StringEntry {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ValueInfo {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<Type>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Type {
    #[prost(message, optional, tag = "1")]
    pub tensor_type: Option<TensorType>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TensorType {
    #[prost(int32, tag = "1")]
    pub elem_type: i32,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<Shape>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Shape {
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<Dimension>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Dimension {
    #[prost(int64, optional, tag = "1")]
    pub dim_value: Option<i64>,
}

fn dims(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|side| *side as i64).collect()
}

/// ONNX's number of a number format.
pub(super) fn data_type(number: Number) -> i32 {
    match number {
        Number::Fp32 => FLOAT,
        Number::Fp16 => FLOAT16,
        Number::Bf16 => BFLOAT16,
    }
}

/// A tensor without its numbers.
pub(super) fn tensor(name: &str, shape: &[usize], number: Number) -> Tensor {
    Tensor { dims: dims(shape), data_type: data_type(number), name: name.to_owned(), ..Tensor::default() }
}

/// A tensor whose numbers lie in another file.
pub(super) fn external(tensor: Tensor, file: &str, offset: u64, length: u64) -> Tensor {
    let entry = |key: &str, value: String| StringEntry { key: key.to_owned(), value };
    let external_data = vec![
        entry("location", file.to_owned()),
        entry("offset", offset.to_string()),
        entry("length", length.to_string()),
    ];
    Tensor { external_data, data_location: EXTERNAL, ..tensor }
}

/// Integers of 8 bits.
pub(super) fn int8(name: &str, shape: &[usize], bytes: Vec<u8>) -> Tensor {
    let (name, raw_data) = (name.to_owned(), Some(bytes));
    Tensor { dims: dims(shape), data_type: INT8, name, raw_data, ..Tensor::default() }
}

/// A vector of integers, for shapes and axes.
pub(super) fn integers(name: &str, values: &[usize]) -> Tensor {
    let raw = values.iter().flat_map(|value| (*value as i64).to_le_bytes()).collect();
    let dims = vec![values.len() as i64];
    Tensor { dims, data_type: INT64, name: name.to_owned(), raw_data: Some(raw), ..Tensor::default() }
}

/// A float input or output.
pub(super) fn value_info(name: &str, shape: &[usize]) -> ValueInfo {
    let dim = dims(shape).into_iter().map(|side| Dimension { dim_value: Some(side) }).collect();
    let tensor_type = TensorType { elem_type: FLOAT, shape: Some(Shape { dim }) };
    ValueInfo { name: name.to_owned(), r#type: Some(Type { tensor_type: Some(tensor_type) }) }
}

/// A named attribute of a node.
pub(super) enum Value<'a> {
    Float(f32),
    Int(i64),
    Text(&'a str),
    Ints(Vec<i64>),
}

impl From<(&str, Value<'_>)> for Attribute {
    fn from((name, value): (&str, Value<'_>)) -> Self {
        let [float, int, text, ints] = ATTRIBUTE_TYPES;
        let named = |kind| Attribute { name: name.to_owned(), kind, ..Attribute::default() };
        match value {
            Value::Float(f) => Attribute { f: Some(f), ..named(float) },
            Value::Int(i) => Attribute { i: Some(i), ..named(int) },
            Value::Text(s) => Attribute { s: Some(s.as_bytes().to_vec()), ..named(text) },
            Value::Ints(values) => Attribute { ints: values, ..named(ints) },
        }
    }
}
