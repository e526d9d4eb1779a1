//! Parts of vectors' metadata.

use serde_json::{Map, Value};

use super::options::{MetadataIndex, MetadataType};
use super::vector::Metadata;

/// Bytes of a text that are in a metadata index.
const INDEXED_BYTES: usize = 64;

/// The value of a property, if there is one; each part of the path is a key of an object.
pub(super) fn property<P: AsRef<str>>(
    metadata: &Metadata,
    path: impl IntoIterator<Item = P>,
) -> Option<&Value> {
    let mut path = path.into_iter();
    let first = metadata.get(path.next()?.as_ref())?;
    path.try_fold(first, |value, key| value.as_object()?.get(key.as_ref()))
}

/// What of the metadata is in the indexes: properties of the indexes' types, in objects nested as they were, and of
/// texts the first 64 bytes, up to the end of a character. Nothing if there is none of them.
pub(super) fn indexed(metadata: &Metadata, indexes: &[MetadataIndex]) -> Option<Metadata> {
    let mut kept = Map::new();
    for index in indexes {
        let value = property(metadata, index.property.split('.'));
        let Some(value) = value.and_then(|value| in_index(value, index.kind)) else {
            continue;
        };
        insert(&mut kept, &index.property, value);
    }
    (!kept.is_empty()).then_some(kept)
}

fn in_index(value: &Value, kind: MetadataType) -> Option<Value> {
    match (value, kind) {
        (Value::String(text), MetadataType::String) => {
            Some(text[..text.floor_char_boundary(INDEXED_BYTES)].into())
        }
        (Value::Number(_), MetadataType::Number) | (Value::Bool(_), MetadataType::Boolean) => {
            Some(value.clone())
        }
        _ => None,
    }
}

/// A property is an object in all of its indexes or in none: it was one value before.
fn insert(into: &mut Metadata, property: &str, value: Value) {
    let Some((first, rest)) = property.split_once('.') else {
        into.insert(property.to_owned(), value);
        return;
    };
    let inner = into
        .entry(first)
        .or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(inner) = inner {
        insert(inner, rest, value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Metadata {
        value.as_object().unwrap().clone()
    }

    fn index(property: &str, kind: MetadataType) -> MetadataIndex {
        MetadataIndex {
            property: property.into(),
            kind,
        }
    }

    #[test]
    fn indexed_metadata_has_what_is_in_the_indexes_and_keeps_its_shape() {
        let long = format!("{}éé", "x".repeat(63));
        let metadata = object(json!({
            "author": {"name": long, "age": 7, "note": "no"},
            "year": "1999",
            "open": false,
            "other": 1,
        }));
        let indexes = [
            index("author.name", MetadataType::String),
            index("author.age", MetadataType::Number),
            index("year", MetadataType::Number),
            index("open", MetadataType::Boolean),
            index("open.inner", MetadataType::Boolean),
            index("missing.deep", MetadataType::String),
        ];
        let kept = indexed(&metadata, &indexes).unwrap();
        let expected = json!({"author": {"name": "x".repeat(63), "age": 7}, "open": false});
        assert_eq!(Value::Object(kept), expected);
        assert_eq!(indexed(&metadata, &indexes[2..3]), None);
    }

    #[test]
    fn a_property_is_reached_through_objects_only() {
        let metadata = object(json!({"a": {"b": {"c": 1}}, "l": [{"b": 2}], "a.b": 3}));
        assert_eq!(property(&metadata, ["a", "b", "c"]), Some(&json!(1)));
        assert_eq!(property(&metadata, ["l", "0", "b"]), None);
        assert_eq!(property(&metadata, ["a", "b", "c", "d"]), None);
        assert_eq!(property::<&str>(&metadata, []), None);
    }
}
