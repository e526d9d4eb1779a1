//! workerd's host objects of HTTP: headers, requests, responses, blobs.

use super::{DecodeErrorKind as Kind, Decoded, Decoder};
use crate::headers::is_token;
use crate::http::{is_line, is_status, is_url};
use crate::v8::{Run, common_headers, tag};
use crate::{Blob, HeaderError, Headers, HeadersGuard, Object, Request, Response, Value, refs};

/// How many bytes of headers may be copied to where a value has a reference to them.
const MAX_SHARED: usize = 1 << 20;

/// As how many values a request or response counts: it takes as much memory, and as many bytes when all its members
/// are written.
const WEIGHT: u32 = 16;

/// Members of what a request or response is made from.
struct Members {
    headers: Option<Headers>,
    body: Option<u32>,
    cf: Value,
    texts: [Option<String>; 5],
    status: u16,
    other: Object,
}

impl Decoder<'_> {
    pub(super) fn external(&mut self, make: fn(u32) -> Value) -> Value {
        self.externals += 1;
        make(self.externals - 1)
    }

    pub(super) fn readable(&mut self) -> u32 {
        let number = self.externals;
        self.externals += 1;
        // The object itself has been counted.
        self.streams.push((self.objects - 1, number));
        number
    }

    /// Text as host objects have it: a length and UTF-8.
    pub(super) fn host_text(&mut self) -> Decoded<String> {
        let bytes = self.input.take_counted()?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    pub(super) fn headers(&mut self) -> Decoded<Headers> {
        let number = self.objects - 1;
        let guard = self.input.varint()?;
        let Some((guard, _)) = HeadersGuard::ALL.get(guard as usize) else {
            return self.fail(Kind::Malformed("Headers"));
        };
        let count = self.input.varint()?;
        if count as usize > self.input.remaining() {
            return self.fail(Kind::Truncated);
        }
        self.weigh(count)?;
        let mut headers = Headers::new().with_guard(*guard);
        for _ in 0..count {
            let bad = |error: HeaderError| self.input.error(Kind::Header(error));
            // Where the header begins.
            let bad = [HeaderError::Name, HeaderError::Value, HeaderError::TooMany].map(bad);
            let common = self.input.varint()?;
            let written;
            let name = match common {
                0 => {
                    written = self.host_text()?;
                    written.as_str()
                }
                number => match common_headers::name(number) {
                    Some(name) => name,
                    None => return self.fail(Kind::Malformed("Headers")),
                },
            };
            let value = self.host_text()?;
            headers.append(name, &value).map_err(|error| match error {
                HeaderError::Name => bad[0],
                HeaderError::Value => bad[1],
                HeaderError::TooMany => bad[2],
            })?;
        }
        self.headers.push((number, headers.clone()));
        Ok(headers)
    }

    pub(super) fn blob(&mut self) -> Decoded {
        let media_type = self.host_text()?;
        let bytes = self.input.take_counted()?.to_vec();
        Ok(Blob { media_type, bytes }.into())
    }

    pub(super) fn request(&mut self) -> Decoded {
        let url = self.host_text()?;
        if !is_url(&url) {
            return self.fail(Kind::Malformed("URL of a Request"));
        }
        let names = [
            "method",
            "redirect",
            "cache",
            "integrity",
            "encodeResponseBody",
        ];
        let members = self.members("Request", names)?;
        let [method, redirect, cache, integrity, encode_response_body] = members.texts;
        let method = method.unwrap_or_else(|| "GET".to_owned());
        if !is_token(&method) {
            return self.fail(Kind::Malformed("method of a Request"));
        }
        Ok(Request {
            method,
            url,
            headers: members.headers.unwrap_or_default(),
            body: members.body,
            redirect,
            cf: members.cf,
            cache,
            integrity,
            encode_response_body,
            other: members.other,
        }
        .into())
    }

    pub(super) fn response(&mut self) -> Decoded {
        let body = self.body("Response")?;
        let names = ["statusText", "encodeBody", "", "", ""];
        let members = self.members("Response", names)?;
        let [status_text, encode_body, ..] = members.texts;
        Ok(Response {
            status: members.status,
            status_text,
            headers: members.headers.unwrap_or_default(),
            body,
            cf: members.cf,
            encode_body,
            other: members.other,
        }
        .into())
    }

    /// The object that a request or response is made from. `texts` are its members that are text.
    fn members(&mut self, what: &'static str, texts: [&str; 5]) -> Decoded<Members> {
        let is_response = what == "Response";
        if self.input.tag()? != tag::OBJECT {
            return self.fail(Kind::Malformed(what));
        }
        self.weigh(WEIGHT)?;
        self.begin_bag();
        let mut members = Members {
            headers: None,
            body: None,
            cf: Value::Undefined,
            texts: [const { None }; 5],
            status: 200,
            other: Object::new(),
        };
        // How far we are among the members that have objects in them, in the order that `Value::BackRef` counts.
        let mut place = 0;
        let mut pass = |this: &mut Self, to: u8| {
            this.reordered |= to < place;
            place = place.max(to);
        };
        let mut count = 0;
        while !self.input.skip_tag(tag::OBJECT_END) {
            self.values += 1;
            let name = self.string()?.into_string_lossy();
            count += 1;
            let text = texts.iter().position(|text| *text == name);
            match (name.as_str(), text) {
                ("", _) => return self.fail(Kind::Malformed(what)),
                (_, Some(at)) => members.texts[at] = self.line(what)?,
                ("headers", _) if members.headers.is_none() => {
                    pass(self, 1);
                    members.headers = self.member_headers(what)?;
                }
                ("body", _) if !is_response && members.body.is_none() => {
                    let body = self.body(what)?;
                    if body.is_some() {
                        pass(self, 2);
                        members.body = body;
                    }
                }
                ("status", _) if is_response => match self.value()? {
                    Value::Undefined => {}
                    Value::Number(status)
                        if status.fract() == 0.0
                            && is_status(status.clamp(-1.0, 1e3) as u16)
                            && status >= 0.0 =>
                    {
                        members.status = status as u16;
                    }
                    _ => return self.fail(Kind::Malformed("status of a Response")),
                },
                ("headers" | "body", _) => return self.fail(Kind::Malformed(what)),
                ("cf", _) if members.cf.is_undefined() => {
                    members.cf = self.value()?;
                    if refs::count(&members.cf) > 0 {
                        pass(self, 3);
                    }
                    match members.cf {
                        Value::Undefined | Value::Null | Value::Object(_) | Value::BackRef(_) => {}
                        _ => return self.fail(Kind::Malformed(what)),
                    }
                }
                _ => {
                    let value = self.value()?;
                    if refs::count(&value) > 0 {
                        pass(self, 4);
                        // Its place among the others is not that on the wire if it is there twice, or an index.
                        self.reordered |= name.starts_with(|c: char| c.is_ascii_digit());
                    }
                    if !value.is_undefined() && members.other.insert(name, value).is_some() {
                        self.reordered = true;
                    }
                }
            }
        }
        self.count(count, "object")?;
        // Headers are objects of every request and response, whether they were written or not.
        if members.headers.is_none() {
            pass(self, 1);
            self.unwritten_object();
        }
        Ok(members)
    }

    /// Counts what is more than one value.
    fn weigh(&mut self, values: u32) -> Decoded<()> {
        self.values = self.values.saturating_add(values);
        if self.values > self.limits.max_values {
            return self.fail(Kind::TooManyValues(self.limits.max_values));
        }
        Ok(())
    }

    /// A member that is text, or absent.
    fn line(&mut self, what: &'static str) -> Decoded<Option<String>> {
        match self.value()? {
            Value::Undefined | Value::Null => Ok(None),
            Value::String(text) => {
                let text = text.into_string_lossy();
                match is_line(&text) {
                    true => Ok(Some(text)),
                    false => self.fail(Kind::Malformed(what)),
                }
            }
            _ => self.fail(Kind::Malformed(what)),
        }
    }

    /// The body: `null`, a stream, or a reference to one.
    fn body(&mut self, what: &'static str) -> Decoded<Option<u32>> {
        match self.value()? {
            Value::Undefined | Value::Null => Ok(None),
            Value::ReadableStream(number) => Ok(Some(number)),
            Value::BackRef(object) => {
                let found = self.streams.binary_search_by_key(&object, |(n, _)| *n);
                let Ok(at) = found else {
                    return self.fail(Kind::BadReference(object));
                };
                let number = self.streams[at].1;
                self.unwritten_object();
                Ok(Some(number))
            }
            _ => self.fail(Kind::Malformed(what)),
        }
    }

    fn member_headers(&mut self, what: &'static str) -> Decoded<Option<Headers>> {
        match self.value()? {
            Value::Undefined => Ok(None),
            Value::Headers(headers) => Ok(Some(*headers)),
            Value::BackRef(object) => {
                let found = self.headers.binary_search_by_key(&object, |(n, _)| *n);
                let Ok(at) = found else {
                    return self.fail(Kind::BadReference(object));
                };
                let headers = self.headers[at].1.clone();
                self.shared += headers.bytes() + 16 * headers.len();
                if self.shared > MAX_SHARED {
                    return self.fail(Kind::SharedHeaders(MAX_SHARED));
                }
                self.unwritten_object();
                Ok(Some(headers))
            }
            _ => self.fail(Kind::Malformed(what)),
        }
    }

    /// Counts a bag of members or properties, which is an object on the wire and none of ours.
    pub(super) fn begin_bag(&mut self) {
        self.runs.push(Run {
            value: self.objects,
            wire: self.wire_objects,
            present: false,
        });
        self.wire_objects += 1;
        self.run();
    }

    /// Counts an object of ours that is none on the wire.
    fn unwritten_object(&mut self) {
        self.objects += 1;
        self.run();
    }

    fn run(&mut self) {
        self.runs.push(Run {
            value: self.objects,
            wire: self.wire_objects,
            present: true,
        });
    }
}
