//! `recorder_node`: episodes of teleoperation as bags and rows.
//!
//! ```text
//! raw receiver --queue, bounded in bytes--> desk (session: bag; hands over to) --> rows thread (dataset)
//! spinning thread: services, keyboard, offers of publishers, status, diagnostics --commands--> desk
//! ```

mod desk;
mod keyboard;
mod latest;
mod ring;
mod settings;
mod status;
mod topics;

use std::sync::mpsc::Sender;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::channel::oneshot;
use futures::executor::LocalSpawner;
use futures::task::LocalSpawnExt;
use futures::{FutureExt, StreamExt};
use r2r::QosProfile;
use r2r::std_msgs::msg::String as Text;
use r2r::std_srvs::srv::Trigger;
use recording::contract::Contract;
use recording::session::Session;

use crate::diagnostics::Diagnostics;
use crate::raw::{Participant, Queue, Receiver};
use crate::ros_node::RosNode;
use crate::spin::Stop;

pub use settings::REFERENCE;

use desk::{Ask, Command, Desk};
use keyboard::Keyboard;
use settings::Settings;
use status::Board;
use topics::Topics;

/// How soon keys and the answers of the recording thread are seen to; messages do not wait for it.
const WAIT: Duration = Duration::from_millis(20);
/// How often the status is published.
const STATUS_PERIOD: Duration = Duration::from_millis(500);

/// Records until `stop`, or until the operator or the number of episodes says that it is enough.
///
/// # Errors
/// When a parameter, the contract, a type or a folder is refused; all before the first message.
pub fn run(ros: &mut RosNode, stop: &Stop) -> Result<()> {
    let settings = Settings::read(&ros.parameters)?;
    let queue = Arc::new(Queue::new(settings.queue_bytes));
    let (namespace, name) = ros.full_name().rsplit_once('/').unwrap_or(("", ros.full_name()));
    let namespace = if namespace.is_empty() { "/" } else { namespace };
    let participant = Participant::new(&format!("{name}_raw"), namespace)?;
    let receiver = Receiver::start(participant, queue.clone())?;
    let mut topics = Topics::new(ros, &settings.contract)?;
    ros.all_topics_are_named()?;
    let mut session =
        Session::open(settings.contract.clone(), &settings.contract_text, settings.session(ros.full_name()))?;
    tell_left_behind(ros, &session);
    topics.definitions().try_for_each(|(stream, topic)| session.define(stream, topic))?;

    let board = Arc::new(Board::new(&settings.contract));
    let (commands, inbox) = mpsc::channel();
    let desk = Desk::new(session, &settings, ros, queue, board.clone(), stop.clone());
    let desk = std::thread::Builder::new()
        .name("desk".to_owned())
        .spawn(move || desk.run(&inbox))
        .context("cannot start the recording thread")?;
    offer_services(ros, &commands)?;
    listen_for_task(ros, &commands)?;
    listen_for_encoders(ros, &settings.contract, &commands)?;
    let statuses = ros.publisher::<Text>("~/status", QosProfile::default().keep_last(1).reliable())?;
    let mut diagnostics = Diagnostics::new(ros)?;
    let keyboard = Keyboard::open(settings.keyboard);
    ros.logger.info(format!("ready: {}", settings.summary(keyboard.is_some())));

    let mut due = Instant::now();
    let ended = loop {
        if stop.is_set() || desk.is_finished() {
            break Ok(());
        }
        for command in keyboard.iter().flat_map(Keyboard::pressed) {
            send(&commands, command, None);
        }
        if let Err(error) = ros.turn_within(WAIT).and_then(|_| topics.follow(ros, &receiver, &commands)) {
            break Err(error);
        }
        if Instant::now() >= due {
            due = Instant::now() + STATUS_PERIOD;
            let message = Text { data: board.json() };
            if let Err(error) = statuses.publish(&message) {
                ros.logger.error(format!("~/status: cannot publish: {error}"));
            }
        }
        diagnostics.turn(ros, "", |_| board.diagnostics());
    };
    stop.set();
    // Ends what is being recorded, which may take a moment.
    if desk.join().is_err() {
        anyhow::bail!("the recording thread ended by a panic");
    }
    ended?;
    ros.logger.info("stopped");
    Ok(())
}

