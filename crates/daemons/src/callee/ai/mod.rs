//! AI bindings: what can be said about them, and how they are opened.

mod args;
mod discover;
mod secrets;
mod table;

use std::path::Path;
use std::sync::Arc;

use bindings::ai::{AccountSink, Ai, AiOptions, Endpoint, ProviderOptions};

use self::secrets::{Source, What};
use crate::cli::Sensitive;
use crate::exit::{Failure, Findings};

pub use self::args::AiArgs;
pub(super) use self::table::TABLES;

/// What the provider of a binding is called that has one and gives it no name.
const DEFAULT: &str = "default";

/// What the word counter is called.
const BUILTIN: &str = "builtin";

/// An AI binding, as it is configured.
#[derive(Debug, Clone, PartialEq)]
pub struct AiConfig {
    /// The binding's name.
    pub binding: String,
    /// Providers, models, gateways. Without providers, servers are looked for when it is opened.
    pub options: AiOptions,
    /// The files that its settings name.
    sources: Vec<Source>,
    /// The setting that says where the log is.
    log_setting: String,
}

/// `--ai NAME[=URL|=builtin]`.
#[derive(Debug, Clone)]
pub(super) struct NamedAi {
    pub(super) binding: String,
    /// Who answers; `None` looks for servers.
    pub(super) provider: Option<ProviderOptions>,
}

impl NamedAi {
    /// Reads an option's text. It may be a URL with a password in it, so it is not repeated.
    pub(super) fn read(Sensitive(text): &Sensitive) -> Result<Self, Failure> {
        let wrong = |text: &str| Err(Failure::Usage(format!("--ai: {text}")));
        let (binding, target) = match text.split_once('=') {
            Some((name, target)) => (name, Some(target)),
            None => (text.as_str(), None),
        };
        if binding.is_empty() || binding.contains("://") || target == Some("") {
            return wrong(
                "write NAME=URL, NAME=builtin or NAME, for instance AI=http://127.0.0.1:11434/v1",
            );
        }
        let provider = match target {
            None => None,
            Some(BUILTIN) => Some(builtin()),
            Some(url) => match args::endpoint(url) {
                Ok(url) => Some(ProviderOptions::new(DEFAULT, Endpoint::Http(url))),
                Err(text) => return wrong(&format!("{}: {text}", tail::escape(binding))),
            },
        };
        Ok(Self {
            binding: binding.to_owned(),
            provider,
        })
    }
}

fn builtin() -> ProviderOptions {
    ProviderOptions::new(BUILTIN, Endpoint::Builtin)
}

impl AiConfig {
    /// A binding without a table of its own.
    pub(super) fn plain(named: NamedAi, all: &AiArgs) -> Self {
        let options = AiOptions {
            providers: named.provider.into_iter().collect(),
            log: all.log.clone(),
            public_url: all.public_url.clone(),
            ..AiOptions::default()
        };
        Self {
            binding: named.binding,
            options,
            sources: Vec::new(),
            log_setting: "ai-log".to_owned(),
        }
    }

    /// Reads the files that its settings name: whether they can be used, and headers. Where all of it is only to be
    /// checked, the service manager may keep credentials to itself.
    ///
    /// # Errors
    /// All that cannot be used, each with its setting.
    pub(super) fn read_files(&mut self, check: bool) -> Result<(), Failure> {
        let mut found = Findings::default();
        for source in &self.sources {
            if check && source.what == What::Credential {
                continue;
            }
            let Some(provider) = self.options.providers.get_mut(source.provider) else {
                continue;
            };
            if let Err(text) = source.read(provider) {
                found.add(Failure::Config(text).of(&source.setting, 0));
            }
        }
        if let Some(text) = self.options.log.as_deref().and_then(no_log_there) {
            found.add(Failure::Config(text).of(&self.log_setting, 0));
        }
        found.end()
    }

    /// The settings that could not be checked.
    pub(super) fn unchecked(&self) -> impl Iterator<Item = &str> {
        let sources = self.sources.iter();
        let unchecked = sources.filter(|source| source.what == What::Credential);
        unchecked.map(|source| source.setting.as_str())
    }

    /// Opens it. Without providers it looks for servers, and says what it finds.
    pub(super) async fn open(&self, sink: Option<Arc<dyn AccountSink>>) -> Result<Ai, Failure> {
        let mut options = self.options.clone();
        if options.providers.is_empty() {
            options.providers = self.look().await?;
        }
        self.warn_of_plain_text();
        let opened = Ai::open(self.binding.clone(), options, sink);
        opened.map_err(|error| Failure::Config(format!("the AI binding {}: {error}", self.binding)))
    }

    async fn look(&self) -> Result<Vec<ProviderOptions>, Failure> {
        let found = discover::look(&self.binding).await;
        match found.is_empty() {
            false => Ok(found),
            true => Err(Failure::Unavailable(format!(
                "the AI binding {0}: no server of models answers at the usual addresses of this machine ({1}); start \
                 one, or say where it is: --ai {0}=URL, or --ai {0}=builtin for a word counter",
                self.binding,
                discover::usual()
            ))),
        }
    }

    fn warn_of_plain_text(&self) {
        for provider in &self.options.providers {
            let Endpoint::Http(uri) = &provider.endpoint else {
                continue;
            };
            let host = uri.host().unwrap_or_default();
            let here = host == "localhost" || host.starts_with("127.") || host == "[::1]";
            let secret = provider.key.is_some() || !provider.headers.is_empty();
            if secret && !here && uri.scheme_str() == Some("http") {
                tracing::warn!(
                    "{}: what is sent to the provider {} at {host} is not encrypted, its key included; use https",
                    self.binding,
                    provider.name
                );
            }
        }
    }
}

/// What is wrong with where a log should be.
fn no_log_there(log: &Path) -> Option<String> {
    let folder = match log.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => log,
    };
    if log.is_dir() {
        return Some(format!("{} is a directory; name a file", log.display()));
    }
    (!folder.is_dir()).then(|| {
        format!(
            "the directory {} does not exist; create it first",
            folder.display()
        )
    })
}

/// Who answers, in a few words.
pub(super) fn describe(ai: &Ai) -> String {
    let providers = ai.options().providers.iter();
    let each = providers.map(|provider| match &provider.endpoint {
        Endpoint::Http(uri) => uri.to_string(),
        Endpoint::Builtin => "the built-in word counter".to_owned(),
    });
    each.collect::<Vec<_>>().join(", ")
}
