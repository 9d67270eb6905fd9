//! What a point map head is worth on pictures never trained on, by the deployed engine, beside predictors that see nothing.

use anyhow::{Context, Result, anyhow, ensure};
use calibration::{Intrinsics, Size};
use network::Bundle;
use onnx::OnnxRuntime;
use perception::depth::DepthRange;
use perception::point_head::Raw;
use perception::{HeadPoints, ImpliedIntrinsics};
use serde::Serialize;
use training::metrics::{self, DepthMetrics};
use training::points::{self, PointsTruth};

use crate::train::evaluate;

/// Means over pictures. Depths, points and confidences are counted where the true distance is in the head's range, rays in every
/// pixel.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    /// Of the depth along Z.
    #[serde(flatten)]
    depth: DepthMetrics,
    /// Between a point and the true one, metres.
    point_error_meters: f64,
    /// Angle between a pixel's ray and the true one, degrees.
    ray_error_degrees: f64,
    /// Of the pinhole that the rays imply, over the pictures whose rays imply one.
    pinhole: Option<PinholeErrors>,
    /// Share of the pictures whose rays imply none.
    without_pinhole: f64,
    /// Share of the pixels whose distance is within a tenth of the true one: what the confidence is the probability of.
    close: f64,
    /// What the head says of itself; nothing for predictors that say nothing.
    confidence: Option<Confidence>,
}

/// Errors of implied intrinsics.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct PinholeErrors {
    /// Of the focal lengths, as shares of the true ones.
    fx: f64,
    fy: f64,
    /// Of the principal point, pixels of the network's input.
    cx_pixels: f64,
    cy_pixels: f64,
    /// What the rays deviate from the pinhole, pixels.
    deviation_pixels: f64,
}

/// What confidences are worth, means over pictures.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Confidence {
    /// Mean where the distance is known and in range: equal to `close` when the head knows itself.
    known: f64,
    /// Mean where depth is unknown; nothing when it is known everywhere.
    unknown: Option<f64>,
    /// Share of distances within a tenth of the true ones among the half of the pixels that the head is surest of.
    close_of_surest_half: f64,
}

/// Held-out truth.
pub struct Judge<'a> {
    pub size: Size,
    pub range: DepthRange,
    /// Millimetres along Z.
    pub depth: &'a [u16],
    pub cameras: &'a [Intrinsics],
}

/// What is said of one picture.
struct Said<'a> {
    rays: &'a [f32],
    distance: &'a [f32],
    confidence: Option<&'a [f32]>,
    implied: Option<ImpliedIntrinsics>,
}

impl Judge<'_> {
    /// The trained head, through the bundle's ONNX networks and the deployed decoding.
    ///
    /// # Errors
    /// When the engine does not run, or no picture has depth in range.
    pub fn head(&self, engine: &mut OnnxRuntime, bundle: &Bundle, name: &str, rgb: &[u8]) -> Result<Row> {
        let mut rows = Vec::new();
        evaluate::each(engine, bundle, name, self.size, rgb, |outputs| {
            let [rays, distance, confidence] = outputs.as_slice() else {
                return Err(anyhow!("{name}: expected rays, distance and confidence"));
            };
            let raw = Raw { rays, distance, confidence };
            let decoded = HeadPoints::new(self.size, raw, self.range).map_err(|reason| anyhow!(reason))?;
            let implied = decoded.implied().copied();
            let said = Said { rays, distance, confidence: Some(confidence), implied };
            rows.push(self.judge(rows.len(), &said));
            Ok(())
        })?;
        mean(rows)
    }

    /// The mean camera of the training pictures with their median depth, of all pixels or of each.
    ///
    /// # Errors
    /// When no picture has depth in range.
    pub fn blind(&self, blind: &Blind, per_pixel: bool) -> Result<Row> {
        let depth = if per_pixel { blind.medians.as_slice() } else { blind.constant.as_slice() };
        let mut truth = PointsTruth::new(self.size);
        truth.push(&blind.camera, &[]);
        let rays = truth.rays();
        let forward = &rays[2 * self.size.area()..];
        let distance: Vec<f32> = depth.iter().zip(forward).map(|(depth, forward)| depth / forward).collect();
        let implied = Some(ImpliedIntrinsics { intrinsics: blind.camera, deviation_pixels: 0.0 });
        let said = Said { rays, distance: &distance, confidence: None, implied };
        mean((0..self.cameras.len()).map(|picture| self.judge(picture, &said)).collect())
    }

    /// Nothing when the picture has almost no depth in range.
    fn judge(&self, picture: usize, said: &Said<'_>) -> Option<Row> {
        let area = self.size.area();
        let mut truth = PointsTruth::new(self.size);
        truth.push(&self.cameras[picture], &self.depth[picture * area..][..area]);
        let range = self.range.min_meters..=self.range.max_meters;
        let counted: Vec<usize> =
            (0..area).filter(|pixel| range.contains(&truth.distance()[*pixel])).collect();
        let z = |rays: &[f32], distance: &[f32]| -> Vec<f32> {
            counted.iter().map(|pixel| rays[2 * area + pixel] * distance[*pixel]).collect()
        };
        let (ours, theirs) = (z(said.rays, said.distance), z(truth.rays(), truth.distance()));
        let depth = metrics::depth(&ours, &theirs, (0.0, f32::INFINITY))?;
        let share = |sum: f64| sum / counted.len() as f64;
        let far = |pixel: &usize| {
            let off = |axis: usize| {
                let at = axis * area + pixel;
                f64::from(said.rays[at] * said.distance[*pixel] - truth.rays()[at] * truth.distance()[*pixel])
            };
            (0..3).map(|axis| off(axis).powi(2)).sum::<f64>().sqrt()
        };
        Some(Row {
            depth,
            point_error_meters: share(counted.iter().map(far).sum()),
            ray_error_degrees: degrees(said.rays, truth.rays(), area),
            pinhole: said.implied.map(|implied| PinholeErrors::of(&implied, &self.cameras[picture])),
            without_pinhole: f64::from(u8::from(said.implied.is_none())),
            close: close(said.distance, truth.distance(), &counted),
            confidence: said
                .confidence
                .map(|sure| confidence(sure, said.distance, truth.distance(), &counted)),
        })
    }
}

