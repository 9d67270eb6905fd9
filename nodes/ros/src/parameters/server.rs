//! The parameter services of a node, as rclcpp's nodes have them, and `/parameter_events`.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::executor::LocalSpawner;
use r2r::rcl_interfaces::{msg, srv};
use r2r::{ParameterValue, Publisher, QosProfile};

use super::{About, Entry, ParameterError, Parameters, expected, value};
use crate::clock::RosClock;
use crate::declare::{Allowed, Change};
use crate::rosout::Logger;
use crate::service::{Services, answer};

/// How long the event of all parameters at start waits for someone to hear it.
const ANNOUNCE_WITHIN: Duration = Duration::from_secs(2);

/// The parameters of a node with the publisher of their events.
pub struct ParameterServer {
    parameters: Parameters,
    events: Publisher<msg::ParameterEvent>,
    node_name: String,
    clock: RosClock,
    logger: Logger,
}

/// Tells all parameters once, when someone listens or after a while: an event before discovery would reach nobody.
pub struct Announcement {
    server: Rc<ParameterServer>,
    due: Option<Instant>,
}

impl ParameterServer {
    /// Offers the services of a node's parameters.
    ///
    /// # Errors
    /// When the middleware refuses a service.
    pub fn serve(node: &mut r2r::Node, spawner: &LocalSpawner, server: Self) -> Result<Announcement> {
        let server = Rc::new(server);
        let qos = || QosProfile::parameters();
        let mut services = Services { node, spawner, logger: server.logger.clone() };
        let of = |server: &Rc<Self>| server.clone();

        let get = of(&server);
        answer::<srv::GetParameters::Service>(&mut services, "~/get_parameters", qos(), move |request| {
            srv::GetParameters::Response { values: get.values(&request.names) }
        })?;
        let set = of(&server);
        answer::<srv::SetParameters::Service>(&mut services, "~/set_parameters", qos(), move |request| {
            let one = |parameter| set.set(std::slice::from_ref(parameter));
            srv::SetParameters::Response { results: request.parameters.iter().map(one).collect() }
        })?;
        let all = of(&server);
        answer::<srv::SetParametersAtomically::Service>(
            &mut services,
            "~/set_parameters_atomically",
            qos(),
            move |request| srv::SetParametersAtomically::Response { result: all.set(&request.parameters) },
        )?;
        let list = of(&server);
        answer::<srv::ListParameters::Service>(&mut services, "~/list_parameters", qos(), move |request| {
            let result = list.list(&request.prefixes, request.depth);
            srv::ListParameters::Response { result }
        })?;
        let describe = of(&server);
        answer::<srv::DescribeParameters::Service>(
            &mut services,
            "~/describe_parameters",
            qos(),
            move |request| srv::DescribeParameters::Response {
                descriptors: describe.descriptors(&request.names),
            },
        )?;
        let types = of(&server);
        answer::<srv::GetParameterTypes::Service>(
            &mut services,
            "~/get_parameter_types",
            qos(),
            move |request| srv::GetParameterTypes::Response {
                types: types.values(&request.names).iter().map(|value| value.type_).collect(),
            },
        )?;
        Ok(Announcement { server, due: Some(Instant::now() + ANNOUNCE_WITHIN) })
    }

    /// A server of these parameters; `events` is the publisher of `/parameter_events`.
    pub fn new(
        parameters: Parameters,
        events: Publisher<msg::ParameterEvent>,
        node_name: String,
        clock: RosClock,
        logger: Logger,
    ) -> Self {
        Self { parameters, events, node_name, clock, logger }
    }

    fn values(&self, names: &[String]) -> Vec<msg::ParameterValue> {
        let entries = self.parameters.lock();
        let of =
            |name: &String| entries.get(name).map_or(ParameterValue::NotSet, |entry| entry.value.clone());
        names.iter().map(|name| value::message(&of(name))).collect()
    }

    /// Sets all of these, or none.
    fn set(&self, asked: &[msg::Parameter]) -> msg::SetParametersResult {
        match self.try_set(asked) {
            Ok(()) => msg::SetParametersResult { successful: true, reason: String::new() },
            Err(error) => {
                self.logger.warn(format!("refused to set a parameter: {error}"));
                msg::SetParametersResult { successful: false, reason: error.to_string() }
            }
        }
    }

