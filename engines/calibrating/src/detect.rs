//! A board's corners in a picture.

use calib_targets_charuco::CharucoDetector;
use calib_targets_chessboard::{
    ChessboardCorner, ChessboardDetector, ChessboardParams, GrayImageView, default_chess_config,
    detect_corners,
};
use calibration::Size;

use crate::corner::refine;
use crate::{Board, Observation};

/// Half the refinement window, pixels: at least, and at most (OpenCV's tutorials take 11).
const HALF_WINDOW: [f64; 2] = [2.0, 11.0];

/// A grey picture, row by row without gaps.
#[derive(Clone, Copy, Debug)]
pub struct Grey<'p> {
    size: Size,
    pixels: &'p [u8],
}

/// Why a picture shows no usable board.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DetectError {
    /// The pixels do not make a picture of that size.
    #[error("expected {expected} grey pixels for {size}, got {came}")]
    Pixels {
        /// The size.
        size: Size,
        /// Pixels of that size.
        expected: usize,
        /// Pixels that came.
        came: usize,
    },
    /// No board, or too little of it.
    #[error("no {board}: {reason}")]
    NotFound {
        /// The board that was looked for.
        board: Board,
        /// What was found instead.
        reason: String,
    },
}

impl<'p> Grey<'p> {
    /// A view of grey pixels.
    ///
    /// # Errors
    /// When their number is not that of the size.
    pub fn new(size: Size, pixels: &'p [u8]) -> Result<Self, DetectError> {
        if pixels.len() != size.area() || size.area() == 0 {
            return Err(DetectError::Pixels { size, expected: size.area(), came: pixels.len() });
        }
        Ok(Self { size, pixels })
    }

    /// Size in pixels.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The grey level between pixels, None outside the picture.
    pub(crate) fn sample(&self, [x, y]: [f64; 2]) -> Option<f64> {
        let Size { width, height } = self.size;
        if !(x >= 0.0 && y >= 0.0 && x < width as f64 - 1.0 && y < height as f64 - 1.0) {
            return None;
        }
        let (column, row) = (x as usize, y as usize);
        let (right, down) = (x - column as f64, y - row as f64);
        let at = |index: usize| f64::from(self.pixels[index]);
        let first = row * width + column;
        let above = at(first) * (1.0 - right) + at(first + 1) * right;
        let below = at(first + width) * (1.0 - right) + at(first + width + 1) * right;
        Some(above * (1.0 - down) + below * down)
    }

    /// The grey levels' central differences at a pixel, None at the picture's edge and outside.
    pub(crate) fn gradient(&self, column: i64, row: i64) -> Option<[f64; 2]> {
        let Size { width, height } = self.size;
        if !(1..width as i64 - 1).contains(&column) || !(1..height as i64 - 1).contains(&row) {
            return None;
        }
        let at = row as usize * width + column as usize;
        let level = |index: usize| f64::from(self.pixels[index]);
        Some([level(at + 1) - level(at - 1), level(at + width) - level(at - width)])
    }

    fn view(&self) -> GrayImageView<'p> {
        GrayImageView { width: self.size.width, height: self.size.height, data: self.pixels }
    }
}

/// A corner by its place in the board's grid.
type Labelled = ([u32; 2], [f64; 2]);

/// Finds a board's inner corners and refines them on the grey levels.
///
/// A chessboard must be seen whole (single corners may be missing); of a ChArUco board a part is enough.
///
/// # Errors
/// When there is no such board in the picture, with what was found instead.
pub fn detect(image: &Grey<'_>, board: &Board) -> Result<Vec<Observation>, DetectError> {
    let not_found = |reason: String| DetectError::NotFound { board: *board, reason };
    let (labelled, free) = match board.charuco() {
        // Around a corner of a ChArUco board lie marks, which the window must not reach.
        Some(params) => (charuco(image, params).map_err(not_found)?, 0.15),
        None => (chessboard(image, board).map_err(not_found)?, 0.4),
    };
    let half = half_window(&labelled, free);
    let refined = labelled.into_iter().filter_map(|([column, row], start)| {
        let pixel = refine(image, start, half)?;
        Some(Observation { point: board.point(column, row), pixel })
    });
    let refined: Vec<_> = refined.collect();
    if refined.len() < crate::pose::MIN_CORNERS {
        return Err(not_found(format!(
            "{} usable corners, expected at least {}",
            refined.len(),
            crate::pose::MIN_CORNERS
        )));
    }
    Ok(refined)
}

fn charuco(image: &Grey<'_>, params: calib_targets_charuco::CharucoParams) -> Result<Vec<Labelled>, String> {
    let detector = CharucoDetector::new(params).map_err(|error| error.to_string())?;
    let found = detector.detect(&image.view()).map_err(|error| error.to_string())?;
    let corner = |corner: &calib_targets_charuco::CharucoCorner| {
        let columns = detector.board().spec().cols - 1;
        (
            [corner.id % columns, corner.id / columns],
            [f64::from(corner.position.x), f64::from(corner.position.y)],
        )
    };
    Ok(found.corners.iter().map(corner).collect())
}