fn tell_left_behind(ros: &RosNode, session: &Session) {
    for left in session.left_behind() {
        match &left.saved {
            Ok(place) => ros
                .logger
                .warn(format!("an episode was cut off; what there is of its bag is now {}", place.display())),
            Err(reason) => ros.logger.error(format!(
                "an episode was cut off, and its bag {} cannot be saved: {reason}",
                left.bag.display()
            )),
        }
    }
    for spool in session.left_over_rows() {
        let advice = "`pixio dataset recover` commits them";
        ros.logger.warn(format!("an episode was cut off; its rows are left in {spool}; {advice}"));
    }
}

/// Gives the desk a command.
fn send(commands: &Sender<Ask>, command: Command, reply: Option<oneshot::Sender<Result<String, String>>>) {
    // A desk that has ended answers no one; whoever waits sees the reply dropped.
    let _ = commands.send(Ask { command, reply });
}

fn offer_services(ros: &mut RosNode, commands: &Sender<Ask>) -> Result<()> {
    let spawner = ros.spawner();
    for (name, command) in settings::SERVICES {
        offer(ros, &spawner, name, command, commands.clone())?;
    }
    Ok(())
}

/// A service that is answered when the desk has done what it asks for.
fn offer(
    ros: &mut RosNode,
    spawner: &LocalSpawner,
    name: &'static str,
    command: &'static Command,
    commands: Sender<Ask>,
) -> Result<()> {
    let requests =
        ros.node.create_service::<Trigger::Service>(name, QosProfile::services_default()).context(name)?;
    let logger = ros.logger.clone();
    let task = requests.for_each(move |request| {
        let (reply, answer) = oneshot::channel();
        send(&commands, command.clone(), Some(reply));
        let logger = logger.clone();
        answer.map(move |answer| {
            let (success, message) = match answer {
                Ok(Ok(message)) => (true, message),
                Ok(Err(message)) => (false, message),
                Err(_) => (false, "the node is stopping".to_owned()),
            };
            if let Err(error) = request.respond(Trigger::Response { success, message }) {
                logger.warn(format!("{name}: cannot answer: {error}"));
            }
        })
    });
    spawner.spawn_local(task).context("spawn")
}

fn listen_for_task(ros: &mut RosNode, commands: &Sender<Ask>) -> Result<()> {
    let tasks = ros.node.subscribe::<Text>("~/task", QosProfile::default().keep_last(1)).context("~/task")?;
    let commands = commands.clone();
    let task = tasks.for_each(move |message| {
        send(&commands, Command::Task(message.data), None);
        std::future::ready(())
    });
    ros.spawner().spawn_local(task).context("spawn")
}

/// Beside a topic of class tokens there is `info`, latched, which names their encoder.
fn listen_for_encoders(ros: &mut RosNode, contract: &Contract, commands: &Sender<Ask>) -> Result<()> {
    for (stream, of) in contract.streams.iter().enumerate() {
        let Some(tokens) = &of.tokens else { continue };
        let beside = ros.resolve(&of.topic);
        let topic = format!("{}/info", beside.rsplit_once('/').map_or("", |(namespace, _)| namespace));
        let latched = QosProfile::default().keep_last(1).reliable().transient_local();
        let infos = ros.node.subscribe::<Text>(&topic, latched).with_context(|| topic.clone())?;
        let (commands, expected) = (commands.clone(), tokens.encoder_id.clone());
        let task = infos.for_each(move |message| {
            let info: serde_json::Value = serde_json::from_str(&message.data).unwrap_or_default();
            if let Some(came) = info["encoder_id"].as_str() {
                let another = (came != expected).then(|| came.to_owned());
                send(&commands, Command::Encoder(stream, another), None);
            }
            std::future::ready(())
        });
        ros.spawner().spawn_local(task).context("spawn")?;
    }
    Ok(())
}
