//! Calibration boards, as a user names them.

use std::fmt;
use std::str::FromStr;

use calib_targets_charuco::{CharucoBoardSpec, CharucoDetector, CharucoParams, resolve_dictionary};

/// The most corners a side: no board is larger, and a typing error is.
const MAX_CORNERS: u32 = 200;

/// A flat board of known size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Board {
    /// A chessboard without marks. With an odd and an even side its corners are told apart; else turning it by half
    /// looks the same, which matters to a mount but not to a lens.
    Chessboard {
        /// Inner corners along a row.
        columns: u32,
        /// Inner corners along a column.
        rows: u32,
        /// Side of a square, metres.
        square_meters: f64,
    },
    /// A chessboard with ArUco or AprilTag marks in its white squares, as OpenCV 4.6 and later draw it: it may be seen in part.
    Charuco {
        /// Squares along a row.
        columns: u32,
        /// Squares along a column.
        rows: u32,
        /// Side of a square, metres.
        square_meters: f64,
        /// Side of a mark, metres.
        marker_meters: f64,
        /// Name of the dictionary, for example `DICT_5X5_100` or `DICT_APRILTAG_36h11`.
        dictionary: &'static str,
    },
}

/// Why the words for a board were refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "board {came:?}: {problem}; expected chessboard:COLUMNSxROWS:SQUARE (inner corners, metres) or charuco:COLUMNSxROWS:SQUARE:MARKER:DICTIONARY (squares, metres)"
)]
pub struct BoardError {
    came: String,
    problem: String,
}

impl Board {
    /// Inner corners along a row and along a column.
    pub fn corners(&self) -> [u32; 2] {
        match self {
            Self::Chessboard { columns, rows, .. } => [*columns, *rows],
            Self::Charuco { columns, rows, .. } => [columns - 1, rows - 1],
        }
    }

    /// Number of inner corners.
    pub fn corner_count(&self) -> usize {
        let [columns, rows] = self.corners();
        columns as usize * rows as usize
    }

    /// Side of a square, metres.
    pub fn square_meters(&self) -> f64 {
        match self {
            Self::Chessboard { square_meters, .. } | Self::Charuco { square_meters, .. } => *square_meters,
        }
    }

    /// Where an inner corner lies on the board's plane, metres; the first corner is the origin.
    pub fn point(&self, column: u32, row: u32) -> [f64; 2] {
        [f64::from(column) * self.square_meters(), f64::from(row) * self.square_meters()]
    }

    fn check(self) -> Result<Self, String> {
        let [columns, rows] = self.corners();
        if !(2..=MAX_CORNERS).contains(&columns.min(rows)) || columns.max(rows) > MAX_CORNERS {
            return Err(format!("expected 2 to {MAX_CORNERS} inner corners a side, got {columns}x{rows}"));
        }
        if let Self::Charuco { square_meters, marker_meters, .. } = self
            && marker_meters >= square_meters
        {
            return Err(format!(
                "the mark of {marker_meters} m must fit into the square of {square_meters} m"
            ));
        }
        if let Some(params) = self.charuco() {
            CharucoDetector::new(params).map_err(|error| error.to_string())?;
        }
        Ok(self)
    }

    /// What the detector needs to know of a ChArUco board.
    pub(crate) fn charuco(&self) -> Option<CharucoParams> {
        let Self::Charuco { columns, rows, square_meters, marker_meters, dictionary } = self else {
            return None;
        };
        let dictionary = resolve_dictionary(dictionary)?;
        let marker = (marker_meters / square_meters) as f32;
        Some(CharucoParams::for_board(CharucoBoardSpec::new(*rows, *columns, 1.0, marker, dictionary)))
    }
}

impl FromStr for Board {
    type Err = BoardError;

    /// Reads `chessboard:9x6:0.025` or `charuco:7x5:0.04:0.03:DICT_5X5_100`.
    fn from_str(text: &str) -> Result<Self, BoardError> {
        let parts: Vec<&str> = text.split(':').collect();
        let board = match parts.as_slice() {
            ["chessboard", size, square] => sides(size).and_then(|(columns, rows)| {
                Ok(Self::Chessboard { columns, rows, square_meters: length("square", square)? })
            }),
            ["charuco", size, square, marker, dictionary] => sides(size).and_then(|(columns, rows)| {
                Ok(Self::Charuco {
                    columns,
                    rows,
                    square_meters: length("square", square)?,
                    marker_meters: length("marker", marker)?,
                    dictionary: known_dictionary(dictionary)?,
                })
            }),
            _ => Err("not a known form".to_owned()),
        };
        board.and_then(Self::check).map_err(|problem| BoardError { came: text.to_owned(), problem })
    }
}

fn sides(text: &str) -> Result<(u32, u32), String> {
    let parsed = text.split_once('x').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    let (columns, rows) = parsed.ok_or_else(|| format!("expected COLUMNSxROWS, got {text:?}"))?;
    if columns == 0 || rows == 0 {
        Err(format!("expected COLUMNSxROWS above 0, got {text:?}"))
    } else {
        Ok((columns, rows))
    }
}

fn length(what: &str, text: &str) -> Result<f64, String> {
    let meters: f64 = text.parse().map_err(|_| format!("{what}: expected metres, got {text:?}"))?;
    if meters.is_finite() && (1e-4..=10.0).contains(&meters) {
        return Ok(meters);
    }
    Err(format!("{what}: expected 0.0001 to 10 metres, got {text}"))
}

fn known_dictionary(text: &str) -> Result<&'static str, String> {
    resolve_dictionary(text).map(|dictionary| dictionary.name()).ok_or_else(|| {
        format!(
            "dictionary: expected one of OpenCV's, as 4X4_50, 5X5_100, 6X6_250, APRILTAG_36h11, got {text:?}"
        )
    })
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chessboard { columns, rows, square_meters } => {
                write!(f, "chessboard of {columns}x{rows} corners, squares of {square_meters} m")
            }
            Self::Charuco { columns, rows, square_meters, marker_meters, dictionary } => write!(
                f,
                "ChArUco board of {columns}x{rows} squares of {square_meters} m, marks of {marker_meters} m from {dictionary}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boards_are_read_or_refused_with_the_reason() {
        let chess: Board = "chessboard:9x6:0.025".parse().unwrap();
        assert_eq!((chess.corners(), chess.point(8, 5)), ([9, 6], [0.2, 0.125]));
        let charuco: Board = "charuco:7x5:0.04:0.03:APRILTAG_36h11".parse().unwrap();
        assert_eq!(charuco.corners(), [6, 4]);
        let cases = [
            ("chess:9x6:0.025", "not a known form"),
            ("chessboard:9:0.025", "COLUMNSxROWS"),
            ("chessboard:9x6:25mm", "square: expected metres"),
            ("chessboard:9x6:25", "0.0001 to 10 metres"),
            ("chessboard:9x6:nan", "0.0001 to 10 metres"),
            ("chessboard:1x6:0.025", "inner corners a side"),
            ("chessboard:9x4000000000:0.025", "inner corners a side"),
            ("charuco:0x5:0.04:0.03:DICT_5X5_100", "above 0"),
            ("charuco:7x5:0.04:0.05:DICT_5X5_100", "must fit into the square"),
            ("charuco:7x5:0.04:0.03:DICT_9X9", "dictionary: expected one of OpenCV"),
            ("charuco:30x30:0.04:0.03:DICT_4X4_50", "markers"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<Board>().unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(text), "{error}");
        }
    }
}
