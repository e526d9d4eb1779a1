//! An AI binding as options and the file say it, and as it is open.

use std::path::Path;

use async_trait::async_trait;
use host::config::{File, Places};
use host::values::{self, Sensitive};
use host::{Configured, Failure, Findings, Offered, Opening, escape};
use js_rpc::Bindings;

use super::args::{self, AiArgs};
use super::discover;
use super::metrics::Models;
use super::secrets::{Source, What};
use crate::ai::{Ai, AiOptions, Endpoint, ProviderOptions};

/// What the provider of a binding is called that has one and gives it no name.
pub(super) const DEFAULT: &str = "default";

/// What the word counter is called.
const BUILTIN: &str = "builtin";

/// An AI binding, as it is configured.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AiConfig {
    /// The binding's name.
    pub(super) binding: String,
    /// Providers, models, gateways. Without providers, servers are looked for when it is opened.
    pub(super) options: AiOptions,
    /// The files that its settings name.
    pub(super) sources: Vec<Source>,
    /// The setting that says where the log is.
    pub(super) log_setting: String,
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
                Err(text) => return wrong(&format!("{}: {text}", escape(binding))),
            },
        };
        Ok(Self {
            binding: binding.to_owned(),
            provider,
        })
    }
}

pub(super) fn builtin() -> ProviderOptions {
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

    async fn look(&self, say: &dyn Fn(&str)) -> Result<Vec<ProviderOptions>, Failure> {
        let found = discover::look(&self.binding, say).await;
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

#[async_trait(?Send)]
impl Configured for AiConfig {
    fn name(&self) -> &str {
        &self.binding
    }

    fn is_same(&self, other: &dyn Configured) -> bool {
        other.downcast_ref::<Self>() == Some(self)
    }

    /// Whether the files can be used, and headers of them. Where all of it is only to be checked, the service manager
    /// may keep credentials to itself.
    fn read_files(&mut self, places: &Places, check: bool) -> Result<(), Failure> {
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
        let read = found.end();
        read.map_err(|failure| places.blame(&[], None, failure))
    }

    fn unchecked(&self) -> Vec<String> {
        let sources = self.sources.iter();
        let unchecked = sources.filter(|source| source.what == What::Credential);
        unchecked.map(|source| source.setting.clone()).collect()
    }

    /// Opens it. Without providers it looks for servers, and says what it finds.
    async fn open(&self, opening: &Opening<'_>) -> Result<Box<dyn Offered>, Failure> {
        let mut options = self.options.clone();
        if options.providers.is_empty() {
            options.providers = self.look(opening.say).await?;
        }
        self.warn_of_plain_text();
        let models = opening.meter.downcast_ref::<Models>();
        let sink = models.and_then(|models| models.sink(&self.binding, &self.options));
        let opened = Ai::open(self.binding.clone(), options, sink);
        let failed = |error| Failure::Config(format!("the AI binding {}: {error}", self.binding));
        Ok(Box::new(Open(opened.map_err(failed)?)))
    }
}

/// A binding that is open.
pub(super) struct Open(pub(super) Ai);

#[async_trait(?Send)]
impl Offered for Open {
    /// Who answers.
    fn describe(&self) -> String {
        let providers = self.0.options().providers.iter();
        let each = providers.map(|provider| match &provider.endpoint {
            Endpoint::Http(uri) => uri.to_string(),
            Endpoint::Builtin => "the built-in word counter".to_owned(),
        });
        each.collect::<Vec<_>>().join(", ")
    }

    fn serve(&self, name: &str, bindings: &Bindings) {
        bindings.service(name, self.0.clone());
    }

    fn reached_at(&self, url: Option<String>) {
        self.0.reached_at(url);
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

/// The file's AI bindings, and then the others of the options.
pub(super) fn all(args: &AiArgs, file: Option<&File>) -> Result<Vec<AiConfig>, Failure> {
    let mut found = Findings::default();
    let options = args.ai.iter().map(NamedAi::read);
    let mut options: Vec<NamedAi> = options.filter_map(|named| found.take(named)).collect();
    if let Some(name) = values::twice(options.iter().map(|named| named.binding.as_str())) {
        found.add(Failure::Usage(format!(
            "--ai names the binding {name:?} twice; give each its own name"
        )));
    }
    let mut all: Vec<AiConfig> = Vec::new();
    if let Some(file) = file {
        for (name, section) in file.tables("ai") {
            let own = |named: &NamedAi| named.binding == name;
            let said = options.iter().position(own).map(|i| options.remove(i));
            all.extend(found.take(AiConfig::table(name, section, file, said, args)));
        }
    }
    found.end()?;
    let plain = options.into_iter();
    all.extend(plain.map(|named| AiConfig::plain(named, args)));
    let logs = all
        .iter()
        .filter_map(|ai| ai.options.log.as_deref()?.to_str());
    if let Some(log) = values::twice(logs) {
        return Err(Failure::Config(format!(
            "several AI bindings have the log {log}; give each its own, as `log` in its table"
        )));
    }
    Ok(all)
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
