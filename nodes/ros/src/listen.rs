//! Subscriptions that last as long as the node.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::StreamExt;
use futures::task::LocalSpawnExt;
use r2r::geometry_msgs::msg::TransformStamped;
use r2r::tf2_msgs::msg::TFMessage;
use r2r::{QosProfile, WrappedTypesupport};

use crate::qos::Entity;
use crate::ros_node::RosNode;
use crate::tf::TfError;
use crate::throttle::Throttle;

/// How often one kind of error is logged.
const LOG_PERIOD: Duration = Duration::from_secs(5);

/// What a latched topic is heard with.
pub fn latched(depth: usize) -> QosProfile {
    QosProfile::default().keep_last(depth).reliable().transient_local()
}

/// Hands on every message of a topic.
///
/// # Errors
/// When the middleware refuses the subscription.
pub fn each<T: WrappedTypesupport + 'static>(
    ros: &mut RosNode,
    topic: &str,
    qos: QosProfile,
    mut take: impl FnMut(T) + 'static,
) -> Result<()> {
    let qos = ros.qos(topic, Entity::Subscription, qos)?.profile;
    let stream = ros.node.subscribe::<T>(topic, qos).with_context(|| topic.to_owned())?;
    let task = stream.for_each(move |message| {
        take(message);
        std::future::ready(())
    });
    ros.spawner().spawn_local(task).context("spawn")
}

/// Hands on every transform of `/tf` (false) and `/tf_static` (true), and warns of those that are refused.
///
/// # Errors
/// When the middleware refuses a subscription.
pub fn to_frames(
    ros: &mut RosNode,
    take: impl Fn(&TransformStamped, bool) -> Result<(), TfError> + 'static,
) -> Result<()> {
    let take = Rc::new(take);
    let moving = QosProfile::default().keep_last(100).best_effort();
    for (topic, qos, fixed) in [("/tf", moving, false), ("/tf_static", latched(100), true)] {
        let (take, mut errors, logger) = (take.clone(), Throttle::new(LOG_PERIOD), ros.logger.clone());
        each::<TFMessage>(ros, topic, qos, move |message| {
            for transform in &message.transforms {
                let Err(error) = take(transform, fixed) else { continue };
                if let Some(suppressed) = errors.ready(Instant::now()) {
                    let more = if suppressed == 0 {
                        String::new()
                    } else {
                        format!(" ({suppressed} more not logged)")
                    };
                    logger.warn(format!("{topic}: {error}{more}"));
                }
            }
        })?;
    }
    Ok(())
}
