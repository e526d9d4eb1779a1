//! A request's body, from JSON.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::d1::params::Param;
use crate::d1::request::Query;
use crate::d1::request_value::RequestError;

/// A body as it is read: a statement, or an array of them.
pub(super) struct Body {
    pub(super) queries: Vec<JsonQuery>,
    pub(super) many: bool,
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Body;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or an array of objects")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Body, A::Error> {
                let query = JsonQuery::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Body {
                    queries: vec![query],
                    many: false,
                })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Body, A::Error> {
                let mut queries = Vec::new();
                while let Some(query) = seq.next_element()? {
                    queries.push(query);
                }
                Ok(Body {
                    queries,
                    many: true,
                })
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[derive(Deserialize)]
pub(super) struct JsonQuery {
    sql: String,
    params: Option<Vec<JsonParam>>,
}

impl JsonQuery {
    /// The statement, if its parameters are what D1 takes.
    pub(super) fn checked(self, query: usize, many: bool) -> Result<Query, RequestError> {
        let params = self.params.unwrap_or_default().into_iter().enumerate();
        let params = params.map(|(param, value)| {
            value.0.map_err(|value| match many {
                true => RequestError::JsonParam {
                    value,
                    place: format!("[{query}].params[{param}]"),
                },
                false => RequestError::JsonParam {
                    value,
                    place: format!("params[{param}]"),
                },
            })
        });
        Ok(Query {
            sql: self.sql,
            params: params.collect::<Result<_, _>>()?,
        })
    }
}

/// A parameter, or what it is instead of one.
struct JsonParam(Result<Param, &'static str>);

impl<'de> Deserialize<'de> for JsonParam {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ParamReader).map(Self)
    }
}

struct ParamReader;

impl<'de> Visitor<'de> for ParamReader {
    type Value = Result<Param, &'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a parameter")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Ok(Param::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Ok(Param::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        // JavaScript writes each of its numbers in digits that mean this very number.
        Ok(Ok(match value.unsigned_abs() < 1 << 53 {
            true => Param::Number(value as f64),
            false => Param::Integer(value),
        }))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => self.visit_f64(value as f64),
        }
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Ok(Param::Number(value)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        self.visit_string(text.to_owned())
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Ok(Param::Text(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut bytes = Vec::new();
        while let Some(element) = seq.next_element()? {
            let JsonByte(Some(byte)) = element else {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(Err("an array that is not of bytes"));
            };
            bytes.push(byte);
        }
        Ok(Ok(Param::Blob(bytes)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Err("[object Object]"))
    }
}

/// A number from 0 to 255, or something else.
struct JsonByte(Option<u8>);

impl<'de> Deserialize<'de> for JsonByte {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let param = JsonParam::deserialize(deserializer)?;
        Ok(Self(match param.0 {
            Ok(Param::Number(n)) if n.fract() == 0.0 && (0.0..256.0).contains(&n) => Some(n as u8),
            _ => None,
        }))
    }
}
