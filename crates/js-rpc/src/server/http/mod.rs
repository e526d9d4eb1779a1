//! Plain HTTP on the listeners of a server: `env.SVC.fetch()` of a Worker, and whoever else speaks HTTP/1.1.
//!
//! hyper reads and writes; [`admit`] decides which requests are served, and of which binding. Limits are those
//! of the other connections: an hour without a byte is too long for HTTP, so that a head, a part of a body and
//! the next request each have the time of a message's part.

mod admit;
mod body;

use std::convert::Infallible;
use std::io::{self, Cursor};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ::http::header::{self, HeaderName, HeaderValue};
use ::http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio_io_timeout::TimeoutStream;

use super::Entry;
use super::entry::{DRAINING, Port};
use crate::CallError;
use crate::network::Buffered;
use crate::object::ByteStream;
use crate::object::http::remove_hop_by_hop;
use crate::opening::NOT_HTTP;
use crate::serve::{self, Around, FetchBody};
use crate::stream::{ReadHalf, WriteHalf};
pub(super) use admit::Pages;
use admit::Refusal;

/// Bytes of a request's head.
const HEAD_BYTES: usize = 64 << 10;

/// Bytes that a connection has read or written ahead, each way: one that is not kept busy would have 400 KiB.
const BUFFER: usize = 128 << 10;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Serves the requests of a connection, of which some bytes were read. When the server stops, the one that is being
/// served is the last.
pub(super) async fn serve(
    port: Port,
    pages: Pages,
    begun: Vec<u8>,
    read: Buffered<ReadHalf>,
    write: WriteHalf,
) -> io::Result<()> {
    let running = Rc::clone(&port.running);
    let limits = &running.shared.limits.network;
    let socket = tokio::io::join(Cursor::new(begun).chain(read), write);
    let mut socket = TimeoutStream::new(socket);
    socket.set_write_timeout(Some(limits.write_stall));
    let port = Rc::new(port);
    let service = service_fn(move |request| {
        let port = Rc::clone(&port);
        async move { Ok::<_, Infallible>(answer(&port, pages, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.frame)
        .max_header_size(HEAD_BYTES)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(Box::pin(socket)), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = &mut connection => return ended.map_err(io::Error::other),
        () = running.stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        ended = connection => ended.map_err(io::Error::other),
        () = running.close.cancelled() => Ok(()),
    }
}

/// The answer to one request, whatever it is.
async fn answer(port: &Port, pages: Pages, request: Request<Incoming>) -> Response<FetchBody> {
    let method = request.method().clone();
    match respond(port, pages, request).await {
        Ok(response) => sendable(&method, response),
        Err(refusal) => {
            tracing::debug!("refused a plain HTTP request: {}", refusal.text.trim_end());
            refusal.response()
        }
    }
}

async fn respond(
    port: &Port,
    pages: Pages,
    request: Request<Incoming>,
) -> Result<Response<FetchBody>, Refusal> {
    let shared = &port.running.shared;
    let (mut head, body) = request.into_parts();
    let wanted = admit::admit(&mut head, pages)?;
    if shared.is_draining() {
        return Err(Refusal::failed(&CallError::Overloaded(DRAINING.into())));
    }
    let (binding, entry) = choose(port, wanted.as_deref())?;
    let caller = single(&head, &TRACEPARENT).and_then(|text| text.parse().ok());
    remove_hop_by_hop(&mut head.headers);
    // What it asks for is done here, when the body is read.
    head.headers.remove(header::EXPECT);
    let received = Arc::new(AtomicU64::new(0));
    let body = body::stream(body, shared.limits.network.frame, Arc::clone(&received));
    let request = Request::from_parts(head, body);
    let response = match entry {
        Entry::Service(service) => {
            let around = Around {
                shared: Rc::clone(shared),
                binding,
                caller,
                client: port.client,
                received,
            };
            serve::fetch(&*service, request, around).await
        }
        Entry::Proxy(proxy) => {
            let in_flight = shared.enter();
            let binding = proxy.binding(shared, &binding);
            let passed = binding.fetch_with(request, |call| {
                let call = call.client(port.client);
                match caller {
                    Some(caller) => call.parent(caller),
                    None => call,
                }
            });
            let passed = passed.await;
            passed.map(|response| response.map(|stream| FetchBody::passed_on(stream, in_flight)))
        }
        Entry::Tail(_) => return Err(Refusal::misdirected(NOT_HTTP)),
    };
    response.map_err(|error| Refusal::failed(&error))
}

/// The binding that a request is for: the listener's, the one that it names, or the only one.
fn choose(port: &Port, wanted: Option<&str>) -> Result<(Rc<str>, Entry), Refusal> {
    let found = match (port.only.as_deref(), wanted) {
        (Some(only), _) => port.find(only),
        (None, Some(name)) => port.find(name),
        (None, None) => port.running.bindings.sole().map_err(|count| match count {
            0 => NOT_HTTP.to_owned(),
            _ => format!(
                "{count} bindings are served here. Name one in the header {}: in workerd's configuration, \
                 injectRequestHeaders of the external service; or give it a listener of its own.\n",
                admit::BINDING
            ),
        }),
    };
    found.map_err(Refusal::misdirected)
}

/// A header's value, if it is there once and is text.
fn single<'a>(head: &'a ::http::request::Parts, name: &HeaderName) -> Option<&'a str> {
    let mut values = head.headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// A service's response as it can be sent: framed as its body is, whatever its headers say.
fn sendable(method: &Method, response: Response<FetchBody>) -> Response<FetchBody> {
    let (mut head, mut body) = response.into_parts();
    if head.status.is_informational() {
        let text = format!("the service answered with status {}", head.status);
        return Refusal::new(StatusCode::BAD_GATEWAY, text).response();
    }
    remove_hop_by_hop(&mut head.headers);
    let mut declared = head.headers.get_all(header::CONTENT_LENGTH).iter();
    let declared = match (declared.next(), declared.next()) {
        (Some(value), None) => value.to_str().ok().and_then(|text| text.parse().ok()),
        _ => None,
    };
    head.headers.remove(header::CONTENT_LENGTH);
    let bodiless = matches!(
        head.status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    );
    if bodiless || method == Method::HEAD {
        let length = body.length().filter(|length| *length > 0).or(declared);
        if let Some(length) = length.filter(|_| !bodiless) {
            let length = HeaderValue::from(length);
            head.headers.insert(header::CONTENT_LENGTH, length);
        }
        body.replace(|_| ByteStream::empty());
    } else if let (None, Some(length)) = (body.length(), declared) {
        body.replace(|stream: ByteStream| stream.with_length(length));
    }
    head.version = ::http::Version::HTTP_11;
    head.extensions.clear();
    Response::from_parts(head, body)
}
