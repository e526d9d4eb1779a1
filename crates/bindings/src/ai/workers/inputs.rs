//! The inputs of a run as the body of a request.

use serde_json::{Map, Value, json};

use super::error::AiError;
use super::messages;
use super::unserved::refuse_unserved;

/// What a run is, and so what its reply looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ai) enum Task {
    /// A text.
    TextGeneration,
    /// A text that is JSON: the reply has it parsed.
    JsonGeneration,
    /// A text for inputs in the form of OpenAI's `responses`, and so is the reply.
    Responses,
    /// Vectors.
    Embeddings,
}

/// A run in OpenAI's terms.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::ai) struct Asked {
    /// What it is.
    pub task: Task,
    /// Where it goes: `chat/completions`, `completions` or `embeddings`.
    pub path: &'static str,
    /// The body, without the model.
    pub body: Map<String, Value>,
    /// Whether the answer is asked for as a stream.
    pub stream: bool,
}

/// Makes a request of the inputs of `run(model, inputs)`.
///
/// The inputs determine the task: `prompt`, `messages` and `input` are text generation, `text` is
/// embeddings. `input` is embeddings if it is a list of texts, or the model's name has `embed` or `bge-` in it. Members
/// that are not known here are passed on as they are, for the provider to take or refuse.
///
/// A `prompt` becomes one message of the user; with `raw: true`, where no template is wanted, it goes to `completions`.
///
/// # Errors
/// When the inputs are invalid, or are a task's that is not served.
pub(in crate::ai) fn request(model: &str, inputs: &Value) -> Result<Asked, AiError> {
    let Some(inputs) = inputs.as_object() else {
        return Err(AiError::invalid_input("the inputs must be an object"));
    };
    refuse_unserved(model, inputs)?;
    // `undefined` arrives as null or not at all: both are nothing.
    let mut inputs: Map<String, Value> = inputs
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    // The model is the first argument; a client library's own, in the body, may only repeat it.
    if let Some(other) = inputs.shift_remove("model")
        && other != model
    {
        return Err(AiError::invalid_input(
            "`model` in the inputs is another one than the run's",
        ));
    }
    let stream = flag(&inputs, "stream")?;
    match kind(model, &inputs)? {
        Kind::Prompt => prompt(inputs, stream),
        Kind::Messages => {
            if flag(&inputs, "raw")? {
                return Err(AiError::exclusive("raw", "messages"));
            }
            inputs.shift_remove("raw");
            chat(inputs, stream)
        }
        Kind::Responses => responses(inputs, stream),
        Kind::Embeddings(member) => embeddings(inputs, member),
    }
}

enum Kind {
    Prompt,
    Messages,
    Responses,
    Embeddings(&'static str),
}

fn kind(model: &str, inputs: &Map<String, Value>) -> Result<Kind, AiError> {
    // With `input`, `text` is how OpenAI's `responses` says what form the text has.
    let text = inputs.contains_key("text") && !inputs.contains_key("input");
    let there: Vec<&str> = ["prompt", "messages", "input", "text"]
        .into_iter()
        .filter(|name| {
            if *name == "text" {
                text
            } else {
                inputs.contains_key(*name)
            }
        })
        .collect();
    match there[..] {
        ["prompt"] => Ok(Kind::Prompt),
        ["messages"] => Ok(Kind::Messages),
        ["text"] => Ok(Kind::Embeddings("text")),
        ["input"] => {
            let texts = inputs["input"]
                .as_array()
                .is_some_and(|list| !list.is_empty() && list.iter().all(Value::is_string));
            let name = model.to_ascii_lowercase();
            if texts || name.contains("embed") || name.contains("bge-") {
                Ok(Kind::Embeddings("input"))
            } else {
                Ok(Kind::Responses)
            }
        }
        [one, other, ..] => Err(AiError::exclusive(one, other)),
        _ => Err(AiError::invalid_input(
            "the inputs need one of `prompt`, `messages`, `input` (text generation) or `text` (embeddings)",
        )),
    }
}

fn prompt(mut inputs: Map<String, Value>, stream: bool) -> Result<Asked, AiError> {
    let Some(Value::String(prompt)) = inputs.shift_remove("prompt") else {
        return Err(AiError::invalid_input("`prompt` must be a text"));
    };
    if prompt.is_empty() {
        return Err(AiError::invalid_input("`prompt` must not be empty"));
    }
    let raw = flag(&inputs, "raw")?;
    inputs.shift_remove("raw");
    if raw {
        for name in ["tools", "tool_choice"] {
            if inputs.contains_key(name) {
                return Err(AiError::exclusive("raw", name));
            }
        }
        let mut asked = chat(with_first("prompt", Value::String(prompt), inputs), stream)?;
        asked.path = "completions";
        return Ok(asked);
    }
    let messages = json!([{"role": "user", "content": prompt}]);
    chat(with_first("messages", messages, inputs), stream)
}

/// A body whose first member is this one, as people write them.
fn with_first(name: &str, value: Value, inputs: Map<String, Value>) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert(name.to_owned(), value);
    body.extend(inputs);
    body
}

