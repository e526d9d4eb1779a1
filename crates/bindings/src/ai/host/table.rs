//! A table `[ai.NAME]` and the tables within it.

use host::config::{self, File, Problem, Section, Tables};
use host::values::{Size, Switch};
use host::{Failure, Findings};

use super::args::{AiArgs, BindingArgs, GatewayArgs, ModelArgs, ProviderArgs};
use super::config::{AiConfig, DEFAULT, NamedAi, builtin};
use super::secrets::{self, Source, What};
use crate::ai::{AiOptions, Endpoint, GatewayOptions, ModelRule, Price, ProviderOptions};

/// What there can be in a file.
pub(super) const TABLES: Tables = Tables {
    kind: "ai",
    within: &[
        Tables::plain("provider"),
        Tables::plain("model"),
        Tables::plain("gateway"),
    ],
};

impl AiConfig {
    /// A table `[ai.NAME]`; an option replaces where its only provider is.
    pub(super) fn table(
        name: &str,
        section: &Section,
        file: &File,
        said: Option<NamedAi>,
        all: &AiArgs,
    ) -> Result<Self, Failure> {
        let mut found = Findings::default();
        let failed = |problem: Problem| file.failure(&problem);
        let mut sources = Vec::new();
        let own = binding(section).map_err(failed);
        let own = found.take(own);
        let mut providers = Vec::new();
        for (name, section) in section.tables("provider") {
            let provider = named_provider(name, section, providers.len(), &mut sources);
            providers.extend(found.take(provider.map_err(failed)));
        }
        let models = section.tables("model");
        let models = models.map(|(pattern, section)| (section, model(pattern, section)));
        let models: Vec<_> = models.collect();
        let gateways = section.tables("gateway");
        let gateways: Vec<_> = gateways.map(|(id, section)| gateway(id, section)).collect();
        let mut options = AiOptions {
            log: all.log.clone(),
            public_url: all.public_url.clone(),
            ..AiOptions::default()
        };
        let mut log_setting = "ai-log".to_owned();
        let has_providers = section.tables("provider").next().is_some();
        if let Some(own) = own {
            if let Some(log) = own.log {
                options.log = Some(log);
                log_setting = section.setting("log");
            }
            options.public_url = own.public_url.or(options.public_url);
            options.content_on_spans = own.content_on_spans.is_some_and(|switch| switch.0);
            let bytes = |size: Option<Size>, default| size.map_or(default, |s| s.bytes());
            options.max_request_bytes = bytes(own.max_request, options.max_request_bytes);
            options.max_answer_bytes = bytes(own.max_answer, options.max_answer_bytes);
            let one = only_provider(section, own.provider, has_providers, said, &mut sources);
            providers.extend(found.take(one.map_err(failed)).flatten());
        }
        for (section, rule) in models {
            let rule = rule.and_then(|rule| {
                // Of those that are wrong is said what is wrong with them.
                let known = !found.is_empty()
                    || providers
                        .iter()
                        .any(|p| Some(&p.name) == rule.provider.as_ref());
                match &rule.provider {
                    Some(name) if !known => {
                        let names = providers.iter().map(|p| p.name.as_str());
                        let names: Vec<&str> = names.collect();
                        let text = match names.is_empty() {
                            true => format!("there is no provider {name:?}, nor any other"),
                            false => format!(
                                "there is no provider {name:?}; there is: {}",
                                names.join(", ")
                            ),
                        };
                        Err(section.wrong("provider", &text))
                    }
                    _ => Ok(rule),
                }
            });
            options.models.extend(found.take(rule.map_err(failed)));
        }
        for gateway in gateways {
            options.gateways.extend(found.take(gateway.map_err(failed)));
        }
        found.end()?;
        options.providers = providers;
        Ok(Self {
            binding: name.to_owned(),
            options,
            sources,
            log_setting,
        })
    }
}

fn binding(section: &Section) -> Result<BindingArgs, Problem> {
    secrets::refuse_key(section)?;
    section.parse()
}

/// The provider that a table `[ai.NAME]` itself is, if it is one.
fn only_provider(
    section: &Section,
    args: ProviderArgs,
    has_others: bool,
    said: Option<NamedAi>,
    sources: &mut Vec<Source>,
) -> Result<Option<ProviderOptions>, Problem> {
    let keys = config::names::<ProviderArgs>();
    let own = keys.iter().find(|key| section.has(key));
    let said = said.and_then(|named| named.provider);
    if has_others {
        return match (own, said) {
            (Some(key), _) => Err(section.wrong(
                key,
                "this binding has tables for its providers; write this in one of them",
            )),
            (None, Some(_)) => {
                Err(section
                    .lacks("this binding has tables for its providers; leave out --ai, or them"))
            }
            (None, None) => Ok(None),
        };
    }
    match (own, said) {
        (None, None) => Ok(None),
        (None, Some(said)) => Ok(Some(said)),
        (Some(_), said) => provider(DEFAULT, section, args, said, 0, sources).map(Some),
    }
}

fn named_provider(
    name: &str,
    section: &Section,
    nth: usize,
    sources: &mut Vec<Source>,
) -> Result<ProviderOptions, Problem> {
    name_is_plain(name, "a provider", section)?;
    secrets::refuse_key(section)?;
    provider(name, section, section.parse()?, None, nth, sources)
}

