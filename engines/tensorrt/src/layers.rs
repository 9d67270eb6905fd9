//! The list of layers that a builder prints, read: which kernels a plan has, and what of the ONNX file each computes.
//!
//! Two forms are known. TensorRT-RTX 1.7: `Layers:`, then a line a layer, `Name: .., LayerType: .., Inputs: [..], Constants: [..],
//! Outputs: [..], TacticName: .., StreamId: .., Metadata: [ONNX Layer: ..]..`. TensorRT 10: `Engine Layer Information:`, then
//! lines that begin with `Layer(<kind>): <name>`.

/// One layer of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    /// What the builder calls it.
    pub name: String,
    /// Its kind; fused attention, whatever it is called, as its kernel, for example `_gemm_mha_v2`.
    pub kind: String,
    /// Operations of the ONNX file that it computes, casts among them; as far as the builder tells.
    pub operations: Vec<String>,
    /// Number formats of what it reads, for example `Half`; as far as the builder tells.
    pub inputs: Vec<String>,
    /// Number formats of its weights.
    pub constants: Vec<String>,
    /// Number formats of what it writes.
    pub outputs: Vec<String>,
}

impl Layer {
    /// Whether it computes attention as one kernel.
    pub fn is_fused_attention(&self) -> bool {
        self.kind.contains("mha")
    }
}

/// Whether the library's message is a list of layers.
pub(crate) fn is_list(message: &str) -> bool {
    message.contains("Engine Layer Information:") || message.trim_start().starts_with("Layers:\n")
}

/// Reads a list; lines that are no layer are passed over.
pub(crate) fn read(list: &str) -> Vec<Layer> {
    list.lines().filter_map(|line| long_line(line.trim()).or_else(|| short_line(line.trim()))).collect()
}

/// `Layer(<kind>): <name>, ...`
fn short_line(line: &str) -> Option<Layer> {
    let (kind, rest) = line.strip_prefix("Layer(")?.split_once("): ")?;
    let name = rest.split(", Tactic").next().unwrap_or(rest);
    Some(Layer { name: name.to_owned(), kind: kind.to_owned(), ..Layer::default() })
}

/// `Name: .., LayerType: .., Inputs: [..], ...`
fn long_line(line: &str) -> Option<Layer> {
    let (name, rest) = line.strip_prefix("Name: ")?.split_once(", LayerType: ")?;
    let kind = rest.split(',').next().unwrap_or(rest);
    let (tensors, about) = rest.split_once(", TacticName: ").unwrap_or((rest, ""));
    let (before, outputs) = tensors.split_once(", Outputs: ").unwrap_or((tensors, ""));
    let (inputs, constants) = before.split_once(", Constants: ").unwrap_or((before, ""));
    // The names of fused kernels end with their place in the plan: `_gemm_mha_v2_myl0_5`.
    let kernel = name.split("_myl").next().unwrap_or(name);
    Some(Layer {
        name: name.to_owned(),
        kind: if kernel.contains("mha") { kernel } else { kind }.to_owned(),
        operations: after_each(about, "[ONNX Layer: ", ']'),
        inputs: after_each(inputs, "Datatype: ", ','),
        constants: after_each(constants, "Datatype: ", ','),
        outputs: after_each(outputs, "Datatype: ", ','),
    })
}

/// What stands between each `mark` and the next `end`.
fn after_each(text: &str, mark: &str, end: char) -> Vec<String> {
    text.split(mark).skip(1).filter_map(|rest| Some(rest.split_once(end)?.0.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As TensorRT-RTX 1.7 printed it, shortened.
    const LONG: &str = "Layers:
Name: _gemm_mha_v2_myl0_5, LayerType: kgen, Inputs: [ { Name: q, Dimensions: [3,264,32], Datatype: Half, Format: (Arbitrary) }, \
{ Name: k, Datatype: Half, Format: x }], Constants: [], Outputs: [ { Name: o, Datatype: Half, Format: x }], \
TacticName: _gemm_mha_v2_0x98, StreamId: 0, Metadata: [ONNX Layer: b.0.softmax.fp16][ONNX Layer: b.0.softmax]
Name: norm_myl0_7, LayerType: kgen, Inputs: [ { Name: x, Datatype: Half, Format: x }], Constants: [ { Name: w, Datatype: Float, \
Format: x }], Outputs: [ { Name: y, Datatype: Float, Format: x }], TacticName: t, StreamId: 0, Metadata: [ONNX Layer: b.0.norm]

I/O Tensors:
 Name: image, IOMode: Input, DataType: Float, Dimensions: [1,3,256,256], Location: Device";

    #[test]
    fn both_forms_are_read() {
        assert!(is_list(LONG));
        let layers = read(LONG);
        assert_eq!(layers.len(), 2);
        assert!(layers[0].is_fused_attention() && !layers[1].is_fused_attention());
        assert_eq!((layers[0].kind.as_str(), layers[1].kind.as_str()), ("_gemm_mha_v2", "kgen"));
        assert_eq!(layers[0].operations, ["b.0.softmax.fp16", "b.0.softmax"]);
        assert_eq!((layers[0].inputs.len(), layers[0].constants.len()), (2, 0));
        assert_eq!(
            (layers[1].constants.as_slice(), layers[1].outputs.as_slice()),
            (&["Float".into()][..], &["Float".into()][..])
        );
        let short =
            "Engine Layer Information:\nLayer(gemm): fc1 + fc2, Tactic: 0x1, a -> b\n Layer(_gemm_mha_v2): c";
        assert!(is_list(short));
        let layers = read(short);
        assert_eq!((layers[0].kind.as_str(), layers[0].name.as_str()), ("gemm", "fc1 + fc2"));
        assert!(layers[1].is_fused_attention());
        assert!(!is_list("Adding 1 engine(s) to plan file.") && read("Name: cut").is_empty());
    }
}
