//! `policy_node`: a policy's action chunks in, commands within the robot's limits out.
//!
//! The thread that spins feeds what it hears into the [`shared`] core; the [`control_loop`] ticks it at a steady rate on a thread of its
//! own and publishes. What decides is the crate `control`.

mod commands;
mod control_loop;
mod inputs;
mod records;
mod reference;
mod report;
mod settings;
mod shared;
mod tool;

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use control::State as Doing;
use r2r::QosProfile;
use r2r::std_srvs::srv::{SetBool, Trigger};
use robot::Robot;

use crate::body::Description;
use crate::diagnostics::{Diagnostics, Status};
use crate::lifecycle::{Lifecycle, Managed, Outcome, Step, machine::State};
use crate::ros_node::RosNode;
use crate::service::answer;
use crate::spin::Stop;

pub use reference::REFERENCE;

use commands::{CommandTopics, Commands};
use control_loop::{ControlLoop, Running};
use records::{RecordTopics, Records};
use report::Counts;
use settings::{Kinds, Settings, needs_robot};
use shared::{Clocks, Core, EStop, Shared};

/// How long configuration waits for the topic `robot_description`.
const DESCRIPTION_PATIENCE: Duration = Duration::from_secs(10);

/// How long the robot may take to come to rest when the node stops.
const REST_PATIENCE: Duration = Duration::from_secs(3);

/// A latched controller is brought to rest for so long.
const LATCHED_PATIENCE: Duration = Duration::from_millis(500);

const INACTIVE: &str = "the node is not active";

/// Runs the node until `stop`; then the robot is brought to rest.
///
/// # Errors
/// What is refused at start: a parameter, a topic, and with `autostart` whatever configuration refuses.
pub fn run(ros: &mut RosNode, stop: &Stop) -> Result<()> {
    let kinds = Kinds::read(&ros.parameters)?;
    let (shared, counts) = (Shared::default(), Counts::default());
    let commands = CommandTopics::new(ros, kinds.interface)?;
    let records = RecordTopics::new(ros)?;
    inputs::subscribe(ros, kinds, &shared, &counts)?;
    let described: Rc<RefCell<Option<String>>> = Rc::default();
    let newest = described.clone();
    inputs::description(ros, move |text| *newest.borrow_mut() = Some(text))?;
    serve(ros, &shared)?;
    let mut diagnostics = Diagnostics::new(ros)?;
    let autostart = ros.parameters.flag("autostart")?;
    let mut lifecycle = Lifecycle::new(ros, autostart)?;
    ros.all_topics_are_named()?;
    records.tell_inactive(INACTIVE)?;
    let mut node = Policy {
        kinds,
        shared,
        counts,
        commands,
        records,
        described,
        settings: None,
        running: None,
        waiting: None,
        ended: None,
    };
    while !stop.is_set() {
        ros.turn()?;
        node.turn(&mut lifecycle);
        lifecycle.turn(&mut node, ros)?;
        diagnostics.turn(ros, "", |now| vec![node.report(&lifecycle, now)]);
    }
    node.close(ros)
}

/// Offers `~/arm` and its neighbours.
fn serve(ros: &mut RosNode, shared: &Shared) -> Result<()> {
    type Request = fn(&mut Core) -> Result<(), control::controller::RequestError>;
    const REQUESTS: [(&str, Request); 3] =
        [("~/arm", Core::arm), ("~/disarm", Core::disarm), ("~/reset", Core::reset)];
    let spawner = ros.spawner();
    let logger = ros.logger.clone();
    let mut services = ros.services(&spawner);
    let qos = QosProfile::services_default;
    for (name, request) in REQUESTS {
        let (shared, logger) = (shared.clone(), logger.clone());
        answer::<Trigger::Service>(&mut services, name, qos(), move |_| {
            let done = shared.with(|core| request(core).map(|()| core.state()));
            let (success, message) = match done {
                Some(Ok(state)) => (true, state.to_string()),
                Some(Err(error)) => (false, error.to_string()),
                None => (false, INACTIVE.to_owned()),
            };
            logger.info(format!("{name}: {message}"));
            Trigger::Response { success, message }
        })?;
    }
    let shared = shared.clone();
    answer::<SetBool::Service>(&mut services, "~/estop", qos(), move |request| {
        let engaged = shared.estop(EStop::Service, request.data);
        let message = match (request.data, engaged) {
            (true, _) => "engaged; release and reset it",
            (false, true) => "still engaged by the topic",
            (false, false) => "released; ~/reset leaves ESTOP",
        };
        logger.warn(format!("e-stop by service: {message}"));
        SetBool::Response { success: true, message: message.to_owned() }
    })
}

