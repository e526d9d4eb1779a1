//! What is served: requests, streams, spans, bindings, and the end.

use std::sync::Arc;
use std::time::Duration;

use binding_span::{AttributeValue, Outcome, SpanKind};
use js_rpc::{Address, ListenOptions, Listener, RpcLimits, Server};
use serde_json::json;
use tail::FinishedSpan;
use tokio_util::sync::CancellationToken;

use crate::common::{BINDING, SOON, Spans, a_while, serve, service, socket_dir, unix};
use crate::http::{Client, ask, get};
use crate::site::{CHUNK, Site};

struct World {
    site: Site,
    spans: Arc<Spans>,
    address: Address,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        Self::with(RpcLimits::default()).await
    }

    async fn with(limits: RpcLimits) -> Self {
        let (site, spans, dir) = (Site::default(), Spans::new(), socket_dir());
        let server = Server::new()
            .service(BINDING, site.clone())
            .sinks(spans.sinks())
            .limits(limits);
        let address = serve(server, &unix(&dir, "s")).await;
        Self {
            site,
            spans,
            address,
            _dir: dir,
        }
    }
}

fn attribute<'s>(span: &'s FinishedSpan, key: &str) -> Option<&'s AttributeValue> {
    let found = span.attributes.iter().find(|it| it.key == key)?;
    Some(&found.value)
}

#[tokio::test(flavor = "local")]
async fn a_request_reaches_the_service_as_it_was_made() {
    for address in ["unix", "tcp"] {
        let dir = socket_dir();
        let at = match address {
            "unix" => unix(&dir, "s"),
            _ => "127.0.0.1:0".parse().unwrap(),
        };
        let server = Server::new().service(BINDING, Site::default());
        let address = serve(server, &at).await;
        let request = "PATCH /head?a=1&b=%20 HTTP/1.1\r\nHost: any.example\r\nX-Mine: 1\r\nX-Mine: 2\r\n\
                       Connection: x-hop, keep-alive\r\nX-Hop: 3\r\nTE: trailers\r\n\
                       binding-span-binding: S\r\n\r\n";
        let seen = ask(&address, request).await;
        assert_eq!(seen.status, 200);
        assert_eq!(
            seen.json(),
            json!({
                "method": "PATCH",
                "url": "http://any.example/head?a=1&b=%20",
                "headers": [["host", "any.example"], ["x-mine", "1"], ["x-mine", "2"]],
            })
        );
    }
}

#[tokio::test(flavor = "local")]
async fn one_connection_serves_many_requests_and_one_failure_does_not_hurt_the_next() {
    let world = World::new().await;
    let mut client = Client::connect(&world.address).await;
    for (path, status, body) in [
        ("/echo", 200, Some("hello")),
        ("/throw", 500, Some("TypeError: not like this\n")),
        ("/nowhere", 404, Some("")),
        (
            "/panic",
            500,
            Some("Error: internal error: the method panicked\n"),
        ),
        ("/status?503", 503, Some("some text")),
        ("/bare", 204, None),
        ("/status?304", 304, None),
        ("/echo", 200, Some("hello")),
    ] {
        let request =
            format!("POST {path} HTTP/1.1\r\nHost: svc\r\nContent-Length: 5\r\n\r\nhello");
        client.send(request).await;
        let response = client.response(body.is_none()).await.expect(path);
        assert_eq!(response.status, status, "{path}");
        assert_eq!(response.text(), body.unwrap_or_default(), "{path}");
    }
    client
        .send("GET /echo HTTP/1.1\r\nHost: svc\r\nConnection: close\r\n\r\n")
        .await;
    let last = client.response(false).await.unwrap();
    assert_eq!(last.header("connection"), Some("close"));
    assert!(client.is_closed().await);
    world.spans.ended(9).await;
}

