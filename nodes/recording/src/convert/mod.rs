//! From one format to the other: bags into a dataset by the same alignment as while recording, episodes of a dataset into bags.

mod messages;
mod to_bag;
mod to_dataset;

use std::path::PathBuf;

use crate::align::RowsError;
use crate::bag::BagError;
use crate::contract::ContractError;
use crate::dataset::{DatasetError, LayoutError};

pub use to_bag::{TASK_TOPIC, episode_to_bag};
pub use to_dataset::{BagsToDataset, Converted, Outcome, contract_of};

/// Why a recording could not be converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The bag could not be read or written.
    #[error(transparent)]
    Bag(#[from] BagError),
    /// The dataset could not be read or written.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The bag does not go with the contract.
    #[error("{}: {problem}", .bag.display())]
    Rows {
        /// The bag.
        bag: PathBuf,
        /// What does not fit.
        problem: Box<RowsError>,
    },
    /// The contract of a bag is none.
    #[error("{}: {problem}", .bag.display())]
    Contract {
        /// The bag.
        bag: PathBuf,
        /// What is wrong.
        problem: ContractError,
    },
    /// The contract makes no dataset.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The bag lacks something that has to be given then.
    #[error("{}: expected {expected}", .bag.display())]
    Missing {
        /// The bag.
        bag: PathBuf,
        /// What, and how to give it.
        expected: String,
    },
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}