impl PinholeErrors {
    /// Of rays that imply no pinhole.
    const NONE: Self = Self {
        fx: f64::NAN,
        fy: f64::NAN,
        cx_pixels: f64::NAN,
        cy_pixels: f64::NAN,
        deviation_pixels: f64::NAN,
    };

    fn of(implied: &ImpliedIntrinsics, real: &Intrinsics) -> Self {
        let ImpliedIntrinsics { intrinsics: Intrinsics { fx, fy, cx, cy }, deviation_pixels } = *implied;
        Self {
            fx: (fx / real.fx - 1.0).abs(),
            fy: (fy / real.fy - 1.0).abs(),
            cx_pixels: (cx - real.cx).abs(),
            cy_pixels: (cy - real.cy).abs(),
            deviation_pixels,
        }
    }

    fn mean(all: &[Self]) -> Option<Self> {
        let over = |of: fn(&Self) -> f64| all.iter().map(of).sum::<f64>() / all.len() as f64;
        (!all.is_empty()).then(|| Self {
            fx: over(|e| e.fx),
            fy: over(|e| e.fy),
            cx_pixels: over(|e| e.cx_pixels),
            cy_pixels: over(|e| e.cy_pixels),
            deviation_pixels: over(|e| e.deviation_pixels),
        })
    }
}

impl Confidence {
    fn mean(all: &[Self]) -> Option<Self> {
        let over = |of: fn(&Self) -> f64| all.iter().map(of).sum::<f64>() / all.len() as f64;
        let unknown: Vec<f64> = all.iter().filter_map(|said| said.unknown).collect();
        (!all.is_empty()).then(|| Self {
            known: over(|said| said.known),
            unknown: (!unknown.is_empty()).then(|| unknown.iter().sum::<f64>() / unknown.len() as f64),
            close_of_surest_half: over(|said| said.close_of_surest_half),
        })
    }
}

/// Mean angle between unit vectors, degrees.
fn degrees(rays: &[f32], truth: &[f32], area: usize) -> f64 {
    let angle = |pixel: usize| {
        let pair =
            |axis: usize| (f64::from(rays[axis * area + pixel]), f64::from(truth[axis * area + pixel]));
        let chord = (0..3).map(pair).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        2.0 * (chord / 2.0).min(1.0).asin().to_degrees()
    };
    (0..area).map(angle).sum::<f64>() / area as f64
}

/// Share of these pixels whose distance is close to the true one.
fn close(distance: &[f32], truth: &[f32], pixels: &[usize]) -> f64 {
    let found = pixels.iter().filter(|pixel| points::is_close(distance[**pixel], truth[**pixel])).count();
    found as f64 / pixels.len().max(1) as f64
}

