use std::collections::HashMap;
use std::sync::Arc;

use super::{Constant, Data, Graph, Node, Op, Port, ValueId, shapes};

/// An operation was asked for that its operands do not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{network}: {node} ({op}) expects {expected}, got operands of shape {operands:?}")]
pub struct GraphError {
    /// The graph that was being built.
    pub network: String,
    /// The node, by its place in the network.
    pub node: String,
    /// The operation.
    pub op: String,
    /// What the operation needs.
    pub expected: String,
    /// What it was given.
    pub operands: Vec<Vec<usize>>,
}

/// Builds a [`Graph`], checking every shape as it goes.
#[derive(Debug)]
pub struct GraphBuilder {
    graph: Graph,
    constants: HashMap<String, ValueId>,
}

impl GraphBuilder {
    /// Starts an empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        let graph = Graph {
            name: name.into(),
            shapes: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            constants: Vec::new(),
            nodes: Vec::new(),
        };
        Self { graph, constants: HashMap::new() }
    }

    /// Declares an input of the network.
    pub fn input(&mut self, name: impl Into<String>, shape: &[usize]) -> ValueId {
        let value = self.value(shape.to_vec());
        self.graph.inputs.push((Port { name: name.into(), shape: shape.to_vec() }, value));
        value
    }

    /// Declares an output of the network.
    pub fn output(&mut self, name: impl Into<String>, value: ValueId) {
        let shape = self.graph.shape(value).to_vec();
        self.graph.outputs.push((Port { name: name.into(), shape }, value));
    }

    /// A weight of the model by its canonical name; the same name gives the same value.
    pub fn weight(&mut self, name: impl Into<String>, shape: &[usize]) -> ValueId {
        self.named_constant(name.into(), shape, Data::Stored)
    }

    /// A computed constant; `values` must fill `shape`.
    ///
    /// # Errors
    /// When the number of values is not the shape's.
    pub fn constant(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        values: impl Into<Arc<[f32]>>,
    ) -> Result<ValueId, GraphError> {
        let (name, values) = (name.into(), values.into());
        if values.len() != shape.iter().product::<usize>() {
            let expected = format!("{shape:?} filled");
            return Err(self.error(&name, "constant", expected, vec![vec![values.len()]]));
        }
        Ok(self.named_constant(name, shape, Data::Computed(values)))
    }

    /// A computed constant of one number.
    pub fn scalar(&mut self, name: impl Into<String>, number: f32) -> ValueId {
        self.named_constant(name.into(), &[], Data::Computed(Arc::from([number])))
    }

    /// Appends an operation; its shape follows from the operands'.
    ///
    /// # Errors
    /// When the operands do not fit the operation.
    pub fn node(
        &mut self,
        name: impl Into<String>,
        op: Op,
        operands: &[ValueId],
    ) -> Result<ValueId, GraphError> {
        let name = name.into();
        let operand_shapes: Vec<&[usize]> = operands.iter().map(|value| self.graph.shape(*value)).collect();
        let shape = shapes::infer(&op, &operand_shapes).map_err(|expected| {
            let came = operand_shapes.iter().map(|shape| shape.to_vec()).collect();
            self.error(&name, &format!("{op:?}"), expected, came)
        })?;
        let result = self.value(shape);
        self.graph.nodes.push(Node { name, op, operands: operands.to_vec(), result });
        Ok(result)
    }

    /// Shape of a value of this graph.
    pub fn shape(&self, value: ValueId) -> &[usize] {
        self.graph.shape(value)
    }

    /// The finished graph.
    pub fn finish(self) -> Graph {
        self.graph
    }

    fn named_constant(&mut self, name: String, shape: &[usize], data: Data) -> ValueId {
        if let Some(value) = self.constants.get(&name) {
            return *value;
        }
        let value = self.value(shape.to_vec());
        self.constants.insert(name.clone(), value);
        self.graph.constants.push(Constant { name, data, value });
        value
    }

    fn value(&mut self, shape: Vec<usize>) -> ValueId {
        self.graph.shapes.push(shape);
        ValueId(self.graph.shapes.len() - 1)
    }

    fn error(&self, node: &str, op: &str, expected: String, operands: Vec<Vec<usize>>) -> GraphError {
        let network = self.graph.name.clone();
        GraphError { network, node: node.to_owned(), op: op.to_owned(), expected, operands }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misfit_names_the_node_and_what_came() {
        let mut builder = GraphBuilder::new("backbone");
        let x = builder.input("x", &[5, 4]);
        let weight = builder.weight("blocks.0.mlp.fc1.weight", &[7, 3]);
        let bias = builder.weight("blocks.0.mlp.fc1.bias", &[7]);
        let error = builder.node("blocks.0.mlp.fc1", Op::Linear, &[x, weight, bias]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("backbone: blocks.0.mlp.fc1 (Linear)"), "{text}");
        assert!(text.contains("[[5, 4], [7, 3], [7]]"), "{text}");
    }

    #[test]
    fn a_weight_is_one_value_however_often_it_is_named() {
        let mut builder = GraphBuilder::new("backbone");
        let first = builder.weight("norm.weight", &[4]);
        assert_eq!(first, builder.weight("norm.weight", &[4]));
        assert_eq!(builder.finish().constants().len(), 1);
    }

    #[test]
    fn a_constant_fills_its_shape() {
        let mut builder = GraphBuilder::new("backbone");
        assert!(builder.constant("zeros", &[2, 2], vec![0.0; 3]).is_err());
        assert!(builder.constant("zeros", &[2, 2], vec![0.0; 4]).is_ok());
    }
}
