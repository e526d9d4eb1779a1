//! What a callee says about its caller's span: an optional name and some attributes, within limits.

use std::borrow::Cow;

use crate::wire::DROPPED_KEY;
use crate::{Attribute, AttributeValue, DropReason, Dropped, IntoAttributeValue, Limits};

/// A name and attributes for the caller's span.
///
/// Building one never fails. What exceeds a cap is dropped whole and counted; what it would have
/// replaced stays.
///
/// ```
/// use binding_span::{AttributeValue, Enrichment};
///
/// let mut said = Enrichment::new()
///     .name("ai_gateway.run")
///     .attribute("gen_ai.request.model", "llama-4");
/// said.merge(Enrichment::new().attribute("gen_ai.usage.output_tokens", 42));
///
/// assert_eq!(said.span_name(), Some("ai_gateway.run"));
/// let keys: Vec<&str> = said.iter().map(|a| a.key.as_ref()).collect();
/// assert_eq!(keys, ["gen_ai.request.model", "gen_ai.usage.output_tokens"]);
/// assert_eq!(said.get("gen_ai.usage.output_tokens"), Some(&AttributeValue::Int64(42)));
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Enrichment {
    name: Option<Cow<'static, str>>,
    attributes: Vec<Attribute>,
    bytes: usize,
    dropped: Dropped,
    limits: Limits,
}

impl Enrichment {
    /// Nothing said yet, within the default limits.
    pub const fn new() -> Self {
        Self::with_limits(Limits::DEFAULT)
    }

    /// Nothing said yet, within limits of your own. A peer enforces its own as well.
    pub const fn with_limits(limits: Limits) -> Self {
        let none = [0; DropReason::ALL.len()];
        Self {
            name: None,
            attributes: Vec::new(),
            bytes: 0,
            dropped: Dropped::from_counts(none),
            limits,
        }
    }

