//! Between the generated types and ours. Generated types appear in this module's signatures and
//! nowhere else in the crate.
//!
//! Reading expects a hostile peer: lengths are looked at before anything is copied or walked, because
//! a few hundred bytes can claim millions of attributes, and many pointers may name one large text.

use std::borrow::Cow;

use capnp::{struct_list, text};

use binding_span_schema::binding_span_capnp::{
    attribute, binding_span_enrichment, span_context, tag_value, trace_id,
};

use crate::{
    Attribute, AttributeList, AttributeValue, DropReason, ERROR_TYPE, Enrichment, Limits,
    SpanContext, SpanId, TraceId,
};

/// The attribute in which a callee says how much it dropped itself; outside of the caps.
pub const DROPPED_KEY: &str = "binding_span.dropped";

/// Writes an enrichment if something was said. `open` opens the field of your results and is not
/// called otherwise, so that an absent enrichment costs one null pointer and no work.
///
/// ```
/// # use binding_span::{CallScope, Enrichment};
/// # use binding_span_schema::binding_span_capnp::binding_span_enrichment;
/// # let mut message = capnp::message::Builder::new_default();
/// # let call = CallScope::detached();
/// call.enrich(Enrichment::new().name("inventory.lookup"));
/// binding_span::write(&call.drain(), || message.init_root());
/// # let reader = message.get_root_as_reader().unwrap();
/// # assert_eq!(binding_span::read(reader, Default::default()).span_name(), Some("inventory.lookup"));
/// ```
pub fn write<'a>(
    enrichment: &Enrichment,
    open: impl FnOnce() -> binding_span_enrichment::Builder<'a>,
) {
    if enrichment.is_silent() {
        return;
    }
    let mut builder = open();
    if let Some(name) = enrichment.span_name() {
        builder.set_name(name);
    }
    let attributes = enrichment.attributes();
    let dropped = enrichment.dropped().total();
    let len = attributes.len() + usize::from(dropped > 0);
    if len == 0 {
        return;
    }
    let mut list = builder.init_attributes(len as u32);
    for (i, Attribute { key, value }) in attributes.iter().enumerate() {
        write_attribute(list.reborrow().get(i as u32), key, value);
    }
    if dropped > 0 {
        let dropped = AttributeValue::Int64(i64::try_from(dropped).unwrap_or(i64::MAX));
        write_attribute(list.get(attributes.len() as u32), DROPPED_KEY, &dropped);
    }
}

/// Writes one attribute: one value, or those of a list.
pub fn write_attribute(mut builder: attribute::Builder<'_>, key: &str, value: &AttributeValue) {
    builder.set_name(key);
    let tags = builder.init_value(value.elements() as u32);
    match value {
        AttributeValue::String(text) => tags.get(0).set_string(text.as_ref()),
        AttributeValue::Bool(value) => tags.get(0).set_bool(*value),
        AttributeValue::Int64(value) => tags.get(0).set_int64(*value),
        AttributeValue::Float64(value) => tags.get(0).set_float64(*value),
        AttributeValue::List(list) => write_list(tags, list),
    }
}

fn write_list(tags: struct_list::Builder<'_, tag_value::Owned>, list: &AttributeList) {
    match list {
        AttributeList::Strings(list) => write_elements(tags, list, |mut tag, text| {
            tag.set_string(text.as_ref());
        }),
        AttributeList::Bools(list) => {
            write_elements(tags, list, |mut tag, value| tag.set_bool(*value));
        }
        AttributeList::Int64s(list) => {
            write_elements(tags, list, |mut tag, value| tag.set_int64(*value));
        }
        AttributeList::Float64s(list) => {
            write_elements(tags, list, |mut tag, value| tag.set_float64(*value));
        }
    }
}