#[tokio::test(flavor = "local")]
async fn a_response_is_framed_as_its_body_is_and_keeps_its_own_headers() {
    let world = World::new().await;
    let response = get(&world.address, "/headers").await;
    assert_eq!((response.status, response.text()), (200, "body"));
    assert_eq!(response.header("content-length"), Some("4"));
    assert_eq!(response.header("set-cookie"), Some("a=1"));
    for name in ["x-private", "transfer-encoding", "keep-alive", "connection"] {
        assert_eq!(response.header(name), None, "{name}");
    }
    // A body of another length than its head says is not sent as if it were whole.
    let response = get(&world.address, "/short").await;
    assert_eq!(response.header("content-length"), Some("100000"));
    assert!(!response.whole);
    let head = ask(&world.address, "HEAD /headers HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(head.header("content-length"), Some("4"));
}

#[tokio::test(flavor = "local")]
async fn bodies_stream_both_ways_no_faster_than_they_are_read() {
    let world = World::new().await;
    // There.
    let mut client = Client::connect(&world.address).await;
    client
        .send("POST /length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    for _ in 0..100 {
        client
            .send(format!("{:x}\r\n{}\r\n", 1 << 16, "x".repeat(1 << 16)))
            .await;
    }
    client.send("0\r\nX-Trailer: 1\r\n\r\n").await;
    let response = client.response(false).await.unwrap();
    assert_eq!(response.text(), (100 << 16).to_string());
    assert_eq!(world.site.0.end_of_body().await, Ok(()));
    // And back, when somebody reads.
    client
        .send("GET /stream?1024 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    let mut response = client.head().await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let written = world.site.0.written.get();
    assert!(written < 4 << 20, "{written} bytes wait for a reader");
    while let Some(chunk) = client.chunk().await.unwrap() {
        response.body.extend(chunk);
    }
    assert_eq!(response.body.len(), 1024 * CHUNK);
    assert_eq!(world.site.0.end_of_body().await, Ok(()));
    // An echo begins before all of it is there.
    client
        .send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        .await;
    assert_eq!(client.head().await.unwrap().status, 200);
    assert_eq!(client.chunk().await.unwrap().as_deref(), Some(&b"a"[..]));
    client.send("1\r\nb\r\n0\r\n\r\n").await;
    assert_eq!(client.chunk().await.unwrap().as_deref(), Some(&b"b"[..]));
    assert_eq!(client.chunk().await.unwrap(), None);
    let spans = world.spans.ended(3).await;
    let size = |span: usize, key| attribute(&spans[span], key).cloned();
    let int = |n: i64| Some(AttributeValue::from(n));
    assert_eq!(size(0, "http.request.body.size"), int(100 << 16));
    assert_eq!(size(1, "http.response.body.size"), int(1024 * CHUNK as i64));
    assert_eq!(size(2, "http.request.body.size"), int(2));
    assert_eq!(size(2, "http.response.body.size"), int(2));
}

#[tokio::test(flavor = "local")]
async fn a_stream_that_breaks_is_an_error_on_both_sides() {
    let world = World::new().await;
    let response = get(&world.address, "/broken").await;
    assert_eq!(response.status, 200);
    assert!(!response.whole);
    let span = &world.spans.ended(1).await[0];
    assert_eq!(span.outcome, Outcome::Exception);
    let error = span.error.as_ref().unwrap();
    assert!(error.message.contains("the disk is gone"), "{error:?}");
    // A client that leaves while it is answered.
    let mut client = Client::connect(&world.address).await;
    client.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.head().await.unwrap();
    drop(client);
    assert!(world.site.0.end_of_body().await.is_err());
    let span = &world.spans.ended(2).await[1];
    assert_eq!(span.outcome, Outcome::Canceled);
    // One that leaves while it sends.
    let mut client = Client::connect(&world.address).await;
    client
        .send("POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
        .await;
    a_while().await;
    drop(client);
    let spans = world.spans.ended(3).await;
    assert_ne!(spans[2].outcome, Outcome::Ok);
}

#[tokio::test(flavor = "local")]
async fn a_request_has_a_span_that_the_service_names_and_tags_until_its_body_has_ended() {
    let world = World::new().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("traceparent: 00-{trace}-00f067aa0ba902b7-01\r\n");
    let request = format!("GET /name HTTP/1.1\r\nHost: a\r\n{parent}\r\n");
    ask(&world.address, request).await;
    let span = world.spans.ended(1).await.pop().unwrap();
    assert_eq!(
        (&*span.original_name, &*span.name),
        ("S.fetch", "site.name")
    );
    assert_eq!(span.kind, SpanKind::Server);
    assert_eq!(span.context.trace_id.to_string(), trace);
    assert_eq!(span.parent.unwrap().to_string(), "00f067aa0ba902b7");
    for (key, value) in [
        ("http.request.method", "GET".into()),
        ("url.path", "/name".into()),
        ("jsrpc.binding", "S".into()),
        ("jsrpc.method", "fetch".into()),
        ("http.response.status_code", AttributeValue::from(200_i64)),
        ("http.response.body.size", AttributeValue::from(5_i64)),
        ("app.binding", "S".into()),
        ("app.n", AttributeValue::from(1_i64)),
    ] {
        assert_eq!(attribute(&span, key), Some(&value), "{key}");
    }
    assert_eq!(attribute(&span, "rpc.system.name"), None);
    // A parent that is not valid is none.
    let request = "GET /trickle HTTP/1.1\r\nHost: a\r\ntraceparent: 00-0-0-01\r\n\r\n";
    let response = ask(&world.address, request).await;
    assert_eq!(response.text(), "xxx");
    let span = world.spans.ended(2).await.pop().unwrap();
    assert_eq!(span.parent, None);
    let last = attribute(&span, "app.parts");
    assert_eq!(last, Some(&AttributeValue::from(3_i64)), "{span:?}");
}

#[tokio::test(flavor = "local")]
async fn a_request_that_failed_says_so_on_its_span() {
    let world = World::new().await;
    for (path, kind) in [
        ("/throw", Some("TypeError")),
        ("/status?503", Some("503")),
        ("/stated", Some("Quota")),
        ("/status?404", None),
    ] {
        get(&world.address, path).await;
        let count = world.spans.now().len().max(1);
        let span = world.spans.ended(count).await.pop().unwrap();
        let error = span.error.as_ref().map(|error| &*error.kind);
        assert_eq!(error, kind, "{path}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_service_has_so_long_to_answer() {
    let limits = RpcLimits {
        handler: Duration::from_millis(50),
        ..RpcLimits::default()
    };
    let world = World::with(limits).await;
    let response = get(&world.address, "/never").await;
    assert_eq!(response.status, 504);
    assert!(response.text().contains("deadline of 50ms"), "{response:?}");
    let span = world.spans.ended(1).await.pop().unwrap();
    assert_eq!(span.outcome, Outcome::ExceededWallTime);
}

#[tokio::test(flavor = "local")]
async fn a_service_without_fetch_says_so() {
    let dir = socket_dir();
    let plain = service(async |_: &str, _, _: &js_rpc::Context| js_rpc::nothing());
    let address = serve(Server::new().service("A", plain), &unix(&dir, "s")).await;
    let response = get(&address, "/").await;
    assert_eq!(response.status, 501);
    assert!(response.text().contains("\"A\" has no fetch handler"));
}

#[tokio::test(flavor = "local")]
async fn the_binding_is_the_listeners_or_the_only_one_or_the_one_that_is_named() {
    let dir = socket_dir();
    let server = Server::new()
        .service("A", Site::default())
        .service("B", Site::default());
    let bindings = server.bindings();
    let any = Listener::bind(&unix(&dir, "any")).await.unwrap();
    let only = Listener::bind_with(&unix(&dir, "only"), &ListenOptions::default())
        .await
        .unwrap()
        .with_binding("B");
    let at = [any.address().clone(), only.address().clone()];
    tokio::task::spawn_local(server.serve([any, only], std::future::pending()));
    let [any, only] = at;
    let ask = async |address: &Address, named: &str| {
        let named = match named {
            "" => String::new(),
            name => format!("Binding-Span-Binding: {name}\r\n"),
        };
        let request = format!("GET /name HTTP/1.1\r\nHost: a\r\n{named}\r\n");
        let response = ask(address, request).await;
        (response.status, response.text().to_owned())
    };
    assert_eq!(ask(&any, "A").await, (200, "named".into()));
    let (status, text) = ask(&any, "").await;
    assert!(
        status == 421 && text.contains("injectRequestHeaders"),
        "{text}"
    );
    let (status, text) = ask(&any, "C").await;
    assert!(status == 421 && text.contains("there is: A, B"), "{text}");
    // A fence: nothing else is behind it, whatever a request says.
    assert_eq!(ask(&only, "A").await.0, 200);
    bindings.remove("B");
    let (status, text) = ask(&only, "A").await;
    assert!(status == 421 && !text.contains('A'), "{text}");
    assert_eq!(ask(&any, "").await, (200, "named".into()));
}

#[tokio::test(flavor = "local")]
async fn a_shutdown_waits_for_bodies_and_closes_what_is_idle() {
    let dir = socket_dir();
    let spans = Spans::new();
    let server = Server::new()
        .service(BINDING, Site::default())
        .sinks(spans.sinks());
    let listener = Listener::bind(&unix(&dir, "s")).await.unwrap();
    let address = listener.address().clone();
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let running = tokio::task::spawn_local(server.serve([listener], stopped));
    let mut idle = Client::connect(&address).await;
    idle.send("GET /name HTTP/1.1\r\nHost: a\r\n\r\n").await;
    idle.response(false).await.unwrap();
    let mut busy = Client::connect(&address).await;
    busy.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
        .await;
    let mut response = busy.head().await.unwrap();
    stop.cancel();
    assert!(idle.is_closed().await);
    a_while().await;
    assert!(!running.is_finished());
    busy.send("b").await;
    response.body.clear();
    assert!(busy.rest().await.ends_with(b"ab"));
    let abandoned = tokio::time::timeout(SOON, running).await.unwrap().unwrap();
    assert_eq!(abandoned, 0);
    spans.ended(2).await;
}
