//! Images and point clouds as the bytes that travel: [`wire`], tested here against the middleware's own serialisation.

pub use wire::{CloudLayout, CompressedImageView, Header, ImageMessageView, ReadError, Written};

#[cfg(test)]
mod tests;
