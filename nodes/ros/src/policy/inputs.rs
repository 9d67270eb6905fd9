//! What the node hears, fed into the core as it comes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::StreamExt;
use futures::task::LocalSpawnExt;
use r2r::geometry_msgs::msg::{PoseStamped, TwistStamped};
use r2r::sensor_msgs::msg::{JointState, Joy};
use r2r::std_msgs::msg::{Bool, Float64MultiArray, String as Text};
use r2r::trajectory_msgs::msg::JointTrajectory;
use r2r::{QosProfile, WrappedTypesupport};

use super::report::Counts;
use super::settings::{DeadmanKind, Kinds};
use super::shared::{Core, EStop, Shared};
use crate::parameters::Parameters;
use crate::qos::Entity;
use crate::ros_node::RosNode;
use crate::throttle::Throttle;

/// How often one kind of refusal is logged.
const LOG_PERIOD: Duration = Duration::from_secs(5);

/// Subscribes to everything that these kinds need.
///
/// # Errors
/// When the middleware refuses a subscription.
pub fn subscribe(ros: &mut RosNode, kinds: Kinds, shared: &Shared, counts: &Counts) -> Result<()> {
    let reliable = || QosProfile::default().keep_last(10).reliable();
    let hearing = Hearing { shared: shared.clone(), counts: counts.clone() };
    let chunks = counts.clone();
    hearing.each::<JointTrajectory>(ros, "action_chunk", reliable(), move |core, message| {
        chunks.chunk_came();
        core.take_chunk(&message)
    })?;
    hearing.stream::<JointState>(ros, "joint_states", |core, message| core.take_joints(&message))?;
    if kinds.space.is_of_joints() {
        let human = |core: &mut Core, message: JointState| core.take_human_joints(&message);
        hearing.stream(ros, "human/joint_states", human)?;
    } else {
        hearing.stream::<PoseStamped>(ros, "tool_pose", |core, message| core.take_tool(&message))?;
        let human = |core: &mut Core, message: TwistStamped| core.take_human_twist(&message);
        hearing.stream(ros, "human/twist", human)?;
        let gripper = |core: &mut Core, message: Float64MultiArray| core.take_human_gripper(&message.data);
        hearing.stream(ros, "human/gripper", gripper)?;
    }
    deadman(ros, kinds.deadman, &hearing)?;
    estop(ros, shared)
}

fn deadman(ros: &mut RosNode, kind: DeadmanKind, hearing: &Hearing) -> Result<()> {
    match kind {
        DeadmanKind::None => Ok(()),
        DeadmanKind::Topic => hearing.stream::<Bool>(ros, "deadman", |core, message| {
            core.take_deadman(message.data);
            Ok(())
        }),
        DeadmanKind::Joy => {
            let parameters = ros.parameters.clone();
            hearing.stream::<Joy>(ros, "joy", move |core, message| {
                let pressed = pressed(&message, &parameters)?;
                core.take_deadman(pressed);
                Ok(())
            })
        }
    }
}

fn pressed(message: &Joy, parameters: &Parameters) -> Result<bool, String> {
    let button = parameters.integer("deadman_button").map_err(|error| error.to_string())?;
    let state = usize::try_from(button).ok().and_then(|button| message.buttons.get(button));
    let count = message.buttons.len();
    let state = state.ok_or_else(|| format!("expected deadman_button {button} of {count} buttons"))?;
    Ok(*state != 0)
}

/// Twice, because one subscription matches either every publisher or the latched message of one that came before.
fn estop(ros: &mut RosNode, shared: &Shared) -> Result<()> {
    let volatile = QosProfile::default().keep_last(10).best_effort();
    let volatile = ros.qos("estop", Entity::Subscription, volatile)?.profile;
    let latched = QosProfile::default().keep_last(1).reliable().transient_local();
    for qos in [volatile, latched] {
        let (shared, logger) = (shared.clone(), ros.logger.clone());
        let mut engaged = false;
        let messages = ros.node.subscribe::<Bool>("estop", qos).context("estop")?;
        let task = messages.for_each(move |message| {
            shared.estop(EStop::Topic, message.data);
            if message.data != engaged {
                engaged = message.data;
                logger.warn(if engaged { "e-stop: engaged by topic" } else { "e-stop: released by topic" });
            }
            std::future::ready(())
        });
        ros.spawner().spawn_local(task).context("spawn")?;
    }
    Ok(())
}

/// The newest robot description that came by topic.
pub fn description(ros: &mut RosNode, take: impl Fn(String) + 'static) -> Result<()> {
    let latched = QosProfile::default().keep_last(1).reliable().transient_local();
    let qos = ros.qos("robot_description", Entity::Subscription, latched)?.profile;
    let messages = ros.node.subscribe::<Text>("robot_description", qos).context("robot_description")?;
    let task = messages.for_each(move |message| {
        take(message.data);
        std::future::ready(())
    });
    ros.spawner().spawn_local(task).context("spawn")
}

/// Feeds messages into the core and tells what was refused.
struct Hearing {
    shared: Shared,
    counts: Counts,
}

impl Hearing {
    /// A stream: the next message comes soon.
    fn stream<T: WrappedTypesupport + 'static>(
        &self,
        ros: &mut RosNode,
        topic: &'static str,
        take: impl FnMut(&mut Core, T) -> Result<(), String> + 'static,
    ) -> Result<()> {
        self.each(ros, topic, QosProfile::default().keep_last(10).best_effort(), take)
    }

    fn each<T: WrappedTypesupport + 'static>(
        &self,
        ros: &mut RosNode,
        topic: &'static str,
        qos: QosProfile,
        mut take: impl FnMut(&mut Core, T) -> Result<(), String> + 'static,
    ) -> Result<()> {
        let qos = ros.qos(topic, Entity::Subscription, qos)?.profile;
        let messages = ros.node.subscribe::<T>(topic, qos).context(topic)?;
        let (shared, counts, logger) = (self.shared.clone(), self.counts.clone(), ros.logger.clone());
        let mut errors = Throttle::new(LOG_PERIOD);
        let task = messages.for_each(move |message| {
            if let Some(Err(reason)) = shared.with(|core| take(core, message)) {
                let now = Instant::now();
                let line = format!("{topic}: {reason}");
                if let Some(suppressed) = errors.ready(now) {
                    let more = if suppressed == 0 {
                        String::new()
                    } else {
                        format!(" ({suppressed} more not logged)")
                    };
                    logger.warn(format!("{line}{more}"));
                }
                counts.refused(now, line);
            }
            std::future::ready(())
        });
        ros.spawner().spawn_local(task).context("spawn")
    }
}
