//! An r2r node with the habits of other ROS nodes: described parameters, log topic, ROS time, overrides of qualities of
//! service. What a node adds itself: a lifecycle ([`crate::lifecycle`]) and diagnostics ([`crate::diagnostics`]).

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::executor::{LocalPool, LocalSpawner};
use r2r::{Publisher, PublisherUntyped, QosProfile, WrappedTypesupport};

use crate::clock::{ClockInput, NOT_HEARD, RosClock, Waiting};
use crate::declare::Reference;
use crate::names::resolve;
use crate::parameters::server::{Announcement, ParameterServer};
use crate::parameters::{Parameters, files};
use crate::qos::{Entity, Overrides, Qos};
use crate::rosout::Logger;
use crate::service::Services;

/// How long one wait for messages lasts; also how soon a stop is noticed.
const WAIT: Duration = Duration::from_millis(5);

/// A node that got no habits. It is still there, and so is its log.
pub struct Refused {
    /// r2r's node.
    pub node: r2r::Node,
    /// Why.
    pub error: anyhow::Error,
}

/// A node.
pub struct RosNode {
    /// r2r's node.
    pub node: r2r::Node,
    /// Its parameters.
    pub parameters: Parameters,
    /// Its log.
    pub logger: Logger,
    /// ROS time.
    pub clock: RosClock,
    full_name: String,
    tasks: LocalPool,
    overrides: Overrides,
    announcement: Announcement,
    clock_input: ClockInput,
    clock_qos: QosProfile,
    waiting: Waiting,
    jumps: u64,
}

impl RosNode {
    /// Gives a node its habits, parameters as the table declares them.
    ///
    /// # Errors
    /// A parameter that is not known or not allowed, or what the middleware refuses; with the node, whose log can still tell.
    pub fn new(mut node: r2r::Node, logger: Logger, reference: &Reference) -> Result<Self, Box<Refused>> {
        match Habits::of(&mut node, &logger, reference) {
            Ok(habits) => Ok(habits.given_to(node, logger)),
            Err(error) => Err(Box::new(Refused { node, error })),
        }
    }

    /// Namespace and name.
    pub fn full_name(&self) -> &str {
        &self.full_name
    }

    /// Runs tasks on the thread that spins.
    pub fn spawner(&self) -> LocalSpawner {
        self.tasks.spawner()
    }

    /// Where services are offered.
    pub fn services<'a>(&'a mut self, spawner: &'a LocalSpawner) -> Services<'a> {
        Services { node: &mut self.node, spawner, logger: self.logger.clone() }
    }

    /// The full name of a topic, after remaps.
    pub fn resolve(&self, topic: &str) -> String {
        resolve(topic, &self.full_name, std::env::args())
    }

    /// What holds for one end of a topic, with what parameters say of it.
    ///
    /// # Errors
    /// When an override is refused.
    pub fn qos(&mut self, topic: &str, entity: Entity, default: QosProfile) -> Result<Qos> {
        let resolved = self.resolve(topic);
        Ok(self.overrides.declare(&self.parameters, &resolved, entity, default)?)
    }

    /// A publisher with the quality of service that parameters say, else `default`.
    ///
    /// # Errors
    /// When an override is refused, or the middleware refuses.
    pub fn publisher<T: WrappedTypesupport>(
        &mut self,
        topic: &str,
        default: QosProfile,
    ) -> Result<Publisher<T>> {
        let qos = self.qos(topic, Entity::Publisher, default)?;
        self.node.create_publisher(topic, qos.profile).with_context(|| topic.to_owned())
    }

    /// A publisher of messages that are serialised already, of a type such as `sensor_msgs/msg/Image`; as [`RosNode::publisher`].
    ///
    /// # Errors
    /// When an override is refused, or the middleware refuses.
    pub fn serialised_publisher(
        &mut self,
        topic: &str,
        kind: &str,
        default: QosProfile,
    ) -> Result<PublisherUntyped> {
        let qos = self.qos(topic, Entity::Publisher, default)?;
        self.node.create_publisher_untyped(topic, kind, qos.profile).with_context(|| topic.to_owned())
    }