    fn try_set(&self, asked: &[msg::Parameter]) -> Result<(), ParameterError> {
        let mut allowed = Vec::with_capacity(asked.len());
        for parameter in asked {
            let value = self.parameters.allow(&parameter.name, value::of_message(&parameter.value))?;
            allowed.push((parameter.name.clone(), value));
        }
        let mut changed = Vec::new();
        for (name, value) in allowed {
            if let Some(entry) = self.parameters.lock().get_mut(&name).filter(|entry| entry.value != value) {
                entry.value = value;
                changed.push(parameter_message(&name, entry));
            }
        }
        if !changed.is_empty() {
            self.tell(msg::ParameterEvent { changed_parameters: changed, ..Default::default() });
        }
        Ok(())
    }

    fn tell(&self, event: msg::ParameterEvent) {
        let event = msg::ParameterEvent { stamp: self.clock.now(), node: self.node_name.clone(), ..event };
        if let Err(error) = self.events.publish(&event) {
            self.logger.error(format!("/parameter_events: cannot publish: {error}"));
        }
    }

    /// Names below the prefixes, as rclcpp lists them: `depth` 0 is all, else so many parts.
    fn list(&self, prefixes: &[String], depth: u64) -> msg::ListParametersResult {
        let shallow = |dots: usize| depth == 0 || (dots as u64) < depth;
        let below = |name: &str, prefix: &String| {
            let rest = name.strip_prefix(prefix.as_str());
            rest.is_some_and(|rest| {
                rest.is_empty() || (rest.starts_with('.') && shallow(rest.matches('.').count()))
            })
        };
        let listed = |name: &&String| {
            let all = prefixes.is_empty() && shallow(name.matches('.').count());
            all || prefixes.iter().any(|prefix| below(name, prefix))
        };
        let names: Vec<String> = self.parameters.lock().keys().filter(listed).cloned().collect();
        let before = |name: &String| name.rsplit_once('.').map(|(prefix, _)| prefix.to_owned());
        let found: BTreeSet<String> = names.iter().filter_map(before).collect();
        msg::ListParametersResult { names, prefixes: found.into_iter().collect() }
    }

    fn descriptors(&self, names: &[String]) -> Vec<msg::ParameterDescriptor> {
        let entries = self.parameters.lock();
        let of = |name: &String| {
            let unknown = || msg::ParameterDescriptor { name: name.clone(), ..Default::default() };
            entries.get(name).map_or_else(unknown, |entry| descriptor(name, entry))
        };
        names.iter().map(of).collect()
    }
}

impl Announcement {
    /// Publishes the event of all parameters when it is time, once.
    pub fn turn(&mut self) {
        let Some(due) = self.due else { return };
        let heard = self.server.events.get_inter_process_subscription_count().is_ok_and(|count| count > 0);
        if !heard && Instant::now() < due {
            return;
        }
        self.due = None;
        let entries = self.server.parameters.lock();
        let new = entries.iter().map(|(name, entry)| parameter_message(name, entry)).collect();
        drop(entries);
        self.server.tell(msg::ParameterEvent { new_parameters: new, ..Default::default() });
    }
}

fn parameter_message(name: &str, entry: &Entry) -> msg::Parameter {
    msg::Parameter { name: name.to_owned(), value: value::message(&entry.value) }
}

fn descriptor(name: &str, entry: &Entry) -> msg::ParameterDescriptor {
    let mut described = msg::ParameterDescriptor {
        name: name.to_owned(),
        type_: value::kind(&entry.value),
        read_only: entry.about.change() == Change::AtStart,
        ..Default::default()
    };
    match &entry.about {
        About::Qos(description) => described.description = (*description).to_owned(),
        About::Declared(declared) => {
            let unit = if declared.unit.is_empty() { String::new() } else { format!(" [{}]", declared.unit) };
            described.description = format!("{}{unit}", declared.description);
            let when =
                if declared.change == Change::Unconfigured { "; while the node is unconfigured" } else { "" };
            described.additional_constraints = format!("{}{when}", expected(declared));
            match declared.allowed {
                Allowed::Integers(from_value, to_value) => {
                    described.integer_range = vec![msg::IntegerRange { from_value, to_value, step: 0 }];
                }
                Allowed::Numbers(from_value, to_value) => {
                    described.floating_point_range =
                        vec![msg::FloatingPointRange { from_value, to_value, step: 0.0 }];
                }
                _ => {}
            }
        }
    }
    described
}
