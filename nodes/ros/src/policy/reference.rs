//! What `policy_node` declares.

use crate::declare::{Allowed, Change, Declared, Direction, Preset, Reference, Service, Topic};
use crate::diagnostics;

/// What `policy_node` declares.
pub const REFERENCE: Reference = Reference {
    name: "policy_node",
    about: "A policy's action chunks in; commands within the robot's limits out, at a steady rate. Its e-stop is software and \
            not safety-rated.",
    managed: true,
    parameters: PARAMETERS,
    topics: TOPICS,
    services: SERVICES,
};

const fn number(
    name: &'static str,
    preset: f64,
    unit: &'static str,
    range: [f64; 2],
    description: &'static str,
) -> Declared {
    let allowed = Allowed::Numbers(range[0], range[1]);
    Declared {
        name,
        preset: Preset::Number(preset),
        unit,
        description,
        allowed,
        change: Change::Unconfigured,
    }
}

const fn numbers(
    name: &'static str,
    unit: &'static str,
    range: [f64; 2],
    description: &'static str,
) -> Declared {
    let allowed = Allowed::Numbers(range[0], range[1]);
    Declared { name, preset: Preset::Numbers(&[]), unit, description, allowed, change: Change::Unconfigured }
}

const fn text(name: &'static str, description: &'static str) -> Declared {
    let (preset, allowed) = (Preset::Text(""), Allowed::Any);
    Declared { name, preset, unit: "", description, allowed, change: Change::Unconfigured }
}

const fn flag(name: &'static str, preset: bool, description: &'static str) -> Declared {
    let (preset, allowed) = (Preset::Flag(preset), Allowed::Any);
    Declared { name, preset, unit: "", description, allowed, change: Change::Unconfigured }
}

const fn choice(
    name: &'static str,
    preset: &'static str,
    choices: &'static [&'static str],
    change: Change,
    description: &'static str,
) -> Declared {
    let (preset, allowed) = (Preset::Text(preset), Allowed::Choices(choices));
    Declared { name, preset, unit: "", description, allowed, change }
}

const SPACES: &[&str] =
    &["joint_positions", "joint_velocities", "end_effector_velocity", "end_effector_pose"];
const INTERFACES: &[&str] =
    &["joint_trajectory", "forward_position", "forward_velocity", "joint_jog", "twist"];
const DEADMEN: &[&str] = &["topic", "joy", "none"];
const BLENDINGS: &[&str] = &["newest", "cross_fade", "ensemble"];

