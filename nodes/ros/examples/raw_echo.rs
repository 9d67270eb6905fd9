//! Takes messages of any type from topics and publishes their bytes again on `<topic>/again`: for the tests of
//! [`pixio_ros::raw`]. Arguments: bytes of the queue, milliseconds to sleep after each message, then pairs of topic and
//! type. Every message is printed as a line of JSON; on SIGINT the counts of each topic.

use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pixio_ros::raw::{Message, Participant, Publisher, Queue, Receiver, TypeName};
use pixio_ros::spin::Stop;
use r2r::QosProfile;
use serde_json::json;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [budget, sleep_ms, pairs @ ..] = &arguments[..] else {
        bail!("expected BYTES SLEEP_MS TOPIC TYPE ...")
    };
    let stop = Stop::on_signals()?;
    let participant = Participant::new("raw_echo", "/")?;
    let queue = Arc::new(Queue::new(budget.parse().context("BYTES")?));
    let receiver = Receiver::start(participant.clone(), queue.clone())?;
    let mut publishers = Vec::new();
    for (stream, pair) in pairs.chunks_exact(2).enumerate() {
        let kind = TypeName::from_str(&pair[1])?;
        let qos = QosProfile::default().keep_last(50).reliable();
        publishers.push(Publisher::new(&participant, &format!("{}/again", pair[0]), &kind, &qos)?);
        receiver.subscribe(stream, &pair[0], &kind, &qos)?;
    }
    println!("ready");
    let sleep = Duration::from_millis(sleep_ms.parse().context("SLEEP_MS")?);
    while !stop.is_set() {
        if let Some(message) = queue.take(Duration::from_millis(50)) {
            println!("{}", describe(&pairs[2 * message.stream], &message));
            publishers[message.stream].publish(&message.bytes)?;
            std::thread::sleep(sleep);
        }
    }
    for (stream, pair) in pairs.chunks_exact(2).enumerate() {
        let counts = queue.counts(stream);
        let (received, dropped, lost) = (counts.received, counts.dropped, counts.lost);
        println!("{}", json!({ "counts": pair[0], "received": received, "dropped": dropped, "lost": lost }));
    }
    Ok(())
}

fn describe(topic: &str, message: &Message) -> serde_json::Value {
    let hex: String = message.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let publisher: String = message.publisher.0.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "topic": topic,
        "hex": hex,
        "source_ns": message.source_ns,
        "received_ns": message.received_ns,
        "publisher": publisher,
        "sequence": message.sequence,
    })
}
