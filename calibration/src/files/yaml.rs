//! YAML in and out: a bounded parser, and numbers and strings that every YAML reader takes for what they are.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::{CalibrationFileError, read_text};

/// What OpenCV writes as its first line, though YAML has it otherwise.
const OPENCV_HEADER: &str = "%YAML:1.0";

/// Reads a file into its format's record, with bounds on depth and no aliases worth the name.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, CalibrationFileError> {
    let text = read_text(path)?;
    let body = text.strip_prefix(OPENCV_HEADER).unwrap_or(&text);
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 16,
            max_aliases: 16,
            max_anchors: 16,
            max_documents: 1,
            max_nodes: 20_000,
        },
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(body, options).map_err(|error| {
        let place = error.location().map(|at| (at.line() as usize, at.column() as usize));
        let problem = match place.and_then(|(line, column)| field_at(body, line, column)) {
            Some(field) => format!("{field}: {error}"),
            None => error.to_string(),
        };
        CalibrationFileError::Yaml { path: path.to_owned(), problem }
    })
}

/// The field of block YAML whose value is or holds what is at a line and column (from 1), with those around it:
/// `camera_matrix.data`.
fn field_at(text: &str, line: usize, column: usize) -> Option<String> {
    let before: Vec<&str> = text.lines().take(line).collect();
    let mut indent = column.saturating_sub(1);
    let mut field: Option<String> = None;
    for line in before.into_iter().rev() {
        let content = line.trim_start();
        let depth = line.len() - content.len();
        let Some((key, _)) = content.split_once(':').filter(|_| depth < indent) else { continue };
        if !key.is_empty() && key.len() <= 64 && key.chars().all(|c| c.is_alphanumeric() || c == '_') {
            field = Some(field.map_or_else(|| key.to_owned(), |inner| format!("{key}.{inner}")));
            indent = depth;
        }
    }
    field
}

/// A number that is read back to the bit, with the point and the exponent's sign that YAML 1.1 readers insist on.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:?}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let point = if mantissa.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with('-') { "" } else { "+" };
    format!("{mantissa}{point}e{sign}{exponent}")
}

/// A flow sequence of numbers.
pub(super) fn numbers(values: &[f64]) -> String {
    let items: Vec<_> = values.iter().copied().map(number).collect();
    format!("[{}]", items.join(", "))
}

/// A double-quoted string.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            ' '..='~' => quoted.push(letter),
            _ => quoted.push_str(&format!("\\U{:08X}", u32::from(letter))),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_bits_and_their_point() {
        let cases =
            [(525.0, "525.0"), (1e-7, "1.0e-7"), (1.5e300, "1.5e+300"), (-0.25, "-0.25"), (0.1, "0.1")];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
            assert_eq!(serde_saphyr::from_str::<f64>(expected).unwrap(), value);
        }
    }

    #[test]
    fn a_line_belongs_to_its_field() {
        let text = "name: left\nmatrix:\n  rows: 3\n  data: [1,\n    2]\nlast: 1\n";
        let cases = [
            ((0, 1), None),
            ((1, 7), Some("name")),
            ((3, 9), Some("matrix.rows")),
            ((3, 3), Some("matrix")),
            ((5, 5), Some("matrix.data")),
            ((6, 7), Some("last")),
            ((6, 1), None),
        ];
        for ((line, column), expected) in cases {
            assert_eq!(field_at(text, line, column).as_deref(), expected);
        }
    }

    #[test]
    fn strings_come_back() {
        for text in ["left", "", "a: b # c", "\"\\", "tab\tline\n", "Kamera 左", "true", "1e3", "\u{1f4f7}"]
        {
            assert_eq!(serde_saphyr::from_str::<String>(&quoted(text)).unwrap(), text);
        }
    }
}
