use serde::{Deserialize, Serialize};

/// Width and height of an image in pixels; named, so that they cannot be swapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// Columns, in pixels.
    pub width: usize,
    /// Rows, in pixels.
    pub height: usize,
}

impl Size {
    /// Number of pixels.
    pub fn area(self) -> usize {
        self.width * self.height
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl std::str::FromStr for Size {
    type Err = String;

    /// Reads `WIDTHxHEIGHT`, for example `640x480`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once('x').and_then(|(width, height)| {
            Some(Size { width: width.parse().ok()?, height: height.parse().ok()? })
        });
        parsed
            .filter(|size| size.width > 0 && size.height > 0)
            .ok_or_else(|| format!("expected a size as WIDTHxHEIGHT, for example 640x480, got {text:?}"))
    }
}
