//! Managed nodes: `change_state` and its neighbours, `transition_event`, and `autostart`.
//!
//! A node is [`Managed`]: it begins steps and says when they have ended, so that loading takes its time on another thread
//! while the node still answers. [`Lifecycle::turn`] runs between waits, does what was asked, one step at a time, and
//! answers when it is done. Without a manager (`autostart`) it configures and activates by itself.

pub mod machine;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use anyhow::{Context, Result};
use futures::StreamExt;
use futures::task::LocalSpawnExt;
use r2r::lifecycle_msgs::{msg, srv};
use r2r::{Publisher, QosProfile, ServiceRequest};

use crate::ros_node::RosNode;
use crate::rosout::Logger;
use crate::service::answer;
use machine::{End, Machine, State, TRANSITIONS, Transition};

/// What a managed node does on its way from state to state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Load and verify.
    Configure,
    /// Begin to work.
    Activate,
    /// Stop working, keep what is loaded.
    Deactivate,
    /// Let go of what is loaded.
    Cleanup,
    /// Let go of everything.
    Shutdown,
    /// Bring things in order after an error.
    Error,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it should.
    Success,
    /// It was refused, for this reason; everything is as before.
    Failure(String),
    /// Something broke.
    Error(String),
}

/// A node with a lifecycle.
pub trait Managed {
    /// Begins a step; at most one is under way.
    fn begin(&mut self, step: Step, ros: &mut RosNode);

    /// How the step ended, once, when it has.
    fn ended(&mut self, ros: &mut RosNode) -> Option<Outcome>;
}

type Asked = ServiceRequest<srv::ChangeState::Service>;

/// The lifecycle of a node.
pub struct Lifecycle {
    machine: Rc<RefCell<Machine>>,
    asked: Rc<RefCell<VecDeque<Asked>>>,
    events: Publisher<msg::TransitionEvent>,
    autostart: bool,
    /// Whose request the step under way is, if someone's.
    answering: Option<Asked>,
    broken: Option<String>,
    refused: Option<String>,
    last_failure: Option<String>,
}

impl Lifecycle {
    /// Offers the lifecycle's services; `autostart` configures and activates without being asked.
    ///
    /// # Errors
    /// When the middleware refuses a service or the topic.
    pub fn new(ros: &mut RosNode, autostart: bool) -> Result<Self> {
        let qos = QosProfile::default();
        let events = ros.publisher("~/transition_event", qos)?;
        let machine = Rc::new(RefCell::new(Machine::default()));
        let asked = Rc::default();
        Self::serve(ros, &machine, &asked)?;
        ros.parameters.set_unconfigured(true);
        Ok(Self {
            machine,
            asked,
            events,
            autostart,
            answering: None,
            broken: None,
            refused: None,
            last_failure: None,
        })
    }

    fn serve(
        ros: &mut RosNode,
        machine: &Rc<RefCell<Machine>>,
        asked: &Rc<RefCell<VecDeque<Asked>>>,
    ) -> Result<()> {
        let qos = QosProfile::services_default;
        let requests = ros
            .node
            .create_service::<srv::ChangeState::Service>("~/change_state", qos())
            .context("change_state")?;
        let queue = asked.clone();
        let task = requests.for_each(move |request| {
            queue.borrow_mut().push_back(request);
            std::future::ready(())
        });
        ros.spawner().spawn_local(task).context("spawn")?;

        let spawner = ros.spawner();
        let mut services = ros.services(&spawner);
        let now = machine.clone();
        answer::<srv::GetState::Service>(&mut services, "~/get_state", qos(), move |_| {
            srv::GetState::Response { current_state: state_message(now.borrow().state()) }
        })?;
        answer::<srv::GetAvailableStates::Service>(&mut services, "~/get_available_states", qos(), |_| {
            let unknown = msg::State { id: 0, label: "unknown".to_owned() };
            let known = State::ALL.into_iter().map(state_message);
            srv::GetAvailableStates::Response {
                available_states: std::iter::once(unknown).chain(known).collect(),
            }
        })?;
        type Transitions = srv::GetAvailableTransitions::Service;
        let now = machine.clone();
        answer::<Transitions>(&mut services, "~/get_available_transitions", qos(), move |_| {
            let available_transitions = now.borrow().available().map(description).collect();
            srv::GetAvailableTransitions::Response { available_transitions }
        })?;
        answer::<Transitions>(&mut services, "~/get_transition_graph", qos(), |_| {
            let available_transitions = TRANSITIONS.iter().map(description).collect();
            srv::GetAvailableTransitions::Response { available_transitions }
        })
    }

    /// The state.
    pub fn state(&self) -> State {
        self.machine.borrow().state()
    }

    /// Why the last step failed, until one succeeds.
    pub fn last_failure(&self) -> Option<&str> {
        self.last_failure.as_deref()
    }

    /// Says that what the active node needs broke; it goes through error processing.
    pub fn raise(&mut self, reason: String) {
        self.broken.get_or_insert(reason);
    }

    /// Does what is asked and due.
    ///
    /// # Errors
    /// With `autostart`, when configuration or activation failed at start: nobody is there to try again.
    pub fn turn(&mut self, managed: &mut impl Managed, ros: &mut RosNode) -> Result<()> {
        if self.step_under_way().is_some() {
            self.finish(managed, ros);
        }
        self.start(managed, ros);
        match self.refused.take() {
            Some(reason) => Err(anyhow::anyhow!(reason)),
            None => Ok(()),
        }
    }

