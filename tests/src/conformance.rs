//! What every engine must do: run by each engine's own test in `tests/engines.rs`.

use std::sync::Arc;

use network::graph::{GraphBuilder, Op};
use network::{Network, Weights};
use perception::{Engine, EngineError};

use crate::golden::{self, max_difference};

/// A network of one operation on inputs and constants.
fn single(name: &str, op: Op, inputs: &[&[usize]], constants: &[(&[usize], &[f32])]) -> Network {
    let mut builder = GraphBuilder::new(name);
    let mut operands: Vec<_> =
        inputs.iter().enumerate().map(|(i, shape)| builder.input(format!("x{i}"), shape)).collect();
    for (index, (shape, values)) in constants.iter().enumerate() {
        operands.push(builder.constant(format!("c{index}"), shape, values.to_vec()).expect("constant"));
    }
    let result = builder.node(format!("{name}.node"), op, &operands).expect("operation");
    builder.output("y", result);
    Network::new(builder.finish(), Arc::new(Weights::default())).expect("network")
}

fn download<E: Engine>(engine: &mut E, tensor: &E::Tensor) -> Vec<f32> {
    let mut values = vec![f32::NAN; engine.shape(tensor).iter().product()];
    engine.download(tensor, &mut values).expect("download");
    values
}

/// Behaviour of the seam, whatever an engine computes.
pub fn seam<E: Engine>(engine: &mut E) {
    let identity = engine.identity().clone();
    assert!(!identity.flavour.is_empty() && !identity.version.is_empty() && !identity.device.is_empty());

    let tensor = engine.allocate(&[2, 3]).expect("allocate");
    assert_eq!(engine.shape(&tensor), [2, 3]);
    assert_eq!(download(engine, &tensor), [0.0; 6], "a new tensor is zero");
    let values = [1.0, -2.0, 3.5, f32::MIN_POSITIVE, 1e30, 0.0];
    engine.upload(&values, &tensor).expect("upload");
    assert_eq!(download(engine, &tensor), values, "what went in comes out");
    assert_eq!(download(engine, &tensor.clone()), values, "a clone names the same memory");

    let refused = engine.upload(&[0.0; 5], &tensor);
    assert!(matches!(refused, Err(EngineError::Shape { .. })), "{refused:?}");
    let refused = engine.download(&tensor, &mut [0.0; 7]);
    assert!(matches!(refused, Err(EngineError::Shape { .. })), "{refused:?}");
    assert_eq!(download(engine, &tensor), values, "a refused call changes nothing");

    let relu = single("relu", Op::Relu, &[&[2, 3]], &[]);
    let wrong = engine.allocate(&[3, 2]).expect("allocate");
    let refused = engine.load(&relu, &[wrong]).err();
    assert!(
        matches!(&refused, Some(EngineError::Shape { tensor, .. }) if tensor == "relu/x0"),
        "{refused:?}"
    );
    let refused = engine.load(&relu, &[]).err();
    assert!(matches!(&refused, Some(EngineError::Load { network, .. }) if network == "relu"), "{refused:?}");

    let mut loaded = engine.load(&relu, std::slice::from_ref(&tensor)).expect("load after refusals");
    engine.run(&mut loaded).expect("run");
    let outputs = engine.outputs(&loaded).to_vec();
    assert_eq!(outputs.len(), 1);
    assert_eq!(engine.shape(&outputs[0]), [2, 3]);
    let first = download(engine, &outputs[0]);
    engine.run(&mut loaded).expect("run again");
    assert_eq!(download(engine, &outputs[0]), first, "the same inputs give the same outputs");
}

