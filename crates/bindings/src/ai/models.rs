//! Which provider runs which model, and what models there are.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Method};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use wildmatch::WildMatch;

use super::binding::OpenError;
use super::options::{AiOptions, ModelRule, Price};
use super::upstream::{Provider, UpstreamAnswer, UpstreamRequest};

/// How long a model's name may be, in bytes.
pub(in crate::ai) const MAX_MODEL_NAME: usize = 512;

/// How long a provider may take to list its models.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a list may be, in bytes.
const MAX_LIST_BYTES: usize = 4 << 20;

/// How many models of one provider are listed.
const MAX_MODELS: usize = 5_000;

/// For how long providers are not asked again for their models.
const LISTED_FOR: Duration = Duration::from_secs(30);

/// The same, when one of them did not answer.
const LISTED_FOR_IF_MISSING: Duration = Duration::from_secs(5);

/// A binding's providers and models.
pub(in crate::ai) struct Models {
    providers: Vec<Arc<Provider>>,
    rules: Vec<Rule>,
    listing: Mutex<Option<(Instant, Arc<Listing>)>>,
}

struct Rule {
    pattern: WildMatch,
    /// The pattern, if it is a name as it stands.
    alias: Option<String>,
    provider: usize,
    model: Option<String>,
    price: Option<Price>,
}

/// Who runs a model.
#[derive(Clone)]
pub(in crate::ai) struct Resolved {
    /// The provider.
    pub(in crate::ai) provider: Arc<Provider>,
    /// What the model is called there.
    pub(in crate::ai) model: String,
    /// What it costs.
    pub(in crate::ai) price: Option<Price>,
}

/// Why nobody runs a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::ai) enum ModelError {
    /// There is no provider at all.
    #[error("no provider of models is configured")]
    NoProvider,
    /// It cannot be a model's name.
    #[error("a model's name has 1 to {MAX_MODEL_NAME} bytes, this one has {0}")]
    Name(usize),
}

/// What models there are.
#[derive(Debug, Default)]
pub(in crate::ai) struct Listing {
    /// The models, those of rules without wildcards first.
    pub(in crate::ai) models: Vec<Listed>,
    /// Names of providers that did not list theirs.
    pub(in crate::ai) missing: Vec<String>,
}

/// A model that can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ai) struct Listed {
    /// Its name: as the provider says it, or as a rule does.
    pub(in crate::ai) id: String,
    /// The provider's name.
    pub(in crate::ai) provider: String,
    /// Who made it, as the provider says.
    pub(in crate::ai) owned_by: Option<String>,
    /// When, in seconds since 1970, as the provider says.
    pub(in crate::ai) created: Option<i64>,
}

/// An entry of a provider's list.
pub(super) struct Entry {
    pub(super) id: String,
    owned_by: Option<String>,
    created: Option<i64>,
}

impl Models {
    /// Opens the providers, and reads the rules.
    ///
    /// # Errors
    /// When a provider cannot be opened, two have one name, or a rule has a provider that there is not.
    pub(in crate::ai) fn new(options: &AiOptions) -> Result<Self, OpenError> {
        let mut providers: Vec<Arc<Provider>> = Vec::with_capacity(options.providers.len());
        for provider in &options.providers {
            if providers.iter().any(|other| other.name() == provider.name) {
                let twice = format!("two providers are called {:?}", provider.name);
                return Err(OpenError::Options(twice));
            }
            providers.push(Provider::open(provider.clone())?);
        }
        let rules = options
            .models
            .iter()
            .map(|rule| Rule::new(rule, &providers));
        Ok(Self {
            rules: rules.collect::<Result<_, _>>()?,
            providers,
            listing: Mutex::new(None),
        })
    }

    /// The providers, in their order.
    pub(in crate::ai) fn providers(&self) -> &[Arc<Provider>] {
        &self.providers
    }

    /// The provider of this name.
    pub(in crate::ai) fn provider(&self, name: &str) -> Option<Arc<Provider>> {
        let found = self.providers.iter().find(|it| it.name() == name);
        found.map(Arc::clone)
    }

