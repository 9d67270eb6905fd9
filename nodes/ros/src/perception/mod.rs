//! `perception_node`: images in, depth and points out.

mod acting;
mod inference;
mod inputs;
mod load;
mod moment;
mod outputs;
mod picture;
mod reference;
mod scale;
mod settings;
mod setup;
mod statistics;

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;
use perception::Engine;

use crate::body::Body;
use crate::diagnostics::{Diagnostics, Status};
use crate::joints::JointFeed;
use crate::latest::Latest;
use crate::lifecycle::{Lifecycle, Managed, Outcome, Step, machine::State};
use crate::qos::{Entity, Qos};
use crate::ros_node::RosNode;
use crate::rosout::Logger;
use crate::spin::Stop;
use crate::throttle::Throttle;

pub use reference::REFERENCE;
pub use settings::{EngineChoice, Parity, Settings};

use acting::Acting;
use inference::Inference;
use inputs::{FrameIn, Inputs};
use load::{About, Loaded, load};
use moment::Moments;
use outputs::{Outputs, Publishing, Results, Spare};
use statistics::Statistics;

/// How often jumps of ROS time are logged.
const LOG_PERIOD: Duration = Duration::from_secs(5);

/// How long a build of engines may take to hear that the node stops; `ros2 launch` asks again after 5 s.
const BUILD_STEP: Duration = Duration::from_secs(4);

/// Runs the node until `stop`; `make_engine` makes the engine of a configuration, on a thread of its own, and may tell of it.
///
/// # Errors
/// What is refused at start: a camera's name, a topic, and with `autostart` whatever configuration refuses.
pub fn run<E, F>(ros: &mut RosNode, make_engine: F, stop: &Stop) -> Result<()>
where
    E: Engine + Send + 'static,
    E::Tensor: Send,
    E::Network: Send,
    F: Fn(&mut Settings, &Logger) -> Result<E> + Send + Sync + 'static,
{
    let cameras = settings::camera_names(&ros.parameters)?;
    let outputs = cameras.iter().map(|name| Outputs::new(ros, name)).collect::<Result<Vec<_>>>()?;
    let moments = Moments::new(ros.clock.clone());
    let statistics: Vec<_> = cameras.iter().map(|_| Statistics::default()).collect();
    let inputs = Inputs::new(ros, &cameras, &statistics, moments.clone())?;
    let joints = Arc::new(JointFeed::default());
    let joints_qos = ros.qos("joint_states", Entity::Subscription, JointFeed::default_qos())?;
    let acting = Acting::new(ros, joints.clone())?;
    let body = Body::of_parameters(ros, &joints)?;
    let mut diagnostics = Diagnostics::new(ros)?;
    let autostart = ros.parameters.flag("autostart")?;
    let mut lifecycle = Lifecycle::new(ros, autostart)?;
    ros.all_topics_are_named()?;

    let make_engine = Arc::new(make_engine);
    let mut node = Perception {
        cameras,
        outputs,
        statistics,
        inputs,
        moments,
        body,
        joints: Hearing { joints, qos: joints_qos, subscribed: false },
        acting,
        make_engine,
        loading: None,
        builds: false,
        about: None,
        jumps_logged: Throttle::new(LOG_PERIOD),
        last_jump: None,
        worker: None,
        ended: None,
    };
    while !stop.is_set() {
        if ros.turn()? {
            node.forget_old_time(ros);
        }
        node.turn(ros, &mut lifecycle);
        lifecycle.turn(&mut node, ros)?;
        let hardware = node.about.as_ref().map_or("", |about| about.engine.device.as_str());
        diagnostics.turn(ros, hardware, |now| node.report(ros, &lifecycle, now));
    }
    node.close(ros);
    Ok(())
}

/// The node with all that it holds in its states.
struct Perception<E: Engine, F> {
    cameras: Vec<String>,
    outputs: Vec<Outputs>,
    inputs: Inputs,
    statistics: Vec<Statistics>,
    moments: Moments,
    /// The robot, where it is to be taken out of the depth.
    body: Option<Arc<Body>>,
    joints: Hearing,
    acting: Acting,
    make_engine: Arc<F>,
    loading: Option<JoinHandle<Result<Loaded<E>>>>,
    /// Whether what is loading may be building engines.
    builds: bool,
    about: Option<About>,
    jumps_logged: Throttle,
    last_jump: Option<Instant>,
    worker: Option<Worker>,
    ended: Option<Outcome>,
}

