//! A buffer of `/tf` and `/tf_static`: where frames are, at a stamp.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use nalgebra::{Isometry3, Quaternion, Translation3, UnitQuaternion};
use perception::Stamp;
use r2r::geometry_msgs::msg::TransformStamped;

use crate::convert;

/// How far a quaternion's length may be from 1.
const UNIT_TOLERANCE: f64 = 1e-2;

/// Why a transform was not taken, or could not be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TfError {
    /// A transform that is none.
    #[error("transform {parent} <- {child}: expected {expected}")]
    Malformed {
        /// The frame that it is in.
        parent: String,
        /// The frame that it places.
        child: String,
        /// What was expected and what came.
        expected: String,
    },
    /// Two frames claim to hold a frame.
    #[error("frame {child}: expected one parent, got {known} and {other}; the first counts")]
    TwoParents {
        /// The frame.
        child: String,
        /// The parent that is known.
        known: String,
        /// The one that came too.
        other: String,
    },
    /// Nobody told of a frame.
    #[error("frame {frame}: not known; known are {known}")]
    Unknown {
        /// The frame.
        frame: String,
        /// All that are known.
        known: String,
    },
    /// Two frames in different trees.
    #[error("frames {target} (under {target_root}) and {from} (under {from_root}) are not connected")]
    Apart {
        /// One frame.
        target: String,
        /// The root above it.
        target_root: String,
        /// The other.
        from: String,
        /// The root above that.
        from_root: String,
    },
    /// A frame above itself.
    #[error("frame {frame} is above itself: {path}")]
    Loop {
        /// The frame.
        frame: String,
        /// The way round.
        path: String,
    },
    /// Asked for a time that nothing is known of.
    #[error("transform {parent} <- {child}: asked for {asked}, known from {oldest} to {newest}")]
    Time {
        /// The frame that it is in.
        parent: String,
        /// The frame that it places.
        child: String,
        /// The stamp asked for.
        asked: Stamp,
        /// The oldest stamp that is known.
        oldest: Stamp,
        /// The newest.
        newest: Stamp,
    },
}

/// Where a frame is in its parent: always, or at some stamps in order.
#[derive(Clone, Debug)]
enum Course {
    Fixed(Isometry3<f64>),
    Moving(VecDeque<(Stamp, Isometry3<f64>)>),
}

/// Transforms that came, newest of each frame kept for a while.
#[derive(Clone, Debug)]
pub struct Buffer {
    frames: BTreeMap<String, (String, Course)>,
    keep: Duration,
}

impl Buffer {
    /// A buffer that keeps each moving frame's transforms this long.
    pub fn new(keep: Duration) -> Self {
        Self { frames: BTreeMap::new(), keep }
    }

    /// Takes a transform of `/tf_static` or `/tf`. A stamp that is older than all that is kept means that the clock jumped
    /// back (a bag played again): what was known of that frame is forgotten.
    ///
    /// # Errors
    /// When it is none, or its frame has another parent already; nothing is then taken.
    pub fn insert(&mut self, message: &TransformStamped, fixed: bool) -> Result<(), TfError> {
        let parent = plain(&message.header.frame_id);
        let child = plain(&message.child_frame_id);
        let parent_from_child = isometry(message).map_err(|expected| TfError::Malformed {
            parent: parent.clone(),
            child: child.clone(),
            expected,
        })?;
        let known = self.frames.entry(child.clone()).or_insert_with(|| {
            (
                parent.clone(),
                if fixed { Course::Fixed(parent_from_child) } else { Course::Moving(VecDeque::new()) },
            )
        });
        if known.0 != parent {
            return Err(TfError::TwoParents { child, known: known.0.clone(), other: parent });
        }
        match &mut known.1 {
            course if fixed => *course = Course::Fixed(parent_from_child),
            Course::Moving(samples) => {
                add(samples, convert::stamp(&message.header.stamp), parent_from_child, self.keep);
            }
            course @ Course::Fixed(_) => {
                let sample = (convert::stamp(&message.header.stamp), parent_from_child);
                *course = Course::Moving(VecDeque::from([sample]));
            }
        }
        Ok(())
    }