fn confidence(sure: &[f32], distance: &[f32], truth: &[f32], counted: &[usize]) -> Confidence {
    let mean = |pixels: &[usize]| {
        let sum = pixels.iter().map(|pixel| f64::from(sure[*pixel])).sum::<f64>();
        (!pixels.is_empty()).then(|| sum / pixels.len() as f64)
    };
    let unknown: Vec<usize> = (0..truth.len()).filter(|pixel| truth[*pixel].is_nan()).collect();
    let mut surest = counted.to_vec();
    surest.sort_by(|a, b| sure[*b].total_cmp(&sure[*a]));
    surest.truncate(counted.len().div_ceil(2));
    Confidence {
        known: mean(counted).unwrap_or(f64::NAN),
        unknown: mean(&unknown),
        close_of_surest_half: close(distance, truth, &surest),
    }
}

/// Mean over the pictures with depth in range.
fn mean(rows: Vec<Option<Row>>) -> Result<Row> {
    let rows: Vec<Row> = rows.into_iter().flatten().collect();
    ensure!(!rows.is_empty(), "expected held-out pictures with depth in the head's range");
    let over = |of: fn(&Row) -> f64| rows.iter().map(of).sum::<f64>() / rows.len() as f64;
    let depths: Vec<DepthMetrics> = rows.iter().map(|row| row.depth).collect();
    let pinholes: Vec<PinholeErrors> = rows.iter().filter_map(|row| row.pinhole).collect();
    let said: Vec<Confidence> = rows.iter().filter_map(|row| row.confidence).collect();
    Ok(Row {
        depth: DepthMetrics::mean(&depths).context("expected held-out pictures")?,
        point_error_meters: over(|row| row.point_error_meters),
        ray_error_degrees: over(|row| row.ray_error_degrees),
        pinhole: PinholeErrors::mean(&pinholes),
        without_pinhole: over(|row| row.without_pinhole),
        close: over(|row| row.close),
        confidence: Confidence::mean(&said),
    })
}

/// Predictors without eyes.
pub struct Blind {
    camera: Intrinsics,
    constant: Vec<f32>,
    medians: Vec<f32>,
}

impl Blind {
    /// Mean intrinsics of the training pictures, and medians of their depths, of those whose distance is in the head's range.
    ///
    /// # Errors
    /// When no distance is.
    pub fn new(maps: &[u16], cameras: &[Intrinsics], size: Size, range: DepthRange) -> Result<Self> {
        let counted = within(maps, cameras, size, range);
        evaluate::some(&counted, (range.min_meters, range.max_meters))?;
        let (constant, medians) = evaluate::blind(&counted, size.area());
        let mean = |of: fn(&Intrinsics) -> f64| cameras.iter().map(of).sum::<f64>() / cameras.len() as f64;
        let camera =
            Intrinsics { fx: mean(|c| c.fx), fy: mean(|c| c.fy), cx: mean(|c| c.cx), cy: mean(|c| c.cy) };
        Ok(Self { camera, constant: vec![constant; size.area()], medians })
    }
}

/// The depths whose distance along the ray is in range, millimetres; 0 for the others.
fn within(maps: &[u16], cameras: &[Intrinsics], size: Size, range: DepthRange) -> Vec<u16> {
    let counts = range.min_meters..=range.max_meters;
    let mut found = Vec::with_capacity(maps.len());
    for (map, camera) in maps.chunks_exact(size.area()).zip(cameras) {
        let mut truth = PointsTruth::new(size);
        truth.push(camera, map);
        let pixels = map.iter().zip(truth.distance());
        found.extend(pixels.map(|(mm, distance)| if counts.contains(distance) { *mm } else { 0 }));
    }
    found
}

