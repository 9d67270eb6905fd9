//! Parameters as a node declares them: known names only, types checked, refusals with a reason.

use std::collections::BTreeMap;

use r2r::ParameterValue;

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
}

/// The parameters that a node was started with.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    values: BTreeMap<String, ParameterValue>,
}

/// Parameters that every ROS node has.
const COMMON: [&str; 2] = ["use_sim_time", "start_type_description_service"];

impl Parameters {
    /// The parameters of a node, all of which must be among `declared`.
    ///
    /// # Errors
    /// The first that is not known.
    pub fn of(node: &r2r::Node, declared: &[&str]) -> Result<Self, ParameterError> {
        let params = node.params.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let values = params.iter().map(|(name, parameter)| (name.clone(), parameter.value.clone()));
        Self::checked(values.collect(), declared)
    }

    fn checked(values: BTreeMap<String, ParameterValue>, declared: &[&str]) -> Result<Self, ParameterError> {
        let known = |name: &str| {
            declared.contains(&name) || COMMON.contains(&name) || name.starts_with("qos_overrides.")
        };
        match values.keys().find(|name| !known(name)) {
            Some(name) => Err(ParameterError::Unknown { name: name.clone(), known: declared.join(", ") }),
            None => Ok(Self { values }),
        }
    }

    /// A refusal of a parameter's value.
    pub fn refuse(&self, name: &str, expected: impl Into<String>) -> ParameterError {
        let came = self.values.get(name).map_or("nothing".to_owned(), |value| format!("{value:?}"));
        ParameterError::Value { name: name.to_owned(), expected: expected.into(), came }
    }

    /// A text, or `default` when it was not set.
    ///
    /// # Errors
    /// When it is no text.
    pub fn text(&self, name: &str, default: &str) -> Result<String, ParameterError> {
        match self.values.get(name) {
            None => Ok(default.to_owned()),
            Some(ParameterValue::String(text)) => Ok(text.clone()),
            Some(_) => Err(self.refuse(name, "a string")),
        }
    }

    /// A list of texts, or none when it was not set; ROS gives an empty list no type.
    ///
    /// # Errors
    /// When it is no list of texts.
    pub fn texts(&self, name: &str) -> Result<Vec<String>, ParameterError> {
        match self.values.get(name) {
            None | Some(ParameterValue::NotSet) => Ok(Vec::new()),
            Some(ParameterValue::StringArray(texts)) => Ok(texts.clone()),
            Some(_) => Err(self.refuse(name, "a list of strings")),
        }
    }

    /// Yes or no, or `default` when it was not set.
    ///
    /// # Errors
    /// When it is neither.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, ParameterError> {
        match self.values.get(name) {
            None => Ok(default),
            Some(ParameterValue::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.refuse(name, "true or false")),
        }
    }

    /// A whole number of a range, or `default` when it was not set.
    ///
    /// # Errors
    /// When it is no integer of the range.
    pub fn integer(
        &self,
        name: &str,
        default: i64,
        range: std::ops::RangeInclusive<i64>,
    ) -> Result<i64, ParameterError> {
        match self.values.get(name) {
            None => Ok(default),
            Some(ParameterValue::Integer(value)) if range.contains(value) => Ok(*value),
            Some(_) => Err(self.refuse(name, format!("an integer of {} to {}", range.start(), range.end()))),
        }
    }

    /// A number of a range, or `default` when it was not set; a whole number counts.
    ///
    /// # Errors
    /// When it is no number of the range.
    pub fn number(
        &self,
        name: &str,
        default: f64,
        range: std::ops::RangeInclusive<f64>,
    ) -> Result<f64, ParameterError> {
        let value = match self.values.get(name) {
            None => return Ok(default),
            Some(ParameterValue::Double(value)) => Some(*value),
            Some(ParameterValue::Integer(value)) => Some(*value as f64),
            Some(_) => None,
        };
        let expected = || self.refuse(name, format!("a number of {} to {}", range.start(), range.end()));
        value.filter(|value| range.contains(value)).ok_or_else(expected)
    }

    /// A text among those allowed, the first of which is the default.
    ///
    /// # Errors
    /// When it is another.
    pub fn choice(&self, name: &str, allowed: &[&str]) -> Result<String, ParameterError> {
        let chosen = self.text(name, allowed.first().copied().unwrap_or_default())?;
        if allowed.contains(&chosen.as_str()) {
            return Ok(chosen);
        }
        Err(self.refuse(name, format!("one of {}", allowed.join(", "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(values: &[(&str, ParameterValue)]) -> Parameters {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Parameters::checked(values, &["rate_hz", "engine", "threads", "cameras"]).unwrap()
    }

    #[test]
    fn refusals_say_what_is_allowed() {
        let came = parameters(&[
            ("rate_hz", ParameterValue::Double(-1.0)),
            ("engine", ParameterValue::String("cuda".into())),
            ("threads", ParameterValue::Bool(true)),
        ]);
        let cases = [
            (came.number("rate_hz", 10.0, 0.1..=240.0).map(drop), "0.1 to 240"),
            (came.choice("engine", &["onnx"]).map(drop), "one of onnx"),
            (came.integer("threads", 2, 1..=64).map(drop), "1 to 64"),
        ];
        for (refused, reason) in cases {
            let text = refused.unwrap_err().to_string();
            assert!(text.contains(reason), "{text}");
        }
        let typo = BTreeMap::from([("bundel".to_owned(), ParameterValue::Bool(true))]);
        let text = Parameters::checked(typo, &["bundle"]).unwrap_err().to_string();
        assert!(text.contains("bundel") && text.contains("bundle"), "{text}");
    }

    #[test]
    fn what_was_not_set_has_its_default() {
        let came =
            parameters(&[("cameras", ParameterValue::NotSet), ("rate_hz", ParameterValue::Integer(5))]);
        assert_eq!(came.number("rate_hz", 10.0, 0.1..=240.0), Ok(5.0));
        assert_eq!(came.choice("engine", &["onnx", "x"]).as_deref(), Ok("onnx"));
        assert_eq!(came.texts("cameras"), Ok(vec![]));
    }
}