    /// The frame `source` in the frame `target` at a stamp, between the transforms around it.
    ///
    /// # Errors
    /// When a frame is not known, the two are not connected, or the stamp lies outside what is known.
    pub fn target_from_source(
        &self,
        target: &str,
        source: &str,
        stamp: Stamp,
    ) -> Result<Isometry3<f64>, TfError> {
        let (target_path, source_path) = (self.path(target)?, self.path(source)?);
        let Some(common) = target_path.iter().find(|frame| source_path.contains(frame)) else {
            let root = |path: &[&str]| path.last().map_or(String::new(), |root| (*root).to_owned());
            return Err(TfError::Apart {
                target: plain(target),
                target_root: root(&target_path),
                from: plain(source),
                from_root: root(&source_path),
            });
        };
        let common_from_target = self.ancestor_from(&target_path, common, stamp)?;
        Ok(common_from_target.inverse() * self.ancestor_from(&source_path, common, stamp)?)
    }

    /// The first frame at or above `source` that is `wanted`, and `source` in it at a stamp; none when there is no such frame.
    ///
    /// # Errors
    /// As [`Buffer::target_from_source`].
    pub fn nearest_above(
        &self,
        source: &str,
        wanted: impl Fn(&str) -> bool,
        stamp: Stamp,
    ) -> Result<Option<(String, Isometry3<f64>)>, TfError> {
        let path = self.path(source)?;
        match path.iter().find(|frame| wanted(frame)) {
            None => Ok(None),
            Some(found) => Ok(Some(((*found).to_owned(), self.ancestor_from(&path, found, stamp)?))),
        }
    }

    /// The frames from one up to its root.
    fn path<'s>(&'s self, frame: &str) -> Result<Vec<&'s str>, TfError> {
        let frame = plain(frame);
        let is_parent = || self.frames.values().map(|(parent, _)| parent).find(|parent| **parent == frame);
        let start = self.frames.get_key_value(&frame).map(|(name, _)| name).or_else(is_parent);
        let Some(start) = start else {
            let known: std::collections::BTreeSet<&str> = self
                .frames
                .iter()
                .flat_map(|(child, (parent, _))| [child.as_str(), parent.as_str()])
                .collect();
            let known = if known.is_empty() {
                "none".to_owned()
            } else {
                known.into_iter().collect::<Vec<_>>().join(", ")
            };
            return Err(TfError::Unknown { frame, known });
        };
        let mut path = vec![start.as_str()];
        let mut at = start;
        while let Some((parent, _)) = self.frames.get(at) {
            if path.contains(&parent.as_str()) {
                path.push(parent);
                return Err(TfError::Loop { frame: parent.clone(), path: path.join(" <- ") });
            }
            path.push(parent);
            at = parent;
        }
        Ok(path)
    }

    /// The first frame of a path in one of its ancestors.
    fn ancestor_from(&self, path: &[&str], ancestor: &str, stamp: Stamp) -> Result<Isometry3<f64>, TfError> {
        let mut ancestor_from_start = Isometry3::identity();
        for frame in path.iter().take_while(|frame| **frame != ancestor) {
            let Some((parent, course)) = self.frames.get(*frame) else { continue };
            let parent_from_frame = match course {
                Course::Fixed(transform) => *transform,
                Course::Moving(samples) => {
                    between(samples, stamp).map_err(|(oldest, newest)| TfError::Time {
                        parent: parent.clone(),
                        child: (*frame).to_owned(),
                        asked: stamp,
                        oldest,
                        newest,
                    })?
                }
            };
            ancestor_from_start = parent_from_frame * ancestor_from_start;
        }
        Ok(ancestor_from_start)
    }
}

/// Names of tf have no leading slash; some old nodes still give one.
fn plain(name: &str) -> String {
    name.strip_prefix('/').unwrap_or(name).to_owned()
}