fn chessboard(image: &Grey<'_>, board: &Board) -> Result<Vec<Labelled>, String> {
    let corners = detect_corners(&image.view(), &default_chess_config());
    let mut nearest = String::from("no grid of corners");
    for params in ChessboardParams::sweep_default() {
        let detector = ChessboardDetector::new(params).map_err(|error| error.to_string())?;
        for found in detector.detect_all(&corners) {
            match labelled(&found.corners, board) {
                Ok(labelled) => return Ok(turned_to_dark(image, board, labelled)),
                Err(reason) => nearest = reason,
            }
        }
    }
    Err(nearest)
}

/// The corners in the board's own grid, turned by a right angle where the board stands on its side. Stray corners beside the
/// board, which lengthen the grid found, are left out.
fn labelled(corners: &[ChessboardCorner], board: &Board) -> Result<Vec<Labelled>, String> {
    let extent = |of: fn(&ChessboardCorner) -> i32| {
        corners.iter().map(of).max().map_or(0, |last| last.saturating_add(1)).max(0) as u32
    };
    let (across, down) = (extent(|corner| corner.grid.u), extent(|corner| corner.grid.v));
    let [columns, rows] = board.corners();
    let upright = windows([across, down], [columns, rows]).map(|first| (first, false));
    let on_its_side = windows([across, down], [rows, columns]).map(|first| (first, true));
    let placed = upright.chain(on_its_side).map(|window| in_window(corners, board, window));
    let fullest = placed.max_by_key(Vec::len).unwrap_or_default();
    // A whole board may lack single corners; where the grid is larger, nearly all must lie in the window.
    let exact = [[across, down], [down, across]].contains(&[columns, rows]);
    let least =
        if exact { board.corner_count().div_ceil(2) } else { (9 * board.corner_count()).div_ceil(10) };
    let stray = corners.len() - fullest.len();
    if fullest.len() >= least && 10 * stray <= corners.len() {
        return Ok(fullest);
    }
    Err(format!("{} corners in a grid of {across}x{down}", corners.len()))
}

/// The first corners of all windows of a size in a grid.
fn windows(grid: [u32; 2], size: [u32; 2]) -> impl Iterator<Item = [u32; 2]> {
    let places = |axis: usize| (grid[axis] + 1).saturating_sub(size[axis]);
    let (across, down) = (places(0), places(1));
    (0..down).flat_map(move |v| (0..across).map(move |u| [u, v]))
}

/// The corners inside a window, in the board's own grid.
fn in_window(
    corners: &[ChessboardCorner],
    board: &Board,
    (first, turned): ([u32; 2], bool),
) -> Vec<Labelled> {
    let [columns, rows] = board.corners();
    let place = |corner: &ChessboardCorner| {
        let u = u32::try_from(corner.grid.u).ok()?.checked_sub(first[0])?;
        let v = u32::try_from(corner.grid.v).ok()?.checked_sub(first[1])?;
        let label = if turned { [v, rows.checked_sub(u + 1)?] } else { [u, v] };
        let inside = label[0] < columns && label[1] < rows;
        inside.then_some((label, [f64::from(corner.position.x), f64::from(corner.position.y)]))
    };
    corners.iter().filter_map(place).collect()
}

/// Turns the grid by half where its first square is light and the board's sides tell one end from the other, so that the
/// first square is dark in every view.
fn turned_to_dark(image: &Grey<'_>, board: &Board, labelled: Vec<Labelled>) -> Vec<Labelled> {
    let [columns, rows] = board.corners();
    if (columns + rows) % 2 == 0 || first_square_is_dark(image, &labelled) != Some(false) {
        return labelled;
    }
    labelled.into_iter().map(|([u, v], pixel)| ([columns - 1 - u, rows - 1 - v], pixel)).collect()
}

/// Whether squares of the first one's colour are darker than the others, over all squares with four corners found.
fn first_square_is_dark(image: &Grey<'_>, labelled: &[Labelled]) -> Option<bool> {
    let at: std::collections::BTreeMap<_, _> = labelled.iter().copied().collect();
    let (mut same, mut other) = ((0.0, 0), (0.0, 0));
    for ([u, v], _) in labelled {
        let corners = [[*u, *v], [u + 1, *v], [*u, v + 1], [u + 1, v + 1]].map(|label| at.get(&label));
        let [Some(a), Some(b), Some(c), Some(d)] = corners else { continue };
        let centre = [0, 1].map(|axis| (a[axis] + b[axis] + c[axis] + d[axis]) / 4.0);
        let sum = if (u + v) % 2 == 0 { &mut same } else { &mut other };
        sum.0 += image.sample(centre)?;
        sum.1 += 1;
    }
    (same.1 > 0 && other.1 > 0).then(|| same.0 / f64::from(same.1) < other.0 / f64::from(other.1))
}

/// Half the refinement window: a share of the smallest distance between neighbours.
fn half_window(labelled: &[Labelled], share: f64) -> usize {
    let at: std::collections::BTreeMap<_, _> = labelled.iter().copied().collect();
    let distance = |a: &[f64; 2], b: &[f64; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
    let neighbours = labelled.iter().flat_map(|([u, v], pixel)| {
        [[u + 1, *v], [*u, v + 1]]
            .into_iter()
            .filter_map(|label| at.get(&label))
            .map(|next| distance(pixel, next))
    });
    let nearest = neighbours.fold(f64::INFINITY, f64::min);
    (nearest * share).clamp(HALF_WINDOW[0], HALF_WINDOW[1]) as usize
}