    /// Who runs a model: as the first rule says that matches; else the provider that the name begins with
    /// (`openai/gpt-4o`); else the first.
    pub(in crate::ai) fn resolve(&self, name: &str) -> Result<Resolved, ModelError> {
        if name.is_empty() || name.len() > MAX_MODEL_NAME {
            return Err(ModelError::Name(name.len()));
        }
        if let Some(rule) = self.rules.iter().find(|it| it.pattern.matches(name)) {
            return Ok(rule.resolve(name, &self.providers));
        }
        let named = name.split_once('/').and_then(|(provider, model)| {
            let provider = self.provider(provider).filter(|_| !model.is_empty())?;
            Some((provider, model))
        });
        let (provider, model) = match named {
            Some(named) => named,
            None => {
                let first = self.providers.first().ok_or(ModelError::NoProvider)?;
                (Arc::clone(first), name)
            }
        };
        Ok(Resolved {
            provider,
            model: model.to_owned(),
            price: None,
        })
    }

    /// A model of a provider that was asked for by its name, with what it costs: as the first rule says that matches
    /// and is of that provider.
    pub(in crate::ai) fn priced(&self, provider: Arc<Provider>, model: &str) -> Resolved {
        let own = |rule: &&Rule| self.providers[rule.provider].name() == provider.name();
        let mut rules = self.rules.iter().filter(own);
        let rule = rules.find(|rule| rule.pattern.matches(model));
        Resolved {
            price: rule.and_then(|rule| rule.price),
            model: model.to_owned(),
            provider,
        }
    }

    /// What models there are: aliases, and what each provider lists. Kept for a while, and asked for once only at a time.
    pub(in crate::ai) async fn list(&self) -> Arc<Listing> {
        let mut kept = self.listing.lock().await;
        let now = Instant::now();
        if let Some((_, listing)) = kept.as_ref().filter(|(until, _)| *until > now) {
            return Arc::clone(listing);
        }
        let listing = Arc::new(self.ask_all().await);
        let keep = match listing.missing.is_empty() {
            true => LISTED_FOR,
            false => LISTED_FOR_IF_MISSING,
        };
        *kept = Some((Instant::now() + keep, Arc::clone(&listing)));
        listing
    }

    async fn ask_all(&self) -> Listing {
        let aliases = self.rules.iter().filter_map(|rule| {
            Some(Listed {
                id: rule.alias.clone()?,
                provider: self.providers[rule.provider].name().to_owned(),
                owned_by: None,
                created: None,
            })
        });
        let mut listing = Listing {
            models: aliases.collect(),
            missing: Vec::new(),
        };
        let known = listing.models.iter().map(|model| model.id.clone());
        let mut known: HashSet<String> = known.collect();
        let asked = self.providers.iter().map(|provider| ask(provider));
        let answers = futures::future::join_all(asked).await;
        for (provider, entries) in self.providers.iter().zip(answers) {
            let Some(entries) = entries else {
                listing.missing.push(provider.name().to_owned());
                continue;
            };
            for entry in entries {
                let id = self.name_of(provider, entry.id);
                if known.insert(id.clone()) {
                    listing.models.push(Listed {
                        id,
                        provider: provider.name().to_owned(),
                        owned_by: entry.owned_by,
                        created: entry.created,
                    });
                }
            }
        }
        listing
    }

    /// The name by which a model of a provider is asked for here: its own, unless that means another.
    fn name_of(&self, provider: &Arc<Provider>, model: String) -> String {
        let resolved = self.resolve(&model);
        let is_it = resolved.is_ok_and(|resolved| {
            Arc::ptr_eq(&resolved.provider, provider) && resolved.model == model
        });
        match is_it {
            true => model,
            false => format!("{}/{model}", provider.name()),
        }
    }
}