/// Networks share tensors in the engine's memory, and do not disturb each other.
pub fn sharing<E: Engine>(engine: &mut E) {
    let double = single("double", Op::Mul, &[&[4]], &[(&[1], &[2.0])]);
    let minus = single("minus", Op::Sub, &[&[4]], &[(&[1], &[1.0])]);
    let plus = single("plus", Op::Add, &[&[4]], &[(&[1], &[1.0])]);
    let input = engine.allocate(&[4]).expect("allocate");
    let mut backbone = engine.load(&double, std::slice::from_ref(&input)).expect("backbone");
    let features = engine.outputs(&backbone).to_vec();
    let mut first = engine.load(&minus, &features).expect("first head");
    let mut second = engine.load(&plus, &features).expect("second head");
    for start in [1.0_f32, 10.0] {
        let values: Vec<f32> = (0..4).map(|i| start + i as f32).collect();
        engine.upload(&values, &input).expect("upload");
        engine.run(&mut backbone).expect("backbone");
        engine.run(&mut first).expect("first head");
        engine.run(&mut second).expect("second head");
        let (low, high) = (engine.outputs(&first)[0].clone(), engine.outputs(&second)[0].clone());
        let of = |offset: f32| values.iter().map(|v| 2.0 * v + offset).collect::<Vec<_>>();
        assert_eq!(download(engine, &low), of(-1.0));
        assert_eq!(download(engine, &high), of(1.0));
        assert_eq!(download(engine, &features[0]), of(0.0), "heads leave the features alone");
    }
}

/// Every operation against PyTorch's numbers (`golden/operations.safetensors`).
pub fn operations<E: Engine>(engine: &mut E) {
    let golden = golden::read("operations.safetensors");
    let names: std::collections::BTreeSet<&str> =
        golden.keys().filter_map(|key| key.split('/').next()).collect();
    assert_eq!(
        names,
        operation_table().into_iter().map(|(name, _)| name).collect(),
        "one case per operation"
    );
    for (name, op) in operation_table() {
        let operands: Vec<_> = (0..).map_while(|i| golden.get(&format!("{name}/{i}"))).collect();
        // Weights and statistics come as constants, as they do in a model; what flows comes as an input.
        let inputs = if matches!(op, Op::MatMul | Op::Concat { .. }) { operands.len() } else { 1 };
        let (flowing, fixed) = operands.split_at(inputs);
        let shapes: Vec<&[usize]> = flowing.iter().map(|operand| operand.shape.as_slice()).collect();
        let constants: Vec<_> = fixed.iter().map(|o| (o.shape.as_slice(), o.values.as_slice())).collect();
        let network = single(name, op, &shapes, &constants);
        let mut tensors = Vec::new();
        for operand in flowing {
            let tensor = engine.allocate(&operand.shape).expect("allocate");
            engine.upload(&operand.values, &tensor).expect("upload");
            tensors.push(tensor);
        }
        let mut loaded = engine.load(&network, &tensors).unwrap_or_else(|error| panic!("{name}: {error}"));
        engine.run(&mut loaded).unwrap_or_else(|error| panic!("{name}: {error}"));
        let result = engine.outputs(&loaded)[0].clone();
        let expected = &golden[&format!("{name}/result")];
        assert_eq!(engine.shape(&result), expected.shape, "{name}");
        let difference = max_difference(&download(engine, &result), &expected.values);
        assert!(difference < 1e-5, "{name}: {difference}");
    }
}

/// The operations with the attributes of `golden/make_operations.py`.
pub fn operation_table() -> Vec<(&'static str, Op)> {
    vec![
        ("mat_mul", Op::MatMul),
        ("linear", Op::Linear),
        ("add", Op::Add),
        ("sub", Op::Sub),
        ("mul", Op::Mul),
        ("div", Op::Div),
        ("layer_norm", Op::LayerNorm { epsilon: 1e-6 }),
        ("batch_norm", Op::BatchNorm { epsilon: 1e-5 }),
        ("softmax", Op::Softmax),
        ("gelu", Op::Gelu),
        ("relu", Op::Relu),
        ("sigmoid", Op::Sigmoid),
        ("tanh", Op::Tanh),
        ("exp", Op::Exp),
        ("sqrt", Op::Sqrt),
        ("transpose", Op::Transpose { order: vec![2, 0, 1] }),
        ("reshape", Op::Reshape { shape: vec![4, 6] }),
        ("expand", Op::Expand { shape: vec![2, 5, 3] }),
        ("concat", Op::Concat { axis: 1 }),
        ("slice", Op::Slice { axis: 1, start: 1, end: 3 }),
        ("mean", Op::Mean { axis: 1 }),
        ("conv", Op::Conv { stride: 1, padding: 1 }),
        ("conv_stride", Op::Conv { stride: 2, padding: 1 }),
        ("conv_transpose", Op::ConvTranspose { stride: 2 }),
        ("resize_up", Op::ResizeBilinear { height: 9, width: 11 }),
        ("resize_down", Op::ResizeBilinear { height: 3, width: 2 }),
    ]
}