fn write_elements<T>(
    mut tags: struct_list::Builder<'_, tag_value::Owned>,
    list: &[T],
    set: impl Fn(tag_value::Builder<'_>, &T),
) {
    for (i, element) in list.iter().enumerate() {
        set(tags.reborrow().get(i as u32), element);
    }
}

/// [`read`] for what a getter of your results returned. A field that is itself unreadable counts as one
/// drop, where `?` would cost the call its result.
///
/// ```
/// use binding_span::{DropReason, Limits, read_result};
/// # let enrichment = Err(capnp::Error::failed("a pointer to something else".into()));
/// let said = read_result(enrichment, Limits::DEFAULT);
/// assert_eq!(said.dropped().count(DropReason::Malformed), 1);
/// ```
#[must_use]
pub fn read_result(
    reader: capnp::Result<binding_span_enrichment::Reader<'_>>,
    limits: Limits,
) -> Enrichment {
    reader.map_or_else(
        |_| {
            let mut nothing = Enrichment::with_limits(limits);
            nothing.drop_one(DropReason::Malformed);
            nothing
        },
        |reader| read(reader, limits),
    )
}

/// Reads what a callee said, within `limits`. Never fails: what cannot be read or does not fit is
/// counted in [`Enrichment::dropped`], including what the callee says that it dropped itself.
///
/// Read the rest of your results first. A message has one traversal limit, and a hostile enrichment
/// can use it up, after which nothing else of the message can be read.
#[must_use]
pub fn read(reader: binding_span_enrichment::Reader<'_>, limits: Limits) -> Enrichment {
    let mut enrichment = Enrichment::with_limits(limits);
    if reader.has_name() {
        match reader.get_name() {
            Ok(name) => read_name(&mut enrichment, name),
            Err(_) => enrichment.drop_one(DropReason::Malformed),
        }
    }
    if !reader.has_attributes() {
        return enrichment;
    }
    match reader.get_attributes() {
        Ok(list) => read_attributes(&mut enrichment, list),
        Err(_) => enrichment.drop_one(DropReason::Malformed),
    }
    enrichment
}

/// Whether it may [say that the call failed](Enrichment::stated_error), for who wants to know nothing else of it.
/// Copies nothing.
#[must_use]
pub fn may_state_error(reader: binding_span_enrichment::Reader<'_>) -> bool {
    let Ok(list) = reader.get_attributes() else {
        return false;
    };
    let entries = Effort::new(&Limits::DEFAULT).entries;
    list.iter().take(entries).any(|attribute| {
        let key = attribute.get_name();
        key.is_ok_and(|key| key.as_bytes() == ERROR_TYPE.as_bytes())
    })
}

fn read_attributes(enrichment: &mut Enrichment, list: struct_list::Reader<'_, attribute::Owned>) {
    let mut effort = Effort::new(enrichment.limits());
    for (i, attribute) in list.iter().enumerate() {
        if let Err(reason) = effort.left(i) {
            return enrichment.dropped_mut().add(reason, list.len() - i as u32);
        }
        if let Err(reason) = read_attribute(enrichment, attribute, &mut effort) {
            enrichment.drop_one(reason);
        }
    }
}

/// What one enrichment may cost its reader. Entries that replace each other, or that are dropped, use
/// nothing up of the limits but do take time, and a small message can hold any number of them, since
/// pointers may alias. An honest callee comes near neither bound.
struct Effort {
    entries: usize,
    bytes: usize,
    /// The most that one text counts for: one that is far too long must not cost the rest.
    text: usize,
}

impl Effort {
    /// At least what the protocol's own limits need, so that narrower ones still see the count of an
    /// honest callee's drops, which it writes last.
    fn new(limits: &Limits) -> Self {
        let attributes = limits.attributes.max(Limits::DEFAULT.attributes);
        let text = limits.total_bytes.max(Limits::DEFAULT.total_bytes);
        Self {
            entries: attributes.saturating_mul(4),
            bytes: text.saturating_mul(4),
            text,
        }
    }

    /// Why the entry at `index` is not looked at, if it is not.
    fn left(&self, index: usize) -> Result<(), DropReason> {
        if index >= self.entries {
            return Err(DropReason::TooManyAttributes);
        }
        if self.bytes == 0 {
            return Err(DropReason::TotalBytes);
        }
        Ok(())
    }

    fn spend(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes.min(self.text));
    }
}