impl Rule {
    fn new(rule: &ModelRule, providers: &[Arc<Provider>]) -> Result<Self, OpenError> {
        let wrong = |reason| {
            let pattern = &rule.pattern;
            OpenError::Options(format!("the rule for models {pattern:?}: {reason}"))
        };
        let provider = match &rule.provider {
            None if providers.is_empty() => return Err(wrong("there is no provider".to_owned())),
            None => 0,
            Some(name) => {
                let found = providers.iter().position(|it| it.name() == name);
                found.ok_or_else(|| {
                    wrong(format!(
                        "no provider is called {name:?}; {}",
                        known(providers)
                    ))
                })?
            }
        };
        if rule.pattern.is_empty() {
            return Err(wrong("its pattern is empty".to_owned()));
        }
        if rule.model.as_ref().is_some_and(String::is_empty) {
            return Err(wrong("its model has no name".to_owned()));
        }
        if let Some(price) = &rule.price {
            let given = [Some(price.input), Some(price.output), price.cached_input];
            if given
                .into_iter()
                .flatten()
                .any(|it| !it.is_finite() || it < 0.0)
            {
                return Err(wrong("its price is not a number from 0 on".to_owned()));
            }
        }
        let is_pattern = rule.pattern.contains(['*', '?']);
        Ok(Self {
            pattern: WildMatch::new(&rule.pattern),
            alias: (!is_pattern).then(|| rule.pattern.clone()),
            provider,
            model: rule.model.clone(),
            price: rule.price,
        })
    }

    fn resolve(&self, name: &str, providers: &[Arc<Provider>]) -> Resolved {
        let provider = Arc::clone(&providers[self.provider]);
        // Names that begin with the provider's mean the same with a rule as without.
        let own = name.strip_prefix(provider.name());
        let own = own.and_then(|rest| rest.strip_prefix('/'));
        let same = own.filter(|rest| !rest.is_empty()).unwrap_or(name);
        Resolved {
            model: self.model.as_deref().unwrap_or(same).to_owned(),
            price: self.price,
            provider,
        }
    }
}

/// The providers' names, for people.
fn known(providers: &[Arc<Provider>]) -> String {
    let names: Vec<_> = providers.iter().map(|it| it.name()).collect();
    match names.is_empty() {
        true => "there is none".to_owned(),
        false => format!("there is {}", names.join(", ")),
    }
}

/// A provider's models, unless it does not say.
async fn ask(provider: &Provider) -> Option<Vec<Entry>> {
    let request = UpstreamRequest {
        method: Method::GET,
        path: "models".to_owned(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        timeout: Some(LIST_TIMEOUT),
    };
    let answer = async {
        let answer = provider.send(request).await.ok()?;
        let listed = answer.status.is_success();
        collect(answer).await.filter(|_| listed)
    };
    let bytes = tokio::time::timeout(LIST_TIMEOUT, answer).await.ok()??;
    read(&bytes)
}

async fn collect(mut answer: UpstreamAnswer) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.body.next().await {
        let chunk = chunk.ok()?;
        if bytes.len() + chunk.len() > MAX_LIST_BYTES {
            return None;
        }
        bytes.extend_from_slice(&chunk);
    }
    Some(bytes)
}

/// A list of models as OpenAI's `GET models` has it; `None` for anything else. Entries that are none are left out.
pub(super) fn read(bytes: &[u8]) -> Option<Vec<Entry>> {
    let list: Value = serde_json::from_slice(bytes).ok()?;
    let is_list = list.get("object").and_then(Value::as_str) == Some("list");
    let data = match list.get("data") {
        // Ollama's, when it has no model.
        None | Some(Value::Null) if is_list => return Some(Vec::new()),
        Some(Value::Array(data)) => data,
        _ => return None,
    };
    let entries: Vec<_> = data.iter().filter_map(entry).take(MAX_MODELS).collect();
    (is_list || !entries.is_empty()).then_some(entries)
}

fn entry(value: &Value) -> Option<Entry> {
    let text = |name: &str| {
        let text = value.get(name)?.as_str()?;
        (text.len() <= MAX_MODEL_NAME).then(|| text.to_owned())
    };
    Some(Entry {
        id: text("id").filter(|id| !id.is_empty())?,
        owned_by: text("owned_by"),
        created: value.get("created").and_then(Value::as_i64),
    })
}

#[cfg(test)]
mod tests;