const PARAMETERS: &[Declared] = &[
    choice(
        "action_space",
        "joint_positions",
        SPACES,
        Change::AtStart,
        "what the policy's numbers mean; poses are followed by end-effector velocities",
    ),
    choice(
        "command_interface",
        "joint_trajectory",
        INTERFACES,
        Change::AtStart,
        "who is commanded: joint_trajectory_controller (joint positions), forward_command_controller (positions or velocities), \
         MoveIt Servo (joint_jog: joint velocities; twist: end-effector velocities)",
    ),
    Declared {
        name: "joints",
        preset: Preset::Texts(&[]),
        unit: "",
        description: "the joints that are commanded, in the order of the controller behind; required in spaces of joints",
        allowed: Allowed::Any,
        change: Change::Unconfigured,
    },
    text(
        "robot_description",
        "the robot: a URDF file, or its text; empty: the topic robot_description. Needed for joints and tool_link",
    ),
    text("base_link", "the frame of workspace and poses; empty: the description's root"),
    text(
        "tool_link",
        "the link that the workspace bounds and that poses are of; empty: the topic tool_pose, where needed",
    ),
    number("control_rate_hz", 100.0, "Hz", [50.0, 200.0], "commands per second, by the steady clock"),
    flag("dry_run", false, "compute everything, and publish on ~/command only: the robot is told nothing"),
    number(
        "controller_timeout_secs",
        0.0,
        "s",
        [0.0, 0.5],
        "the time after which the controller behind stops the robot by itself when no command comes; required of every velocity \
         interface, because nobody else can stop the robot when this process dies; at least two control periods. 0: it has none",
    ),
    number(
        "trajectory_horizon_secs",
        0.02,
        "s",
        [0.005, 1.0],
        "with joint_trajectory: time_from_start of the one point of each message; at least one control period",
    ),
    text("command_frame", "with twist: header.frame_id of the commands"),
    number(
        "velocity_scale",
        0.5,
        "of 1",
        [0.001, 1.0],
        "share of the description's velocity limits that is used, unless max_velocity is set",
    ),
    numbers(
        "max_velocity",
        "rad/s or m/s",
        [1e-6, 100.0],
        "greatest speed of each joint, in the order of joints, at most the description's; empty: velocity_scale times those",
    ),
    numbers(
        "max_acceleration",
        "rad/s² or m/s²",
        [1e-6, 1000.0],
        "greatest acceleration of each joint, or one number for all, at most the description's; empty: those, and required when \
         it has none",
    ),
    numbers(
        "max_jerk",
        "rad/s³ or m/s³",
        [1e-6, 100_000.0],
        "greatest jerk of each joint while it gains speed, or one number for all; empty: no limit",
    ),
    number("position_margin", 0.01, "rad or m", [0.0, 1.0], "kept free inside each position limit"),
    number(
        "joint_tolerance",
        0.02,
        "rad or m",
        [0.0, 1.0],
        "a joint measured further outside its limits is a fault",
    ),
    number(
        "max_deviation",
        0.25,
        "rad or m",
        [0.001, 10.0],
        "greatest difference between a commanded and a measured joint; twice this is a fault",
    ),
    number("max_linear_velocity", 0.1, "m/s", [1e-4, 10.0], "greatest speed of the end effector"),
    number("max_angular_velocity", 0.5, "rad/s", [1e-4, 20.0], "greatest turning rate of the end effector"),
    number(
        "max_linear_acceleration",
        0.5,
        "m/s²",
        [1e-4, 100.0],
        "greatest acceleration of the end effector",
    ),
    number(
        "max_angular_acceleration",
        2.5,
        "rad/s²",
        [1e-4, 200.0],
        "greatest angular acceleration of the end effector",
    ),
    number(
        "pose_time_constant_secs",
        0.2,
        "s",
        [0.01, 10.0],
        "with end_effector_pose: the time in which the remaining way would be covered",
    ),
    flag("gripper", false, "in spaces of the end effector: the last dimension is a gripper's opening"),
    number("gripper_min", 0.0, "the gripper's", [-1e4, 1e4], "opening when closed"),
    number("gripper_max", 1.0, "the gripper's", [-1e4, 1e4], "opening when open"),
    number(
        "gripper_max_speed",
        0.0,
        "the gripper's per s",
        [0.0, 1e6],
        "greatest change of the opening; 0: at once",
    ),
    flag(
        "gripper_binary",
        false,
        "only gripper_min and gripper_max are commanded; above the middle means open",
    ),
    text(
        "gripper_joint",
        "the gripper's joint in joint_states, where its opening is measured; empty: it is not",
    ),
    numbers(
        "workspace_min",
        "m",
        [-100.0, 100.0],
        "least x, y, z of the tool in base_link; empty: no workspace",
    ),
    numbers("workspace_max", "m", [-100.0, 100.0], "greatest x, y, z of the tool in base_link"),
    number(
        "workspace_tolerance",
        0.01,
        "m",
        [0.0, 1.0],
        "a tool measured further outside the workspace is a fault",
    ),
    choice(
        "blending",
        "cross_fade",
        BLENDINGS,
        Change::Unconfigured,
        "how chunks that speak of the same moment are combined; ensemble: ACT's temporal ensembling",
    ),
    number(
        "cross_fade_secs",
        0.1,
        "s",
        [0.0, 10.0],
        "with cross_fade: the time from the old chunk to the new",
    ),
    number(
        "ensemble_m",
        0.01,
        "per chunk",
        [0.0, 10.0],
        "with ensemble: weights are exp(-m i), i = 0 for the oldest observation",
    ),
    number(
        "max_observation_age_secs",
        0.5,
        "s",
        [0.001, 60.0],
        "the oldest observation that is acted on, ROS time",
    ),
    number(
        "max_joint_state_age_secs",
        0.1,
        "s",
        [0.001, 10.0],
        "the oldest joint state that is acted on, ROS time and steady clock",
    ),
    number(
        "watchdog_secs",
        0.5,
        "s",
        [0.01, 60.0],
        "the robot is held when no new chunk came for so long, steady clock",
    ),
    number(
        "fault_after_secs",
        2.0,
        "s",
        [0.01, 3600.0],
        "a hold that lasts longer is a fault, unless the deadman is its reason; steady clock",
    ),
    choice(
        "deadman",
        "topic",
        DEADMEN,
        Change::AtStart,
        "what must be held for the robot to move; topic: Bool on deadman; joy: deadman_button of joy; none: nothing",
    ),
    Declared {
        name: "deadman_button",
        preset: Preset::Integer(4),
        unit: "button",
        description: "with deadman joy: its index in buttons",
        allowed: Allowed::Integers(0, 255),
        change: Change::Unconfigured,
    },
    number(
        "deadman_timeout_secs",
        0.2,
        "s",
        [0.01, 10.0],
        "how long one message of the deadman counts, steady clock",
    ),
    number(
        "ramp_secs",
        0.5,
        "s",
        [0.0, 60.0],
        "the time in which the speed limit grows from nothing, after every begin",
    ),
    number("human_timeout_secs", 0.2, "s", [0.01, 10.0], "how long a human's action counts, steady clock"),
    number("handover_secs", 0.3, "s", [0.0, 10.0], "the time of the hand-over from policy to human and back"),
    number(
        "clock_timeout_secs",
        0.5,
        "s",
        [0.01, 60.0],
        "ROS time that stands still for longer is a fault, steady clock",
    ),
    flag(
        "keep_direction",
        true,
        "one factor slows all joints, so that the path keeps its shape; false: each joint on its own",
    ),
];

