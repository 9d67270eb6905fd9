//! Serialised messages of any type, with what the middleware knows of each: taken and published without decoding.
//!
//! The type need not be compiled in: its support is loaded at run time from the ament prefixes ([`support`]), its
//! definition and hash come from the same place ([`definition`]). A [`Participant`] is a node of its own beside r2r's, so
//! that nothing here shares a handle with r2r's spinning; a [`Receiver`] takes from all its subscriptions on one thread and
//! puts the messages into a [`Queue`] bounded in bytes, where what does not fit is dropped and counted.
//!
//! r2r's own raw subscription needs the type at compile time, forgets stamps and publisher, and drops silently beyond ten
//! messages.

mod arguments;
mod buffer;
pub mod definition;
mod error;
mod listeners;
mod participant;
mod publisher;
mod queue;
mod receiver;
mod subscription;
pub mod support;

pub use arguments::check_arguments;
pub use buffer::{Buffer, Pool};
pub use definition::{Definition, TypeName};
pub use error::RawError;
pub use listeners::Listener;
pub use participant::Participant;
pub use publisher::Publisher;
pub use queue::{Counts, Message, Queue};
pub use receiver::Receiver;
pub use subscription::Publisher as PublisherId;
