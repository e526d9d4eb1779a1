//! A JavaScript value as `JSON.stringify` has it: what a tail Worker that prints its events makes of a message of
//! a diagnostics channel.
//!
//! It is for reading: a map and a set are `{}`, a date is a text. What `JSON.stringify` throws at, a BigInt, is a
//! number as far as JSON has it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use js_value::{Boxed, DecodeLimits, JsString, Object, Value, View, ViewBuffer, ViewKind};
use serde_json::{Map, Number, Value as Json};

use super::value::DEPTH;

/// Bytes of JSON that a message may become; a line has at most 4 MiB.
const MOST: usize = 3 * 1024 * 1024;

/// Why a value has no JSON here: it cannot be read, contains itself, or would be too large.
type NoJson = ();

/// The JSON of a serialized value; `None` for `undefined`.
pub(crate) fn published(bytes: &[u8]) -> Result<Option<Json>, NoJson> {
    let limits = DecodeLimits {
        max_depth: DEPTH as u32,
        max_values: 1 << 18,
        ..DecodeLimits::default()
    };
    let value = js_value::decode(bytes, &limits).map_err(drop)?;
    let value = value.expanded().map_err(drop)?;
    Stringify { left: MOST }.value(&value, DEPTH)
}

/// Bytes as a text of JSON.
pub(crate) fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// The bytes of such a text.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(text).ok()
}

struct Stringify {
    left: usize,
}

impl Stringify {
    fn take(&mut self, bytes: usize) -> Result<(), NoJson> {
        self.left = self.left.checked_sub(bytes).ok_or(())?;
        Ok(())
    }

    fn text(&mut self, text: &JsString) -> Result<String, NoJson> {
        let text = text.to_string_lossy().into_owned();
        let written = |c: char| match c {
            '"' | '\\' => 2,
            ' '..='~' => 1,
            c => 6 * c.len_utf16(),
        };
        self.take(2 + text.chars().map(written).sum::<usize>())?;
        Ok(text)
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<Option<Json>, NoJson> {
        self.take(6)?;
        let deeper = depth.checked_sub(1).ok_or(())?;
        Ok(Some(match value {
            Value::Undefined => return Ok(None),
            Value::Null => Json::Null,
            Value::Bool(flag) => Json::Bool(*flag),
            Value::Number(number) => self.number(*number)?,
            Value::BigInt(number) => self.big(&number.to_string())?,
            Value::String(text) => Json::String(self.text(text)?),
            Value::Date(_) => {
                self.take(32)?;
                // `{"$date": ".."}`, or of an invalid one `null`.
                let date = value.to_json().map_err(drop)?;
                date.get("$date").cloned().unwrap_or(Json::Null)
            }
            Value::Array(elements) => {
                let mut list = Vec::new();
                for element in elements {
                    list.push(self.value(element, deeper)?.unwrap_or(Json::Null));
                }
                Json::Array(list)
            }
            Value::SparseArray(array) => {
                let length = array.length() as usize;
                self.take(length.saturating_mul(5))?;
                let mut list = vec![Json::Null; length];
                for (index, element) in array.elements() {
                    list[*index as usize] = self.value(element, deeper)?.unwrap_or(Json::Null);
                }
                Json::Array(list)
            }
            Value::Object(object) => Json::Object(self.properties(Map::new(), object, deeper)?),
            Value::Error(error) => {
                let mut object = Map::new();
                if let Some(stack) = &error.stack {
                    let stack = self.text(&stack.as_str().into())?;
                    object.insert("stack".to_owned(), stack.into());
                }
                if let Some(cause) = &error.cause
                    && let Some(cause) = self.value(cause, deeper)?
                {
                    object.insert("cause".to_owned(), cause);
                }
                Json::Object(self.properties(object, &error.properties, deeper)?)
            }
            Value::View(view) if view.kind != ViewKind::DataView => self.elements(view)?,
            Value::Boxed(boxed) => match &**boxed {
                Boxed::Bool(flag) => Json::Bool(*flag),
                Boxed::Number(number) => self.number(*number)?,
                Boxed::BigInt(number) => self.big(&number.to_string())?,
                Boxed::String(text) => Json::String(self.text(text)?),
            },
            // Objects whose content is not in their properties.
            _ => Json::Object(Map::new()),
        }))
    }

    fn properties(
        &mut self,
        mut into: Map<String, Json>,
        object: &Object,
        depth: usize,
    ) -> Result<Map<String, Json>, NoJson> {
        for (name, value) in object.iter() {
            if let Some(value) = self.value(value, depth)? {
                into.insert(self.text(name)?, value);
            }
        }
        Ok(into)
    }

    fn number(&mut self, number: f64) -> Result<Json, NoJson> {
        self.take(24)?;
        let integral = number.trunc() == number && number.abs() < 9e15;
        Ok(match integral {
            true => Json::from(number as i64),
            false => Number::from_f64(number).map_or(Json::Null, Json::Number),
        })
    }

    fn big(&mut self, digits: &str) -> Result<Json, NoJson> {
        self.take(digits.len() + 2)?;
        let number = digits.parse::<i64>().map(Json::from);
        let number = number.or_else(|_| digits.parse::<u64>().map(Json::from));
        Ok(number.unwrap_or_else(|_| Json::String(digits.to_owned())))
    }

    /// `{"0":1,"1":2}`
    fn elements(&mut self, view: &View) -> Result<Json, NoJson> {
        let ViewBuffer::Own(buffer) = &view.buffer else {
            return Err(());
        };
        let end = view.offset.checked_add(view.length).ok_or(())?;
        let bytes = buffer.get(view.offset..end).ok_or(())?;
        let mut object = Map::new();
        for (i, bytes) in bytes.chunks_exact(view.kind.element_size()).enumerate() {
            self.take(16)?;
            let value = self.element(view.kind, bytes)?;
            object.insert(i.to_string(), value);
        }
        Ok(Json::Object(object))
    }

    fn element(&mut self, kind: ViewKind, bytes: &[u8]) -> Result<Json, NoJson> {
        macro_rules! read {
            ($int:ty) => {
                <$int>::from_le_bytes(bytes.try_into().map_err(drop)?)
            };
        }
        Ok(match kind {
            ViewKind::Int8Array => read!(i8).into(),
            ViewKind::Int16Array => read!(i16).into(),
            ViewKind::Uint16Array => read!(u16).into(),
            ViewKind::Int32Array => read!(i32).into(),
            ViewKind::Uint32Array => read!(u32).into(),
            ViewKind::Float32Array => self.number(read!(f32).into())?,
            ViewKind::Float64Array => self.number(read!(f64))?,
            ViewKind::BigInt64Array => read!(i64).into(),
            ViewKind::BigUint64Array => read!(u64).into(),
            _ if bytes.len() == 1 => bytes[0].into(),
            _ => return Err(()),
        })
    }
}
