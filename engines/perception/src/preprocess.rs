//! Camera pixels to the network's normalised input.

/// The way from one camera's pixels to one network input.
#[derive(Debug)]
pub struct Preprocessing {}
