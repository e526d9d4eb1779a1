//! The bytes and where we are in them. Never reads past the end, never copies.

use super::decode::{DecodeError, DecodeErrorKind};
use super::tag;

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn offset(&self) -> usize {
        self.at
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(super) fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError {
            offset: self.at,
            kind,
        }
    }

    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = self.bytes.get(self.at).copied();
        let byte = byte.ok_or_else(|| self.error(DecodeErrorKind::Truncated))?;
        self.at += 1;
        Ok(byte)
    }

    /// The next tag, past padding, without moving past it.
    pub(super) fn peek_tag(&mut self) -> Option<u8> {
        while self.bytes.get(self.at) == Some(&tag::PADDING) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    pub(super) fn tag(&mut self) -> Result<u8, DecodeError> {
        self.peek_tag();
        self.byte()
    }

    /// Moves past the next tag if it is `wanted`.
    pub(super) fn skip_tag(&mut self, wanted: u8) -> bool {
        let found = self.peek_tag() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        if length > self.remaining() {
            return Err(self.error(DecodeErrorKind::Truncated));
        }
        let taken = &self.bytes[self.at..self.at + length];
        self.at += length;
        Ok(taken)
    }

    /// Takes as many bytes as the varint before them says.
    pub(super) fn take_counted(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.length()?;
        self.take(length)
    }

    pub(super) fn varint(&mut self) -> Result<u32, DecodeError> {
        let offset = self.at;
        let number = self.varint64()?;
        u32::try_from(number).map_err(|_| DecodeError {
            offset,
            kind: DecodeErrorKind::BadNumber,
        })
    }

    /// A length in bytes, of any width.
    pub(super) fn length(&mut self) -> Result<usize, DecodeError> {
        let number = self.varint64()?;
        // What does not fit in memory is not in the input either.
        usize::try_from(number).map_err(|_| self.error(DecodeErrorKind::Truncated))
    }

    fn varint64(&mut self) -> Result<u64, DecodeError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.error(DecodeErrorKind::BadNumber))
    }

    pub(super) fn double(&mut self) -> Result<f64, DecodeError> {
        let bytes = self.take(8)?;
        let mut array = [0; 8];
        array.copy_from_slice(bytes);
        Ok(f64::from_le_bytes(array))
    }
}