fn chat(mut body: Map<String, Value>, stream: bool) -> Result<Asked, AiError> {
    if body.get("n").is_some_and(|n| *n != 1) {
        return Err(AiError::invalid_input(
            "`n` must be 1: a reply has one text",
        ));
    }
    if let Some(given) = body.get_mut("messages") {
        messages::convert(given)?;
    }
    if let Some(tools) = body.get_mut("tools") {
        messages::convert_tools(tools)?;
    }
    let mut task = Task::TextGeneration;
    if let Some(format) = body.get_mut("response_format")
        && response_format(format)?
    {
        task = Task::JsonGeneration;
    }
    Ok(Asked {
        task,
        path: "chat/completions",
        body,
        stream,
    })
}

/// Workers AI has the schema itself in `json_schema`, OpenAI a name beside it. Returns whether the answer is JSON.
fn response_format(format: &mut Value) -> Result<bool, AiError> {
    let bad = || {
        AiError::invalid_input(
            "`response_format` must be an object whose `type` is \"text\", \"json_object\" or \"json_schema\", the last \
             with an object `json_schema`",
        )
    };
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(false),
        Some("json_object") => Ok(true),
        Some("json_schema") => {
            let Some(Value::Object(schema)) = format.get_mut("json_schema") else {
                return Err(bad());
            };
            // A schema that describes properties called `schema` and `name` has them in `properties`.
            let wrapped = schema.get("schema").is_some_and(Value::is_object);
            if !wrapped {
                let schema = std::mem::take(schema);
                format["json_schema"] = json!({"name": "response", "schema": schema});
            } else if !schema.contains_key("name") {
                schema.insert("name".into(), "response".into());
            }
            Ok(true)
        }
        _ => Err(bad()),
    }
}

/// Inputs in the form of OpenAI's `responses`, which gpt-oss takes at Workers AI, for providers that have chat alone.
fn responses(mut inputs: Map<String, Value>, stream: bool) -> Result<Asked, AiError> {
    let input = inputs.shift_remove("input").unwrap_or_default();
    let mut list = match input {
        Value::String(text) if !text.is_empty() => vec![json!({"role": "user", "content": text})],
        Value::Array(list) if !list.is_empty() => list,
        _ => {
            return Err(AiError::invalid_input(
                "`input` must be a text or a list of messages, and not empty",
            ));
        }
    };
    for item in &mut list {
        messages::convert_item(item)?;
    }
    match inputs.shift_remove("instructions") {
        None => {}
        Some(Value::String(text)) => list.insert(0, json!({"role": "system", "content": text})),
        Some(_) => return Err(AiError::invalid_input("`instructions` must be a text")),
    }
    if let Some(Value::Object(reasoning)) = inputs.get_mut("reasoning") {
        let effort = reasoning.shift_remove("effort");
        // The rest has no name in chat, and is the provider's to take or refuse.
        if reasoning.is_empty() {
            inputs.shift_remove("reasoning");
        }
        inputs.extend(effort.map(|effort| ("reasoning_effort".to_owned(), effort)));
    }
    if let Some(max) = inputs.shift_remove("max_output_tokens") {
        inputs.insert("max_tokens".into(), max);
    }
    match inputs.shift_remove("text") {
        None => {}
        Some(Value::Object(mut text)) => {
            if let Some(format) = text.shift_remove("format") {
                inputs.insert("response_format".into(), flat_format(&format));
            }
            inputs.extend(text);
        }
        Some(_) => return Err(AiError::exclusive("input", "text")),
    }
    for name in ["previous_response_id", "conversation", "background"] {
        if inputs.contains_key(name) {
            return Err(AiError::task_not_served(&format!(
                "`{name}`, which needs a server that keeps responses,"
            )));
        }
    }
    let asked = chat(with_first("messages", Value::Array(list), inputs), stream)?;
    Ok(Asked {
        task: Task::Responses,
        ..asked
    })
}

/// `text.format` of `responses` has the schema's name and the schema beside its type.
fn flat_format(format: &Value) -> Value {
    match format.as_object() {
        Some(format) if format.get("type").is_some_and(|kind| kind == "json_schema") => {
            let mut rest = format.clone();
            rest.shift_remove("type");
            json!({"type": "json_schema", "json_schema": rest})
        }
        _ => format.clone(),
    }
}

fn embeddings(mut inputs: Map<String, Value>, member: &str) -> Result<Asked, AiError> {
    let input = inputs.shift_remove(member).unwrap_or_default();
    let fits = match &input {
        Value::String(_) => true,
        Value::Array(list) => !list.is_empty() && list.iter().all(Value::is_string),
        _ => false,
    };
    if !fits {
        return Err(AiError::invalid_input(format!(
            "`{member}` must be a text or a list of texts, and not empty"
        )));
    }
    if inputs
        .get("encoding_format")
        .is_some_and(|format| format != "float")
    {
        return Err(AiError::invalid_input(
            "`encoding_format` must be \"float\": a reply has numbers",
        ));
    }
    // Nothing to stream: the answer is one.
    inputs.shift_remove("stream");
    Ok(Asked {
        task: Task::Embeddings,
        path: "embeddings",
        body: with_first("input", input, inputs),
        stream: false,
    })
}

fn flag(inputs: &Map<String, Value>, name: &str) -> Result<bool, AiError> {
    match inputs.get(name) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(AiError::invalid_input(format!(
            "`{name}` must be true or false"
        ))),
    }
}
