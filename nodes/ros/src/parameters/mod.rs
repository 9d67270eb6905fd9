//! Parameters as a node declares them: known names only, types, ranges and choices checked, refusals with a reason.
//!
//! r2r's own parameter services carry neither ranges nor read-only flags and accept every value, so they are not used;
//! [`server`] has the services and `/parameter_events`.

pub mod files;
pub mod server;
mod value;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use r2r::ParameterValue;

use crate::declare::{Allowed, Change, Declared, Preset, Reference};

/// A parameter was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// The node has no parameter of that name.
    #[error("parameter {name}: not known; this node has {known}")]
    Unknown {
        /// What was set.
        name: String,
        /// What could be set.
        known: String,
    },
    /// The value has another type, or is not allowed.
    #[error("parameter {name}: expected {expected}, got {came}")]
    Value {
        /// The parameter.
        name: String,
        /// What is allowed.
        expected: String,
        /// What was set.
        came: String,
    },
    /// It cannot be set at this time.
    #[error("parameter {name}: {when}")]
    NotNow {
        /// The parameter.
        name: String,
        /// When it can be set, and how to get there.
        when: &'static str,
    },
}

/// One parameter of a running node.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) value: ParameterValue,
    pub(crate) about: About,
}

/// What is known of a parameter: one that the node's table declares, or an override of a topic's quality of service.
#[derive(Clone, Debug)]
pub(crate) enum About {
    Declared(&'static Declared),
    Qos(&'static str),
}

impl About {
    pub(crate) fn change(&self) -> Change {
        match self {
            About::Declared(declared) => declared.change,
            About::Qos(_) => Change::AtStart,
        }
    }
}

/// The parameters of a node; clones share them.
#[derive(Clone, Debug)]
pub struct Parameters {
    entries: Arc<Mutex<BTreeMap<String, Entry>>>,
    /// Whether parameters that take effect at configuration can be set now.
    unconfigured: Arc<AtomicBool>,
    /// The node's own names, for refusals.
    own: Arc<str>,
}

/// What every name of a quality-of-service override begins with.
const QOS_PREFIX: &str = "qos_overrides.";

impl Parameters {
    /// The parameters of a node, all of which the table declares; overrides of qualities of service are returned apart, for
    /// [`crate::qos`] to check against the node's topics.
    ///
    /// # Errors
    /// The first that is not known or not allowed.
    pub fn of(
        node: &r2r::Node,
        reference: &Reference,
    ) -> Result<(Self, BTreeMap<String, ParameterValue>), ParameterError> {
        let params = node.params.lock().unwrap_or_else(PoisonError::into_inner);
        let given = params.iter().map(|(name, parameter)| (name.clone(), parameter.value.clone()));
        Self::checked(given.collect(), reference)
    }

    fn checked(
        mut given: BTreeMap<String, ParameterValue>,
        reference: &Reference,
    ) -> Result<(Self, BTreeMap<String, ParameterValue>), ParameterError> {
        let own = reference.parameters.iter().map(|declared| declared.name).collect::<Vec<_>>().join(", ");
        let mut entries = BTreeMap::new();
        for declared in reference.all_parameters() {
            let value = match given.remove(declared.name) {
                Some(came) => allow(declared, came)?,
                None => value::of_preset(&declared.preset),
            };
            entries.insert(declared.name.to_owned(), Entry { value, about: About::Declared(declared) });
        }
        if let Some(name) = given.keys().find(|name| !name.starts_with(QOS_PREFIX)) {
            return Err(ParameterError::Unknown { name: name.clone(), known: own });
        }
        let unconfigured = Arc::new(AtomicBool::new(false));
        Ok((Self { entries: Arc::new(Mutex::new(entries)), unconfigured, own: own.into() }, given))
    }

    /// Adds a read-only parameter that the table cannot name because a topic's name is part of it.
    pub(crate) fn add_qos(&self, name: String, value: ParameterValue, description: &'static str) {
        self.lock().insert(name, Entry { value, about: About::Qos(description) });
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whether the node is unconfigured, when more parameters can be set.
    pub(crate) fn set_unconfigured(&self, unconfigured: bool) {
        self.unconfigured.store(unconfigured, Ordering::Relaxed);
    }

    /// What a set to this value would store.
    ///
    /// # Errors
    /// When the name is not known, it is not the time, or the value is not allowed.
    pub(crate) fn allow(&self, name: &str, value: ParameterValue) -> Result<ParameterValue, ParameterError> {
        let unconfigured = self.unconfigured.load(Ordering::Relaxed);
        let entries = self.lock();
        let Some(entry) = entries.get(name) else {
            return Err(ParameterError::Unknown { name: name.to_owned(), known: self.own.to_string() });
        };
        let not_now = |when| Err(ParameterError::NotNow { name: name.to_owned(), when });
        match (entry.about.change(), &entry.about) {
            (Change::AtStart, _) => not_now("is read-only; set it when the node starts"),
            (Change::Unconfigured, _) if !unconfigured => {
                not_now("can only be set while the node is unconfigured; deactivate and clean it up first")
            }
            (_, About::Declared(declared)) => allow(declared, value),
            (_, About::Qos(_)) => not_now("is read-only; set it when the node starts"),
        }
    }

    /// A refusal of a parameter's value.
    pub fn refuse(&self, name: &str, expected: impl Into<String>) -> ParameterError {
        let came = self.get(name).map_or("nothing".to_owned(), |value| value::text(&value));
        ParameterError::Value { name: name.to_owned(), expected: expected.into(), came }
    }

    fn get(&self, name: &str) -> Option<ParameterValue> {
        self.lock().get(name).map(|entry| entry.value.clone())
    }

    /// A text.
    ///
    /// # Errors
    /// When the table declares none of that name.
    pub fn text(&self, name: &str) -> Result<String, ParameterError> {
        match self.get(name) {
            Some(ParameterValue::String(text)) => Ok(text),
            _ => Err(self.refuse(name, "a string")),
        }
    }

    /// A text, or nothing when it was not set.
    ///
    /// # Errors
    /// When the table declares none of that name.
    pub fn optional(&self, name: &str) -> Result<Option<String>, ParameterError> {
        self.text(name).map(|text| (!text.is_empty()).then_some(text))
    }

    /// A list of texts.
    ///
    /// # Errors
    /// When the table declares none of that name.
    pub fn texts(&self, name: &str) -> Result<Vec<String>, ParameterError> {
        match self.get(name) {
            Some(ParameterValue::StringArray(texts)) => Ok(texts),
            _ => Err(self.refuse(name, "a list of strings")),
        }
    }

    /// A list of numbers.
    ///
    /// # Errors
    /// When the table declares none of that name.
    pub fn numbers(&self, name: &str) -> Result<Vec<f64>, ParameterError> {
        match self.get(name) {
            Some(ParameterValue::DoubleArray(values)) => Ok(values),
            _ => Err(self.refuse(name, "a list of numbers")),
        }
    }

    /// Yes or no.
    ///
    /// # Errors
    /// When the table declares none of that name.
    pub fn flag(&self, name: &str) -> Result<bool, ParameterError> {
        match self.get(name) {
            Some(ParameterValue::Bool(flag)) => Ok(flag),
            _ => Err(self.refuse(name, "true or false")),
        }
    }

    /// A whole number.
    ///
    /// # Errors
    /// When the table declares none of that name.
    pub fn integer(&self, name: &str) -> Result<i64, ParameterError> {
        match self.get(name) {
            Some(ParameterValue::Integer(value)) => Ok(value),
            _ => Err(self.refuse(name, "an integer")),
        }
    }

    /// A number.
    ///
    /// # Errors
    /// When the table declares none of that name.
    pub fn number(&self, name: &str) -> Result<f64, ParameterError> {
        match self.get(name) {
            Some(ParameterValue::Double(value)) => Ok(value),
            _ => Err(self.refuse(name, "a number")),
        }
    }
}

/// The value that is stored when this one comes: a whole number counts as a number, and ROS gives an empty list no type.
fn allow(declared: &Declared, came: ParameterValue) -> Result<ParameterValue, ParameterError> {
    use ParameterValue::{Bool, Double, DoubleArray, Integer, IntegerArray, NotSet, String, StringArray};
    let refused = |came: &ParameterValue| ParameterError::Value {
        name: declared.name.to_owned(),
        expected: expected(declared),
        came: value::text(came),
    };
    let value = match (&declared.preset, came) {
        (Preset::Number(_), Integer(whole)) => Double(whole as f64),
        (Preset::Texts(_), NotSet) => StringArray(Vec::new()),
        (Preset::Numbers(_), NotSet) => DoubleArray(Vec::new()),
        (Preset::Numbers(_), IntegerArray(whole)) => {
            DoubleArray(whole.iter().map(|value| *value as f64).collect())
        }
        // rcl reads the plain words as numbers.
        (Preset::Text(_), Double(value)) if value.is_nan() => String("nan".to_owned()),
        (Preset::Text(_), Double(value)) if value == f64::INFINITY => String("inf".to_owned()),
        (_, came) => came,
    };
    let of_type = matches!(
        (&declared.preset, &value),
        (Preset::Flag(_), Bool(_))
            | (Preset::Integer(_), Integer(_))
            | (Preset::Number(_), Double(_))
            | (Preset::Text(_), String(_))
            | (Preset::Texts(_), StringArray(_))
            | (Preset::Numbers(_), DoubleArray(_))
    );
    let allowed = match (&declared.allowed, &value) {
        (Allowed::Integers(from, to), Integer(value)) => (from..=to).contains(&value),
        (Allowed::Numbers(from, to), Double(value)) => (from..=to).contains(&value),
        (Allowed::Numbers(from, to), DoubleArray(values)) => {
            values.iter().all(|value| (from..=to).contains(&value))
        }
        (Allowed::Choices(choices), String(text)) => choices.contains(&text.as_str()),
        (Allowed::Choices(choices), StringArray(texts)) => {
            texts.iter().all(|text| choices.contains(&text.as_str()))
        }
        (Allowed::Texts { fits, .. }, String(text)) => text.is_empty() || fits(text),
        (Allowed::Texts { fits, .. }, StringArray(texts)) => texts.iter().all(|text| fits(text)),
        _ => true,
    };
    if of_type && allowed { Ok(value) } else { Err(refused(&value)) }
}

/// What a parameter may be, in words.
pub(crate) fn expected(declared: &Declared) -> String {
    let unit = if declared.unit.is_empty() { String::new() } else { format!(" {}", declared.unit) };
    match (&declared.preset, &declared.allowed) {
        (_, Allowed::Choices(choices)) => format!("one of {}", choices.join(", ")),
        (_, Allowed::Texts { expected, .. }) => (*expected).to_owned(),
        (_, Allowed::Integers(from, to)) => format!("an integer of {from} to {to}{unit}"),
        (Preset::Numbers(_), Allowed::Numbers(from, to)) => {
            format!("a list of numbers of {from} to {to}{unit}")
        }
        (_, Allowed::Numbers(from, to)) => format!("a number of {from} to {to}{unit}"),
        (Preset::Flag(_), _) => "true or false".to_owned(),
        (Preset::Integer(_), _) => format!("an integer{unit}"),
        (Preset::Number(_), _) => format!("a number{unit}"),
        (Preset::Text(_), _) => "a string".to_owned(),
        (Preset::Texts(_), _) => "a list of strings".to_owned(),
        (Preset::Numbers(_), _) => format!("a list of numbers{unit}"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const fn declared(name: &'static str, preset: Preset, allowed: Allowed, change: Change) -> Declared {
        Declared { name, preset, unit: "", description: "for the tests", allowed, change }
    }

    pub(crate) const REFERENCE: Reference = Reference {
        name: "tested",
        about: "for the tests",
        managed: true,
        parameters: &[
            declared("rate_hz", Preset::Number(10.0), Allowed::Numbers(0.1, 240.0), Change::Anytime),
            declared("engine", Preset::Text("onnx"), Allowed::Choices(&["onnx", "x"]), Change::Unconfigured),
            declared("threads", Preset::Integer(2), Allowed::Integers(1, 64), Change::AtStart),
            declared("cameras", Preset::Texts(&[]), Allowed::Any, Change::AtStart),
            declared("corner", Preset::Numbers(&[]), Allowed::Numbers(-9.0, 9.0), Change::AtStart),
        ],
        topics: &[],
        services: &[],
    };

    pub(crate) fn parameters(values: &[(&str, ParameterValue)]) -> Result<Parameters, ParameterError> {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Parameters::checked(values, &REFERENCE).map(|(parameters, _)| parameters)
    }

    #[test]
    fn refusals_say_what_is_allowed() {
        let cases = [
            ("rate_hz", ParameterValue::Double(-1.0), "expected a number of 0.1 to 240, got -1"),
            ("rate_hz", ParameterValue::Double(f64::NAN), "0.1 to 240, got NaN"),
            ("engine", ParameterValue::String("cuda".into()), "expected one of onnx, x, got \"cuda\""),
            ("threads", ParameterValue::Bool(true), "expected an integer of 1 to 64, got true"),
            (
                "corner",
                ParameterValue::DoubleArray(vec![1.0, f64::NAN]),
                "a list of numbers of -9 to 9, got [1",
            ),
            ("corner", ParameterValue::Double(1.0), "expected a list of numbers of -9 to 9, got 1"),
            ("threads", ParameterValue::NotSet, "expected an integer of 1 to 64, got nothing"),
            (
                "bundel",
                ParameterValue::Bool(true),
                "parameter bundel: not known; this node has rate_hz, engine",
            ),
        ];
        for (name, value, reason) in cases {
            let text = parameters(&[(name, value)]).unwrap_err().to_string();
            assert!(text.contains(reason), "{text}");
        }
    }

    #[test]
    fn what_was_not_set_has_its_default() {
        let set = [
            ("cameras", ParameterValue::NotSet),
            ("rate_hz", ParameterValue::Integer(5)),
            ("corner", ParameterValue::IntegerArray(vec![1, -2])),
        ];
        let came = parameters(&set).unwrap();
        assert_eq!(came.numbers("corner"), Ok(vec![1.0, -2.0]));
        assert_eq!(came.number("rate_hz"), Ok(5.0));
        assert_eq!(came.text("engine").as_deref(), Ok("onnx"));
        assert_eq!(came.texts("cameras"), Ok(vec![]));
        assert_eq!(came.flag("use_sim_time"), Ok(false));
        assert!(came.flag("rate_hz").is_err());
    }

    #[test]
    fn a_parameter_is_set_only_in_its_time() {
        let came = parameters(&[]).unwrap();
        let (text, number) = (|text: &str| ParameterValue::String(text.into()), ParameterValue::Double);
        let cases = [
            ("rate_hz", number(5.0), false, ""),
            ("rate_hz", number(500.0), true, "0.1 to 240"),
            ("engine", text("x"), true, ""),
            ("engine", text("x"), false, "while the node is unconfigured"),
            ("threads", ParameterValue::Integer(3), true, "read-only"),
            ("absent", number(1.0), true, "not known"),
        ];
        for (name, value, unconfigured, reason) in cases {
            came.set_unconfigured(unconfigured);
            let refusal = came.allow(name, value).err().map(|error| error.to_string());
            let refusal = refusal.unwrap_or_default();
            assert!(refusal.contains(reason) && refusal.is_empty() == reason.is_empty(), "{name}: {refusal}");
        }
    }
}