fn read_name(enrichment: &mut Enrichment, name: text::Reader<'_>) {
    if let Err(reason) = enrichment.check_name(name.len()) {
        return enrichment.drop_one(reason);
    }
    match name.to_str() {
        Ok(name) => enrichment.set_name(name.to_owned()),
        Err(_) => enrichment.drop_one(DropReason::InvalidUtf8),
    }
}

fn read_attribute(
    enrichment: &mut Enrichment,
    attribute: attribute::Reader<'_>,
    effort: &mut Effort,
) -> Result<(), DropReason> {
    let values = attribute.get_value().map_err(|_| DropReason::Malformed)?;
    effort.spend(values.len() as usize);
    if values.is_empty() {
        return Ok(());
    }
    let key = attribute.get_name().map_err(|_| DropReason::Malformed)?;
    effort.spend(key.len());
    if key.len() > enrichment.limits().key_bytes {
        return Err(DropReason::KeyTooLong);
    }
    let key = key.to_str().map_err(|_| DropReason::InvalidUtf8)?;
    if values.len() > 1 {
        if key == DROPPED_KEY {
            return Err(DropReason::UnknownValue);
        }
        let list = read_list(enrichment, key, values, effort)?;
        enrichment.set_attribute(key.to_owned(), list);
        return Ok(());
    }
    let value = values.get(0).which();
    let value = value.map_err(|_| DropReason::UnknownValue)?;
    if key == DROPPED_KEY {
        return read_dropped(enrichment, value);
    }
    let value = match value {
        tag_value::Bool(value) => AttributeValue::Bool(value),
        tag_value::Int64(value) => AttributeValue::Int64(value),
        tag_value::Float64(value) => AttributeValue::Float64(value),
        tag_value::String(text) => {
            let text = text.map_err(|_| DropReason::Malformed)?;
            effort.spend(text.len());
            // Before it is copied, and before UTF-8 is checked.
            enrichment.check_attribute(key, text.len(), text.len())?;
            let text = text.to_str().map_err(|_| DropReason::InvalidUtf8)?;
            AttributeValue::String(Cow::Owned(text.to_owned()))
        }
    };
    enrichment.set_attribute(key.to_owned(), value);
    Ok(())
}

/// Several values: a list, if they are of one type.
fn read_list(
    enrichment: &Enrichment,
    key: &str,
    values: struct_list::Reader<'_, tag_value::Owned>,
    effort: &mut Effort,
) -> Result<AttributeList, DropReason> {
    use tag_value::{Bool, Float64, Int64, String};
    // Before it is walked: a list may claim any number of elements.
    if values.len() as usize > enrichment.limits().list_elements {
        return Err(DropReason::ListTooLong);
    }
    let first = values.get(0).which();
    Ok(match first.map_err(|_| DropReason::UnknownValue)? {
        String(_) => AttributeList::Strings(read_texts(enrichment, key, values, effort)?),
        Bool(_) => AttributeList::Bools(read_elements(values, |value| match value {
            Bool(value) => Some(value),
            _ => None,
        })?),
        Int64(_) => AttributeList::Int64s(read_elements(values, |value| match value {
            Int64(value) => Some(value),
            _ => None,
        })?),
        Float64(_) => AttributeList::Float64s(read_elements(values, |value| match value {
            Float64(value) => Some(value),
            _ => None,
        })?),
    })
}

/// The elements of a list, each of which `take` has to know.
fn read_elements<T>(
    values: struct_list::Reader<'_, tag_value::Owned>,
    take: impl Fn(tag_value::WhichReader<'_>) -> Option<T>,
) -> Result<Vec<T>, DropReason> {
    let element = |value: tag_value::Reader<'_>| {
        let value = value.which().map_err(|_| DropReason::UnknownValue)?;
        take(value).ok_or(DropReason::Malformed)
    };
    values.iter().map(element).collect()
}

