//! What is published for whoever records or looks on: commands, the policy's own action, interventions, the state.

use anyhow::Result;
use control::{FaultReason, Stage, State};
use r2r::sensor_msgs::msg::JointState;
use r2r::std_msgs::msg::{Bool, String as Text, UInt16};
use r2r::{Publisher, QosProfile, WrappedTypesupport};
use serde_json::json;

use super::settings::{Settings, Space};
use super::shared::Told;
use crate::clock::time;
use crate::ros_node::RosNode;

/// The publishers.
#[derive(Clone)]
pub struct RecordTopics {
    command: Publisher<JointState>,
    policy: Publisher<JointState>,
    limiters: Publisher<UInt16>,
    intervention: Publisher<Bool>,
    state: Publisher<Text>,
}

impl RecordTopics {
    /// `~/command` and its neighbours.
    pub fn new(ros: &mut RosNode) -> Result<Self> {
        let qos = || QosProfile::default().keep_last(1).reliable();
        Ok(Self {
            command: ros.publisher("~/command", qos())?,
            policy: ros.publisher("~/policy_action", qos())?,
            limiters: ros.publisher("~/limiters", qos())?,
            intervention: ros.publisher("~/intervention", qos())?,
            state: ros.publisher("~/state", qos().transient_local())?,
        })
    }

    /// Says that nothing runs, and why.
    ///
    /// # Errors
    /// When the middleware refuses.
    pub fn tell_inactive(&self, reason: &str) -> Result<(), r2r::Error> {
        let told = json!({ "state": "IDLE", "reason": reason, "human": false, "dry_run": false });
        self.state.publish(&Text { data: told.to_string() })
    }
}

/// Publishes them for a configuration; keeps its messages.
pub struct Records {
    topics: RecordTopics,
    command: JointState,
    policy: JointState,
    command_is_position: bool,
    policy_is_position: bool,
    joints: Vec<String>,
    dry_run: bool,
    told: Option<(State, bool, &'static str)>,
}

fn empty(names: Vec<String>, is_position: bool) -> JointState {
    let numbers = vec![0.0; names.len()];
    let mut message = JointState { name: names, ..Default::default() };
    if is_position {
        message.position = numbers;
    } else {
        message.velocity = numbers;
    }
    message
}

fn fill(message: &mut JointState, is_position: bool, numbers: &[f64]) {
    let room = if is_position { &mut message.position } else { &mut message.velocity };
    room.copy_from_slice(numbers);
}

fn has_subscribers<T: WrappedTypesupport + 'static>(publisher: &Publisher<T>) -> bool {
    publisher.get_inter_process_subscription_count().is_ok_and(|count| count > 0)
}

impl Records {
    /// Records of a configuration.
    pub fn new(topics: RecordTopics, settings: &Settings) -> Self {
        let names: Vec<String> = settings.space.names().into_iter().map(str::to_owned).collect();
        let joints = settings.space.joints().iter().map(|joint| joint.name.clone()).collect();
        let command_names = match settings.kinds.space {
            // A pose is followed by velocities.
            Space::EndEffectorPose => {
                let twist = ["linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z"];
                twist.into_iter().map(str::to_owned).chain(names.get(7).cloned()).collect()
            }
            _ => names.clone(),
        };
        let command_is_position = settings.kinds.space == Space::JointPositions;
        let policy_is_position =
            matches!(settings.kinds.space, Space::JointPositions | Space::EndEffectorPose);
        Self {
            topics,
            command: empty(command_names, command_is_position),
            policy: empty(names, policy_is_position),
            command_is_position,
            policy_is_position,
            joints,
            dry_run: settings.dry_run,
            told: None,
        }
    }

    /// Publishes what a tick told.
    ///
    /// # Errors
    /// When the middleware refuses.
    pub fn publish(&mut self, told: &Told) -> Result<(), r2r::Error> {
        let now = (told.state, told.human, waiting_for(told));
        if self.told != Some(now) {
            self.told = Some(now);
            self.topics.state.publish(&Text { data: self.state(told) })?;
        }
        if told.speaks && has_subscribers(&self.topics.command) {
            self.command.header.stamp = time(told.stamp.0);
            fill(&mut self.command, self.command_is_position, &told.command);
            self.topics.command.publish(&self.command)?;
        }
        if let (true, Some(observation)) = (told.has_policy, told.observation)
            && has_subscribers(&self.topics.policy)
        {
            self.policy.header.stamp = time(observation.0);
            fill(&mut self.policy, self.policy_is_position, &told.policy);
            self.topics.policy.publish(&self.policy)?;
        }
        if has_subscribers(&self.topics.limiters) {
            self.topics.limiters.publish(&UInt16 { data: told.interventions.bits() })?;
        }
        if has_subscribers(&self.topics.intervention) {
            self.topics.intervention.publish(&Bool { data: told.human })?;
        }
        Ok(())
    }

    fn state(&self, told: &Told) -> String {
        let waiting = waiting_for(told);
        let reason = if waiting.is_empty() { reason(told.state, &self.joints) } else { waiting.to_owned() };
        let (state, human, dry_run) = (told.state.name(), told.human, self.dry_run);
        json!({ "state": state, "reason": reason, "human": human, "dry_run": dry_run }).to_string()
    }
}

/// What an armed controller still waits for; empty in every other state.
fn waiting_for(told: &Told) -> &'static str {
    if told.state == State::Armed && !told.stamp.is_known() {
        return "waits for ROS time: nothing came on /clock yet";
    }
    let reasons = [
        (Stage::Deadman, "waits for the deadman"),
        (Stage::Joints, "waits for joint states: none came, or too old, or stamped by another clock"),
        (Stage::Stale, "waits for an action chunk"),
        (Stage::Expired, "waits for an action chunk that speaks of now"),
    ];
    let waiting = reasons.into_iter().find(|(stage, _)| told.interventions.contains(*stage));
    waiting.filter(|_| told.state == State::Armed).map_or("", |(_, reason)| reason)
}

/// Why a controller is in its state, joints by name; empty when there is nothing to say.
pub fn reason(state: State, joints: &[String]) -> String {
    let name = |joint: usize| joints.get(joint).map_or("?", String::as_str);
    match state {
        State::Hold(reason) => reason.to_string(),
        State::Fault(FaultReason::JointOutOfLimits { joint }) => {
            format!("joint {} is measured outside its limits", name(joint))
        }
        State::Fault(FaultReason::Deviation { joint }) => {
            format!("joint {} is too far from its command", name(joint))
        }
        State::Fault(reason) => reason.to_string(),
        State::EStop => "the e-stop was engaged; release and reset it".to_owned(),
        State::Idle | State::Armed | State::Running => String::new(),
    }
}
