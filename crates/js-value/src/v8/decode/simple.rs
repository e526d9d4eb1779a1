//! Values that contain no others: primitives, text, bytes, references.

use super::{DecodeError, DecodeErrorKind as Kind, Decoded, Decoder};
use crate::v8::tag;
use crate::{Boxed, JsString, RegExp, RegExpFlags, Value, View, ViewBuffer, ViewKind};
use num_bigint::{BigInt, Sign};

impl Decoder<'_> {
    /// What contains no values of any kind.
    pub(super) fn simple(&mut self, tag: u8) -> Decoded {
        match tag {
            tag::UNDEFINED => Ok(Value::Undefined),
            tag::NULL => Ok(Value::Null),
            tag::TRUE => Ok(Value::Bool(true)),
            tag::FALSE => Ok(Value::Bool(false)),
            tag::INT32 => Ok(Value::Number(f64::from(self.int32()?))),
            tag::UINT32 => Ok(Value::Number(f64::from(self.input.varint()?))),
            tag::DOUBLE => Ok(Value::Number(self.input.double()?)),
            tag::BIGINT => Ok(Value::BigInt(self.bigint()?)),
            tag::ONE_BYTE_STRING | tag::TWO_BYTE_STRING | tag::UTF8_STRING => {
                Ok(Value::String(self.text(tag)?))
            }
            tag::REFERENCE => self.reference(),
            tag::ARRAY_BUFFER | tag::RESIZABLE_ARRAY_BUFFER => self.buffer(tag),
            _ => self.leaf(tag),
        }
    }

    /// Objects that contain no other values.
    pub(super) fn leaf(&mut self, tag: u8) -> Decoded {
        let value = match tag {
            tag::DATE => Value::Date(self.input.double()?),
            tag::TRUE_OBJECT => Value::Boxed(Box::new(Boxed::Bool(true))),
            tag::FALSE_OBJECT => Value::Boxed(Box::new(Boxed::Bool(false))),
            tag::NUMBER_OBJECT => Value::Boxed(Box::new(Boxed::Number(self.input.double()?))),
            tag::BIGINT_OBJECT => Value::Boxed(Box::new(Boxed::BigInt(self.bigint()?))),
            tag::STRING_OBJECT => Value::Boxed(Box::new(Boxed::String(self.string()?))),
            tag::REGEXP => {
                let source = self.string()?;
                match RegExpFlags::from_bits(self.input.varint()?) {
                    Some(flags) => RegExp { source, flags }.into(),
                    None => return self.fail(Kind::Malformed("RegExp")),
                }
            }
            _ => {
                let refused = tag::REFUSED.iter().find(|(refused, _)| *refused == tag);
                return self.fail(match refused {
                    Some((_, name)) => Kind::Unsupported(name),
                    None => Kind::UnknownTag(tag),
                });
            }
        };
        self.begin_object();
        Ok(value)
    }

    pub(super) fn reference(&mut self) -> Decoded {
        let wire = self.input.varint()?;
        let next = self.runs.partition_point(|run| run.wire <= wire);
        if wire >= self.wire_objects {
            return self.fail(Kind::BadReference(wire));
        }
        let object = match self.runs[..next].last() {
            Some(run) if run.present => run.value + (wire - run.wire),
            // A bag of members, which nothing can refer to.
            Some(_) => return self.fail(Kind::BadReference(wire)),
            None => wire,
        };
        self.references = true;
        let buffer = self
            .buffers
            .binary_search_by_key(&object, |(number, _)| *number);
        match buffer {
            Ok(at) if self.input.skip_tag(tag::VIEW) => {
                self.view(ViewBuffer::Shared(object), self.buffers[at].1)
            }
            _ => Ok(Value::BackRef(object)),
        }
    }

    pub(super) fn buffer(&mut self, tag: u8) -> Decoded {
        let length = self.input.length()?;
        if tag == tag::RESIZABLE_ARRAY_BUFFER && self.input.length()? < length {
            return self.fail(Kind::Malformed("ArrayBuffer"));
        }
        let bytes = self.input.take(length)?.to_vec();
        self.buffers.push((self.objects, length));
        self.begin_object();
        if self.input.skip_tag(tag::VIEW) {
            self.view(ViewBuffer::Own(bytes), length)
        } else {
            Ok(Value::ArrayBuffer(bytes))
        }
    }

    pub(super) fn view(&mut self, buffer: ViewBuffer, available: usize) -> Decoded {
        const LENGTH_TRACKING: u32 = 1;
        let bad = self.input.error(Kind::Malformed("view of an ArrayBuffer"));
        let kind = ViewKind::from_tag(self.input.byte()?).ok_or(bad)?;
        let offset = self.input.length()?;
        let mut length = self.input.length()?;
        let room = available.checked_sub(offset).ok_or(bad)?;
        if self.input.varint()? & LENGTH_TRACKING != 0 {
            length = room - room % kind.element_size();
        }
        let size = kind.element_size();
        if length > room || !offset.is_multiple_of(size) || !length.is_multiple_of(size) {
            return Err(bad);
        }
        self.begin_object();
        Ok(Value::from(View {
            kind,
            buffer,
            offset,
            length,
        }))
    }

    pub(super) fn int32(&mut self) -> Decoded<i32> {
        let zigzag = self.input.varint()?;
        Ok((zigzag >> 1) as i32 ^ -((zigzag & 1) as i32))
    }

    pub(super) fn bigint(&mut self) -> Decoded<BigInt> {
        let field = self.input.varint()?;
        let length = field >> 1;
        if length > self.limits.max_bigint_bytes {
            return self.fail(Kind::BigIntTooLong(length));
        }
        let sign = if field & 1 == 0 {
            Sign::Plus
        } else {
            Sign::Minus
        };
        let digits = self.input.take(length as usize)?;
        Ok(BigInt::from_bytes_le(sign, digits))
    }

    /// A string where only a string may be.
    pub(super) fn string(&mut self) -> Decoded<JsString> {
        let tag = self.input.tag()?;
        self.text(tag)
    }

    pub(super) fn text(&mut self, tag: u8) -> Decoded<JsString> {
        let offset = self.input.offset();
        match tag {
            tag::ONE_BYTE_STRING => Ok(latin1(self.input.take_counted()?).into()),
            tag::UTF8_STRING => Ok(String::from_utf8_lossy(self.input.take_counted()?).into()),
            tag::TWO_BYTE_STRING => {
                let bytes = self.input.take_counted()?;
                let (pairs, rest) = bytes.as_chunks::<2>();
                if !rest.is_empty() {
                    return self.fail(Kind::Malformed("string"));
                }
                Ok(utf16(pairs))
            }
            _ => Err(DecodeError {
                offset,
                kind: Kind::Malformed("string"),
            }),
        }
    }
}

fn latin1(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.is_ascii() => text.to_owned(),
        _ => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

fn utf16(pairs: &[[u8; 2]]) -> JsString {
    let units = pairs.iter().map(|pair| u16::from_le_bytes(*pair));
    let text: Result<String, _> = char::decode_utf16(units.clone()).collect();
    match text {
        Ok(text) => text.into(),
        Err(_) => JsString::from_utf16(&units.collect::<Vec<_>>()),
    }
}