/// The texts of a list. All are measured before one is copied.
fn read_texts(
    enrichment: &Enrichment,
    key: &str,
    values: struct_list::Reader<'_, tag_value::Owned>,
    effort: &mut Effort,
) -> Result<Vec<Cow<'static, str>>, DropReason> {
    let limits = enrichment.limits();
    let mut texts: Vec<text::Reader<'_>> = Vec::with_capacity(values.len() as usize);
    let (mut size, mut longest) = (0, 0);
    for value in values.iter() {
        let value = value.which().map_err(|_| DropReason::UnknownValue)?;
        let tag_value::String(text) = value else {
            return Err(DropReason::Malformed);
        };
        let text = text.map_err(|_| DropReason::Malformed)?;
        effort.spend(text.len());
        size += text.len();
        longest = longest.max(text.len());
        // At once, since every text that is looked at uses up the message's traversal limit.
        if longest > limits.string_bytes {
            return Err(DropReason::StringTooLong);
        }
        if size > limits.total_bytes {
            return Err(DropReason::TotalBytes);
        }
        texts.push(text);
    }
    enrichment.check_attribute(key, size, longest)?;
    let copied = |text: text::Reader<'_>| {
        let text = text.to_str().map_err(|_| DropReason::InvalidUtf8)?;
        Ok(Cow::Owned(text.to_owned()))
    };
    texts.into_iter().map(copied).collect()
}

fn read_dropped(
    enrichment: &mut Enrichment,
    value: tag_value::WhichReader<'_>,
) -> Result<(), DropReason> {
    let tag_value::Int64(count) = value else {
        return Err(DropReason::UnknownValue);
    };
    let count = u32::try_from(count.max(0)).unwrap_or(u32::MAX);
    enrichment.dropped_mut().add(DropReason::Callee, count);
    Ok(())
}

/// Writes a span's identity.
pub fn write_span_context(context: &SpanContext, mut builder: span_context::Builder<'_>) {
    write_trace_id(context.trace_id.0, builder.reborrow().init_trace_id());
    let mut info = builder.reborrow().get_info();
    if context.span_id.is_valid() {
        info.set_span_id(context.span_id.0);
    } else {
        info.set_empty(());
    }
    if let Some(flags) = context.flags {
        builder.init_trace_flags().get_value().set_set(flags);
    }
}

/// Writes the 128 bits of a trace or invocation id.
pub fn write_trace_id(id: u128, mut builder: trace_id::Builder<'_>) {
    builder.set_high((id >> 64) as u64);
    builder.set_low(id as u64);
}

/// Reads a span's identity; `None` if there is no trace in it or it cannot be read.
pub fn read_span_context(reader: span_context::Reader<'_>) -> Option<SpanContext> {
    use binding_span_schema::binding_span_capnp::trace_flags;
    let trace_id = read_trace_id(reader.get_trace_id().ok()?);
    let span_id = match reader.get_info().which() {
        Ok(span_context::info::SpanId(id)) => id,
        Ok(span_context::info::Empty(())) | Err(_) => 0,
    };
    let flags = match reader.get_trace_flags().ok()?.get_value().which() {
        Ok(trace_flags::value::Set(flags)) => Some(flags),
        Ok(trace_flags::value::Unset(())) | Err(_) => None,
    };
    (trace_id != 0).then_some(SpanContext {
        trace_id: TraceId(trace_id),
        span_id: SpanId(span_id),
        flags,
    })
}

/// Reads the 128 bits of a trace or invocation id.
pub fn read_trace_id(reader: trace_id::Reader<'_>) -> u128 {
    (u128::from(reader.get_high()) << 64) | u128::from(reader.get_low())
}
