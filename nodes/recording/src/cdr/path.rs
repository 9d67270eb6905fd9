//! `pose.position.x`, `position[3]`, `position[elbow]`, `data[*]`: which numbers of a message are meant.

use std::fmt;

use thiserror::Error;

use super::value::Value;

/// Fields that name the elements of the arrays beside or below them.
const NAME_FIELDS: [&str; 4] = ["name", "names", "joint_names", "interface_names"];

/// A path from a message to one number or an array of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPath {
    text: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(String),
    Index(usize),
    Named(String),
    All,
}

/// Why a path was refused, or leads to nothing in a message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{path}: {problem}")]
pub struct FieldError {
    /// The path.
    pub path: String,
    /// What was expected, and what came.
    pub problem: String,
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FieldPath {
    /// Parses a path: field names between dots; `[3]` an element; `[elbow]` the element that a `name` or `joint_names`
    /// array of the message calls so; `[*]`, or nothing, all elements.
    ///
    /// # Errors
    /// The part that is neither.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        let failed = |problem: &str| FieldError { path: text.to_owned(), problem: problem.to_owned() };
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(inside) = rest.strip_prefix('[') {
                let (index, behind) = inside.split_once(']').ok_or_else(|| failed("a [ without its ]"))?;
                steps.push(match index.trim() {
                    "" => return Err(failed("expected a number, a name or * between [ and ]")),
                    "*" => Step::All,
                    index => index.parse().map_or_else(|_| Step::Named(index.to_owned()), Step::Index),
                });
                rest = behind.strip_prefix('.').unwrap_or(behind);
                continue;
            }
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let name = &rest[..end];
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(failed("expected field names of letters, digits and underscores between dots"));
            }
            steps.push(Step::Field(name.to_owned()));
            rest = rest[end..].strip_prefix('.').unwrap_or(&rest[end..]);
        }
        match steps.first() {
            Some(Step::Field(_)) => Ok(Self { text: text.to_owned(), steps }),
            _ => Err(failed("expected a field name at its start")),
        }
    }

    /// Appends the numbers that the path leads to.
    ///
    /// # Errors
    /// No such field, index or name in this message, or no numbers there.
    pub fn numbers(&self, message: &Value<'_>, out: &mut Vec<f64>) -> Result<(), FieldError> {
        self.walk(&self.steps, message, &mut Vec::new(), out)
    }

    fn failed(&self, problem: String) -> FieldError {
        FieldError { path: self.text.clone(), problem }
    }

    fn walk<'v>(
        &self,
        steps: &[Step],
        value: &'v Value<'v>,
        above: &mut Vec<&'v Value<'v>>,
        out: &mut Vec<f64>,
    ) -> Result<(), FieldError> {
        let Some((step, rest)) = steps.split_first() else { return self.leaf(value, out) };
        match (step, value) {
            (Step::Field(name), Value::Message(fields)) => {
                let found = fields.iter().find(|(field, _)| field == name);
                let (_, below) = found.ok_or_else(|| {
                    let names: Vec<&str> = fields.iter().map(|(field, _)| *field).collect();
                    self.failed(format!("no field {name}; there are {}", names.join(", ")))
                })?;
                above.push(value);
                let walked = self.walk(rest, below, above, out);
                above.pop();
                walked
            }
            (Step::All, Value::Numbers(_)) => self.walk(rest, value, above, out),
            (Step::All, Value::List(list)) => {
                list.iter().try_for_each(|element| self.walk(rest, element, above, out))
            }
            (Step::Index(index), _) => self.element(*index, rest, value, above, out),
            (Step::Named(name), Value::Numbers(_) | Value::List(_)) => {
                let index = self.index_of(name, above)?;
                self.element(index, rest, value, above, out)
            }
            (Step::Field(name), _) => Err(self.failed(format!("{name} is sought in what is no message"))),
            (Step::All | Step::Named(_), _) => Err(self.failed("an index into what is no array".to_owned())),
        }
    }

    fn element<'v>(
        &self,
        index: usize,
        rest: &[Step],
        value: &'v Value<'v>,
        above: &mut Vec<&'v Value<'v>>,
        out: &mut Vec<f64>,
    ) -> Result<(), FieldError> {
        let beyond = |count| self.failed(format!("index {index} of an array with {count} elements"));
        match value {
            Value::Numbers(numbers) if rest.is_empty() => {
                out.push(numbers.get(index).ok_or_else(|| beyond(numbers.len()))?);
                Ok(())
            }
            Value::List(list) => {
                let element = list.get(index).ok_or_else(|| beyond(list.len()))?;
                self.walk(rest, element, above, out)
            }
            _ => Err(self.failed(format!("index {index} into what is no array of such elements"))),
        }
    }

    /// The index that the nearest array of names gives to `name`.
    fn index_of(&self, name: &str, above: &[&Value<'_>]) -> Result<usize, FieldError> {
        for message in above.iter().rev() {
            for field in NAME_FIELDS {
                let Some(Value::List(names)) = message.get(field) else { continue };
                if let Some(index) = names.iter().position(|known| known.text() == Some(name)) {
                    return Ok(index);
                }
                let known: Vec<&str> = names.iter().filter_map(Value::text).collect();
                return Err(self.failed(format!("{field} has no {name}; it has {}", known.join(", "))));
            }
        }
        Err(self.failed(format!("no array of names ({}) to look {name} up in", NAME_FIELDS.join(", "))))
    }

    fn leaf(&self, value: &Value<'_>, out: &mut Vec<f64>) -> Result<(), FieldError> {
        if let Value::Numbers(numbers) = value {
            out.extend(numbers.iter());
            return Ok(());
        }
        let number =
            value.number().ok_or_else(|| self.failed("expected numbers there, found none".to_owned()))?;
        out.push(number);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdr::Schema;

    const RULE: &str = "================================================================================";

    /// joint_names [a, b], points [{positions [1, 2]}, {positions [3, 4]}], gain 5.
    fn trajectory(read: impl FnOnce(&Value<'_>)) {
        let text = format!(
            "string[] joint_names\nPoint[] points\nint32 gain\n{RULE}\nMSG: t/Point\nfloat32[] positions"
        );
        let schema = Schema::parse("t/msg/T", &text).unwrap();
        let mut bytes = vec![0, 1, 0, 0, 2, 0, 0, 0];
        bytes.extend([2, 0, 0, 0, b'a', 0, 0, 0, 2, 0, 0, 0, b'b', 0, 0, 0]);
        bytes.extend([2, 0, 0, 0]);
        for pair in [[1.0_f32, 2.0], [3.0, 4.0]] {
            bytes.extend([2, 0, 0, 0]);
            pair.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        }
        bytes.extend(5_i32.to_le_bytes());
        read(&schema.decode(&bytes).unwrap());
    }

    #[test]
    fn paths_lead_to_their_numbers() {
        let cases: [(&str, &[f64]); 7] = [
            ("gain", &[5.0]),
            ("points[1].positions", &[3.0, 4.0]),
            ("points[1].positions[0]", &[3.0]),
            ("points[*].positions[b]", &[2.0, 4.0]),
            ("points[0].positions[a]", &[1.0]),
            ("points[*].positions[*]", &[1.0, 2.0, 3.0, 4.0]),
            ("points[0].positions[*]", &[1.0, 2.0]),
        ];
        trajectory(|message| {
            for (path, expected) in cases {
                let mut numbers = Vec::new();
                FieldPath::parse(path).unwrap().numbers(message, &mut numbers).unwrap();
                assert_eq!(numbers, expected, "{path}");
            }
        });
    }

    #[test]
    fn what_is_not_there_is_named() {
        let cases = [
            ("gian", "gian: no field gian; there are joint_names, points, gain"),
            ("points[2].positions", "points[2].positions: index 2 of an array with 2 elements"),
            ("points[0].positions[c]", "points[0].positions[c]: joint_names has no c; it has a, b"),
            ("joint_names[0]", "joint_names[0]: expected numbers there, found none"),
            ("gain[0]", "gain[0]: index 0 into what is no array of such elements"),
            ("gain.x", "gain.x: x is sought in what is no message"),
        ];
        trajectory(|message| {
            for (path, expected) in cases {
                let error = FieldPath::parse(path).unwrap().numbers(message, &mut Vec::new()).unwrap_err();
                assert_eq!(error.to_string(), expected);
            }
        });
    }

    #[test]
    fn odd_paths_are_refused() {
        for path in ["", "[0]", "a[", "a[]", "a..b", "a b", ".a"] {
            assert!(FieldPath::parse(path).is_err(), "{path}");
        }
    }
}