    /// Whether every override of a quality of service belongs to a topic; asked once when all topics are named.
    ///
    /// # Errors
    /// The first that does not.
    pub fn all_topics_are_named(&self) -> Result<()> {
        Ok(self.overrides.all_taken()?)
    }

    /// Waits a little for messages and runs what they wake. Whether ROS time jumped back meanwhile.
    ///
    /// # Errors
    /// When `/clock` cannot be subscribed.
    pub fn turn(&mut self) -> Result<bool> {
        self.turn_within(WAIT)
    }

    /// The same with another length of the wait: each costs some processor time, whether something comes or not.
    ///
    /// # Errors
    /// As [`RosNode::turn`].
    pub fn turn_within(&mut self, wait: Duration) -> Result<bool> {
        self.node.spin_once(wait);
        // After every wait, because r2r keeps ten messages and then drops the newest.
        self.tasks.run_until_stalled();
        self.announcement.turn();
        self.follow_clock()?;
        let jumps = self.clock.jumps();
        Ok(std::mem::replace(&mut self.jumps, jumps) != jumps)
    }

    fn follow_clock(&mut self) -> Result<()> {
        let simulated = self.parameters.flag("use_sim_time")?;
        let spawner = self.tasks.spawner();
        self.clock_input.follow(&mut self.node, &spawner, &self.clock, simulated, &self.clock_qos)?;
        if self.waiting.is_too_long(self.clock.is_known(), Instant::now()) {
            self.logger.warn(format!("{NOT_HEARD}; simulators tell it, and `ros2 bag play --clock`"));
        }
        Ok(())
    }
}

/// All that is given to a node.
struct Habits {
    parameters: Parameters,
    clock: RosClock,
    full_name: String,
    tasks: LocalPool,
    overrides: Overrides,
    announcement: Announcement,
    clock_input: ClockInput,
    clock_qos: QosProfile,
}

impl Habits {
    fn of(node: &mut r2r::Node, logger: &Logger, reference: &Reference) -> Result<Self> {
        let full_name = node.fully_qualified_name().context("the node's name")?;
        files::check(&full_name, std::env::args())?;
        let (parameters, overrides) = Parameters::of(node, reference)?;
        let mut overrides = Overrides::new(overrides);
        let clock = RosClock::default();
        let tasks = LocalPool::new();

        let clock_qos = QosProfile::default().keep_last(1).best_effort();
        let clock_qos = overrides.declare(&parameters, "/clock", Entity::Subscription, clock_qos)?.profile;
        let events_qos = QosProfile::parameter_events();
        let events_qos =
            overrides.declare(&parameters, "/parameter_events", Entity::Publisher, events_qos)?.profile;
        let events = node.create_publisher("/parameter_events", events_qos).context("/parameter_events")?;
        let server = ParameterServer::new(
            parameters.clone(),
            events,
            full_name.clone(),
            clock.clone(),
            logger.clone(),
        );
        let announcement = ParameterServer::serve(node, &tasks.spawner(), server)?;
        let mut clock_input = ClockInput::default();
        let simulated = parameters.flag("use_sim_time")?;
        clock_input.follow(node, &tasks.spawner(), &clock, simulated, &clock_qos)?;
        clock.forget_jumps();
        Ok(Self { parameters, clock, full_name, tasks, overrides, announcement, clock_input, clock_qos })
    }

    fn given_to(self, node: r2r::Node, logger: Logger) -> RosNode {
        RosNode {
            node,
            logger,
            parameters: self.parameters,
            clock: self.clock,
            full_name: self.full_name,
            tasks: self.tasks,
            overrides: self.overrides,
            announcement: self.announcement,
            clock_input: self.clock_input,
            clock_qos: self.clock_qos,
            waiting: Waiting::default(),
            jumps: 0,
        }
    }
}