fn provider(
    name: &str,
    section: &Section,
    args: ProviderArgs,
    said: Option<ProviderOptions>,
    nth: usize,
    sources: &mut Vec<Source>,
) -> Result<ProviderOptions, Problem> {
    let is_builtin = args.builtin.is_some_and(|switch| switch.0);
    let mut options = match (said, &args.url, is_builtin) {
        (Some(said), ..) => said,
        (None, Some(_), true) => {
            return Err(section.wrong("builtin", "there is a `url` as well; leave one of them out"));
        }
        (None, Some(url), false) => ProviderOptions::new(name, Endpoint::Http(url.clone())),
        (None, None, true) if name == DEFAULT => builtin(),
        (None, None, true) => ProviderOptions::new(name, Endpoint::Builtin),
        (None, None, false) => {
            return Err(section.lacks("there is no `url`; write url = \"URL\", or builtin = true"));
        }
    };
    let mut source = |key: &str, what, path: std::path::PathBuf| {
        sources.push(Source {
            setting: section.setting(key),
            provider: nth,
            what,
            path,
        });
    };
    if let Some(header) = &args.key_header {
        options.key_header = header.clone();
    }
    if let Some((key, file)) = secrets::key(&args, section)? {
        options.key = Some(key);
        if let Some((setting, what, path)) = file {
            source(setting, what, path);
        }
    } else if args.key_header.is_some() {
        return Err(section.wrong(
            "key-header",
            "there is no key for it; write key-env, key-file or credential",
        ));
    }
    secrets::headers(&args, section, &mut options)?;
    if let Some(path) = args.header_file {
        source("header-file", What::Headers, path.0.into());
    }
    if let Some(path) = args.ca {
        source("ca", What::Authorities, path.clone());
        options.certificate_authorities = Some(path);
    }
    let plain = options;
    Ok(ProviderOptions {
        semantic_name: args.semantic_name,
        connect_timeout: args.connect_timeout.unwrap_or(plain.connect_timeout),
        timeout: args.timeout.unwrap_or(plain.timeout),
        idle_timeout: args.idle_timeout.unwrap_or(plain.idle_timeout),
        max_in_flight: args.max_in_flight.unwrap_or(plain.max_in_flight),
        max_waiting: args.max_waiting.unwrap_or(plain.max_waiting),
        break_after: args.break_after.unwrap_or(plain.break_after),
        break_for: args.break_for.unwrap_or(plain.break_for),
        stream_usage: args
            .stream_usage
            .map_or(plain.stream_usage, |switch| switch.0),
        ..plain
    })
}

fn model(pattern: &str, section: &Section) -> Result<ModelRule, Problem> {
    let args: ModelArgs = section.parse()?;
    let price = match (args.input_price, args.output_price) {
        (Some(input), Some(output)) => Some(Price {
            input,
            output,
            cached_input: args.cached_input_price,
        }),
        (None, None) if args.cached_input_price.is_none() => None,
        _ => {
            return Err(section.lacks(
                "a price has input-price and output-price; write both, 0 for what costs nothing",
            ));
        }
    };
    if pattern.is_empty() {
        return Err(
            section.lacks("this is empty; write a model's name, or a pattern such as \"*\"")
        );
    }
    Ok(ModelRule {
        pattern: pattern.to_owned(),
        provider: args.provider,
        model: args.model,
        price,
    })
}

fn gateway(id: &str, section: &Section) -> Result<GatewayOptions, Problem> {
    name_is_plain(id, "a gateway", section)?;
    let args: GatewayArgs = section.parse()?;
    let plain = GatewayOptions::new(id);
    let on = |switch: Option<Switch>, default| switch.map_or(default, |s| s.0);
    Ok(GatewayOptions {
        cache_ttl: args.cache_ttl.unwrap_or(plain.cache_ttl),
        max_cache_bytes: args.max_cache.map_or(plain.max_cache_bytes, |size| size.0),
        max_attempts: args.max_attempts.unwrap_or(plain.max_attempts),
        retry_delay: args.retry_delay.unwrap_or(plain.retry_delay),
        backoff: args.backoff.unwrap_or(plain.backoff),
        request_timeout: args.request_timeout.or(plain.request_timeout),
        rate_limit: args.rate_limit.unwrap_or(plain.rate_limit),
        rate_window: args.rate_window.unwrap_or(plain.rate_window),
        collect_log: on(args.collect_log, plain.collect_log),
        log_content: on(args.log_content, plain.log_content),
        log_retention: args.log_retention.unwrap_or(plain.log_retention),
        max_log_bytes: args.max_log.map_or(plain.max_log_bytes, |size| size.0),
        ..plain
    })
}

/// Names that stand in paths of requests.
fn name_is_plain(name: &str, what: &str, section: &Section) -> Result<(), Problem> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match !name.is_empty() && name.len() <= 64 && name.chars().all(plain) {
        true => Ok(()),
        false => Err(section.lacks(&format!(
            "{what} has a name of letters, digits, `-`, `_` and `.`, at most 64: it stands in paths of requests"
        ))),
    }
}
