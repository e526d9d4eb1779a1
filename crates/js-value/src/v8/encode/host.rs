//! workerd's host objects of HTTP: headers, requests, responses, blobs.

use super::{Done, Encoder};
use crate::v8::{common_headers, tag};
use crate::{Blob, Headers, HeadersGuard, Object, Request, Response};
use std::collections::hash_map::Entry;

impl Encoder {
    fn host(&mut self, tag: u32) {
        self.byte(tag::HOST_OBJECT);
        self.varint(tag);
    }

    /// Text as host objects have it: a length and UTF-8.
    pub(super) fn host_text(&mut self, text: &str) -> Done {
        self.length(text.len(), "string")?;
        self.out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    pub(super) fn external(&mut self, tag: u32, number: u32) {
        self.begin_object();
        self.host(tag);
        self.externals.push(number);
    }

    /// A stream, or a reference to it: one stream is one object, wherever it appears.
    pub(super) fn stream(&mut self, tag: u32, number: u32) {
        match self.streams.entry((tag, number)) {
            Entry::Vacant(entry) => {
                entry.insert(self.wire_objects);
                self.external(tag, number);
            }
            Entry::Occupied(entry) => {
                let wire = *entry.get();
                self.byte(tag::REFERENCE);
                self.varint(wire);
                self.run_at(wire);
                self.objects += 1;
                self.run(true);
            }
        }
    }

    pub(super) fn headers(&mut self, headers: &Headers) -> Done {
        self.begin_object();
        self.host(tag::host::HEADERS);
        let mut guards = (0..).zip(HeadersGuard::ALL);
        let guard = guards.find(|(_, (guard, _))| *guard == headers.guard());
        self.varint(guard.map_or(0, |(number, _)| number));
        self.length(headers.len(), "Headers")?;
        for (name, value) in headers.iter() {
            let number = common_headers::number(name);
            self.varint(number);
            if number == 0 {
                self.host_text(name)?;
            }
            self.host_text(value)?;
        }
        Ok(())
    }

    pub(super) fn blob(&mut self, blob: &Blob) -> Done {
        self.host(tag::host::BLOB);
        self.host_text(&blob.media_type)?;
        self.length(blob.bytes.len(), "Blob")?;
        self.out.extend_from_slice(&blob.bytes);
        Ok(())
    }

    pub(super) fn request(&mut self, request: &Request) -> Done {
        self.host(tag::host::REQUEST);
        self.host_text(&request.url)?;
        self.begin_bag();
        let method = Some(request.method.as_str()).filter(|method| *method != "GET");
        self.member("method", method)?;
        self.text("headers")?;
        self.headers(&request.headers)?;
        self.text("body")?;
        self.body(request.body);
        self.member("redirect", request.redirect.as_deref())?;
        let fetcher = self.unless_other("fetcher", &request.other)?;
        self.text("cf")?;
        self.value(&request.cf)?;
        self.member("cache", request.cache.as_deref())?;
        self.member("integrity", request.integrity.as_deref())?;
        let signal = self.unless_other("signal", &request.other)?;
        let encode = request.encode_response_body.as_deref();
        self.member("encodeResponseBody", encode)?;
        self.end_bag(8 + fetcher + signal, &request.other)
    }

    pub(super) fn response(&mut self, response: &Response) -> Done {
        self.host(tag::host::RESPONSE);
        self.body(response.body);
        self.begin_bag();
        self.text("status")?;
        match response.status {
            200 => self.byte(tag::UNDEFINED),
            status => self.number(f64::from(status)),
        }
        self.member("statusText", response.status_text.as_deref())?;
        self.text("headers")?;
        self.headers(&response.headers)?;
        self.text("cf")?;
        self.value(&response.cf)?;
        let socket = self.unless_other("webSocket", &response.other)?;
        self.member("encodeBody", response.encode_body.as_deref())?;
        self.end_bag(5 + socket, &response.other)
    }

    fn begin_bag(&mut self) {
        self.byte(tag::OBJECT);
        self.wire_objects += 1; // no object of ours
        self.run(true);
    }

    fn end_bag(&mut self, written: usize, other: &Object) -> Done {
        self.properties(other)?;
        self.byte(tag::OBJECT_END);
        self.length(written + other.len(), "object")
    }

    fn member(&mut self, name: &str, text: Option<&str>) -> Done {
        self.text(name)?;
        match text {
            Some(text) => self.text(text),
            None => {
                self.byte(tag::UNDEFINED);
                Ok(())
            }
        }
    }

    /// A member that workerd always writes and that we have among the others, if at all. Gives how many were
    /// written.
    fn unless_other(&mut self, name: &str, other: &Object) -> Result<usize, super::EncodeError> {
        if other.get(name).is_some() {
            return Ok(0);
        }
        self.member(name, None)?;
        Ok(1)
    }

    fn body(&mut self, body: Option<u32>) {
        match body {
            Some(number) => self.stream(tag::host::READABLE_STREAM, number),
            None => self.byte(tag::NULL),
        }
    }
}