/// The node with all that it holds in its states.
struct Policy {
    kinds: Kinds,
    shared: Shared,
    counts: Counts,
    commands: CommandTopics,
    records: RecordTopics,
    /// What the topic `robot_description` told last.
    described: Rc<RefCell<Option<String>>>,
    settings: Option<Settings>,
    running: Option<Running>,
    /// A step under way, and since when.
    waiting: Option<(Waiting, Instant)>,
    ended: Option<Outcome>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// Configuration, for the description.
    Description,
    /// Deactivation, until the robot is at rest.
    Rest,
}

impl Policy {
    fn turn(&mut self, lifecycle: &mut Lifecycle) {
        if lifecycle.state() == State::Active && self.running.as_ref().is_some_and(Running::has_ended) {
            lifecycle.raise("the control loop ended by itself".to_owned());
        }
    }

    fn report(&self, lifecycle: &Lifecycle, now: Instant) -> Status {
        let mut status = Status::new("", lifecycle.state().label());
        if let Some(reason) = lifecycle.last_failure() {
            status.error(reason);
        }
        let Some(settings) = &self.settings else { return status };
        let told = self.shared.with(|core| (core.state(), core.counters(), core.missing_joints()));
        if let Some((state, counters, missing)) = told {
            let joints: Vec<_> = settings.space.joints().iter().map(|joint| joint.name.clone()).collect();
            report::tell_state(&mut status, state, &joints, &counters, &missing);
        }
        status.value("dry_run", settings.dry_run);
        self.counts.tell(&mut status, 1.0 / settings.rate_hz, now);
        status
    }

    /// The robot's description, or nothing while its topic is silent.
    fn robot(&self, ros: &RosNode) -> Option<Result<Option<Robot>, String>> {
        let needed = needs_robot(&ros.parameters, self.kinds).map_err(|error| error.to_string());
        let described = ros.parameters.text("robot_description").map_err(|error| error.to_string());
        let (needed, described) = match (needed, described) {
            (Ok(needed), Ok(described)) => (needed, described),
            (Err(reason), _) | (_, Err(reason)) => return Some(Err(reason)),
        };
        if !needed {
            return Some(Ok(None));
        }
        let robot = match Description::of_parameter(&described) {
            Description::File(path) => Robot::read_without_shapes(Path::new(&path)),
            Description::Text(text) => Robot::parse_without_shapes(&text, "parameter robot_description"),
            Description::Topic => {
                let text = self.described.borrow();
                Robot::parse_without_shapes(text.as_ref()?, "topic robot_description")
            }
        };
        Some(robot.map(Some).map_err(|error| error.to_string()))
    }

    /// Reads everything that is checked before the first command; nothing while the description has not come.
    fn configure(&mut self, ros: &RosNode) -> Option<Outcome> {
        let configured = self.robot(ros)?.and_then(|robot| {
            let settings = Settings::read(&ros.parameters, self.kinds, robot.as_ref());
            let settings = settings.map_err(|error| error.to_string())?;
            // Made once here so that what cannot be used together is refused now.
            Core::new(&settings, Clocks::new(ros.clock.clone()))?;
            Ok(settings)
        });
        Some(match configured {
            Ok(settings) => {
                self.settings = Some(settings);
                Outcome::Success
            }
            Err(reason) => Outcome::Failure(reason),
        })
    }