    fn step_under_way(&self) -> Option<Step> {
        match self.state() {
            State::Configuring => Some(Step::Configure),
            State::Activating => Some(Step::Activate),
            State::Deactivating => Some(Step::Deactivate),
            State::CleaningUp => Some(Step::Cleanup),
            State::ShuttingDown => Some(Step::Shutdown),
            State::ErrorProcessing => Some(Step::Error),
            State::Unconfigured | State::Inactive | State::Active | State::Finalized => None,
        }
    }

    /// Ends the step under way when the node says so.
    fn finish(&mut self, managed: &mut impl Managed, ros: &mut RosNode) {
        let Some(outcome) = managed.ended(ros) else { return };
        let before = self.state();
        let (end, reason) = match outcome {
            Outcome::Success => (End::Success, None),
            Outcome::Failure(reason) => (End::Failure, Some(reason)),
            Outcome::Error(reason) => (End::Error, Some(reason)),
        };
        // A step that was begun because something broke ends as an error, however it went.
        let end = if before == State::Deactivating && self.broken.is_some() { End::Error } else { end };
        let reason = self.broken.take().or(reason);
        let transition = self.machine.borrow_mut().end(end);
        self.tell(transition, ros);
        self.last_failure = reason.as_ref().map(|reason| format!("{} failed: {reason}", before.label()));
        if let Some(reason) = reason {
            if self.autostart {
                self.refused = Some(reason);
            } else {
                ros.logger.error(format!("{} failed: {reason}", before.label()));
            }
        }
        match self.step_under_way() {
            // The error's own step; whoever asked hears at its end.
            Some(step) => managed.begin(step, ros),
            None => self.reply(end == End::Success, &ros.logger),
        }
    }

    fn reply(&mut self, success: bool, logger: &Logger) {
        if let Some(request) = self.answering.take()
            && let Err(error) = request.respond(srv::ChangeState::Response { success })
        {
            logger.warn(format!("~/change_state: cannot answer: {error}"));
        }
    }

    /// Begins the next step: what broke goes first, then what was asked, then what `autostart` wants.
    fn start(&mut self, managed: &mut impl Managed, ros: &mut RosNode) {
        if self.step_under_way().is_some() {
            // As rcl: while a step is under way there is no transition to ask for.
            let waiting = std::mem::take(&mut *self.asked.borrow_mut());
            waiting.into_iter().for_each(|request| self.refuse(request, &ros.logger));
            return;
        }
        if self.broken.is_some() && self.state() == State::Active {
            self.begin(4, "", managed, ros);
            return;
        }
        let next = self.asked.borrow_mut().pop_front();
        if let Some(request) = next {
            // Someone manages this node after all.
            self.autostart = false;
            let (id, label) = (request.message.transition.id, request.message.transition.label.clone());
            if self.begin(id, &label, managed, ros) {
                self.answering = Some(request);
            } else {
                self.refuse(request, &ros.logger);
            }
            return;
        }
        match self.state() {
            State::Unconfigured if self.autostart => drop(self.begin(1, "", managed, ros)),
            State::Inactive if self.autostart => drop(self.begin(3, "", managed, ros)),
            State::Active => self.autostart = false,
            _ => {}
        }
    }

    fn begin(&mut self, id: u8, label: &str, managed: &mut impl Managed, ros: &mut RosNode) -> bool {
        let transition = self.machine.borrow_mut().begin(id, label);
        if transition.is_none() {
            return false;
        }
        self.tell(transition, ros);
        if let Some(step) = self.step_under_way() {
            managed.begin(step, ros);
        }
        true
    }

    fn refuse(&self, request: Asked, logger: &Logger) {
        let msg::Transition { id, label } = &request.message.transition;
        let possible: Vec<_> = self.machine.borrow().available().map(|way| way.label).collect();
        logger.warn(format!(
            "~/change_state: {id} {label:?} is not possible while {}; possible: {}",
            self.state().label(),
            possible.join(", ")
        ));
        if let Err(error) = request.respond(srv::ChangeState::Response { success: false }) {
            logger.warn(format!("~/change_state: cannot answer: {error}"));
        }
    }

    /// Publishes a transition, and lets parameters of configuration be set where they can.
    fn tell(&self, transition: Option<&'static Transition>, ros: &RosNode) {
        let Some(transition) = transition else { return };
        ros.parameters.set_unconfigured(transition.goal == State::Unconfigured);
        ros.logger.debug(format!(
            "{}: {} -> {}",
            transition.label,
            transition.start.label(),
            transition.goal.label()
        ));
        let event = msg::TransitionEvent {
            timestamp: u64::try_from(ros.clock.nanoseconds()).unwrap_or(0),
            transition: transition_message(transition),
            start_state: state_message(transition.start),
            goal_state: state_message(transition.goal),
        };
        if let Err(error) = self.events.publish(&event) {
            ros.logger.error(format!("~/transition_event: cannot publish: {error}"));
        }
    }
}

fn state_message(state: State) -> msg::State {
    msg::State { id: state as u8, label: state.label().to_owned() }
}

fn transition_message(transition: &Transition) -> msg::Transition {
    msg::Transition { id: transition.id, label: transition.label.to_owned() }
}

fn description(transition: &Transition) -> msg::TransitionDescription {
    msg::TransitionDescription {
        transition: transition_message(transition),
        start_state: state_message(transition.start),
        goal_state: state_message(transition.goal),
    }
}
