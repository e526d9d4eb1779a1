//! The elements of typed arrays.

use super::SerdeError;
use crate::{Value, View, ViewKind};

/// The elements of a typed array, or the bytes of a `DataView`, as values.
pub(super) fn of(view: View) -> Result<Vec<Value>, SerdeError> {
    let bytes = view.bytes().unwrap_or_default();
    macro_rules! elements {
        ($type:ty) => {
            bytes
                .as_chunks::<{ size_of::<$type>() }>()
                .0
                .iter()
                .map(|element| Value::from(<$type>::from_le_bytes(*element)))
                .collect()
        };
    }
    Ok(match view.kind {
        ViewKind::Int8Array => elements!(i8),
        ViewKind::Uint8Array | ViewKind::Uint8ClampedArray | ViewKind::DataView => elements!(u8),
        ViewKind::Int16Array => elements!(i16),
        ViewKind::Uint16Array => elements!(u16),
        ViewKind::Int32Array => elements!(i32),
        ViewKind::Uint32Array => elements!(u32),
        ViewKind::Float32Array => elements!(f32),
        ViewKind::Float64Array => elements!(f64),
        ViewKind::BigInt64Array => elements!(i64),
        ViewKind::BigUint64Array => elements!(u64),
        ViewKind::Float16Array => {
            let reason = "a Float16Array cannot be read as a sequence";
            return Err(SerdeError::Custom(reason.to_owned()));
        }
    })
}
