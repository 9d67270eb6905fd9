//! The text of a message definition (`ros2msg`), parsed into types whose nesting is finite.

use std::collections::HashMap;

use super::CdrError;
use super::value::Number;

/// How deep types may nest; ROS's own reach 6.
const MAX_DEPTH: usize = 32;

/// A message type with all that it is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    pub(super) types: Vec<Struct>,
    pub(super) root: usize,
}

/// One type of a definition.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Struct {
    pub(super) name: String,
    pub(super) fields: Vec<Field>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) element: Element,
    pub(super) count: Count,
}

/// What a field or each element of an array is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Element {
    Number(Number),
    Text,
    /// Index into the types.
    Struct(usize),
}

/// How many elements a field has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Count {
    One,
    Fixed(usize),
    UpTo(usize),
}

/// A section of the text: its type's name, and its lines with their numbers.
struct Section<'t> {
    name: String,
    lines: Vec<(usize, &'t str)>,
}

impl Schema {
    /// Parses the definition of `type_name` (`package/msg/Type`).
    ///
    /// # Errors
    /// The line that is no field, names a missing type, or makes a type contain itself.
    pub fn parse(type_name: &str, text: &str) -> Result<Self, CdrError> {
        let sections = sections(&short_name(type_name), text);
        let mut names = HashMap::new();
        for (index, section) in sections.iter().enumerate() {
            names.entry(section.name.as_str()).or_insert(index);
        }
        let parser = Parser { root: type_name, names };
        let mut types = Vec::with_capacity(sections.len() + 2);
        for section in &sections {
            types.push(parser.section(section, sections.len())?);
        }
        types.extend(["builtin_interfaces/Time", "builtin_interfaces/Duration"].map(time_type));
        let schema = Self { types, root: 0 };
        schema.check_depth(0, &mut vec![None; schema.types.len()], &mut Vec::new(), type_name)?;
        Ok(schema)
    }

    /// The depth of a type's nesting; refuses cycles and absurd depths.
    fn check_depth(
        &self,
        index: usize,
        known: &mut Vec<Option<usize>>,
        above: &mut Vec<usize>,
        root: &str,
    ) -> Result<usize, CdrError> {
        if let Some(depth) = known[index] {
            return Ok(depth);
        }
        if above.contains(&index) || above.len() >= MAX_DEPTH {
            let name = self.types[index].name.clone();
            return Err(CdrError::Nesting { root: root.to_owned(), name, limit: MAX_DEPTH });
        }
        above.push(index);
        let mut depth = 0;
        for field in &self.types[index].fields {
            if let Element::Struct(below) = field.element {
                depth = depth.max(1 + self.check_depth(below, known, above, root)?);
            }
        }
        above.pop();
        if above.len() + depth > MAX_DEPTH {
            let name = self.types[index].name.clone();
            return Err(CdrError::Nesting { root: root.to_owned(), name, limit: MAX_DEPTH });
        }
        known[index] = Some(depth);
        Ok(depth)
    }
}

/// `package/msg/Type` and `package/Type` are the same type.
fn short_name(name: &str) -> String {
    match name.split_once('/') {
        Some((package, rest)) => format!("{package}/{}", rest.rsplit('/').next().unwrap_or(rest)),
        None => name.to_owned(),
    }
}

fn sections<'t>(root: &str, text: &'t str) -> Vec<Section<'t>> {
    let mut sections = vec![Section { name: root.to_owned(), lines: Vec::new() }];
    let mut after_separator = false;
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.len() >= 40 && trimmed.bytes().all(|byte| byte == b'=') {
            after_separator = true;
        } else if let (true, Some(name)) = (after_separator, trimmed.strip_prefix("MSG:")) {
            sections.push(Section { name: short_name(name.trim()), lines: Vec::new() });
            after_separator = false;
        } else if let Some(section) = sections.last_mut() {
            section.lines.push((index + 1, line));
        }
    }
    sections
}

/// Some writers leave out the two types that are built in.
fn time_type(name: &str) -> Struct {
    let field = |name: &str, number| Field {
        name: name.to_owned(),
        element: Element::Number(number),
        count: Count::One,
    };
    Struct {
        name: name.to_owned(),
        fields: vec![field("sec", Number::Int(4)), field("nanosec", Number::Uint(4))],
    }
}

struct Parser<'a> {
    root: &'a str,
    names: HashMap<&'a str, usize>,
}

