//! Requests by a call between our own peers, and by HTTP through a server that passes them on.

use binding_span::{AttributeValue, Outcome};
use bytes::Bytes;
use futures::StreamExt;
use http::{Request, StatusCode};
use js_rpc::{
    Args, ByteStream, CallError, Client, ConnectOptions, Payload, StreamError, Value, reply,
};
use serde_json::json;
use tail::FinishedSpan;

use crate::common::{SOON, Way, World, every_way, service};
use crate::http::{ask, get};
use crate::site::{CHUNK, Site};

fn request(method: &str, path: &str, body: impl Into<ByteStream>) -> Request<ByteStream> {
    let request = Request::builder()
        .method(method)
        .uri(format!("http://svc{path}"))
        .header("x-mine", "1")
        .header("connection", "x-hop")
        .header("x-hop", "2");
    request.body(body.into()).unwrap()
}

fn get_of(path: &str) -> Request<ByteStream> {
    request("GET", path, "")
}

async fn text(response: http::Response<ByteStream>) -> String {
    let body = response.into_body().read_to_end(1 << 20).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

fn attribute(span: &FinishedSpan, key: &str) -> Option<AttributeValue> {
    let found = span.attributes.iter().find(|it| it.key == key)?;
    Some(found.value.clone())
}

#[tokio::test(flavor = "local")]
async fn a_request_and_its_response_pass_by_a_call() {
    every_way(Site::default, async |world| {
        let binding = world.binding();
        let seen = binding.fetch(get_of("/head?a=1")).await.unwrap();
        assert_eq!(seen.status(), 200);
        let seen: serde_json::Value = serde_json::from_str(&text(seen).await).unwrap();
        let headers = json!([["x-mine", "1"]]);
        let expected = json!({"method": "GET", "url": "http://svc/head?a=1", "headers": headers});
        assert_eq!(seen, expected);
        let echo = binding.fetch(request("POST", "/echo", "hello")).await;
        assert_eq!(text(echo.unwrap()).await, "hello");
        let status = binding.fetch(get_of("/status?503")).await.unwrap();
        assert_eq!(status.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(text(status).await, "some text");
        let bare = binding.fetch(get_of("/bare")).await.unwrap();
        assert_eq!((bare.status().as_u16(), text(bare).await.len()), (204, 0));
        let headers = binding.fetch(get_of("/headers")).await.unwrap();
        let cookies: Vec<_> = headers.headers().get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
        assert!(!headers.headers().contains_key("x-private"));
        let thrown = binding.fetch(get_of("/throw")).await.unwrap_err();
        let CallError::Thrown(error) = thrown else {
            panic!("{thrown}")
        };
        assert_eq!(error.to_string(), "TypeError: not like this");
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn bodies_stream_by_a_call() {
    every_way(Site::default, async |world| {
        let binding = world.binding();
        // There, of unknown length.
        let parts =
            futures::stream::repeat_with(|| Ok::<_, StreamError>(Bytes::from(vec![7; CHUNK])));
        let body = ByteStream::new(parts.take(64));
        let counted = binding.fetch(request("PUT", "/length", body)).await;
        assert_eq!(text(counted.unwrap()).await, (64 * CHUNK).to_string());
        // And back.
        let stream = binding.fetch(get_of("/stream?64")).await.unwrap();
        let body = stream.into_body().read_to_end(1 << 30).await.unwrap();
        assert_eq!(body.len(), 64 * CHUNK);
        // One that breaks.
        let broken = binding.fetch(get_of("/broken")).await.unwrap();
        let error = broken.into_body().read_to_end(1 << 30).await.unwrap_err();
        assert!(matches!(error, StreamError::Broken(_)), "{error}");
        // One that nobody reads on.
        let mut endless = binding.fetch(get_of("/stream")).await.unwrap().into_body();
        assert!(endless.next().await.unwrap().is_ok());
        drop(endless);
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn the_callers_span_says_what_was_asked_and_answered_and_lasts_as_long_as_the_body() {
    every_way(Site::default, async |world| {
        let binding = world.binding();
        let response = binding
            .fetch(request("POST", "/name", "abc"))
            .await
            .unwrap();
        assert_eq!(world.caller.now().len(), 0, "the body has not ended");
        assert_eq!(text(response).await, "named");
        let span = world.caller.ended(1).await.pop().unwrap();
        assert_eq!(
            (&*span.original_name, &*span.name),
            ("jsRpcSession", "site.name")
        );
        for (key, value) in [
            ("http.request.method", "POST".into()),
            ("url.path", "/name".into()),
            ("http.response.status_code", AttributeValue::from(200_i64)),
            ("app.n", AttributeValue::from(1_i64)),
        ] {
            assert_eq!(attribute(&span, key), Some(value), "{key}");
        }
        assert_eq!(span.outcome, Outcome::Ok);
        text(binding.fetch(get_of("/status?503")).await.unwrap()).await;
        let span = world.caller.ended(2).await.pop().unwrap();
        assert_eq!(span.outcome, Outcome::Exception);
        let error = span.error.unwrap();
        assert_eq!(error.kind, "503");
        assert_eq!(
            error.message,
            "the response has status 503 Service Unavailable"
        );
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn what_is_no_request_is_a_call_like_any_other() {
    let own = || {
        service(async |method: &str, args: Args, _: &js_rpc::Context| {
            reply(&format!("{method} {}", args.values.len()))
        })
    };
    every_way(own, async |world| {
        let called = world.binding().call("fetch", (1, 2)).await.unwrap();
        assert_eq!(called.parse::<String>().unwrap(), "fetch 2");
        let response = world.binding().fetch(get_of("/")).await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_IMPLEMENTED);
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_url_and_what_differs_is_a_request_as_in_javascript() {
    let world = World::of(Way::Unix, Site::default()).await;
    let fetch = async |args: serde_json::Value| {
        let serde_json::Value::Array(args) = args else {
            unreachable!()
        };
        let args = Args::from_json(args).unwrap();
        let reply = world.binding().call("fetch", args).await?;
        let response = reply.into_payload().into_response().unwrap();
        Ok::<_, CallError>(text(response).await)
    };
    let plain = fetch(json!(["http://a/head"])).await.unwrap();
    assert!(plain.contains(r#""url":"http://a/head""#), "{plain}");
    let init = json!({"method": "POST", "headers": {"X-A": "b"}, "body": "text"});
    let seen = fetch(json!(["http://a/head", init])).await.unwrap();
    for part in [
        r#""method":"POST""#,
        r#"["x-a","b"]"#,
        "text/plain;charset=UTF-8",
    ] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    let echo = fetch(json!(["http://a/echo", init])).await.unwrap();
    assert_eq!(echo, "text");
    let pairs = json!({"headers": [["a", "1"], ["a", "2"]]});
    let seen = fetch(json!(["http://a/head", pairs])).await.unwrap();
    assert!(seen.contains(r#"["a","1"],["a","2"]"#), "{seen}");
    for (args, why) in [
        (json!(["not a url"]), "Invalid URL"),
        (json!(["/path"]), "Invalid URL"),
        (json!(["http://a/", 1]), "is an object"),
        (json!(["http://a/", {"method": "A B"}]), "method"),
        (json!(["http://a/", {"headers": {"a b": "c"}}]), "header"),
        (
            json!(["http://a/", {"headers": {"a": "b\r\nc: d"}}]),
            "header",
        ),
        (json!(["http://a/", {"body": 1}]), "body"),
    ] {
        let shown = args.to_string();
        let error = fetch(args).await.unwrap_err().to_string();
        assert!(
            error.starts_with("TypeError: ") && error.contains(why),
            "{shown}: {error}"
        );
    }
    // A body that did not come along.
    let mut value = js_value::Request::new("POST", "http://a/echo");
    value.body = Some(3);
    let args = Args {
        values: vec![Value::Request(Box::new(value))],
        externals: Vec::new(),
    };
    assert!(world.binding().call("fetch", args).await.is_err());
}

#[tokio::test(flavor = "local")]
async fn requests_and_responses_are_values_like_others() {
    let sent = Payload::from_request(request("POST", "/a", "body")).unwrap();
    let again = sent.into_request().unwrap();
    assert_eq!(again.uri(), "http://svc/a");
    assert_eq!(again.headers().len(), 1);
    assert_eq!(again.into_body().read_to_end(9).await.unwrap(), "body");
    // A Worker's own headers need not be text.
    let response = http::Response::builder()
        .header("content-encoding", "gzip")
        .header("x-latin", http::HeaderValue::from_bytes(b"\xe4").unwrap())
        .body(ByteStream::from("\x1f"))
        .unwrap();
    let response = Payload::from_response(response).into_response().unwrap();
    assert_eq!(response.headers()["x-latin"], "ä");
    assert_eq!(response.body().content_encoding(), Some("gzip"));
    let whole = Request::builder().uri("/a").body(ByteStream::empty());
    let error = Payload::from_request(whole.unwrap()).unwrap_err();
    assert!(error.to_string().contains("is not whole"), "{error}");
    let error = Payload::from(Value::Null).into_response().unwrap_err();
    assert!(error.to_string().contains("expected a Response"), "{error}");
}

#[test]
fn a_client_fetches_from_any_thread() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(async {
        let world = World::of(Way::Unix, Site::default()).await;
        let options = ConnectOptions::default();
        let client = Client::connect(world.address.clone(), options)
            .await
            .unwrap();
        let fetching = tokio::task::spawn(async move {
            let response = client.fetch("S", request("POST", "/echo", "hello")).await?;
            Ok::<_, CallError>(response.into_body().read_to_end(9).await.unwrap())
        });
        let fetched = tokio::time::timeout(SOON, fetching).await.unwrap();
        assert_eq!(fetched.unwrap().unwrap(), "hello");
    });
}

#[tokio::test(flavor = "local")]
async fn plain_http_is_passed_on_as_one_call() {
    let world = World::of(Way::Proxied, Site::default()).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("traceparent: 00-{trace}-00f067aa0ba902b7-01\r\n");
    let post = format!("POST /echo HTTP/1.1\r\nHost: a\r\n{parent}Content-Length: 5\r\n\r\nhello");
    let response = ask(&world.address, post).await;
    assert_eq!((response.status, response.text()), (200, "hello"));
    assert_eq!(response.header("content-length"), Some("5"));
    let named = get(&world.address, "/name").await;
    assert_eq!(named.text(), "named");
    let spans = world.proxy.ended(2).await;
    assert_eq!(spans[0].context.trace_id.to_string(), trace);
    assert_eq!(spans[0].parent.unwrap().to_string(), "00f067aa0ba902b7");
    let span = &spans[1];
    assert_eq!(
        (&*span.original_name, &*span.name),
        ("jsRpcSession", "site.name")
    );
    for (key, value) in [
        ("http.request.method", "GET".into()),
        ("url.path", "/name".into()),
        ("jsrpc.binding", "S".into()),
        ("http.response.status_code", AttributeValue::from(200_i64)),
        ("app.n", AttributeValue::from(1_i64)),
    ] {
        assert_eq!(attribute(span, key), Some(value), "{key}");
    }
    assert_eq!(attribute(span, "rpc.system.name"), None);
    let below = world.callee.ended(2).await.pop().unwrap();
    assert_eq!(below.parent, Some(span.context.span_id));
    for (path, status, text) in [
        ("/throw", 500, "TypeError: not like this"),
        ("/status?503", 503, "some text"),
        ("/status?404", 404, "some text"),
        ("/bare", 204, ""),
    ] {
        let head = path == "/bare";
        let response = match head {
            true => {
                ask(
                    &world.address,
                    format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n"),
                )
                .await
            }
            false => get(&world.address, path).await,
        };
        assert_eq!(response.status, status, "{path}");
        assert!(response.text().contains(text), "{path}: {response:?}");
    }
    let broken = get(&world.address, "/broken").await;
    assert_eq!((broken.status, broken.whole), (200, false));
    let streamed = get(&world.address, "/stream?256").await;
    assert!(streamed.whole && streamed.body.len() == 256 * CHUNK);
    world.proxy.closed().await;
}
