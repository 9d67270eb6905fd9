//! Parameter values, and the messages that carry them; r2r keeps its own conversions to itself.

use r2r::ParameterValue;
use r2r::rcl_interfaces::msg;

use crate::declare::Preset;

/// The type's number in `rcl_interfaces/msg/ParameterType`.
pub fn kind(value: &ParameterValue) -> u8 {
    match value {
        ParameterValue::NotSet => 0,
        ParameterValue::Bool(_) => 1,
        ParameterValue::Integer(_) => 2,
        ParameterValue::Double(_) => 3,
        ParameterValue::String(_) => 4,
        ParameterValue::ByteArray(_) => 5,
        ParameterValue::BoolArray(_) => 6,
        ParameterValue::IntegerArray(_) => 7,
        ParameterValue::DoubleArray(_) => 8,
        ParameterValue::StringArray(_) => 9,
    }
}

/// A parameter's value when it is not set.
pub fn of_preset(preset: &Preset) -> ParameterValue {
    match preset {
        Preset::Flag(flag) => ParameterValue::Bool(*flag),
        Preset::Integer(value) => ParameterValue::Integer(*value),
        Preset::Number(value) => ParameterValue::Double(*value),
        Preset::Text(text) => ParameterValue::String((*text).to_owned()),
        Preset::Texts(texts) => {
            ParameterValue::StringArray(texts.iter().map(|text| (*text).to_owned()).collect())
        }
        Preset::Numbers(values) => ParameterValue::DoubleArray(values.to_vec()),
    }
}

/// What a message holds; a type that does not exist is nothing.
pub fn of_message(message: &msg::ParameterValue) -> ParameterValue {
    match message.type_ {
        1 => ParameterValue::Bool(message.bool_value),
        2 => ParameterValue::Integer(message.integer_value),
        3 => ParameterValue::Double(message.double_value),
        4 => ParameterValue::String(message.string_value.clone()),
        5 => ParameterValue::ByteArray(message.byte_array_value.clone()),
        6 => ParameterValue::BoolArray(message.bool_array_value.clone()),
        7 => ParameterValue::IntegerArray(message.integer_array_value.clone()),
        8 => ParameterValue::DoubleArray(message.double_array_value.clone()),
        9 => ParameterValue::StringArray(message.string_array_value.clone()),
        _ => ParameterValue::NotSet,
    }
}

/// The message of a value.
pub fn message(value: &ParameterValue) -> msg::ParameterValue {
    let mut message = msg::ParameterValue { type_: kind(value), ..Default::default() };
    match value.clone() {
        ParameterValue::NotSet => {}
        ParameterValue::Bool(value) => message.bool_value = value,
        ParameterValue::Integer(value) => message.integer_value = value,
        ParameterValue::Double(value) => message.double_value = value,
        ParameterValue::String(value) => message.string_value = value,
        ParameterValue::ByteArray(value) => message.byte_array_value = value,
        ParameterValue::BoolArray(value) => message.bool_array_value = value,
        ParameterValue::IntegerArray(value) => message.integer_array_value = value,
        ParameterValue::DoubleArray(value) => message.double_array_value = value,
        ParameterValue::StringArray(value) => message.string_array_value = value,
    }
    message
}

/// A value as people write it.
pub fn text(value: &ParameterValue) -> String {
    match value {
        ParameterValue::NotSet => "nothing".to_owned(),
        ParameterValue::Bool(value) => value.to_string(),
        ParameterValue::Integer(value) => value.to_string(),
        ParameterValue::Double(value) => value.to_string(),
        ParameterValue::String(value) => format!("{value:?}"),
        ParameterValue::ByteArray(value) => format!("{value:?}"),
        ParameterValue::BoolArray(value) => format!("{value:?}"),
        ParameterValue::IntegerArray(value) => format!("{value:?}"),
        ParameterValue::DoubleArray(value) => format!("{value:?}"),
        ParameterValue::StringArray(value) => format!("{value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back_from_its_message() {
        let values = [
            ParameterValue::NotSet,
            ParameterValue::Bool(true),
            ParameterValue::Integer(-3),
            ParameterValue::Double(0.5),
            ParameterValue::String("a".into()),
            ParameterValue::ByteArray(vec![1, 255]),
            ParameterValue::BoolArray(vec![true, false]),
            ParameterValue::IntegerArray(vec![1, -2]),
            ParameterValue::DoubleArray(vec![1.5]),
            ParameterValue::StringArray(vec!["a".into(), "b".into()]),
        ];
        for (expected, value) in values.iter().enumerate() {
            assert_eq!(usize::from(kind(value)), expected);
            assert_eq!(of_message(&message(value)), *value);
        }
    }
}
