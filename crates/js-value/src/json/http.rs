//! Headers, requests, responses and blobs <-> JSON.

use super::JsonError;
use super::read::{optional_properties, read};
use super::write::{properties, worded, write};
use crate::headers::is_token;
use crate::http::{is_line, is_status, is_url};
use crate::{Blob, Headers, HeadersGuard, Object, Request, Response, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};

type Done<T> = Result<T, JsonError>;

pub(super) fn write_headers(headers: &Headers) -> Json {
    let list: Vec<_> = headers
        .iter()
        .map(|(name, value)| json!([name, value]))
        .collect();
    match headers.guard() {
        HeadersGuard::None => Json::Array(list),
        guard => json!({"guard": guard.name(), "list": list}),
    }
}

pub(super) fn write_blob(blob: &Blob) -> Json {
    worded(
        "$blob",
        json!({"type": blob.media_type, "bytes": STANDARD.encode(&blob.bytes)}),
    )
}

pub(super) fn write_request(request: &Request, depth: usize) -> Done<Json> {
    let mut to = Map::new();
    to.insert("method".to_owned(), request.method.as_str().into());
    to.insert("url".to_owned(), request.url.as_str().into());
    to.insert("headers".to_owned(), write_headers(&request.headers));
    add_body(&mut to, request.body);
    add_text(&mut to, "redirect", request.redirect.as_deref());
    add_cf(&mut to, &request.cf, depth)?;
    add_text(&mut to, "cache", request.cache.as_deref());
    add_text(&mut to, "integrity", request.integrity.as_deref());
    let encode = request.encode_response_body.as_deref();
    add_text(&mut to, "encodeResponseBody", encode);
    add_other(&mut to, &request.other, depth)?;
    Ok(worded("$request", to.into()))
}

pub(super) fn write_response(response: &Response, depth: usize) -> Done<Json> {
    let mut to = Map::new();
    to.insert("status".to_owned(), response.status.into());
    add_text(&mut to, "statusText", response.status_text.as_deref());
    to.insert("headers".to_owned(), write_headers(&response.headers));
    add_body(&mut to, response.body);
    add_cf(&mut to, &response.cf, depth)?;
    add_text(&mut to, "encodeBody", response.encode_body.as_deref());
    add_other(&mut to, &response.other, depth)?;
    Ok(worded("$response", to.into()))
}

fn add_text(to: &mut Map<String, Json>, name: &str, text: Option<&str>) {
    if let Some(text) = text {
        to.insert(name.to_owned(), text.into());
    }
}

fn add_body(to: &mut Map<String, Json>, body: Option<u32>) {
    if let Some(n) = body {
        to.insert("body".to_owned(), worded("$readable", n.into()));
    }
}

fn add_cf(to: &mut Map<String, Json>, cf: &Value, depth: usize) -> Done<()> {
    if !cf.is_undefined() {
        to.insert("cf".to_owned(), write(cf, depth)?);
    }
    Ok(())
}

fn add_other(to: &mut Map<String, Json>, other: &Object, depth: usize) -> Done<()> {
    if !other.is_empty() {
        to.insert("other".to_owned(), properties(other, depth)?.into());
    }
    Ok(())
}

/// `None` for what is no list of headers that a `Headers` holds.
pub(super) fn read_headers(content: &Json) -> Option<Headers> {
    let (guard, list) = match content {
        Json::Array(list) => (HeadersGuard::None, list),
        Json::Object(object) => {
            let name = object.get("guard")?.as_str()?;
            let mut guards = HeadersGuard::ALL.iter();
            let (guard, _) = guards.find(|(_, guard)| *guard == name)?;
            (*guard, object.get("list")?.as_array()?)
        }
        _ => return None,
    };
    let mut headers = Headers::new().with_guard(guard);
    for pair in list {
        let [name, value] = pair.as_array()?.as_slice() else {
            return None;
        };
        headers.append(name.as_str()?, value.as_str()?).ok()?;
    }
    Some(headers)
}

pub(super) fn read_blob(content: &Json) -> Option<Value> {
    let media_type = match content.get("type") {
        Some(name) => name.as_str()?.to_owned(),
        None => String::new(),
    };
    let bytes = STANDARD.decode(content.get("bytes")?.as_str()?).ok()?;
    Some(Blob { media_type, bytes }.into())
}

pub(super) fn read_request(mut content: Json, depth: usize) -> Done<Option<Value>> {
    let Some(request) = request(&content) else {
        return Ok(None);
    };
    let cf = cf(&mut content, depth)?;
    let other = optional_properties(&mut content, "other", depth)?;
    Ok(Some(
        Request {
            cf,
            other,
            ..request
        }
        .into(),
    ))
}

fn request(content: &Json) -> Option<Request> {
    let url = content.get("url")?.as_str()?;
    let method = match content.get("method") {
        Some(method) => method.as_str()?,
        None => "GET",
    };
    if !is_url(url) || !is_token(method) {
        return None;
    }
    Some(Request {
        headers: member_headers(content)?,
        body: body(content)?,
        redirect: text(content, "redirect")?,
        cache: text(content, "cache")?,
        integrity: text(content, "integrity")?,
        encode_response_body: text(content, "encodeResponseBody")?,
        ..Request::new(method, url)
    })
}

pub(super) fn read_response(mut content: Json, depth: usize) -> Done<Option<Value>> {
    let Some(response) = response(&content) else {
        return Ok(None);
    };
    let cf = cf(&mut content, depth)?;
    let other = optional_properties(&mut content, "other", depth)?;
    Ok(Some(
        Response {
            cf,
            other,
            ..response
        }
        .into(),
    ))
}

fn response(content: &Json) -> Option<Response> {
    let status = match content.as_object()?.get("status") {
        Some(status) => u16::try_from(status.as_u64()?).ok()?,
        None => 200,
    };
    if !is_status(status) {
        return None;
    }
    Some(Response {
        status_text: text(content, "statusText")?,
        headers: member_headers(content)?,
        body: body(content)?,
        encode_body: text(content, "encodeBody")?,
        ..Response::new(status)
    })
}

fn member_headers(content: &Json) -> Option<Headers> {
    match content.get("headers") {
        Some(headers) => read_headers(headers),
        None => Some(Headers::new()),
    }
}

/// The outer `None` is for a member that is something else.
fn text(content: &Json, name: &str) -> Option<Option<String>> {
    match content.get(name) {
        Some(text) => Some(Some(text.as_str().filter(|text| is_line(text))?.to_owned())),
        None => Some(None),
    }
}

fn body(content: &Json) -> Option<Option<u32>> {
    match content.get("body") {
        None | Some(Json::Null) => Some(None),
        Some(body) => {
            let number = body.get("$readable")?.as_u64()?;
            Some(Some(u32::try_from(number).ok()?))
        }
    }
}

fn cf(content: &mut Json, depth: usize) -> Done<Value> {
    match content.get_mut("cf") {
        Some(cf) => read(cf.take(), depth),
        None => Ok(Value::Undefined),
    }
}