/// `joint_states`, heard from when on the robot's body or a policy needs it.
struct Hearing {
    joints: Arc<JointFeed>,
    qos: Qos,
    subscribed: bool,
}

impl Hearing {
    fn begin(&mut self, ros: &mut RosNode) -> Result<()> {
        if !self.subscribed {
            self.joints.subscribe(ros, &self.qos)?;
            self.subscribed = true;
        }
        Ok(())
    }
}

/// The threads of a configured node.
struct Worker {
    frames: Arc<Latest<FrameIn>>,
    results: Arc<Latest<Results>>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Worker {
    /// Waits for the frame under way: its networks must not go while they run.
    fn drop(&mut self) {
        self.frames.close();
        self.results.close();
        for thread in self.threads.drain(..) {
            // A panic of the thread was told where it was found.
            drop(thread.join());
        }
    }
}

impl<E, F> Perception<E, F>
where
    E: Engine + Send + 'static,
    E::Tensor: Send,
    E::Network: Send,
    F: Fn(&mut Settings, &Logger) -> Result<E> + Send + Sync + 'static,
{
    /// What an active node does between waits.
    fn turn(&mut self, ros: &mut RosNode, lifecycle: &mut Lifecycle) {
        if lifecycle.state() != State::Active {
            return;
        }
        if let Err(error) = self.inputs.follow_publishers(ros) {
            lifecycle.raise(format!("{error:#}"));
        }
        if self.worker.as_ref().is_some_and(|worker| worker.threads.iter().any(JoinHandle::is_finished)) {
            lifecycle.raise("a thread of the node ended by itself".to_owned());
        }
    }

    /// ROS time jumped: nothing is counted across the jump; [`Moments`] drops what lies in the future now.
    fn forget_old_time(&mut self, ros: &RosNode) {
        self.statistics.iter().for_each(Statistics::forget_old_time);
        let now = Instant::now();
        self.last_jump = Some(now);
        if self.jumps_logged.ready(now).is_some() {
            let time = ros.clock.now();
            ros.logger.warn(format!("ROS time jumped to {}.{:09}", time.sec, time.nanosec));
        }
    }

    /// What diagnostics say.
    fn report(&self, ros: &RosNode, lifecycle: &Lifecycle, now: Instant) -> Vec<Status> {
        let mut whole = Status::new("", lifecycle.state().label());
        if let Some(reason) = lifecycle.last_failure() {
            whole.error(reason);
        }
        if self.last_jump.is_some_and(|jump| now.saturating_duration_since(jump) <= statistics::LENGTH) {
            whole.warn("ROS time jumped");
        }
        if let Some(about) = &self.about {
            about.tell(&mut whole);
        }
        whole.value("use_sim_time", ros.clock.is_simulated());
        whole.value("time_jumped", ros.clock.jumps());
        let mut statuses = vec![whole];
        if let (State::Active, Ok(thresholds)) = (lifecycle.state(), settings::thresholds(&ros.parameters)) {
            let cameras = self.cameras.iter().zip(&self.statistics);
            statuses.extend(cameras.map(|(name, counts)| counts.status(name, thresholds, now)));
        }
        statuses
    }

    fn configure(&mut self, ros: &RosNode) {
        let settings = match Settings::read(&ros.parameters) {
            Ok(settings) => settings,
            Err(error) => {
                self.ended = Some(Outcome::Failure(error.to_string()));
                return;
            }
        };
        self.builds = settings.engine != EngineChoice::Onnx;
        let (make_engine, logger) = (self.make_engine.clone(), ros.logger.clone());
        self.loading = Some(thread::spawn(move || {
            let mut settings = settings;
            let engine = make_engine(&mut settings, &logger)?;
            load(engine, settings, &logger)
        }));
    }

    /// Starts the threads of what was loaded.
    fn employ(&mut self, loaded: Loaded<E>, ros: &RosNode) -> Worker {
        let count = self.cameras.len();
        let (frames, results) = (Arc::new(Latest::new(count)), Arc::new(Latest::new(count)));
        self.about = Some(loaded.about.clone());
        let (moments, spare) = (self.moments.clone(), Arc::new(Spare::new(count)));
        let (outputs, statistics) = (&self.outputs, &self.statistics);
        let inference = Inference::new(
            loaded,
            &self.cameras,
            outputs,
            statistics,
            moments,
            spare.clone(),
            ros.logger.clone(),
        )
        .without_body(self.body.clone())
        .acting(self.acting.clone());
        let (frames_in, results_out) = (frames.clone(), results.clone());
        let infer = thread::spawn(move || inference.run(&frames_in, &results_out));
        let publishing = Publishing {
            outputs: self.outputs.clone(),
            statistics: self.statistics.clone(),
            spare,
            moments: self.moments.clone(),
            clock: ros.clock.clone(),
            logger: ros.logger.clone(),
        };
        let results_in = results.clone();
        let publish = thread::spawn(move || publishing.run(&results_in));
        Worker { frames, results, threads: vec![infer, publish] }
    }

    fn activate(&mut self, ros: &mut RosNode) -> Outcome {
        let Some(worker) = &self.worker else { return Outcome::Error("nothing is loaded".to_owned()) };
        self.moments.change_activation();
        self.statistics.iter().for_each(Statistics::clear);
        match self.inputs.activate(ros, worker.frames.clone()) {
            Ok(()) => {
                ros.logger.info(format!("ready: {} camera(s)", self.cameras.len()));
                Outcome::Success
            }
            Err(error) => Outcome::Failure(format!("{error:#}")),
        }
    }

    fn deactivate(&mut self) {
        self.inputs.deactivate();
        self.moments.change_activation();
    }

    fn close(&mut self, ros: &RosNode) {
        self.deactivate();
        self.worker = None;
        ros.logger.info("stopped");
        if let Some(loading) = &self.loading {
            // A build of engines stops between two of its steps, and takes its files with it. What else loads cannot be
            // interrupted; ending without clean-up takes nothing from anyone.
            let patience = Instant::now() + if self.builds { BUILD_STEP } else { Duration::ZERO };
            while !loading.is_finished() && Instant::now() < patience {
                thread::sleep(BUILD_STEP / 100);
            }
            signal_hook::low_level::exit(0);
        }
    }
}

impl<E, F> Managed for Perception<E, F>
where
    E: Engine + Send + 'static,
    E::Tensor: Send,
    E::Network: Send,
    F: Fn(&mut Settings, &Logger) -> Result<E> + Send + Sync + 'static,
{
    fn begin(&mut self, step: Step, ros: &mut RosNode) {
        match step {
            Step::Configure => self.configure(ros),
            Step::Activate => self.ended = Some(self.activate(ros)),
            Step::Deactivate => {
                self.deactivate();
                self.ended = Some(Outcome::Success);
            }
            Step::Cleanup | Step::Shutdown | Step::Error => {
                self.deactivate();
                self.worker = None;
                self.about = None;
                self.ended = Some(Outcome::Success);
            }
        }
    }

    fn ended(&mut self, ros: &mut RosNode) -> Option<Outcome> {
        if let Some(loading) = self.loading.take_if(|loading| loading.is_finished()) {
            return Some(match loading.join() {
                Ok(Ok(loaded)) => {
                    let hears = self.body.is_some() || loaded.pipeline.policy().is_some();
                    match if hears { self.joints.begin(ros) } else { Ok(()) } {
                        Ok(()) => {
                            self.worker = Some(self.employ(loaded, ros));
                            Outcome::Success
                        }
                        Err(error) => Outcome::Failure(format!("{error:#}")),
                    }
                }
                Ok(Err(error)) => Outcome::Failure(format!("{error:#}")),
                Err(_) => Outcome::Error("loading panicked".to_owned()),
            });
        }
        self.ended.take()
    }
}