impl Parser<'_> {
    fn section(&self, section: &Section<'_>, count: usize) -> Result<Struct, CdrError> {
        let mut fields = Vec::new();
        for (number, line) in &section.lines {
            let text = line.split('#').next().unwrap_or_default().trim();
            if let Some((kind, rest)) = text.split_once(char::is_whitespace) {
                if !is_constant(rest) {
                    fields.push(self.field(
                        &section.name,
                        kind,
                        rest.trim_start(),
                        count,
                        (*number, line),
                    )?);
                }
            } else if !text.is_empty() {
                return Err(self.line("expected a type and a name", (*number, line)));
            }
        }
        if fields.is_empty() {
            // CDR knows no empty structure: ROS puts one byte there.
            let (element, count) = (Element::Number(Number::Uint(1)), Count::One);
            fields.push(Field { name: "structure_needs_at_least_one_member".to_owned(), element, count });
        }
        Ok(Struct { name: section.name.clone(), fields })
    }

    fn line(&self, problem: &'static str, (line, text): (usize, &str)) -> CdrError {
        CdrError::Line { root: self.root.to_owned(), line, problem, text: text.to_owned() }
    }

    fn field(
        &self,
        section: &str,
        kind: &str,
        rest: &str,
        sections: usize,
        line: (usize, &str),
    ) -> Result<Field, CdrError> {
        let name = rest.split_whitespace().next().unwrap_or_default();
        let sound = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(sound) {
            return Err(self.line("expected a field name of letters, digits and underscores", line));
        }
        let (base, count) = match kind.split_once('[') {
            None => (kind, Count::One),
            Some((base, bound)) => {
                let parsed = bound.strip_suffix(']').and_then(parse_count);
                (base, parsed.ok_or_else(|| self.line("expected [], [N] or [<=N] with N above 0", line))?)
            }
        };
        let element = self.element(section, base, sections, line)?;
        Ok(Field { name: name.to_owned(), element, count })
    }

    fn element(
        &self,
        section: &str,
        base: &str,
        sections: usize,
        line: (usize, &str),
    ) -> Result<Element, CdrError> {
        let number = match base {
            "bool" => Number::Bool,
            "byte" | "char" | "uint8" => Number::Uint(1),
            "int8" => Number::Int(1),
            "int16" => Number::Int(2),
            "uint16" => Number::Uint(2),
            "int32" => Number::Int(4),
            "uint32" => Number::Uint(4),
            "int64" => Number::Int(8),
            "uint64" => Number::Uint(8),
            "float32" => Number::Float32,
            "float64" => Number::Float64,
            // A bound of a text's length changes nothing in its encoding.
            _ if base == "string" || base.starts_with("string<=") => return Ok(Element::Text),
            _ if base.starts_with("wstring") => {
                return Err(self.line("wstring is not read: middlewares encode it differently", line));
            }
            _ => return self.type_named(section, base, sections, line).map(Element::Struct),
        };
        Ok(Element::Number(number))
    }

    fn type_named(
        &self,
        section: &str,
        name: &str,
        sections: usize,
        (line, text): (usize, &str),
    ) -> Result<usize, CdrError> {
        let package = section.split('/').next().unwrap_or_default();
        let full = if name.contains('/') { short_name(name) } else { format!("{package}/{name}") };
        let built_in = || match full.as_str() {
            "builtin_interfaces/Time" => Some(sections),
            "builtin_interfaces/Duration" => Some(sections + 1),
            _ => None,
        };
        self.names.get(full.as_str()).copied().or_else(built_in).ok_or_else(|| CdrError::MissingType {
            root: self.root.to_owned(),
            name: full.clone(),
            line,
            text: text.to_owned(),
        })
    }
}

/// `NAME=value` and `NAME = value`, but not a field with a default text that holds `=`.
fn is_constant(rest: &str) -> bool {
    let name_end = rest.trim_start().find(|c: char| c.is_whitespace() || c == '=');
    name_end.is_some_and(|end| rest.trim_start()[end..].trim_start().starts_with('='))
}

/// What is between the brackets.
fn parse_count(bound: &str) -> Option<Count> {
    match bound.trim() {
        "" => Some(Count::UpTo(usize::MAX)),
        bound => match bound.strip_prefix("<=") {
            Some(limit) => limit.trim().parse().ok().map(Count::UpTo),
            None => bound.parse().ok().filter(|count| *count > 0).map(Count::Fixed),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = "================================================================================";

    #[test]
    fn fields_constants_defaults_and_comments_are_told_apart() {
        let text = "# comment\nint32 MAX=5\nstring GREETING = \"a=b\"\nfloat64[] position # m\nstring name \"x=y\"\n\
                    string<=10[<=3] short\nuint8[16] uuid\nint32 START_VALUE 3";
        let schema = Schema::parse("a/msg/A", text).unwrap();
        let fields: Vec<_> =
            schema.types[0].fields.iter().map(|f| (f.name.as_str(), f.element, f.count)).collect();
        let expected = [
            ("position", Element::Number(Number::Float64), Count::UpTo(usize::MAX)),
            ("name", Element::Text, Count::One),
            ("short", Element::Text, Count::UpTo(3)),
            ("uuid", Element::Number(Number::Uint(1)), Count::Fixed(16)),
            ("START_VALUE", Element::Number(Number::Int(4)), Count::One),
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn dependencies_are_found_with_and_without_package() {
        let text =
            format!("b/Deep deep\nOther other\n{RULE}\nMSG: b/Deep\nint8 x\n{RULE}\nMSG: a/Other\nbool y\n");
        let schema = Schema::parse("a/msg/A", &text).unwrap();
        let elements: Vec<_> = schema.types[0].fields.iter().map(|field| field.element).collect();
        assert_eq!(elements, [Element::Struct(1), Element::Struct(2)]);
    }

    #[test]
    fn cycles_chains_and_missing_types_are_refused() {
        let cycle = format!("B b\n{RULE}\nMSG: a/B\nA[] a");
        assert!(matches!(Schema::parse("a/msg/A", &cycle), Err(CdrError::Nesting { .. })));
        let mut chain = "T0 x".to_owned();
        for level in 0..10_000 {
            chain.push_str(&format!("\n{RULE}\nMSG: a/T{level}\nT{} x", level + 1));
        }
        chain.push_str(&format!("\n{RULE}\nMSG: a/T10000\nint8 x"));
        assert!(matches!(Schema::parse("a/msg/A", &chain), Err(CdrError::Nesting { .. })));
        let error = Schema::parse("a/msg/A", "int8 x\nNowhere y").unwrap_err().to_string();
        assert_eq!(error, "definition of a/msg/A: type a/Nowhere is missing (line 2: \"Nowhere y\")");
    }

    #[test]
    fn arrays_of_nothing_and_odd_lines_are_refused() {
        for text in ["int8[0] x", "int8[ x", "int8[-1] x", "int8[<=x] x", "int8", "int8 x-y", "wstring x"] {
            assert!(Schema::parse("a/msg/A", text).is_err(), "{text}");
        }
    }
}
