//! One of two engines, chosen at run time: what a program uses whose user names the engine.

use network::Network;

use crate::engine::{Engine, EngineError, EngineIdentity};
use crate::image::ImageView;
use crate::preprocess::Preprocessing;

/// An engine, tensor or network of one kind or the other.
#[derive(Clone, Debug)]
pub enum Either<A, B> {
    /// Of the first engine.
    First(A),
    /// Of the second engine.
    Second(B),
}

/// A network on one engine or the other, with its outputs as tensors of either.
#[derive(Debug)]
pub struct EitherNetwork<A: Engine, B: Engine> {
    network: Either<A::Network, B::Network>,
    outputs: Vec<Either<A::Tensor, B::Tensor>>,
}

/// A tensor or network of one engine was given to the other.
fn foreign(what: &str) -> EngineError {
    EngineError::Run { network: what.to_owned(), reason: "it belongs to another engine".to_owned() }
}

impl<A: Engine, B: Engine> Engine for Either<A, B> {
    type Tensor = Either<A::Tensor, B::Tensor>;
    type Network = EitherNetwork<A, B>;

    fn identity(&self) -> &EngineIdentity {
        match self {
            Self::First(engine) => engine.identity(),
            Self::Second(engine) => engine.identity(),
        }
    }

    fn allocate(&mut self, shape: &[usize]) -> Result<Self::Tensor, EngineError> {
        Ok(match self {
            Self::First(engine) => Either::First(engine.allocate(shape)?),
            Self::Second(engine) => Either::Second(engine.allocate(shape)?),
        })
    }

    fn load(&mut self, network: &Network, inputs: &[Self::Tensor]) -> Result<Self::Network, EngineError> {
        match self {
            Self::First(engine) => {
                let own = |tensor: &Self::Tensor| match tensor {
                    Either::First(tensor) => Ok(tensor.clone()),
                    Either::Second(_) => Err(foreign(network.name())),
                };
                let loaded = engine.load(network, &inputs.iter().map(own).collect::<Result<Vec<_>, _>>()?)?;
                let outputs = engine.outputs(&loaded).iter().cloned().map(Either::First).collect();
                Ok(EitherNetwork { network: Either::First(loaded), outputs })
            }
            Self::Second(engine) => {
                let own = |tensor: &Self::Tensor| match tensor {
                    Either::Second(tensor) => Ok(tensor.clone()),
                    Either::First(_) => Err(foreign(network.name())),
                };
                let loaded = engine.load(network, &inputs.iter().map(own).collect::<Result<Vec<_>, _>>()?)?;
                let outputs = engine.outputs(&loaded).iter().cloned().map(Either::Second).collect();
                Ok(EitherNetwork { network: Either::Second(loaded), outputs })
            }
        }
    }

    fn outputs<'n>(&self, network: &'n Self::Network) -> &'n [Self::Tensor] {
        &network.outputs
    }

    fn shape<'t>(&self, tensor: &'t Self::Tensor) -> &'t [usize] {
        match (self, tensor) {
            (Self::First(engine), Either::First(tensor)) => engine.shape(tensor),
            (Self::Second(engine), Either::Second(tensor)) => engine.shape(tensor),
            _ => &[],
        }
    }

    fn preprocess(
        &mut self,
        image: &ImageView<'_>,
        preprocessing: &mut Preprocessing,
        into: &Self::Tensor,
    ) -> Result<(), EngineError> {
        match (self, into) {
            (Self::First(engine), Either::First(into)) => engine.preprocess(image, preprocessing, into),
            (Self::Second(engine), Either::Second(into)) => engine.preprocess(image, preprocessing, into),
            _ => Err(foreign("network input")),
        }
    }

    fn upload(&mut self, values: &[f32], into: &Self::Tensor) -> Result<(), EngineError> {
        match (self, into) {
            (Self::First(engine), Either::First(into)) => engine.upload(values, into),
            (Self::Second(engine), Either::Second(into)) => engine.upload(values, into),
            _ => Err(foreign("upload")),
        }
    }

    fn run(&mut self, network: &mut Self::Network) -> Result<(), EngineError> {
        match (self, &mut network.network) {
            (Self::First(engine), Either::First(network)) => engine.run(network),
            (Self::Second(engine), Either::Second(network)) => engine.run(network),
            _ => Err(foreign("network")),
        }
    }

    fn download(&mut self, tensor: &Self::Tensor, into: &mut [f32]) -> Result<(), EngineError> {
        match (self, tensor) {
            (Self::First(engine), Either::First(tensor)) => engine.download(tensor, into),
            (Self::Second(engine), Either::Second(tensor)) => engine.download(tensor, into),
            _ => Err(foreign("download")),
        }
    }

    fn take_notices(&mut self) -> Vec<String> {
        match self {
            Self::First(engine) => engine.take_notices(),
            Self::Second(engine) => engine.take_notices(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dummy::Dummy;

    type Two = Either<Dummy, Dummy>;

    #[test]
    fn each_engine_takes_only_its_own() {
        let (mut first, mut second) = (Two::First(Dummy::default()), Two::Second(Dummy::default()));
        let tensor = first.allocate(&[2]).unwrap();
        first.upload(&[1.0, 2.0], &tensor).unwrap();
        let mut values = [0.0; 2];
        first.download(&tensor, &mut values).unwrap();
        assert_eq!(values, [1.0, 2.0]);
        assert_eq!(first.shape(&tensor), [2]);
        let refused = second.download(&tensor, &mut values).unwrap_err().to_string();
        assert!(refused.contains("another engine"), "{refused}");
        assert!(second.upload(&values, &tensor).is_err());
    }
}
