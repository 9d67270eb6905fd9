//! The log of a node: console and `/rosout` through one [`Logger`].

use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use r2r::builtin_interfaces::msg::Time;
use r2r::rcl_interfaces::msg::Log;
use r2r::{LogSeverity, Publisher, QosProfile};

use crate::names;

/// Distributions whose rcl publishes `/rosout` itself for whatever is logged; later ones leave it to the client library.
const WITH_ROSOUT: [&str; 4] = ["foxy", "galactic", "humble", "iron"];

/// How long a node that ends waits for listeners.
const DISCOVERY: Duration = Duration::from_millis(500);
/// How often it looks for them.
const LOOK: Duration = Duration::from_millis(20);
/// How long its last words may take to arrive. We know the listener before it knows us, and r2r has no call that waits until all is
/// acknowledged.
const DELIVERY: Duration = Duration::from_millis(300);

/// How serious a line is; numbers of `rcl_interfaces/msg/Log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For developers.
    Debug = 10,
    /// What goes on.
    Info = 20,
    /// Something to look at.
    Warn = 30,
    /// Something does not work.
    Error = 40,
    /// The node ends.
    Fatal = 50,
}

impl Level {
    /// The level of this name, as `--log-level` takes it.
    pub fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "debug" => Some(Self::Debug),
            "info" => Some(Self::Info),
            "warn" => Some(Self::Warn),
            "error" => Some(Self::Error),
            "fatal" => Some(Self::Fatal),
            _ => None,
        }
    }

    fn severity(self) -> LogSeverity {
        match self {
            Self::Debug => LogSeverity::Debug,
            Self::Info => LogSeverity::Info,
            Self::Warn => LogSeverity::Warn,
            Self::Error => LogSeverity::Error,
            Self::Fatal => LogSeverity::Fatal,
        }
    }
}

/// Writes to the console and to `/rosout`; clones write to the same.
#[derive(Clone)]
pub struct Logger {
    name: Arc<str>,
    least: Level,
    rosout: Option<Arc<Mutex<Publisher<Log>>>>,
}

impl Logger {
    /// The logger of a node.
    ///
    /// # Errors
    /// When the middleware refuses `/rosout`.
    pub fn of(node: &mut r2r::Node) -> Result<Self> {
        let name: Arc<str> = node.logger().into();
        let least = names::log_level(&name, std::env::args());
        let rosout = if WITH_ROSOUT.contains(&r2r::ROS_DISTRO) {
            None
        } else {
            let qos = QosProfile::default().keep_last(1000).reliable().transient_local();
            let qos = qos.lifespan(Duration::from_secs(10));
            let publisher = node.create_publisher("/rosout", qos).context("/rosout")?;
            Some(Arc::new(Mutex::new(publisher)))
        };
        Ok(Self { name, least, rosout })
    }

    /// The name of the logger.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For developers.
    #[track_caller]
    pub fn debug(&self, text: impl AsRef<str>) {
        self.log(Level::Debug, text.as_ref(), Location::caller());
    }

    /// What goes on.
    #[track_caller]
    pub fn info(&self, text: impl AsRef<str>) {
        self.log(Level::Info, text.as_ref(), Location::caller());
    }

    /// Something to look at.
    #[track_caller]
    pub fn warn(&self, text: impl AsRef<str>) {
        self.log(Level::Warn, text.as_ref(), Location::caller());
    }

    /// Something does not work.
    #[track_caller]
    pub fn error(&self, text: impl AsRef<str>) {
        self.log(Level::Error, text.as_ref(), Location::caller());
    }

    /// The node ends.
    #[track_caller]
    pub fn fatal(&self, text: impl AsRef<str>) {
        self.log(Level::Fatal, text.as_ref(), Location::caller());
    }

    /// The node ends with this. Waits a moment for whoever listens to `/rosout`, which a node that is refused at its start has not
    /// found yet, and for what is said to arrive.
    #[track_caller]
    pub fn last_words(&self, text: impl AsRef<str>) {
        let end = Instant::now() + DISCOVERY;
        while self.rosout.is_some() && !self.has_listeners() && Instant::now() < end {
            std::thread::sleep(LOOK);
        }
        self.log(Level::Fatal, text.as_ref(), Location::caller());
        if self.has_listeners() {
            std::thread::sleep(DELIVERY);
        }
    }

    fn has_listeners(&self) -> bool {
        let Some(rosout) = &self.rosout else { return false };
        let publisher = rosout.lock().unwrap_or_else(PoisonError::into_inner);
        publisher.get_inter_process_subscription_count().is_ok_and(|count| count > 0)
    }

    fn log(&self, level: Level, text: &str, place: &Location<'_>) {
        // Texts quote what came from outside; C strings end at a zero byte, and r2r would panic.
        let text = text.replace('\0', "\u{fffd}");
        // The function behind r2r's macros: they would name this file as the place.
        r2r::log(&text, &self.name, place.file(), place.line(), level.severity());
        let Some(rosout) = self.rosout.as_ref().filter(|_| level >= self.least) else { return };
        let message = Log {
            stamp: system_now(),
            level: level as u8,
            name: self.name.to_string(),
            msg: text,
            file: place.file().to_owned(),
            function: String::new(),
            line: place.line(),
        };
        let publisher = rosout.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = publisher.publish(&message) {
            r2r::log_error!(&self.name, "/rosout: cannot publish: {error}");
        }
    }
}

/// The system's time; the log is stamped with it even when ROS time is simulated, as rcl does.
fn system_now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { sec: i32::try_from(since.as_secs()).unwrap_or(i32::MAX), nanosec: since.subsec_nanos() }
}
