//! What is counted of one camera, and what diagnostics say of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use calibration::Intrinsics;
use control::RosTime;
use perception::{ImpliedIntrinsics, Stamp};

use super::outputs::Spent;
use super::scale::Told;
use crate::diagnostics::Status;
use crate::window::{Window, lost};

/// Rates, ages and reasons are about the last ten seconds.
pub const LENGTH: Duration = Duration::from_secs(10);
/// A larger share of frames lost on the way is worth a warning.
const MOST_LOST: f64 = 0.1;
/// Two machines' clocks may differ by so many seconds before results look as if they came from the future.
const CLOCK_SKEW_SECS: f64 = 0.05;
/// Nanoseconds in a second.
const SECOND: f64 = 1e9;

/// Why a frame was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The image cannot be read.
    Image,
    /// There is no camera info yet, or one that says nothing.
    CameraInfo,
    /// The camera of a frame_id is not the one it was.
    ChangedCamera,
    /// The networks did not run.
    Engine,
    /// It cannot be told which pixels show the robot.
    Body,
    /// The metric reference cannot be read; the image is used all the same.
    Reference,
    /// The policy's actions are not known; the frame's other results are.
    Policy,
}

impl Fault {
    fn key(self) -> &'static str {
        match self {
            Self::Image => "bad_images",
            Self::CameraInfo => "without_camera_info",
            Self::ChangedCamera => "changed_camera",
            Self::Engine => "engine_failures",
            Self::Body => "robot_not_placed",
            Self::Reference => "bad_references",
            Self::Policy => "without_actions",
        }
    }

    const ALL: [Self; 7] = [
        Self::Image,
        Self::CameraInfo,
        Self::ChangedCamera,
        Self::Engine,
        Self::Body,
        Self::Reference,
        Self::Policy,
    ];
}

/// Counts of one camera; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Statistics(Arc<Mutex<Counts>>);

#[derive(Debug)]
struct Counts {
    /// Stamps of what arrived, seconds after the first.
    arrived: Window,
    first_stamp: i64,
    last_stamp: Option<i64>,
    last_arrival: Option<Instant>,
    last_back: Option<Instant>,
    /// One for each that was published.
    results: Window,
    /// Ages of what was published while there was a ROS time, seconds of it since the stamp.
    ages: Window,
    /// How long the networks took, seconds.
    inference: Window,
    /// How long encoder and heads ran, seconds.
    networks: Window,
    /// From the bytes of an image to its results published, less the networks, seconds.
    beside_networks: Window,
    faults: Window,
    last_fault: String,
    /// Whether the camera of the last frame was another than its frame_id had, and nothing came since.
    changed: bool,
    by_fault: BTreeMap<Fault, u64>,
    received: u64,
    published: u64,
    replaced: u64,
    back: u64,
    asked: bool,
    scale: Option<Told>,
    /// The pinhole that a point head's rays implied last.
    implied: Option<ImpliedIntrinsics>,
}

impl Default for Counts {
    fn default() -> Self {
        let window = || Window::new(LENGTH);
        Self {
            arrived: window(),
            first_stamp: 0,
            last_stamp: None,
            last_arrival: None,
            last_back: None,
            results: window(),
            ages: window(),
            inference: window(),
            networks: window(),
            beside_networks: window(),
            faults: window(),
            last_fault: String::new(),
            changed: false,
            by_fault: BTreeMap::new(),
            received: 0,
            published: 0,
            replaced: 0,
            back: 0,
            asked: false,
            scale: None,
            implied: None,
        }
    }
}

/// From when on things are worth telling; both are parameters.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// Results older than this warn, seconds.
    pub max_age_secs: f64,
    /// A camera that was silent for longer is an error, seconds.
    pub input_timeout_secs: f64,
}

