//! Values of an event, in words.

use serde_json::Value;

/// A value with words before it, where there is one.
pub(super) fn after(lead: &str, value: Option<&Value>) -> String {
    let known = value.filter(|value| !value.is_null());
    known.map_or_else(String::new, |value| format!("{lead}{}", text(Some(value))))
}

/// A value in words; `nobody` stands for an empty list, `unknown` for what isn't there.
pub(super) fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "unknown".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) if items.is_empty() => "nobody".to_owned(),
        Some(Value::Array(items)) => {
            items.iter().map(|item| text(Some(item))).collect::<Vec<_>>().join(", ")
        }
        Some(other @ (Value::Bool(_) | Value::Number(_) | Value::Object(_))) => other.to_string(),
    }
}
