//! OpenAI's answers in Workers AI's shapes.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::error::AiError;
use super::inputs::Task;

/// Makes the value that `run` gives of a provider's whole answer.
///
/// - Text: `{response, tool_calls?: [{id, name, arguments}], finish_reason?, usage?}`; in JSON mode `response` is the
///   value that the text is.
/// - `responses`: OpenAI's object with `output`.
/// - Embeddings: `{shape: [n, d], data: [[..]], usage?}`.
///
/// # Errors
/// When the answer is none, or an error that came with the status of a success.
pub(in crate::ai) fn reply(task: Task, answer: &Value) -> Result<Value, AiError> {
    if answer.get("error").is_some_and(|error| !error.is_null()) {
        return Err(AiError::upstream_value(StatusCode::BAD_GATEWAY, answer));
    }
    match task {
        Task::Embeddings => embeddings(answer),
        Task::Responses => responses(answer),
        Task::TextGeneration | Task::JsonGeneration => text(task, answer),
    }
}

/// The parts of the first choice.
struct Choice {
    content: Option<String>,
    reasoning: Option<String>,
    calls: Vec<Call>,
    finish_reason: Option<String>,
}

struct Call {
    id: Value,
    name: String,
    arguments: String,
}

fn choice(answer: &Value) -> Result<Choice, AiError> {
    let choice = answer
        .get("choices")
        .and_then(|choices| choices.get(0))
        .ok_or_else(|| AiError::unreadable("it has no `choices`"))?;
    // `completions` has its text beside the reason.
    let message = choice.get("message").unwrap_or(choice);
    let content = message.get("content").or_else(|| message.get("text"));
    let calls = message.get("tool_calls").and_then(Value::as_array);
    Ok(Choice {
        content: content.and_then(joined),
        reasoning: reasoning(message).map(str::to_owned),
        calls: calls.into_iter().flatten().filter_map(call).collect(),
        finish_reason: choice
            .get("finish_reason")
            .and_then(Value::as_str)
            .map(str::to_owned),
    })
}

/// What the model thought, where the provider shows it; vLLM and LiteLLM say `reasoning_content`, others `reasoning`.
pub(super) fn reasoning(message: &Value) -> Option<&str> {
    ["reasoning_content", "reasoning"]
        .iter()
        .find_map(|name| message.get(*name)?.as_str())
        .filter(|text| !text.is_empty())
}

/// A text, or the texts of its parts.
fn joined(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part.get("text")?.as_str());
            Some(texts.collect())
        }
        _ => None,
    }
}

fn call(call: &Value) -> Option<Call> {
    let function = call.get("function")?;
    let arguments = function.get("arguments");
    Some(Call {
        id: call.get("id").cloned().unwrap_or_default(),
        name: function.get("name")?.as_str()?.to_owned(),
        arguments: match arguments {
            None | Some(Value::Null) => "{}".to_owned(),
            Some(Value::String(text)) if text.is_empty() => "{}".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        },
    })
}

fn text(task: Task, answer: &Value) -> Result<Value, AiError> {
    let choice = choice(answer)?;
    let mut reply = Map::new();
    let response = match choice.content {
        Some(text) if task == Task::JsonGeneration && choice.calls.is_empty() => {
            serde_json::from_str(&text).map_err(|_| AiError::json_mode())?
        }
        Some(text) => Value::String(text),
        None => Value::Null,
    };
    reply.insert("response".into(), response);
    if let Some(reasoning) = choice.reasoning {
        reply.insert("reasoning_content".into(), Value::String(reasoning));
    }
    if !choice.calls.is_empty() {
        let calls = choice.calls.into_iter().map(flat).collect();
        reply.insert("tool_calls".into(), Value::Array(calls));
    }
    if let Some(reason) = choice.finish_reason {
        reply.insert("finish_reason".into(), Value::String(reason));
    }
    if let Some(usage) = usage(answer) {
        reply.insert("usage".into(), usage);
    }
    Ok(Value::Object(reply))
}

/// `{name, arguments}`, with the arguments as the value that they are; a text that is none stays one.
fn flat(call: Call) -> Value {
    let arguments = serde_json::from_str(&call.arguments).unwrap_or(Value::String(call.arguments));
    let mut flat = Map::new();
    if !call.id.is_null() {
        flat.insert("id".into(), call.id);
    }
    flat.insert("name".into(), Value::String(call.name));
    flat.insert("arguments".into(), arguments);
    Value::Object(flat)
}