impl Statistics {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A frame arrived. Whether its stamp is before the last one's: a bag began anew, or a driver set its clock.
    pub fn arrived(&self, stamp: Stamp) -> bool {
        let (now, stamp) = (Instant::now(), stamp.nanoseconds());
        let mut counts = self.lock();
        let back = counts.last_stamp.is_some_and(|last| stamp < last);
        if back {
            counts.back += 1;
            counts.last_back = Some(now);
            counts.forget_rates();
        }
        if counts.arrived.is_empty() {
            counts.first_stamp = stamp;
        }
        let since = stamp.saturating_sub(counts.first_stamp) as f64 / SECOND;
        counts.arrived.push(now, since);
        counts.received += 1;
        counts.last_stamp = Some(stamp);
        counts.last_arrival = Some(now);
        back
    }

    /// A newer frame took the place of one that nobody had time for.
    pub fn replaced(&self) {
        self.lock().replaced += 1;
    }

    /// Whether someone subscribes to what this frame could give.
    pub fn asked(&self, asked: bool) {
        self.lock().asked = asked;
    }

    /// The networks ran for so long.
    pub fn computed(&self, took: Duration) {
        self.lock().inference.push(Instant::now(), took.as_secs_f64());
    }

    /// Where the time of a frame went whose results were published just now.
    pub fn spent(&self, spent: Spent) {
        let now = Instant::now();
        let networks = spent.networks.as_secs_f64();
        let whole = now.saturating_duration_since(spent.received).as_secs_f64();
        let mut counts = self.lock();
        counts.networks.push(now, networks);
        counts.beside_networks.push(now, (whole - networks).max(0.0));
    }

    /// Where the last frame's metres came from, or why there are none.
    pub fn scale(&self, told: Told) {
        self.lock().scale = Some(told);
    }

    /// A point head's rays implied this pinhole.
    pub fn implied(&self, implied: Option<ImpliedIntrinsics>) {
        self.lock().implied = implied;
    }

    /// A frame could not be used.
    pub fn fault(&self, fault: Fault, reason: &str) {
        let mut counts = self.lock();
        counts.faults.push(Instant::now(), 1.0);
        counts.last_fault = reason.to_owned();
        counts.changed = fault == Fault::ChangedCamera;
        *counts.by_fault.entry(fault).or_default() += 1;
    }

    /// Results were published, `now` nanoseconds of ROS time. While that is 0 there is no time, and nobody knows how old they are.
    pub fn published(&self, stamp: Stamp, now: i64) {
        let came = Instant::now();
        let mut counts = self.lock();
        counts.published += 1;
        counts.changed = false;
        counts.results.push(came, 1.0);
        if RosTime(now).is_known() {
            let age = now.saturating_sub(stamp.nanoseconds()) as f64 / SECOND;
            counts.ages.push(came, age);
        }
    }

    /// Time jumped: ages across the jump mean nothing, and the camera is not silent because of it.
    pub fn forget_old_time(&self) {
        let mut counts = self.lock();
        counts.forget_rates();
        counts.last_stamp = None;
    }

    /// Begins anew, as after activation.
    pub fn clear(&self) {
        *self.lock() = Counts::default();
    }

    /// What diagnostics say of the camera.
    pub fn status(&self, camera: &str, thresholds: Thresholds, now: Instant) -> Status {
        let mut counts = self.lock();
        let counts = &mut *counts;
        let Counts { arrived, results, ages, inference, networks, beside_networks, faults, .. } = counts;
        for window in [arrived, results, ages, inference, networks, beside_networks, faults] {
            window.forget(now);
        }
        let name = if camera.is_empty() { "camera".to_owned() } else { format!("camera {camera}") };
        let fine =
            if counts.asked { "images become results" } else { "nobody subscribes, so nothing is computed" };
        let mut status = Status::new(name, fine);
        counts.judge_input(thresholds, now, &mut status);
        counts.judge_output(thresholds, &mut status);
        counts.judge_scale(&mut status);
        counts.tell(&mut status);
        status
    }
}

impl Counts {
    /// What was counted by a time that is over.
    fn forget_rates(&mut self) {
        self.arrived.clear();
        self.results.clear();
        self.ages.clear();
    }

