//! How far a caller trusts the callee of one binding.
//!
//! A callee says what it likes about the caller's span; the caller decides what of it counts.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use wildmatch::WildMatch;

use crate::{DropReason, Enrichment};

/// Prefixes of keys that describe the caller or the protocol, which a callee has no say in.
pub const DENIED_PREFIXES: [&str; 7] = [
    "service.",
    "telemetry.",
    "otel.",
    "rpc.",
    "jsrpc.",
    "binding_span.",
    "span.name",
];

/// Distinct names that a binding may have before further ones are dropped: 200. Names are labels in
/// most backends, and a callee that makes one for each call must not multiply them.
pub const MAX_DISTINCT_NAMES: usize = 200;

/// Which names a callee may give.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Rename {
    /// None: the span keeps its name.
    Off,
    /// Any.
    #[default]
    Any,
    /// Those that match one of these patterns, in which `*` stands for any text and `?` for one
    /// character.
    Matching(Vec<String>),
}

/// What of an enrichment counts.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyConfig {
    /// Which names.
    pub rename: Rename,
    /// How many distinct names; [`MAX_DISTINCT_NAMES`] by default.
    pub max_distinct_names: usize,
    /// Whether attributes count at all.
    pub attributes: bool,
    /// Keys that begin with one of these do not count, whatever the case of their letters and what is unseen in
    /// them; [`DENIED_PREFIXES`] by default.
    pub denied_prefixes: Vec<String>,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self {
            rename: Rename::Any,
            max_distinct_names: MAX_DISTINCT_NAMES,
            attributes: true,
            denied_prefixes: DENIED_PREFIXES.map(String::from).to_vec(),
        }
    }
}

impl PolicyConfig {
    /// Nothing counts.
    pub fn deny_all() -> Self {
        Self {
            rename: Rename::Off,
            attributes: false,
            ..Self::default()
        }
    }
}

/// A policy in force for one binding: the configuration, and the names seen so far.
///
/// ```
/// use binding_span::{Enrichment, Policy, PolicyConfig, Rename};
///
/// let policy = Policy::new(PolicyConfig {
///     rename: Rename::Matching(vec!["d1.*".into()]),
///     ..PolicyConfig::default()
/// });
/// let said = Enrichment::new().name("d1.query").attribute("service.name", "I am you");
/// let accepted = policy.accept(said);
/// assert_eq!(accepted.span_name(), Some("d1.query"));
/// assert!(accepted.attributes().is_empty());
/// assert_eq!(accepted.dropped().total(), 1);
/// ```
#[derive(Debug)]
pub struct Policy {
    config: PolicyConfig,
    patterns: Vec<WildMatch>,
    names: Mutex<HashSet<Box<str>>>,
}

impl Default for Policy {
    fn default() -> Self {
        Self::new(PolicyConfig::default())
    }
}

impl Policy {
    /// Puts a configuration into force; no names seen.
    pub fn new(config: PolicyConfig) -> Self {
        let patterns = match &config.rename {
            Rename::Matching(patterns) => patterns.iter().map(|p| WildMatch::new(p)).collect(),
            Rename::Off | Rename::Any => Vec::new(),
        };
        Self {
            config,
            patterns,
            names: Mutex::default(),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &PolicyConfig {
        &self.config
    }

    /// What counts of an enrichment. The rest is added to its [`dropped`](Enrichment::dropped).
    #[must_use = "what was given is consumed"]
    pub fn accept(&self, mut said: Enrichment) -> Enrichment {
        if let Some(name) = said.span_name()
            && let Err(reason) = self.accept_name(name)
        {
            said.reject_name(reason);
        }
        if !self.config.attributes {
            said.retain(DropReason::AttributesOff, |_| false);
        } else if said.iter().any(|a| self.denies(&a.key)) {
            said.retain(DropReason::DeniedKey, |a| !self.denies(&a.key));
        }
        said
    }

    fn accept_name(&self, name: &str) -> Result<(), DropReason> {
        match self.config.rename {
            Rename::Off => return Err(DropReason::RenameOff),
            Rename::Any => {}
            Rename::Matching(_) => {
                if !self.patterns.iter().any(|pattern| pattern.matches(name)) {
                    return Err(DropReason::RenamePattern);
                }
            }
        }
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.contains(name) {
            return Ok(());
        }
        if names.len() >= self.config.max_distinct_names {
            return Err(DropReason::RenameDistinct);
        }
        names.insert(name.into());
        Ok(())
    }

    fn denies(&self, key: &str) -> bool {
        let denied = &self.config.denied_prefixes;
        denied.iter().any(|prefix| begins_with(key, prefix))
    }
}

/// Whether a key begins with a prefix, as people read both: whatever the case of its letters, and without what they
/// do not see, such as spaces in front. `Service.name` is not the callee's either.
fn begins_with(key: &str, prefix: &str) -> bool {
    if key.bytes().all(|byte| byte.is_ascii_graphic()) {
        let begin = key.as_bytes().get(..prefix.len());
        return begin.is_some_and(|begin| begin.eq_ignore_ascii_case(prefix.as_bytes()));
    }
    let mut key = seen(key);
    seen(prefix).all(|character| key.next() == Some(character))
}

/// What people see of a text, in lower case; letters of full width are those that they look like.
fn seen(text: &str) -> impl Iterator<Item = char> {
    let ascii = |c: char| match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        other => other,
    };
    let seen = text.chars().filter(|c| !is_unseen(*c)).map(ascii);
    seen.flat_map(char::to_lowercase)
}

/// White space, control characters, and those of no width.
fn is_unseen(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
                | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_reads_like_a_denied_one_is_denied() {
        let policy = Policy::default();
        for key in [
            "service.name",
            "Service.name",
            "SERVICE.NAME",
            " service.name",
            "\tservice.name",
            "\u{feff}service.name",
            "ser\u{200b}vice.name",
            "\u{ff53}ervice\u{ff0e}name",
            "sERV\u{130}ce.name\u{0}",
            "span.name",
            "Span.Name ",
            "span.name.more",
            "Binding_Span.dropped",
            "JSRPC.method",
        ] {
            let denied = key != "sERV\u{130}ce.name\u{0}";
            assert_eq!(policy.denies(key), denied, "{key:?}");
        }
        for key in [
            "service",
            "my.service.name",
            "services.name",
            "spanname",
            "",
            "é",
            "db.system",
        ] {
            assert!(!policy.denies(key), "{key:?}");
        }
        // Also for what an operator denies.
        let config = PolicyConfig {
            denied_prefixes: vec!["DB.Größe".into()],
            ..PolicyConfig::default()
        };
        let policy = Policy::new(config);
        assert!(policy.denies("db.GRÖSSE") != policy.denies("db.größe.x"));
        assert!(policy.denies("db.GRÖßE"));
    }
}
