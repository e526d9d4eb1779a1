//! Embeddings: each word adds to one of 64 places, chosen by its hash. Texts with the same words are near each other; that
//! is all it knows of meaning.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::failure::Failure;
use super::{MODEL, whole, words};
use crate::ai::upstream::UpstreamAnswer;

const DIMENSIONS: usize = 64;
/// As many as OpenAI takes at once: an answer is much longer than the texts that it is for.
const MAX_TEXTS: usize = 2048;

pub(super) fn embeddings(body: &Value) -> Result<UpstreamAnswer, Failure> {
    let texts = texts(body.get("input"))?;
    // The clients of OpenAI's ask for base64 unless somebody wants otherwise.
    let base64 = match body.get("encoding_format").map(Value::as_str) {
        None | Some(Some("float")) => false,
        Some(Some("base64")) => true,
        Some(_) => {
            return Err(Failure::invalid(
                Some("encoding_format"),
                "encoding_format must be \"float\" or \"base64\"",
            ));
        }
    };
    if body
        .get("dimensions")
        .is_some_and(|given| !given.is_null() && *given != DIMENSIONS)
    {
        return Err(Failure::unsupported("dimensions", "has 64 dimensions"));
    }
    let data: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let vector = embed(text);
            let embedding = if base64 {
                let bytes: Vec<u8> = vector.iter().flat_map(|part| part.to_le_bytes()).collect();
                Value::String(STANDARD.encode(bytes))
            } else {
                json!(vector.as_slice())
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    let count: usize = texts.iter().map(|text| words::count(text)).sum();
    Ok(whole(&json!({
        "object": "list", "data": data, "model": MODEL,
        "usage": {"prompt_tokens": count, "total_tokens": count},
    })))
}

fn texts(input: Option<&Value>) -> Result<Vec<&str>, Failure> {
    let bad = || {
        Failure::invalid(
            Some("input"),
            format!("input must be a text, or a list of 1 to {MAX_TEXTS} texts"),
        )
    };
    match input {
        Some(Value::String(text)) => Ok(vec![text]),
        Some(Value::Array(list)) if (1..=MAX_TEXTS).contains(&list.len()) => {
            let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
            texts.ok_or_else(bad)
        }
        _ => Err(bad()),
    }
}

/// A vector of length 1; of a text without words, zeros.
fn embed(text: &str) -> [f32; DIMENSIONS] {
    let mut vector = [0f32; DIMENSIONS];
    for word in text.split_whitespace() {
        let word = word
            .trim_matches(|letter: char| !letter.is_alphanumeric())
            .to_lowercase();
        if !word.is_empty() {
            let hash = hash(word.as_bytes());
            let place = usize::try_from(hash % DIMENSIONS as u64).unwrap_or(0);
            // Half of the words take away, so that words which share a place do not always add up.
            vector[place] += if hash >> 63 == 0 { 1.0 } else { -1.0 };
        }
    }
    let length = vector.iter().map(|part| part * part).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|part| *part /= length);
    }
    vector
}

/// FNV-1a, with its bits mixed once more at the end: the same on every machine.
fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 32;
    hash.wrapping_mul(0xd6e8_feb8_6659_fd93)
}