    fn judge_input(&self, thresholds: Thresholds, now: Instant, status: &mut Status) {
        let Some(last) = self.last_arrival else {
            status.warn("no image has come yet");
            return;
        };
        let silent = now.saturating_duration_since(last).as_secs_f64();
        if silent > thresholds.input_timeout_secs {
            status.error(format!("no image for {silent:.0} s"));
        }
        let lost = self.lost();
        let share = lost as f64 / (lost + self.arrived.len()).max(1) as f64;
        if share > MOST_LOST {
            let percent = 100.0 * share;
            status.warn(format!("{percent:.0} % of the images were lost on the way, by their stamps"));
        }
        if self.last_back.is_some_and(|back| now.saturating_duration_since(back) <= LENGTH) {
            status.warn("stamps went back");
        }
    }

    fn judge_output(&self, thresholds: Thresholds, status: &mut Status) {
        if self.changed {
            status.error(&self.last_fault);
        } else if !self.faults.is_empty() {
            let (bad, reason) = (self.faults.len(), &self.last_fault);
            if self.results.is_empty() {
                status.error(format!("no frame can be used: {reason}"));
            } else {
                status.warn(format!("{bad} frame(s) could not be used: {reason}"));
            }
        }
        if let Some(age) =
            self.ages.quantile(0.99).filter(|age| !(-CLOCK_SKEW_SECS..=thresholds.max_age_secs).contains(age))
        {
            status.warn(format!(
                "results are {age:.3} s old (p99), expected 0 to {} s: too slow, or stamps of another clock",
                thresholds.max_age_secs
            ));
        }
    }

    fn judge_scale(&self, status: &mut Status) {
        let Some(told) = &self.scale else { return };
        status.value("scale_mode", told.mode.name());
        status.value("scale_is_metric", told.affine.is_some());
        status.number("scale", told.affine.map(|affine| affine.scale));
        status.number("scale_shift_m", told.affine.map(|affine| affine.shift));
        status.number("scale_residual", told.residual);
        if let Some(reason) = &told.reason {
            status.warn(reason);
        }
    }

    fn lost(&self) -> usize {
        lost(self.arrived.values()).unwrap_or(0)
    }

