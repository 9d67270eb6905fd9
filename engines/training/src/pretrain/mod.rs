//! Masked-pixel pre-training as Pixio does it (arXiv 2512.15715).

mod crop;
mod curation;
mod initial;
mod masked;
mod painted;
mod task;

pub use crop::{Colours, Crop};
pub use curation::Curation;
pub use initial::initial;
pub use masked::{Masked, check_mask, draw_mask, seen_blocks};
pub use painted::{Painting, paint};
pub use task::{Images, MaskedImages, Showing};