    fn activate(&mut self, ros: &RosNode) -> Outcome {
        let Some(settings) = &self.settings else { return Outcome::Error("not configured".to_owned()) };
        let core = match Core::new(settings, Clocks::new(ros.clock.clone())) {
            Ok(core) => core,
            Err(reason) => return Outcome::Failure(reason),
        };
        self.shared.put(Some(core));
        self.counts.clear();
        let control = ControlLoop {
            shared: self.shared.clone(),
            counts: self.counts.clone(),
            commands: (!settings.dry_run).then(|| Commands::new(self.commands.clone(), settings)),
            records: Records::new(self.records.clone(), settings),
            logger: ros.logger.clone(),
        };
        match Running::start(control, settings) {
            Ok(running) => self.running = Some(running),
            Err(error) => return Outcome::Failure(format!("cannot start the control loop: {error}")),
        }
        let dry = if settings.dry_run { ", DRY RUN: the robot is told nothing" } else { "" };
        ros.logger.info(format!(
            "ready: IDLE, {} dimensions at {} Hz{dry}; this e-stop is software and not safety-rated",
            settings.space.dimensions(),
            settings.rate_hz
        ));
        Outcome::Success
    }

    /// Begins to bring the robot to rest.
    fn disarm(&mut self) {
        // Refused when latched: then it is brought to rest already.
        self.shared.with(|core| core.disarm().is_ok());
        self.waiting = Some((Waiting::Rest, Instant::now()));
    }

    /// Whether the robot is at rest, or had its time.
    fn is_at_rest(&self, since: Instant) -> bool {
        let past = since.elapsed();
        match self.shared.with(|core| core.state()) {
            None | Some(Doing::Idle) => true,
            Some(Doing::Fault(_) | Doing::EStop) => past > LATCHED_PATIENCE,
            Some(_) => past > REST_PATIENCE,
        }
    }

    /// Ends the control loop.
    fn end(&mut self, ros: &RosNode) {
        self.running = None;
        self.shared.put(None);
        if let Err(error) = self.records.tell_inactive(INACTIVE) {
            ros.logger.error(format!("~/state: cannot publish: {error}"));
        }
    }

    /// Brings the robot to rest before the process ends.
    fn close(mut self, ros: &mut RosNode) -> Result<()> {
        if self.running.is_some() {
            let since = Instant::now();
            self.disarm();
            while !self.is_at_rest(since) {
                ros.turn()?;
            }
            self.end(ros);
        }
        ros.logger.info("stopped");
        Ok(())
    }
}

impl Managed for Policy {
    fn begin(&mut self, step: Step, ros: &mut RosNode) {
        match step {
            Step::Configure => self.waiting = Some((Waiting::Description, Instant::now())),
            Step::Activate => self.ended = Some(self.activate(ros)),
            Step::Deactivate | Step::Shutdown | Step::Error => self.disarm(),
            Step::Cleanup => {
                self.settings = None;
                self.ended = Some(Outcome::Success);
            }
        }
    }

    fn ended(&mut self, ros: &mut RosNode) -> Option<Outcome> {
        match self.waiting {
            Some((Waiting::Description, since)) => {
                let outcome = self.configure(ros).or_else(|| {
                    let reason = format!(
                        "parameter robot_description is not set, and the topic told nothing within {} s",
                        DESCRIPTION_PATIENCE.as_secs()
                    );
                    (since.elapsed() > DESCRIPTION_PATIENCE).then_some(Outcome::Failure(reason))
                });
                if outcome.is_some() {
                    self.waiting = None;
                }
                outcome
            }
            Some((Waiting::Rest, since)) if self.running.is_none() || self.is_at_rest(since) => {
                self.waiting = None;
                self.end(ros);
                Some(Outcome::Success)
            }
            Some((Waiting::Rest, _)) => None,
            None => self.ended.take(),
        }
    }
}