/// Prints the rows for people.
pub fn print(rows: &[(String, Row)]) {
    println!(
        "{:20} {:>7} {:>7} {:>7} {:>7} {:>8} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7}",
        "",
        "AbsRel",
        "delta1",
        "RMSE m",
        "SiLog",
        "point m",
        "ray deg",
        "fx %",
        "fy %",
        "cx px",
        "cy px",
        "close"
    );
    for (name, row) in rows {
        let PinholeErrors { fx, fy, cx_pixels, cy_pixels, .. } = row.pinhole.unwrap_or(PinholeErrors::NONE);
        let numbers = [row.ray_error_degrees, 100.0 * fx, 100.0 * fy, cx_pixels, cy_pixels];
        let numbers = numbers.map(|n| format!("{n:7.3}")).join(" ");
        let DepthMetrics { abs_rel, delta1, rmse, silog, .. } = row.depth;
        let depth = [abs_rel, delta1, rmse, silog].map(|n| format!("{n:7.4}")).join(" ");
        println!("{name:20} {depth} {:8.4} {numbers} {:7.4}", row.point_error_meters, row.close);
    }
    for (name, row) in rows {
        let Some(Confidence { known, unknown, close_of_surest_half }) = row.confidence else { continue };
        let unknown = unknown.map_or(String::new(), |share| format!(", {share:.3} where depth is unknown"));
        let off = row.pinhole.map_or(f64::NAN, |pinhole| pinhole.deviation_pixels);
        println!(
            "{name}: rays {off:.3} px from a pinhole, of none in {:.3} of the pictures; confidence {known:.3} where {:.3} are close{unknown}; \
             of the surest half {close_of_surest_half:.3} are close",
            row.without_pinhole, row.close
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 8, height: 4 };
    const CAMERA: Intrinsics = Intrinsics { fx: 8.0, fy: 8.0, cx: 3.5, cy: 1.5 };

    fn judge<'a>(depth: &'a [u16], cameras: &'a [Intrinsics]) -> Judge<'a> {
        Judge { size: SIZE, range: DepthRange { min_meters: 0.1, max_meters: 3.0 }, depth, cameras }
    }

    #[test]
    fn the_truth_itself_has_no_error_and_a_wrong_camera_has_its_own() {
        let mut depth = vec![1000; SIZE.area()];
        depth[0] = 0;
        let wide = Intrinsics { fx: 10.0, fy: 8.0, cx: 4.5, cy: 1.5 };
        let range = judge(&depth, &[CAMERA]).range;
        let blind = Blind::new(&depth, &[CAMERA], SIZE, range).unwrap();
        let right = judge(&depth, &[CAMERA]).blind(&blind, true).unwrap();
        assert!(
            right.depth.abs_rel < 1e-6 && right.point_error_meters < 1e-6 && right.ray_error_degrees < 1e-4
        );
        assert_eq!((right.pinhole.unwrap().fx, right.close), (0.0, 1.0));
        let wrong = judge(&depth, &[wide]).blind(&blind, true).unwrap();
        assert!(wrong.depth.abs_rel < 1e-6, "depth along Z is right: {wrong:?}");
        let pinhole = wrong.pinhole.unwrap();
        assert!((pinhole.fx - 0.2).abs() < 1e-9 && pinhole.fy == 0.0 && pinhole.cx_pixels == 1.0);
        // Where the truth looks at slope (u - 4.5) / 10, it says (u - 3.5) / 8.
        let angle = |u: f64| (((u - 4.5) / 10.0).atan() - ((u - 3.5) / 8.0).atan()).abs().to_degrees();
        let most = (0..8).map(|u| angle(f64::from(u))).fold(0.0, f64::max);
        assert!(wrong.ray_error_degrees > 0.3 * most && wrong.ray_error_degrees < most, "{wrong:?}");
        assert!(judge(&vec![5000; SIZE.area()], &[CAMERA]).blind(&blind, true).is_err(), "nothing in range");
    }

    #[test]
    fn blind_predictors_learn_of_distances_in_range_alone() {
        let range = DepthRange { min_meters: 0.1, max_meters: 3.0 };
        let picture = |mm: u16| vec![mm; SIZE.area()];
        // Along its ray the corner is farther than 3 m where its depth is 2.9.
        let maps = [picture(1000), picture(2900), picture(9000)].concat();
        let blind = Blind::new(&maps, &[CAMERA; 3], SIZE, range).unwrap();
        assert_eq!((blind.medians[0], blind.medians[SIZE.width + 3]), (1.0, 2.9));
        assert!(Blind::new(&picture(9000), &[CAMERA], SIZE, range).is_err());
    }

    #[test]
    fn confidence_is_judged_by_what_is_close() {
        let sure = [0.9, 0.8, 0.2, 0.1, 0.4];
        let came =
            confidence(&sure, &[1.0, 1.05, 2.0, 3.0, 1.0], &[1.0, 1.0, 1.0, 1.0, f32::NAN], &[0, 1, 2, 3]);
        assert!((came.known - 0.5).abs() < 1e-6 && (came.unknown.unwrap() - 0.4).abs() < 1e-6);
        assert_eq!(came.close_of_surest_half, 1.0);
    }
}