const LATCHED: &str = "reliable, transient local, keep last 1";
const OUT: &str = "reliable, volatile, keep last 1";
const STREAM: &str = "best effort, volatile, keep last 10";

const fn topic(
    direction: Direction,
    name: &'static str,
    kind: &'static str,
    qos: &'static str,
    description: &'static str,
) -> Topic {
    Topic { name, kind, direction, per_camera: false, qos, description }
}

const TOPICS: &[Topic] = &[
    topic(
        Direction::In,
        "action_chunk",
        "trajectory_msgs/msg/JointTrajectory",
        "reliable, volatile, keep last 10",
        "the policy's prediction: header.stamp of its image; names of the action space; positions or velocities; point k is due k \
         periods after the stamp, its time_from_start is (k + 1) periods",
    ),
    topic(
        Direction::In,
        "joint_states",
        "sensor_msgs/msg/JointState",
        STREAM,
        "the robot's joints, in one message or several; the oldest of them counts",
    ),
    topic(
        Direction::In,
        "tool_pose",
        "geometry_msgs/msg/PoseStamped",
        STREAM,
        "in spaces of the end effector, without tool_link: the tool's pose, for poses and a workspace",
    ),
    topic(
        Direction::In,
        "robot_description",
        "std_msgs/msg/String",
        LATCHED,
        "the URDF, as robot_state_publisher gives it, unless the parameter is set",
    ),
    topic(
        Direction::In,
        "deadman",
        "std_msgs/msg/Bool",
        STREAM,
        "with deadman topic: a stream of true while it is held",
    ),
    topic(
        Direction::In,
        "joy",
        "sensor_msgs/msg/Joy",
        STREAM,
        "with deadman joy: a stream with deadman_button pressed while it is held",
    ),
    topic(
        Direction::In,
        "estop",
        "std_msgs/msg/Bool",
        "best effort and volatile, and reliable and transient local: every publisher is heard, latched ones late",
        "true engages the e-stop; false releases it, which only allows a reset",
    ),
    topic(
        Direction::In,
        "human/joint_states",
        "sensor_msgs/msg/JointState",
        STREAM,
        "in spaces of joints: a human's positions or velocities; they take over while they come",
    ),
    topic(
        Direction::In,
        "human/twist",
        "geometry_msgs/msg/TwistStamped",
        STREAM,
        "in spaces of the end effector: a human's velocities; they take over while they come",
    ),
    topic(
        Direction::In,
        "human/gripper",
        "std_msgs/msg/Float64MultiArray",
        STREAM,
        "in spaces of the end effector: the opening that goes with human/twist; none yet: it stays",
    ),
    topic(
        Direction::Out,
        "~/joint_trajectory",
        "trajectory_msgs/msg/JointTrajectory",
        OUT,
        "with command_interface joint_trajectory: one point of positions (rad, m), stamp zero: from now on",
    ),
    topic(
        Direction::Out,
        "~/commands",
        "std_msgs/msg/Float64MultiArray",
        OUT,
        "with forward_position or forward_velocity: one number (rad, m, or per s) for each of joints",
    ),
    topic(
        Direction::Out,
        "~/joint_jog",
        "control_msgs/msg/JointJog",
        OUT,
        "with joint_jog: velocities (rad/s, m/s) and the control period",
    ),
    topic(
        Direction::Out,
        "~/twist",
        "geometry_msgs/msg/TwistStamped",
        OUT,
        "with twist: m/s and rad/s in command_frame",
    ),
    topic(
        Direction::Out,
        "~/gripper",
        "std_msgs/msg/Float64MultiArray",
        OUT,
        "with twist and gripper: the opening",
    ),
    topic(
        Direction::Out,
        "~/command",
        "sensor_msgs/msg/JointState",
        OUT,
        "every command by name, in dry runs too: position in the space of joint positions, else velocity (a gripper's is its opening)",
    ),
    topic(
        Direction::Out,
        "~/policy_action",
        "sensor_msgs/msg/JointState",
        OUT,
        "the policy's action that was due, before every filter, by name; header.stamp is that of the newest image behind it",
    ),
    topic(
        Direction::Out,
        "~/limiters",
        "std_msgs/msg/UInt16",
        OUT,
        "which stages stepped in during a tick, a bit each (docs/policy.md)",
    ),
    topic(
        Direction::Out,
        "~/intervention",
        "std_msgs/msg/Bool",
        OUT,
        "every tick: whether a human is in control, wholly or in the hand-over",
    ),
    topic(
        Direction::Out,
        "~/state",
        "std_msgs/msg/String",
        LATCHED,
        "JSON, at every change: state (IDLE, ARMED, RUNNING, HOLD, FAULT, ESTOP), reason, human, dry_run (docs/policy.md)",
    ),
    diagnostics::TOPIC,
];

const SERVICES: &[Service] = &[
    Service {
        name: "~/arm",
        kind: "std_srvs/srv/Trigger",
        description: "from IDLE: motion begins as soon as joint states, chunks and deadman allow it",
    },
    Service {
        name: "~/disarm",
        kind: "std_srvs/srv/Trigger",
        description: "brings the robot to rest within its limits, then IDLE: nothing is commanded",
    },
    Service {
        name: "~/reset",
        kind: "std_srvs/srv/Trigger",
        description: "leaves FAULT, or ESTOP once it is released, for IDLE; the only way out",
    },
    Service {
        name: "~/estop",
        kind: "std_srvs/srv/SetBool",
        description: "true: the e-stop, latched; false: releases it, which only allows a reset. Software, not safety-rated",
    },
];