fn isometry(message: &TransformStamped) -> Result<Isometry3<f64>, String> {
    if message.header.frame_id.is_empty() || message.child_frame_id.is_empty() {
        return Err("two frame names, one is empty".to_owned());
    }
    if plain(&message.header.frame_id) == plain(&message.child_frame_id) {
        return Err("different frames, got one in itself".to_owned());
    }
    let (t, r) = (&message.transform.translation, &message.transform.rotation);
    if ![t.x, t.y, t.z].iter().all(|value| value.is_finite()) {
        return Err(format!("a finite translation, got {} {} {}", t.x, t.y, t.z));
    }
    let rotation = Quaternion::new(r.w, r.x, r.y, r.z);
    let length = rotation.norm();
    // A NaN is no difference that is small.
    if (length - 1.0).abs() <= UNIT_TOLERANCE {
        let rotation = UnitQuaternion::from_quaternion(rotation);
        return Ok(Isometry3::from_parts(Translation3::new(t.x, t.y, t.z), rotation));
    }
    Err(format!("a rotation of length 1, got {} {} {} {} of length {length}", r.x, r.y, r.z, r.w))
}

fn add(
    samples: &mut VecDeque<(Stamp, Isometry3<f64>)>,
    stamp: Stamp,
    transform: Isometry3<f64>,
    keep: Duration,
) {
    let keep = keep.as_nanos() as i64;
    if samples.back().is_some_and(|(newest, _)| newest.nanoseconds() - stamp.nanoseconds() > keep) {
        samples.clear();
    }
    let at = samples.partition_point(|(known, _)| *known < stamp);
    match samples.get_mut(at) {
        Some(same) if same.0 == stamp => same.1 = transform,
        _ => samples.insert(at, (stamp, transform)),
    }
    let newest = samples.back().map_or(stamp, |(newest, _)| *newest);
    while samples.front().is_some_and(|(oldest, _)| newest.nanoseconds() - oldest.nanoseconds() > keep) {
        samples.pop_front();
    }
}

