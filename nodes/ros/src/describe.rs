//! `--describe`: what a node declares, as JSON on the standard output.
//!
//! Without a graph, a bundle or any other argument: `perception_node --describe`. The object has `name`, `about`, `managed`,
//! `parameters` (`name`, `type`, `default`, `unit`, `description`, `allowed`, `change`), `topics` (`name`, `type`, `direction`,
//! `per_camera`, `qos`, `description`) and `services` (`name`, `type`, `description`), the node's own before those that every
//! node has; `common` tells the latter.

use serde_json::{Value, json};

use crate::declare::{Allowed, Change, Declared, Direction, Preset, Reference, Service, Topic};

/// The reference as JSON.
pub fn json(reference: &Reference) -> Value {
    let own_parameters = reference.parameters.len();
    let own_topics = reference.topics.len();
    let own_services = reference.services.len();
    json!({
        "name": reference.name,
        "about": reference.about,
        "managed": reference.managed,
        "parameters": numbered(reference.all_parameters().map(parameter), own_parameters),
        "topics": numbered(reference.all_topics().map(topic), own_topics),
        "services": numbered(reference.all_services().map(service), own_services),
    })
}

/// Marks those after the node's own as common.
fn numbered(items: impl Iterator<Item = Value>, own: usize) -> Vec<Value> {
    let mark = |(index, mut item): (usize, Value)| {
        item["common"] = Value::Bool(index >= own);
        item
    };
    items.enumerate().map(mark).collect()
}

fn parameter(declared: &Declared) -> Value {
    let (kind, default) = match declared.preset {
        Preset::Flag(flag) => ("bool", json!(flag)),
        Preset::Integer(value) => ("integer", json!(value)),
        Preset::Number(value) => ("double", json!(value)),
        Preset::Text(text) => ("string", json!(text)),
        Preset::Texts(texts) => ("string_array", json!(texts)),
        Preset::Numbers(values) => ("double_array", json!(values)),
    };
    let change = match declared.change {
        Change::AtStart => "at start",
        Change::Unconfigured => "unconfigured",
        Change::Anytime => "anytime",
    };
    json!({
        "name": declared.name,
        "type": kind,
        "default": default,
        "unit": declared.unit,
        "description": declared.description,
        "allowed": allowed(&declared.allowed),
        "change": change,
    })
}

fn allowed(allowed: &Allowed) -> Value {
    match allowed {
        Allowed::Any => Value::Null,
        Allowed::Integers(from, to) => json!({ "from": from, "to": to }),
        Allowed::Numbers(from, to) => json!({ "from": from, "to": to }),
        Allowed::Choices(choices) => json!({ "choices": choices }),
        Allowed::Texts { expected, .. } => json!({ "expected": expected }),
    }
}

fn topic(topic: &Topic) -> Value {
    let direction = match topic.direction {
        Direction::In => "in",
        Direction::Out => "out",
    };
    json!({
        "name": topic.name,
        "type": topic.kind,
        "direction": direction,
        "per_camera": topic.per_camera,
        "qos": topic.qos,
        "description": topic.description,
    })
}

fn service(service: &Service) -> Value {
    json!({ "name": service.name, "type": service.kind, "description": service.description })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_describes_itself() {
        for reference in crate::REFERENCES {
            let described = json(reference);
            for list in ["parameters", "topics", "services"] {
                let items = described[list].as_array().unwrap();
                assert!(!items.is_empty());
                let names: Vec<_> = items.iter().map(|item| item["name"].as_str().unwrap()).collect();
                assert!((1..names.len()).all(|i| !names[..i].contains(&names[i])), "{names:?}");
                assert!(items.iter().all(|item| item["description"].as_str().unwrap().len() > 3));
            }
            assert_eq!(described["parameters"][0]["common"], Value::Bool(false));
        }
    }
}
