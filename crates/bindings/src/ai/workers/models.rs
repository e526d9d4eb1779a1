//! The list that `models()` gives.

use serde_json::{Value, json};

use super::error::AiError;

/// A model that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ai) struct Listed {
    /// Its name here.
    pub id: String,
    /// Who runs it.
    pub provider: String,
}

/// Which models are wanted; the parameters of `models()`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::ai) struct Search {
    /// A part of the name.
    pub search: Option<String>,
    /// The name of the task.
    pub task: Option<String>,
    /// Whose model it is: the part of the name before its last `/`, or the provider.
    pub author: Option<String>,
    /// Which page, from 1.
    pub page: Option<u64>,
    /// How long a page is; without it all models are one page.
    pub per_page: Option<u64>,
}

impl Search {
    /// Takes one parameter of a query. `hide_experimental` and `source` are taken and choose nothing: no model here
    /// is experimental, and all are of one source.
    ///
    /// # Errors
    /// When a number is none. Parameters that are not known are passed over, as Workers AI does.
    pub fn take(&mut self, name: &str, value: &str) -> Result<(), AiError> {
        let text = || Some(value.to_owned()).filter(|value| !value.is_empty());
        match name {
            "search" => self.search = text(),
            "task" => self.task = text(),
            "author" => self.author = text(),
            "page" => self.page = Some(positive(name, value)?),
            "per_page" => self.per_page = Some(positive(name, value)?),
            _ => {}
        }
        Ok(())
    }

    /// Takes the object that `models()` is called with by RPC.
    ///
    /// # Errors
    /// When it is no object, or a number in it is none.
    pub fn of_value(params: &Value) -> Result<Self, AiError> {
        let mut search = Self::default();
        match params {
            Value::Null => {}
            Value::Object(params) => {
                for (name, value) in params {
                    match value {
                        Value::Null => {}
                        Value::String(text) => search.take(name, text)?,
                        other => search.take(name, &other.to_string())?,
                    }
                }
            }
            _ => return Err(AiError::invalid_input("the parameters must be an object")),
        }
        Ok(search)
    }
}

fn positive(name: &str, value: &str) -> Result<u64, AiError> {
    value
        .parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| AiError::invalid_input(format!("`{name}` must be a number from 1 on")))
}

/// The models that are wanted, in the order of `all`, each as Workers AI lists them.
///
/// Providers say no more than a name: the task is guessed from it, and is embeddings where it has `embed` or `bge-`
/// in it.
pub(in crate::ai) fn models(all: &[Listed], search: &Search) -> Vec<Value> {
    let per_page = search.per_page.map_or(usize::MAX, to_usize);
    let page = search.page.map_or(1, to_usize);
    let same = |wanted: &str, is: &str| wanted.eq_ignore_ascii_case(is);
    all.iter()
        .filter(|model| {
            let part = search.search.as_deref().unwrap_or("").to_lowercase();
            model.id.to_lowercase().contains(&part)
        })
        .filter(|model| {
            let (id, name, _) = task(model);
            search
                .task
                .as_deref()
                .is_none_or(|wanted| same(wanted, name) || same(wanted, id))
        })
        .filter(|model| {
            search
                .author
                .as_deref()
                .is_none_or(|wanted| same(wanted, author(model)))
        })
        .skip((page - 1).saturating_mul(per_page))
        .take(per_page)
        .map(shown)
        .collect()
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// `meta` of `@cf/meta/llama`, `org` of `org/model`.
fn author(model: &Listed) -> &str {
    let mut parts = model.id.rsplit('/');
    parts.next();
    parts.next().unwrap_or(&model.provider)
}

/// The id, the name and the description of what a model does.
fn task(model: &Listed) -> (&'static str, &'static str, &'static str) {
    let name = model.id.to_ascii_lowercase();
    if name.contains("embed") || name.contains("bge-") {
        (
            "text-embeddings",
            "Text Embeddings",
            "Makes vectors of texts.",
        )
    } else {
        (
            "text-generation",
            "Text Generation",
            "Goes on with a text or a conversation.",
        )
    }
}

fn shown(model: &Listed) -> Value {
    let (id, name, description) = task(model);
    json!({
        "id": model.id,
        "source": 1,
        "name": model.id,
        "description": format!("Run by {}", model.provider),
        "task": {"id": id, "name": name, "description": description},
        "tags": [],
        "properties": [{"property_id": "provider", "value": model.provider}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Listed> {
        [
            ("@cf/meta/llama-3.1-8b-instruct", "ollama"),
            ("llama3.2:1b", "ollama"),
            ("nomic-embed-text", "ollama"),
            ("qwen/qwen3-8b", "lmstudio"),
        ]
        .map(|(id, provider)| Listed {
            id: id.into(),
            provider: provider.into(),
        })
        .to_vec()
    }

    fn found(params: Value) -> Vec<String> {
        let search = Search::of_value(&params).unwrap();
        models(&all(), &search)
            .iter()
            .map(|model| model["name"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn a_model_has_every_member_that_workers_ai_lists() {
        assert_eq!(
            models(&all()[..1], &Search::default()),
            [json!({
                "id": "@cf/meta/llama-3.1-8b-instruct",
                "source": 1,
                "name": "@cf/meta/llama-3.1-8b-instruct",
                "description": "Run by ollama",
                "task": {"id": "text-generation", "name": "Text Generation",
                    "description": "Goes on with a text or a conversation."},
                "tags": [],
                "properties": [{"property_id": "provider", "value": "ollama"}],
            })]
        );
    }

    #[test]
    fn models_are_chosen_by_name_task_author_and_page() {
        assert_eq!(found(Value::Null).len(), 4);
        assert_eq!(
            found(json!({"hide_experimental": true, "source": 1, "other": "x"})).len(),
            4
        );
        assert_eq!(
            found(json!({"search": "LLAMA"})),
            ["@cf/meta/llama-3.1-8b-instruct", "llama3.2:1b"]
        );
        assert_eq!(
            found(json!({"task": "text embeddings"})),
            ["nomic-embed-text"]
        );
        assert_eq!(
            found(json!({"author": "meta"})),
            ["@cf/meta/llama-3.1-8b-instruct"]
        );
        assert_eq!(
            found(json!({"author": "ollama"})),
            ["llama3.2:1b", "nomic-embed-text"]
        );
        assert_eq!(
            found(json!({"per_page": 3, "page": "2"})),
            ["qwen/qwen3-8b"]
        );
        assert_eq!(
            found(json!({"per_page": 3, "page": u64::MAX})),
            Vec::<String>::new()
        );
        assert_eq!(found(json!({"page": 2})), Vec::<String>::new());
        assert_eq!(found(json!({"search": "gemma"})), Vec::<String>::new());
    }

    #[test]
    fn parameters_that_cannot_be_meant_are_refused() {
        for params in [
            json!({"page": 0}),
            json!({"per_page": "x"}),
            json!({"page": -1}),
            json!([]),
        ] {
            assert_eq!(
                Search::of_value(&params).unwrap_err().internal_code(),
                5006,
                "{params}"
            );
        }
    }
}