/// The transform at a stamp; else the oldest and the newest stamp that are known.
fn between(
    samples: &VecDeque<(Stamp, Isometry3<f64>)>,
    stamp: Stamp,
) -> Result<Isometry3<f64>, (Stamp, Stamp)> {
    let after = samples.partition_point(|(known, _)| *known < stamp);
    let ends = || {
        let stamp_of = |sample: Option<&(Stamp, _)>| sample.map_or(Stamp::default(), |(stamp, _)| *stamp);
        (stamp_of(samples.front()), stamp_of(samples.back()))
    };
    let (late, later) = samples.get(after).ok_or_else(ends)?;
    if *late == stamp {
        return Ok(*later);
    }
    let (early, earlier) = after.checked_sub(1).and_then(|before| samples.get(before)).ok_or_else(ends)?;
    let whole = (late.nanoseconds() - early.nanoseconds()) as f64;
    let share = (stamp.nanoseconds() - early.nanoseconds()) as f64 / whole;
    let half_turn = || *(if share < 0.5 { earlier } else { later });
    Ok(earlier.try_lerp_slerp(later, share, 1e-9).unwrap_or_else(half_turn))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanosec: u32) -> Stamp {
        Stamp { sec: 100, nanosec }
    }

    fn transform(parent: &str, child: &str, nanosec: u32, x: f64, yaw: f64) -> TransformStamped {
        let mut message = TransformStamped::default();
        message.header.frame_id = parent.to_owned();
        message.child_frame_id = child.to_owned();
        (message.header.stamp.sec, message.header.stamp.nanosec) = (100, nanosec);
        message.transform.translation.x = x;
        (message.transform.rotation.z, message.transform.rotation.w) = ((yaw / 2.0).sin(), (yaw / 2.0).cos());
        message
    }

    fn buffer(fixed: &[TransformStamped], moving: &[TransformStamped]) -> Buffer {
        let mut buffer = Buffer::new(Duration::from_secs(10));
        fixed.iter().for_each(|message| buffer.insert(message, true).unwrap());
        moving.iter().for_each(|message| buffer.insert(message, false).unwrap());
        buffer
    }

    #[test]
    fn frames_are_told_across_the_tree_and_between_stamps() {
        let fixed = [transform("base", "camera", 0, 1.0, 0.0)];
        let moving = [transform("base", "tool", 0, 0.0, 0.0), transform("base", "tool", 100, 2.0, 1.0)];
        let buffer = buffer(&fixed, &moving);
        let camera_from_tool = buffer.target_from_source("camera", "/tool", at(50)).unwrap();
        assert!((camera_from_tool.translation.vector.norm()).abs() < 1e-12, "{camera_from_tool}");
        assert!((camera_from_tool.rotation.euler_angles().2 - 0.5).abs() < 1e-12);
        let back = buffer.target_from_source("tool", "camera", at(50)).unwrap();
        assert!(((back * camera_from_tool).to_homogeneous() - nalgebra::Matrix4::identity()).norm() < 1e-12);
        let (link, link_from_tool) =
            buffer.nearest_above("tool", |name| name == "base", at(100)).unwrap().unwrap();
        assert_eq!((link.as_str(), link_from_tool.translation.x), ("base", 2.0));
        assert!(buffer.nearest_above("tool", |_| false, at(100)).unwrap().is_none());
    }

    #[test]
    fn what_is_not_known_is_said() {
        let moving = [transform("base", "tool", 10, 0.0, 0.0), transform("base", "tool", 20, 1.0, 0.0)];
        let mut buffer = buffer(&[transform("map", "odom", 0, 0.0, 0.0)], &moving);
        let said = |buffer: &Buffer, target: &str, source: &str, nanosec: u32| {
            buffer.target_from_source(target, source, at(nanosec)).unwrap_err().to_string()
        };
        assert_eq!(
            said(&buffer, "base", "hand", 10),
            "frame hand: not known; known are base, map, odom, tool"
        );
        let apart = said(&buffer, "odom", "tool", 10);
        assert!(apart.contains("odom (under map)") && apart.contains("tool (under base)"), "{apart}");
        let late = said(&buffer, "base", "tool", 21);
        assert!(late.contains("100.000000021") && late.contains("100.000000020"), "{late}");
        assert!(matches!(buffer.target_from_source("base", "tool", at(9)), Err(TfError::Time { .. })));
        let other = buffer.insert(&transform("world", "tool", 30, 0.0, 0.0), false).unwrap_err();
        assert!(
            matches!(&other, TfError::TwoParents { known, other, .. } if known == "base" && other == "world")
        );
        buffer.insert(&transform("tool", "base", 10, 0.0, 0.0), false).unwrap();
        assert!(matches!(buffer.target_from_source("base", "tool", at(10)), Err(TfError::Loop { .. })));
    }

    #[test]
    fn what_is_no_transform_is_refused() {
        let good = transform("a", "b", 0, 0.0, 0.0);
        let with = |change: fn(&mut TransformStamped)| {
            let mut message = good.clone();
            change(&mut message);
            message
        };
        let wrong = [
            with(|m| m.transform.translation.y = f64::NAN),
            with(|m| m.transform.rotation.w = 0.0),
            with(|m| m.transform.rotation.x = f64::INFINITY),
            with(|m| m.child_frame_id = String::new()),
            with(|m| m.child_frame_id = "/a".to_owned()),
        ];
        let mut buffer = Buffer::new(Duration::from_secs(1));
        for message in wrong {
            assert!(matches!(buffer.insert(&message, false), Err(TfError::Malformed { .. })), "{message:?}");
        }
        assert!(buffer.path("b").is_err(), "nothing was taken");
    }

    #[test]
    fn old_transforms_go_and_a_clock_that_jumps_back_starts_anew() {
        let mut buffer = Buffer::new(Duration::from_secs(2));
        let mut insert = |sec: i32| {
            let mut message = transform("a", "b", 0, f64::from(sec), 0.0);
            message.header.stamp.sec = sec;
            buffer.insert(&message, false).unwrap();
            buffer.clone()
        };
        let stamp = |sec| Stamp { sec, nanosec: 0 };
        (10..=14).for_each(|sec| drop(insert(sec)));
        let kept = insert(15);
        assert!(kept.target_from_source("a", "b", stamp(12)).is_err());
        assert!(kept.target_from_source("a", "b", stamp(13)).is_ok());
        let again = insert(3);
        assert!(again.target_from_source("a", "b", stamp(3)).is_ok());
        assert!(again.target_from_source("a", "b", stamp(14)).is_err());
    }
}
