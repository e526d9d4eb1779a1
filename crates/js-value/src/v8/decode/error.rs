//! Errors in V8's form, and workerd's host objects: errors in its own form, and which others there are.

use super::{DecodeErrorKind as Kind, Decoded, Decoder};
use crate::v8::tag;
use crate::{JsError, Object, Value};

impl Decoder<'_> {
    pub(super) fn plain_error(&mut self) -> Decoded {
        let mut error = JsError::error("");
        loop {
            match self.input.byte()? {
                tag::error::MESSAGE => error.message = self.string()?.into_string_lossy(),
                tag::error::STACK => error.stack = Some(self.string()?.into_string_lossy()),
                tag::error::CAUSE => {
                    self.reordered |= error.cause.is_some();
                    error.cause = Some(Box::new(self.value()?));
                }
                tag::error::END => return Ok(error.into()),
                class => {
                    let known = tag::error::CLASSES.iter().find(|(tag, _)| *tag == class);
                    match known {
                        Some((_, name)) => error.name = (*name).to_owned(),
                        None => return self.fail(Kind::Malformed("Error")),
                    }
                }
            }
        }
    }

    pub(super) fn host_object(&mut self) -> Decoded {
        match self.input.varint()? {
            tag::host::STUB => Ok(self.external(Value::Stub)),
            tag::host::WRITABLE_STREAM => Ok(self.external(Value::WritableStream)),
            tag::host::READABLE_STREAM => Ok(Value::ReadableStream(self.readable())),
            tag::host::HEADERS => self.headers().map(Value::from),
            tag::host::BLOB => self.blob(),
            // What has other values inside. The headers and the body of a request are no level of their own.
            tag => {
                self.enter()?;
                let value = self.host_compound(tag);
                self.depth -= 1;
                value
            }
        }
    }

    fn host_compound(&mut self, tag: u32) -> Decoded {
        match tag {
            tag::host::ERROR => self.native_error(),
            tag::host::DOM_EXCEPTION => self.dom_exception(),
            tag::host::REQUEST => self.request(),
            tag::host::RESPONSE => self.response(),
            tag => {
                let name = tag::host::NAMES.get(tag as usize).copied();
                self.fail(Kind::HostObject {
                    tag,
                    name: name.unwrap_or("of an unknown class"),
                })
            }
        }
    }

    fn dom_exception(&mut self) -> Decoded {
        let (name, message, stack) = (self.host_text()?, self.host_text()?, self.host_text()?);
        let mut error = JsError::new(format!("DOMException({name})"), message);
        error.stack = (!stack.is_empty()).then_some(stack);
        Ok(error.into())
    }

    pub(super) fn native_error(&mut self) -> Decoded {
        let mut error = self.native_error_head()?;
        let bag = self.object()?;
        self.native_error_properties(&mut error, bag);
        Ok(Value::Error(error))
    }

    pub(super) fn native_error_head(&mut self) -> Decoded<Box<JsError>> {
        let class = self.input.varint()?;
        let known = tag::host::CLASSES
            .iter()
            .find(|(number, _)| *number == class);
        let name = match known {
            Some((_, name)) => (*name).to_owned(),
            None if class == tag::host::OTHER_CLASS => self.error_text()?,
            None => "Error".to_owned(),
        };
        let error = JsError::new(name, self.error_text()?);
        if self.input.tag()? != tag::OBJECT {
            return self.fail(Kind::Malformed("Error"));
        }
        self.begin_bag();
        Ok(Box::new(error))
    }

    pub(super) fn native_error_properties(&mut self, error: &mut JsError, bag: Object) {
        for (name, value) in bag {
            match (name.as_str(), value) {
                (Some("stack"), Value::String(stack)) => {
                    error.stack = Some(stack.into_string_lossy());
                }
                (Some("cause"), cause) => {
                    self.reordered |= !error.properties.is_empty();
                    error.cause = Some(Box::new(cause));
                }
                (_, value) => _ = error.properties.insert(name, value),
            }
        }
    }

    /// The name or message of a native error: whatever primitive JavaScript had there, as text.
    pub(super) fn error_text(&mut self) -> Decoded<String> {
        match self.input.peek_tag() {
            Some(tag::ONE_BYTE_STRING | tag::TWO_BYTE_STRING | tag::UTF8_STRING) => {
                Ok(self.string()?.into_string_lossy())
            }
            Some(
                tag::UNDEFINED
                | tag::NULL
                | tag::TRUE
                | tag::FALSE
                | tag::INT32
                | tag::DOUBLE
                | tag::BIGINT,
            ) => Ok(self.value()?.to_string()),
            _ => self.fail(Kind::Malformed("Error")),
        }
    }
}
