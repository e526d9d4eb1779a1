//! Values that contain no others: primitives, text, bytes, references.

use super::{Done, EncodeError, Encoder};
use crate::v8::tag;
use crate::{Boxed, JsString, View, ViewBuffer};
use num_bigint::{BigInt, Sign};

impl Encoder {
    pub(super) fn boxed(&mut self, boxed: &Boxed) -> Done {
        match boxed {
            Boxed::Bool(true) => self.byte(tag::TRUE_OBJECT),
            Boxed::Bool(false) => self.byte(tag::FALSE_OBJECT),
            Boxed::Number(number) => {
                self.byte(tag::NUMBER_OBJECT);
                self.double(*number);
            }
            Boxed::BigInt(number) => {
                self.byte(tag::BIGINT_OBJECT);
                self.bigint(number)?;
            }
            Boxed::String(text) => {
                self.byte(tag::STRING_OBJECT);
                self.string(text)?;
            }
        }
        Ok(())
    }

    pub(super) fn view(&mut self, view: &View) -> Done {
        let bad = EncodeError::BadView(view.kind.name());
        let size = view.kind.element_size();
        if !view.offset.is_multiple_of(size) || !view.length.is_multiple_of(size) {
            return Err(bad);
        }
        let end = view.offset.checked_add(view.length).ok_or(bad)?;
        match &view.buffer {
            ViewBuffer::Own(bytes) if end <= bytes.len() => {
                self.begin_object();
                self.buffer(bytes)?;
            }
            ViewBuffer::Own(_) => return Err(bad),
            ViewBuffer::Shared(n) => self.reference(*n)?,
        }
        self.begin_object();
        self.byte(tag::VIEW);
        self.byte(view.kind.tag());
        self.length(view.offset, "view")?;
        self.length(view.length, "view")?;
        self.byte(0);
        Ok(())
    }

    pub(super) fn buffer(&mut self, bytes: &[u8]) -> Done {
        self.byte(tag::ARRAY_BUFFER);
        self.length(bytes.len(), "ArrayBuffer")?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    pub(super) fn reference(&mut self, n: u32) -> Done {
        let dangling = EncodeError::DanglingReference(n);
        let object = n.checked_add(self.base).filter(|n| *n < self.objects);
        let object = object.ok_or(dangling)?;
        let next = self.runs.partition_point(|run| run.value <= object);
        let wire = match self.runs[..next].last() {
            None => object,
            Some(run) if run.present => run.wire + (object - run.value),
            Some(_) => return Err(EncodeError::LostReference(n)),
        };
        self.byte(tag::REFERENCE);
        self.varint(wire);
        Ok(())
    }

    pub(super) fn number(&mut self, number: f64) {
        let int = number as i32;
        // The bits, and not `==`, keep -0 apart from 0.
        if f64::from(int).to_bits() == number.to_bits() {
            self.byte(tag::INT32);
            self.varint(((int << 1) ^ (int >> 31)) as u32);
        } else {
            self.byte(tag::DOUBLE);
            self.double(number);
        }
    }

    pub(super) fn bigint(&mut self, number: &BigInt) -> Done {
        let digits = number.iter_u64_digits();
        let length = u32::try_from(digits.len() * 8)
            .ok()
            .filter(|length| *length <= 1 << 27);
        let length = length.ok_or(EncodeError::TooLong("BigInt"))?;
        self.varint(length << 1 | u32::from(number.sign() == Sign::Minus));
        for digit in digits {
            self.out.extend_from_slice(&digit.to_le_bytes());
        }
        Ok(())
    }

    pub(super) fn string(&mut self, string: &JsString) -> Done {
        match (string.as_str(), string.as_ill_formed()) {
            (Some(text), _) => self.text(text),
            (None, units) => {
                let units = units.unwrap_or_default();
                self.two_byte_string(units.len(), units.iter().copied())
            }
        }
    }

    pub(super) fn text(&mut self, text: &str) -> Done {
        if text.is_ascii() {
            self.byte(tag::ONE_BYTE_STRING);
            self.length(text.len(), "string")?;
            self.out.extend_from_slice(text.as_bytes());
            return Ok(());
        }
        if text.chars().all(|c| c <= '\u{ff}') {
            self.byte(tag::ONE_BYTE_STRING);
            self.length(text.chars().count(), "string")?;
            self.out.extend(text.chars().map(|c| c as u8));
            return Ok(());
        }
        self.two_byte_string(text.encode_utf16().count(), text.encode_utf16())
    }

    pub(super) fn two_byte_string(
        &mut self,
        count: usize,
        units: impl Iterator<Item = u16>,
    ) -> Done {
        let length = u32::try_from(count * 2).map_err(|_| EncodeError::TooLong("string"))?;
        // Aligned so that a reader may take the text in place.
        if (self.out.len() + 1 + varint_length(length)) % 2 == 1 {
            self.byte(tag::PADDING);
        }
        self.byte(tag::TWO_BYTE_STRING);
        self.varint(length);
        self.out.reserve(length as usize);
        for unit in units {
            self.out.extend_from_slice(&unit.to_le_bytes());
        }
        Ok(())
    }
}

fn varint_length(number: u32) -> usize {
    (32 - (number | 1).leading_zeros() as usize).div_ceil(7)
}
