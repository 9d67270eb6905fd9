//! The states of a managed node and the ways between them, as `rcl_lifecycle` has them
//! (design.ros2.org/articles/node_lifecycle.html).

/// A state; numbers of `lifecycle_msgs/msg/State`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not loaded.
    Unconfigured = 1,
    /// Loaded and verified; publishes nothing.
    Inactive = 2,
    /// At work.
    Active = 3,
    /// Done for good.
    Finalized = 4,
    /// On the way to inactive.
    Configuring = 10,
    /// On the way to unconfigured.
    CleaningUp = 11,
    /// On the way to finalized.
    ShuttingDown = 12,
    /// On the way to active.
    Activating = 13,
    /// On the way to inactive.
    Deactivating = 14,
    /// After a step that raised an error.
    ErrorProcessing = 15,
}

impl State {
    /// All states, in rcl's order; the unknown one, which no node is ever in, comes first there.
    pub const ALL: [Self; 10] = [
        Self::Unconfigured,
        Self::Inactive,
        Self::Active,
        Self::Finalized,
        Self::Configuring,
        Self::CleaningUp,
        Self::ShuttingDown,
        Self::Activating,
        Self::Deactivating,
        Self::ErrorProcessing,
    ];

    /// Its name in ROS.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unconfigured => "unconfigured",
            Self::Inactive => "inactive",
            Self::Active => "active",
            Self::Finalized => "finalized",
            Self::Configuring => "configuring",
            Self::CleaningUp => "cleaningup",
            Self::ShuttingDown => "shuttingdown",
            Self::Activating => "activating",
            Self::Deactivating => "deactivating",
            Self::ErrorProcessing => "errorprocessing",
        }
    }
}

/// A way from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Number of `lifecycle_msgs/msg/Transition`.
    pub id: u8,
    /// Its name in ROS.
    pub label: &'static str,
    /// From where.
    pub start: State,
    /// Where to.
    pub goal: State,
}

const SUCCESS: &str = "transition_success";
const FAILURE: &str = "transition_failure";
const ERROR: &str = "transition_error";

const fn way(id: u8, label: &'static str, start: State, goal: State) -> Transition {
    Transition { id, label, start, goal }
}

/// All transitions, in rcl's order.
pub const TRANSITIONS: [Transition; 25] = [
    way(1, "configure", State::Unconfigured, State::Configuring),
    way(10, SUCCESS, State::Configuring, State::Inactive),
    way(11, FAILURE, State::Configuring, State::Unconfigured),
    way(12, ERROR, State::Configuring, State::ErrorProcessing),
    way(2, "cleanup", State::Inactive, State::CleaningUp),
    way(20, SUCCESS, State::CleaningUp, State::Unconfigured),
    way(21, FAILURE, State::CleaningUp, State::Inactive),
    way(22, ERROR, State::CleaningUp, State::ErrorProcessing),
    way(3, "activate", State::Inactive, State::Activating),
    way(30, SUCCESS, State::Activating, State::Active),
    way(31, FAILURE, State::Activating, State::Inactive),
    way(32, ERROR, State::Activating, State::ErrorProcessing),
    way(4, "deactivate", State::Active, State::Deactivating),
    way(40, SUCCESS, State::Deactivating, State::Inactive),
    way(41, FAILURE, State::Deactivating, State::Active),
    way(42, ERROR, State::Deactivating, State::ErrorProcessing),
    way(5, "shutdown", State::Unconfigured, State::ShuttingDown),
    way(6, "shutdown", State::Inactive, State::ShuttingDown),
    way(7, "shutdown", State::Active, State::ShuttingDown),
    way(50, SUCCESS, State::ShuttingDown, State::Finalized),
    way(51, FAILURE, State::ShuttingDown, State::Finalized),
    way(52, ERROR, State::ShuttingDown, State::ErrorProcessing),
    way(60, SUCCESS, State::ErrorProcessing, State::Unconfigured),
    way(61, FAILURE, State::ErrorProcessing, State::Finalized),
    way(62, ERROR, State::ErrorProcessing, State::Finalized),
];

/// How a step ended; its reason for people is not the machine's affair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It did what it should.
    Success,
    /// It was refused; everything is as before.
    Failure,
    /// Something broke.
    Error,
}

impl End {
    fn label(self) -> &'static str {
        match self {
            Self::Success => SUCCESS,
            Self::Failure => FAILURE,
            Self::Error => ERROR,
        }
    }
}

/// The state of a managed node.
#[derive(Debug)]
pub struct Machine(State);

impl Default for Machine {
    fn default() -> Self {
        Self(State::Unconfigured)
    }
}

impl Machine {
    /// The state.
    pub fn state(&self) -> State {
        self.0
    }

    /// The transitions that can be asked for or happen now.
    pub fn available(&self) -> impl Iterator<Item = &'static Transition> + use<> {
        let state = self.0;
        TRANSITIONS.iter().filter(move |transition| transition.start == state)
    }

    /// Begins the transition of this name (when it is not empty) or number, as `ros2 lifecycle set` and managers ask.
    pub fn begin(&mut self, id: u8, label: &str) -> Option<&'static Transition> {
        let asked = |transition: &&'static Transition| {
            transition.id < 10
                && if label.is_empty() { transition.id == id } else { transition.label == label }
        };
        let found = self.available().find(asked)?;
        self.0 = found.goal;
        Some(found)
    }

    /// Ends the step that was begun; nothing when none was.
    pub fn end(&mut self, end: End) -> Option<&'static Transition> {
        let found = self.available().find(|transition| transition.label == end.label())?;
        self.0 = found.goal;
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life() {
        let mut machine = Machine::default();
        assert!(machine.begin(3, "").is_none(), "cannot activate what is not configured");
        let steps: &[(u8, &str, End, State)] = &[
            (1, "", End::Failure, State::Unconfigured),
            (0, "configure", End::Success, State::Inactive),
            (3, "", End::Success, State::Active),
            (99, "deactivate", End::Failure, State::Active),
            (4, "", End::Success, State::Inactive),
            (2, "", End::Success, State::Unconfigured),
            (5, "", End::Success, State::Finalized),
        ];
        for (id, label, end, expected) in steps {
            assert!(machine.begin(*id, label).is_some(), "{id} {label}");
            assert!(machine.begin(*id, label).is_none(), "one step at a time");
            assert!(machine.end(*end).is_some());
            assert_eq!(machine.state(), *expected);
        }
    }

    #[test]
    fn an_error_is_processed() {
        for (end, expected) in [(End::Success, State::Unconfigured), (End::Failure, State::Finalized)] {
            let mut machine = Machine::default();
            machine.begin(1, "").unwrap();
            machine.end(End::Error).unwrap();
            assert_eq!(machine.state(), State::ErrorProcessing);
            machine.end(end).unwrap();
            assert_eq!(machine.state(), expected);
            assert_eq!(machine.begin(10, ""), None, "ends cannot be asked for");
        }
    }
}
