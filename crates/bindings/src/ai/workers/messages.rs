//! Messages and tools: Workers AI takes flat forms beside OpenAI's nested ones.

use std::collections::{HashMap, VecDeque};

use serde_json::{Map, Value, json};

use super::error::AiError;

/// Makes OpenAI's messages of a list of Workers AI's.
///
/// Tool calls of the assistant may be flat, `{name, arguments: object}`: they get ids where they have none, and the
/// messages with results, which name their tool alone, get the id of the call that they answer, in order.
pub(super) fn convert(messages: &mut Value) -> Result<(), AiError> {
    let Some(list) = messages.as_array_mut().filter(|list| !list.is_empty()) else {
        return Err(AiError::invalid_input(
            "`messages` must be a list of messages, and not empty",
        ));
    };
    let mut calls = Calls::default();
    for (position, message) in list.iter_mut().enumerate() {
        let Some(message) = message.as_object_mut() else {
            return Err(AiError::invalid_input(format!(
                "messages[{position}] must be an object"
            )));
        };
        if !message.get("role").is_some_and(Value::is_string) {
            return Err(AiError::invalid_input(format!(
                "messages[{position}].role must be a text"
            )));
        }
        if !message.contains_key("content") && !message.contains_key("tool_calls") {
            return Err(AiError::invalid_input(format!(
                "messages[{position}] needs `content`"
            )));
        }
        if let Some(made) = message.get_mut("tool_calls") {
            calls.convert(position, made)?;
        }
        if message["role"] == "tool" {
            calls.answer(message);
        }
    }
    Ok(())
}

/// Calls that have been made and not been answered.
#[derive(Default)]
struct Calls {
    made: usize,
    open: HashMap<String, VecDeque<String>>,
}

impl Calls {
    fn convert(&mut self, position: usize, calls: &mut Value) -> Result<(), AiError> {
        let bad = || {
            AiError::invalid_input(format!(
                "messages[{position}].tool_calls must be a list of {{name, arguments}} or of \
                 {{id, type: \"function\", function: {{name, arguments}}}}"
            ))
        };
        let list = calls.as_array_mut().ok_or_else(bad)?;
        for call in list {
            let call = call.as_object_mut().ok_or_else(bad)?;
            if !call.contains_key("function") {
                let name = call
                    .shift_remove("name")
                    .filter(Value::is_string)
                    .ok_or_else(bad)?;
                let arguments = call.shift_remove("arguments").unwrap_or_else(|| json!({}));
                call.insert("type".into(), "function".into());
                call.insert(
                    "function".into(),
                    json!({"name": name, "arguments": arguments}),
                );
            }
            let function = call
                .get_mut("function")
                .and_then(Value::as_object_mut)
                .ok_or_else(bad)?;
            // OpenAI has the arguments as a text of JSON.
            if let Some(arguments) = function
                .get_mut("arguments")
                .filter(|value| !value.is_string())
            {
                *arguments = Value::String(arguments.to_string());
            }
            let name = function
                .get("name")
                .and_then(Value::as_str)
                .ok_or_else(bad)?
                .to_owned();
            let id = match call.get("id").and_then(Value::as_str) {
                Some(id) => id.to_owned(),
                None => {
                    let id = format!("call_{}", self.made);
                    call.insert("id".into(), Value::String(id.clone()));
                    id
                }
            };
            self.made += 1;
            self.open.entry(name).or_default().push_back(id);
        }
        Ok(())
    }

    fn answer(&mut self, message: &mut Map<String, Value>) {
        if let Some(id) = message.get("tool_call_id").and_then(Value::as_str) {
            for open in self.open.values_mut() {
                open.retain(|other| other != id);
            }
            return;
        }
        let name = message.get("name").and_then(Value::as_str);
        let id = name.and_then(|name| self.open.get_mut(name)?.pop_front());
        if let Some(id) = id {
            message.insert("tool_call_id".into(), Value::String(id));
        }
    }
}

/// Makes OpenAI's tools of a list in which some are flat: `{name, description, parameters}`.
pub(super) fn convert_tools(tools: &mut Value) -> Result<(), AiError> {
    let bad = || {
        AiError::invalid_input(
            "`tools` must be a list of {name, description, parameters} or of {type: \"function\", function: {name, ..}}",
        )
    };
    for tool in tools.as_array_mut().ok_or_else(bad)? {
        let flat = tool.as_object_mut().ok_or_else(bad)?;
        if flat.contains_key("function") {
            if !flat.contains_key("type") {
                flat.insert("type".into(), "function".into());
            }
            continue;
        }
        // Other types than functions are the provider's own, and it knows what they have.
        if flat.get("type").is_some_and(|kind| kind != "function") {
            continue;
        }
        if !flat.get("name").is_some_and(Value::is_string) {
            return Err(bad());
        }
        flat.shift_remove("type");
        let function = std::mem::take(flat);
        *tool = json!({"type": "function", "function": function});
    }
    Ok(())
}

/// Makes a message of an item of `responses`' input: a message with parts of its own names, a call, or its result.
pub(super) fn convert_item(item: &mut Value) -> Result<(), AiError> {
    let kind = item
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or("message");
    match kind {
        "message" => {
            let Some(message) = item.as_object_mut() else {
                return Err(AiError::invalid_input("`input` must be a list of messages"));
            };
            for name in ["type", "id", "status"] {
                message.shift_remove(name);
            }
            if let Some(parts) = message.get_mut("content").and_then(Value::as_array_mut) {
                parts.iter_mut().for_each(convert_part);
            }
            Ok(())
        }
        "function_call" => {
            *item = json!({"role": "assistant", "content": null, "tool_calls": [{
                "id": item["call_id"], "type": "function",
                "function": {"name": item["name"], "arguments": item["arguments"]}}]});
            Ok(())
        }
        "function_call_output" => {
            let content = match &item["output"] {
                Value::String(text) => Value::String(text.clone()),
                other => Value::String(other.to_string()),
            };
            *item = json!({"role": "tool", "tool_call_id": item["call_id"], "content": content});
            Ok(())
        }
        other => Err(AiError::invalid_input(format!(
            "`input` has an item of the type \"{}\": messages, function_call and function_call_output are taken",
            other.chars().take(40).collect::<String>()
        ))),
    }
}

fn convert_part(part: &mut Value) {
    match part.get("type").and_then(Value::as_str) {
        Some("input_text" | "output_text") => {
            *part = json!({"type": "text", "text": part["text"]});
        }
        Some("input_image") => {
            *part = json!({"type": "image_url", "image_url": {"url": part["image_url"]}});
        }
        _ => {}
    }
}
