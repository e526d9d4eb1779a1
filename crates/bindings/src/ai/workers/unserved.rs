//! Which tasks of Workers AI's models are not served, by the inputs' members and, where those say nothing, by the
//! names of Cloudflare's models.

use serde_json::{Map, Value};

use super::error::AiError;

/// Members that other tasks have, and what those are called.
const MEMBERS: &[(&[&str], &str)] = &[
    (&["audio"], "speech recognition (`audio`)"),
    (&["source_lang", "target_lang"], "translation"),
    (&["input_text"], "summarization (`input_text`)"),
    (&["contexts"], "ranking (`contexts`)"),
    (&["requests"], "a batch (`requests`)"),
    (
        &[
            "image_b64",
            "mask",
            "num_steps",
            "guidance",
            "negative_prompt",
        ],
        "text-to-image",
    ),
    (
        &["image"],
        "an image as bytes (`image`; in messages, as an `image_url`, one is passed on)",
    ),
    (&["multipart"], "multipart input"),
    (&["functions"], "embedded function calling (`functions`)"),
];

/// Parts of the names of Cloudflare's models whose inputs look like those of text generation or embeddings.
const MODELS: &[(&str, &str)] = &[
    ("black-forest-labs/", "text-to-image"),
    ("stable-diffusion", "text-to-image"),
    ("dreamshaper", "text-to-image"),
    ("leonardo/", "text-to-image"),
    ("melotts", "text-to-speech"),
    ("deepgram/aura", "text-to-speech"),
    ("deepgram/", "speech recognition"),
    ("whisper", "speech recognition"),
    ("m2m100", "translation"),
    ("indictrans", "translation"),
    ("distilbert-sst-2", "text classification"),
    ("bart-large-cnn", "summarization"),
    ("bge-reranker", "ranking"),
    ("resnet-50", "image classification"),
    ("detr-resnet", "object detection"),
    ("smart-turn", "turn detection"),
];

/// Refuses what is not served, by name.
pub(super) fn refuse_unserved(model: &str, inputs: &Map<String, Value>) -> Result<(), AiError> {
    if inputs.get("lora").is_some_and(|lora| !lora.is_null()) {
        return Err(AiError::lora(model));
    }
    // Models of Cloudflare's catalogue only: what somebody calls their own is theirs to know.
    if model.starts_with('@')
        && let Some((_, task)) = MODELS.iter().find(|(part, _)| model.contains(part))
    {
        return Err(AiError::task_not_served(task));
    }
    let there = |name: &&str| inputs.get(*name).is_some_and(|value| !value.is_null());
    match MEMBERS.iter().find(|(names, _)| names.iter().any(there)) {
        Some((_, task)) => Err(AiError::task_not_served(task)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_served_is_named() {
        let table = [
            (
                "@cf/black-forest-labs/flux-1-schnell",
                json!({"prompt": "a cat"}),
                5007,
                "text-to-image",
            ),
            (
                "@cf/stabilityai/stable-diffusion-xl-base-1.0",
                json!({"prompt": "a cat"}),
                5007,
                "text-to-image",
            ),
            (
                "@cf/myshell-ai/melotts",
                json!({"prompt": "hi"}),
                5007,
                "text-to-speech",
            ),
            (
                "@cf/openai/whisper",
                json!({"audio": [1]}),
                5007,
                "speech recognition",
            ),
            (
                "@cf/meta/m2m100-1.2b",
                json!({"text": "x", "target_lang": "fr"}),
                5007,
                "translation",
            ),
            (
                "@cf/huggingface/distilbert-sst-2-int8",
                json!({"text": "x"}),
                5007,
                "text classification",
            ),
            (
                "mine",
                json!({"text": "x", "source_lang": "en"}),
                5007,
                "translation",
            ),
            (
                "mine",
                json!({"image": [1], "prompt": "what is this"}),
                5007,
                "image as bytes",
            ),
            (
                "mine",
                json!({"prompt": "x", "lora": "some"}),
                5005,
                "The model mine does not support LoRa",
            ),
            ("mine", json!({"input_text": "x"}), 5007, "summarization"),
            (
                "mine",
                json!({"query": "x", "contexts": []}),
                5007,
                "ranking",
            ),
            (
                "mine",
                json!({"prompt": "x", "functions": []}),
                5007,
                "embedded function calling",
            ),
        ];
        for (model, inputs, code, name) in table {
            let error = refuse_unserved(model, inputs.as_object().unwrap()).unwrap_err();
            assert_eq!(error.internal_code(), code, "{model} {inputs}");
            assert!(error.description().contains(name), "{error}");
        }
    }

    #[test]
    fn what_is_served_or_somebodys_own_is_not_refused() {
        let table = [
            (
                "@cf/meta/llama-3.1-8b-instruct",
                json!({"prompt": "x", "image": null, "lora": null}),
            ),
            ("whisper-of-mine", json!({"prompt": "x"})),
            ("@cf/baai/bge-base-en-v1.5", json!({"text": ["x"]})),
        ];
        for (model, inputs) in table {
            assert_eq!(refuse_unserved(model, inputs.as_object().unwrap()), Ok(()));
        }
    }
}