/// Workers AI's usage: OpenAI's, with a total.
pub(super) fn usage(answer: &Value) -> Option<Value> {
    let given = answer.get("usage")?.as_object()?;
    let count = |name: &str| given.get(name).and_then(Value::as_u64);
    let prompt = count("prompt_tokens");
    let completion = count("completion_tokens");
    if prompt.is_none() && completion.is_none() {
        return None;
    }
    let (prompt, completion) = (prompt.unwrap_or(0), completion.unwrap_or(0));
    let total = count("total_tokens").unwrap_or_else(|| prompt.saturating_add(completion));
    let mut usage = Map::new();
    usage.insert("prompt_tokens".into(), prompt.into());
    usage.insert("completion_tokens".into(), completion.into());
    usage.insert("total_tokens".into(), total.into());
    for name in ["prompt_tokens_details", "completion_tokens_details"] {
        if let Some(details) = given.get(name).filter(|details| details.is_object()) {
            usage.insert(name.into(), details.clone());
        }
    }
    Some(Value::Object(usage))
}

fn responses(answer: &Value) -> Result<Value, AiError> {
    let choice = choice(answer)?;
    let id = answer.get("id").cloned().unwrap_or_default();
    let cut = choice.finish_reason.as_deref() == Some("length");
    let mut output = Vec::new();
    if let Some(text) = choice.reasoning {
        output.push(json!({"type": "reasoning", "summary": [],
            "content": [{"type": "reasoning_text", "text": text}]}));
    }
    if let Some(text) = choice
        .content
        .filter(|text| !text.is_empty() || choice.calls.is_empty())
    {
        output.push(json!({"type": "message", "role": "assistant",
            "status": if cut { "incomplete" } else { "completed" },
            "content": [{"type": "output_text", "text": text, "annotations": []}]}));
    }
    for call in choice.calls {
        output.push(
            json!({"type": "function_call", "call_id": call.id, "name": call.name,
            "arguments": call.arguments, "status": "completed"}),
        );
    }
    let mut reply = Map::new();
    reply.insert("id".into(), id);
    reply.insert("object".into(), "response".into());
    for (to, from) in [("created_at", "created"), ("model", "model")] {
        if let Some(value) = answer.get(from) {
            reply.insert(to.into(), value.clone());
        }
    }
    reply.insert(
        "status".into(),
        if cut { "incomplete" } else { "completed" }.into(),
    );
    let details = if cut {
        json!({"reason": "max_output_tokens"})
    } else {
        Value::Null
    };
    reply.insert("incomplete_details".into(), details);
    reply.insert("output".into(), Value::Array(output));
    if let Some(usage) = usage(answer) {
        let mut other = Map::new();
        for (to, from) in [
            ("input_tokens", "prompt_tokens"),
            ("input_tokens_details", "prompt_tokens_details"),
            ("output_tokens", "completion_tokens"),
            ("output_tokens_details", "completion_tokens_details"),
            ("total_tokens", "total_tokens"),
        ] {
            if let Some(value) = usage.get(from) {
                other.insert(to.into(), value.clone());
            }
        }
        reply.insert("usage".into(), Value::Object(other));
    }
    Ok(Value::Object(reply))
}

fn embeddings(answer: &Value) -> Result<Value, AiError> {
    let list = answer
        .get("data")
        .and_then(Value::as_array)
        .ok_or_else(|| AiError::unreadable("it has no `data`"))?;
    let mut rows = Vec::with_capacity(list.len());
    for (position, item) in list.iter().enumerate() {
        let index = item.get("index").and_then(Value::as_u64);
        let vector = item
            .get("embedding")
            .and_then(Value::as_array)
            .filter(|vector| vector.iter().all(Value::is_number))
            .ok_or_else(|| AiError::unreadable("an embedding is not a list of numbers"))?;
        rows.push((index.unwrap_or(position as u64), vector));
    }
    rows.sort_by_key(|(index, _)| *index);
    let length = rows.first().map_or(0, |(_, vector)| vector.len());
    if rows.iter().any(|(_, vector)| vector.len() != length) {
        return Err(AiError::unreadable("its embeddings differ in length"));
    }
    let count = rows.len();
    let data: Vec<Value> = rows
        .into_iter()
        .map(|(_, vector)| Value::Array(vector.clone()))
        .collect();
    let mut reply = Map::new();
    reply.insert("shape".into(), json!([count, length]));
    reply.insert("data".into(), Value::Array(data));
    if let Some(usage) = usage(answer) {
        reply.insert("usage".into(), usage);
    }
    Ok(Value::Object(reply))
}