    /// The same with a name; see [`set_name`](Self::set_name).
    #[must_use]
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.set_name(name);
        self
    }

    /// The same with one more attribute; see [`set_attribute`](Self::set_attribute).
    #[must_use]
    pub fn attribute(
        mut self,
        key: impl Into<Cow<'static, str>>,
        value: impl IntoAttributeValue,
    ) -> Self {
        self.set_attribute(key, value);
        self
    }

    /// Sets the name; the latest wins. An empty name is ignored, one of more than 256 bytes dropped.
    pub fn set_name(&mut self, name: impl Into<Cow<'static, str>>) {
        let name = name.into();
        if name.is_empty() {
            return;
        }
        if let Err(reason) = self.try_name(name) {
            self.drop_one(reason);
        }
    }

    /// Sets an attribute: a new key is appended, a known one gets the new value in its old place.
    pub fn set_attribute(
        &mut self,
        key: impl Into<Cow<'static, str>>,
        value: impl IntoAttributeValue,
    ) {
        if let Some(value) = value.into_attribute_value() {
            self.upsert(key.into(), value);
        }
    }

    /// Adds what `later` says, as a second call of `enrich` does: its name wins, its attributes are
    /// upserted, its drops are added.
    pub fn merge(&mut self, later: Self) {
        if self.is_empty() && self.limits == later.limits {
            let dropped = self.dropped;
            *self = later;
            self.dropped.merge(&dropped);
            return;
        }
        if let Some(name) = later.name {
            self.set_name(name);
        }
        for Attribute { key, value } in later.attributes {
            self.upsert(key, value);
        }
        self.dropped.merge(&later.dropped);
    }

    /// As [`merge`](Self::merge), and returns what changed by it, for somebody who has seen all that
    /// was said before: the name if it is another one, the attributes whose key is new or whose value
    /// differs (doubles by their bits), and as drops those of `newer` and those of this merge.
    ///
    /// ```
    /// use binding_span::Enrichment;
    ///
    /// let mut said = Enrichment::new().name("ai.run").attribute("model", "llama-4").attribute("tokens", 1);
    /// let newer = Enrichment::new().name("ai.run").attribute("tokens", 42).attribute("", "no key");
    /// let changed = said.absorb(newer);
    ///
    /// assert_eq!(changed.span_name(), None, "as before");
    /// assert_eq!(changed.iter().map(|a| a.key.as_ref()).collect::<Vec<_>>(), ["tokens"]);
    /// assert_eq!(changed.dropped().to_string(), "key_empty=1");
    /// assert_eq!(said.attributes().len(), 2);
    /// ```
    #[must_use = "`merge` does the same without telling what changed"]
    pub fn absorb(&mut self, newer: Self) -> Self {
        if self.is_empty() && self.limits == newer.limits {
            let changed = newer.clone();
            self.merge(newer);
            return changed;
        }
        let mut changed = Self::with_limits(self.limits);
        changed.dropped = newer.dropped;
        if let Some(name) = newer.name.filter(|name| self.name.as_ref() != Some(name)) {
            let told = name.clone();
            match self.try_name(name) {
                Ok(()) => changed.set_name(told),
                Err(reason) => changed.drop_one(reason),
            }
        }
        for Attribute { key, value } in newer.attributes {
            if self.get(&key).is_some_and(|before| before.is_same(&value)) {
                continue;
            }
            let told = Attribute {
                key: key.clone(),
                value: value.clone(),
            };
            match self.try_upsert(key, value) {
                Ok(()) => changed.push_fitting(told),
                Err(reason) => changed.drop_one(reason),
            }
        }
        self.dropped.merge(&changed.dropped);
        changed
    }

    /// The new name of the span.
    pub fn span_name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The attributes, in the order in which they are applied; no key twice.
    pub fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    /// Iterates over [`attributes`](Self::attributes).
    pub fn iter(&self) -> std::slice::Iter<'_, Attribute> {
        self.attributes.iter()
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&AttributeValue> {
        self.position(key).map(|at| &self.attributes[at].value)
    }

    /// What did not fit, by reason.
    pub fn dropped(&self) -> &Dropped {
        &self.dropped
    }

    /// Takes an attribute out; its value, if it was there. Not counted as dropped.
    pub fn remove(&mut self, key: &str) -> Option<AttributeValue> {
        let attribute = self.attributes.remove(self.position(key)?);
        self.bytes -= attribute.key.len() + attribute.value.size();
        Some(attribute.value)
    }

    /// Whether there is neither a name nor an attribute. Something may still have been dropped.
    pub fn is_empty(&self) -> bool {
        self.name.is_none() && self.attributes.is_empty()
    }

    /// Whether there is nothing to send: no name, no attribute, no drop to report.
    pub fn is_silent(&self) -> bool {
        self.is_empty() && self.dropped.is_empty()
    }

    /// Bytes counted against [`Limits::total_bytes`].
    pub fn size(&self) -> usize {
        self.bytes
    }

    /// The limits it is held to.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn drop_one(&mut self, reason: DropReason) {
        self.dropped.add(reason, 1);
    }

    pub(crate) fn dropped_mut(&mut self) -> &mut Dropped {
        &mut self.dropped
    }

    /// Removes the name and counts it.
    pub(crate) fn reject_name(&mut self, reason: DropReason) {
        if let Some(name) = self.name.take() {
            self.bytes -= name.len();
            self.drop_one(reason);
        }
    }

    /// Keeps the attributes that `keep` wants and counts the others.
    pub(crate) fn retain(&mut self, reason: DropReason, mut keep: impl FnMut(&Attribute) -> bool) {
        let (mut freed, mut lost) = (0, 0);
        self.attributes.retain(|attribute| {
            let kept = keep(attribute);
            if !kept {
                freed += attribute.key.len() + attribute.value.size();
                lost += 1;
            }
            kept
        });
        self.bytes -= freed;
        if lost > 0 {
            self.dropped.add(reason, lost);
        }
    }

    /// Whether a name of `len` bytes fits; the new byte count.
    pub(crate) fn check_name(&self, len: usize) -> Result<usize, DropReason> {
        if len > self.limits.name_bytes {
            return Err(DropReason::NameTooLong);
        }
        let before = self.name.as_deref().map_or(0, str::len);
        self.check_total(self.bytes - before + len)
    }

    /// Whether `key` with a value of `size` bytes, of which one text has `longest`, fits: where it stands already, and the new byte
    /// count. Needs no copy, so that a reader can ask before it makes one.
    pub(crate) fn check_attribute(
        &self,
        key: &str,
        size: usize,
        longest: usize,
    ) -> Result<(Option<usize>, usize), DropReason> {
        if key.is_empty() {
            return Err(DropReason::KeyEmpty);
        }
        if key.len() > self.limits.key_bytes {
            return Err(DropReason::KeyTooLong);
        }
        if key == DROPPED_KEY {
            return Err(DropReason::DeniedKey);
        }
        if longest > self.limits.string_bytes {
            return Err(DropReason::StringTooLong);
        }
        let at = self.position(key);
        let bytes = match at {
            Some(at) => self.bytes - self.attributes[at].value.size() + size,
            None if self.attributes.len() >= self.limits.attributes => {
                return Err(DropReason::TooManyAttributes);
            }
            None => self.bytes + key.len() + size,
        };
        Ok((at, self.check_total(bytes)?))
    }

    fn check_total(&self, bytes: usize) -> Result<usize, DropReason> {
        if bytes > self.limits.total_bytes {
            return Err(DropReason::TotalBytes);
        }
        Ok(bytes)
    }

    fn upsert(&mut self, key: Cow<'static, str>, value: AttributeValue) {
        if let Err(reason) = self.try_upsert(key, value) {
            self.drop_one(reason);
        }
    }

    fn try_name(&mut self, name: Cow<'static, str>) -> Result<(), DropReason> {
        self.bytes = self.check_name(name.len())?;
        self.name = Some(name);
        Ok(())
    }

    fn try_upsert(
        &mut self,
        key: Cow<'static, str>,
        value: AttributeValue,
    ) -> Result<(), DropReason> {
        if value.elements() > self.limits.list_elements {
            return Err(DropReason::ListTooLong);
        }
        let (at, bytes) = self.check_attribute(&key, value.size(), value.longest_text())?;
        self.bytes = bytes;
        match at {
            Some(at) => self.attributes[at].value = value,
            None => self.attributes.push(Attribute { key, value }),
        }
        Ok(())
    }

    /// Appends an attribute of a new key, of which is known that it fits.
    fn push_fitting(&mut self, attribute: Attribute) {
        self.bytes += attribute.key.len() + attribute.value.size();
        self.attributes.push(attribute);
    }

    fn position(&self, key: &str) -> Option<usize> {
        self.attributes.iter().position(|a| a.key == key)
    }
}

impl<'a> IntoIterator for &'a Enrichment {
    type Item = &'a Attribute;
    type IntoIter = std::slice::Iter<'a, Attribute>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