    fn tell(&self, status: &mut Status) {
        let milliseconds = |seconds: Option<f64>| seconds.map(|seconds| 1e3 * seconds);
        status.number("input_rate_hz", self.arrived.rate());
        status.number("output_rate_hz", self.results.rate());
        status.number("age_p50_ms", milliseconds(self.ages.quantile(0.5)));
        status.number("age_p99_ms", milliseconds(self.ages.quantile(0.99)));
        status.number("inference_p50_ms", milliseconds(self.inference.quantile(0.5)));
        status.number("inference_p99_ms", milliseconds(self.inference.quantile(0.99)));
        status.number("networks_p50_ms", milliseconds(self.networks.quantile(0.5)));
        status.number("networks_p99_ms", milliseconds(self.networks.quantile(0.99)));
        status.number("beside_networks_p50_ms", milliseconds(self.beside_networks.quantile(0.5)));
        status.number("beside_networks_p99_ms", milliseconds(self.beside_networks.quantile(0.99)));
        status.value("images_received", self.received);
        status.value("images_lost_lately", self.lost());
        status.value("images_replaced_by_newer", self.replaced);
        status.value("results_published", self.published);
        for fault in Fault::ALL {
            status.value(fault.key(), self.by_fault.get(&fault).copied().unwrap_or(0));
        }
        status.value("stamps_went_back", self.back);
        if let Some(ImpliedIntrinsics { intrinsics, deviation_pixels }) = self.implied {
            let Intrinsics { fx, fy, cx, cy } = intrinsics;
            status.value("implied_intrinsics", format!("fx {fx:.1} fy {fy:.1} cx {cx:.1} cy {cy:.1}"));
            status.value("implied_intrinsics_deviation_px", format!("{deviation_pixels:.2}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::Level;

    const THRESHOLDS: Thresholds = Thresholds { max_age_secs: 0.5, input_timeout_secs: 5.0 };

    fn stamp(tenths: u32) -> Stamp {
        Stamp { sec: 100 + (tenths / 10) as i32, nanosec: tenths % 10 * 100_000_000 }
    }

    fn told(statistics: &Statistics, after: Duration) -> (Level, String) {
        let status = statistics.status("", THRESHOLDS, Instant::now() + after);
        (status.level(), status.message())
    }

    fn fed(tenths: impl IntoIterator<Item = u32>) -> Statistics {
        let statistics = Statistics::default();
        statistics.asked(true);
        for tenths in tenths {
            statistics.arrived(stamp(tenths));
            statistics.published(stamp(tenths), stamp(tenths).nanoseconds() + 20_000_000);
        }
        statistics
    }

    #[test]
    fn levels_mean_something() {
        let none = Duration::ZERO;
        let cases = [
            (Statistics::default(), none, Level::Warn, "no image has come yet"),
            (fed(0..20), none, Level::Ok, "images become results"),
            (fed(0..20), Duration::from_secs(6), Level::Error, "no image for 6 s"),
            (fed((0..20).chain(25..30)), none, Level::Warn, "17 % of the images were lost"),
            (fed((10..20).chain(0..20)), none, Level::Warn, "stamps went back"),
        ];
        for (statistics, after, level, reason) in cases {
            let (came, message) = told(&statistics, after);
            assert!(came == level && message.contains(reason), "{came:?} {message}");
        }
    }

    #[test]
    fn bad_frames_are_an_error_when_nothing_else_comes() {
        let statistics = fed(0..20);
        statistics.fault(Fault::Image, "data: expected more");
        let (level, message) = told(&statistics, Duration::ZERO);
        assert!(level == Level::Warn && message.contains("1 frame(s) could not be used: data"), "{message}");
        let statistics = Statistics::default();
        statistics.arrived(stamp(0));
        statistics.fault(Fault::CameraInfo, "no camera_info");
        let (level, message) = told(&statistics, Duration::ZERO);
        assert!(
            level == Level::Error && message.contains("no frame can be used: no camera_info"),
            "{message}"
        );
    }

    #[test]
    fn old_results_and_those_of_the_future_warn() {
        for (late, warned) in [(20_000_000, false), (900_000_000, true), (-900_000_000, true)] {
            let statistics = Statistics::default();
            statistics.arrived(stamp(0));
            statistics.published(stamp(0), stamp(0).nanoseconds() + late);
            assert_eq!(told(&statistics, Duration::ZERO).1.contains("old (p99)"), warned, "{late}");
        }
    }

    /// With `use_sim_time` and nothing on `/clock` yet.
    #[test]
    fn results_without_a_time_count_and_have_no_age() {
        let statistics = Statistics::default();
        statistics.asked(true);
        for tenths in 0..20 {
            statistics.arrived(stamp(tenths));
            statistics.published(stamp(tenths), 0);
        }
        let (level, message) = told(&statistics, Duration::ZERO);
        assert!(level == Level::Ok && message == "images become results", "{level:?} {message}");
        let counted = |statistics: &Statistics| {
            let counts = statistics.lock();
            (counts.results.len(), counts.ages.len())
        };
        assert_eq!(counted(&statistics), (20, 0));
        statistics.fault(Fault::Image, "data: expected more");
        let (level, message) = told(&statistics, Duration::ZERO);
        assert!(level == Level::Warn && message.contains("1 frame(s) could not be used"), "{message}");
        // The clock came.
        statistics.published(stamp(20), stamp(20).nanoseconds() + 20_000_000);
        assert_eq!(counted(&statistics), (21, 1));
        statistics.forget_old_time();
        assert_eq!(counted(&statistics), (0, 0));
    }
}
