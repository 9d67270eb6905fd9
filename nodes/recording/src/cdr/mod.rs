//! Messages of any type, read by the text of their definition: ROS's CDR without generated code.
//!
//! A [`Schema`] is made once per topic from [`crate::Definition::text`]; [`Schema::decode`] gives a [`Value`] that
//! borrows from the message; a [`FieldPath`] such as `position[elbow]` takes numbers out of it.

mod decode;
mod path;
mod schema;
mod value;
mod writer;

use thiserror::Error;

pub use path::{FieldError, FieldPath};
pub use schema::Schema;
pub use value::{Number, Numbers, Value};
pub(crate) use writer::CdrWriter;

/// Why a message or its definition could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CdrError {
    /// The definition names no type, or one that is not in it.
    #[error("definition of {root}: type {name} is missing (line {line}: {text:?})")]
    MissingType {
        /// The message type.
        root: String,
        /// The type that is named.
        name: String,
        /// Where it is named.
        line: usize,
        /// The line.
        text: String,
    },
    /// A line that is no field.
    #[error("definition of {root}: line {line}: {problem}: {text:?}")]
    Line {
        /// The message type.
        root: String,
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
        /// The line.
        text: String,
    },
    /// A type that contains itself, or nests deeper than any message.
    #[error("definition of {root}: {name} contains itself or nests deeper than {limit} types")]
    Nesting {
        /// The message type.
        root: String,
        /// The type.
        name: String,
        /// How deep types may nest.
        limit: usize,
    },
    /// The bytes do not begin with the header of plain CDR.
    #[error("message: expected the header of plain CDR (00 00 or 00 01), got {came:02x?}")]
    Encapsulation {
        /// The first bytes.
        came: Vec<u8>,
    },
    /// The bytes end, or a count says more than there is.
    #[error("message: field {field}: expected {needed} bytes at offset {at}, {left} are left")]
    Short {
        /// The field.
        field: String,
        /// Where in the message.
        at: usize,
        /// How many bytes were to be read; as many as fit into the number when the count is absurd.
        needed: usize,
        /// How many there are.
        left: usize,
    },
    /// More elements than the definition allows.
    #[error("message: field {field}: expected at most {limit} elements, got {came}")]
    Bound {
        /// The field.
        field: String,
        /// The definition's bound.
        limit: usize,
        /// What came.
        came: usize,
    },
}
