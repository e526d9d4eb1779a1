//! Requests that are not what they seem: each costs its own connection, and nothing is read out of it that was not
//! sent as a request.

use std::time::Duration;

use js_rpc::{Address, NetworkLimits, RpcLimits, Server};

use crate::common::{BINDING, Spans, serve, socket_dir, unix};
use crate::http::{Client, ask, get};
use crate::site::Site;

/// A request that is in the body of another, as far as it is one.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";

/// All that is answered to some bytes.
async fn all_of(address: &Address, bytes: impl AsRef<[u8]>) -> String {
    let mut client = Client::connect(address).await;
    client.send(bytes).await;
    String::from_utf8_lossy(&client.rest().await).into_owned()
}

#[tokio::test(flavor = "local")]
async fn nothing_is_smuggled() {
    let (dir, spans) = (socket_dir(), Spans::new());
    let server = Server::new()
        .service(BINDING, Site::default())
        .sinks(spans.sinks());
    let address = serve(server, &unix(&dir, "s")).await;
    let hidden = HIDDEN.len();
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (case, head, body, status) in [
        // What has both lengths is chunked, whichever comes first, and is the last of its connection.
        (
            "CL.TE",
            format!("Content-Length: {}\r\n{chunked}", hidden + 5),
            "0\r\n\r\n",
            Some(200),
        ),
        (
            "TE.CL",
            format!("{chunked}Content-Length: {}\r\n", hidden + 5),
            "0\r\n\r\n",
            Some(200),
        ),
        (
            "two lengths",
            format!("Content-Length: 0\r\nContent-Length: {hidden}\r\n"),
            "",
            Some(400),
        ),
        (
            "a list of lengths",
            format!("Content-Length: 0, {hidden}\r\n"),
            "",
            Some(400),
        ),
        (
            "a signed length",
            "Content-Length: +0\r\n".into(),
            "",
            Some(400),
        ),
        (
            "a negative length",
            "Content-Length: -1\r\n".into(),
            "",
            Some(400),
        ),
        (
            "a long length",
            "Content-Length: 18446744073709551616\r\n".into(),
            "",
            Some(400),
        ),
        (
            "chunked is not last",
            "Transfer-Encoding: chunked, gzip\r\n".into(),
            "0\r\n\r\n",
            Some(400),
        ),
        (
            "no encoding that is known",
            "Transfer-Encoding: xchunked\r\n".into(),
            "0\r\n\r\n",
            Some(400),
        ),
        (
            "an encoding with a tab",
            "Transfer-Encoding:\u{b}chunked\r\n".into(),
            "0\r\n\r\n",
            Some(400),
        ),
        ("a size that is none", chunked.into(), "xyz\r\n", None),
        ("a signed size", chunked.into(), "-1\r\n", None),
        (
            "a size in a word",
            chunked.into(),
            "0x5\r\nhello\r\n0\r\n\r\n",
            None,
        ),
        (
            "a size that overflows",
            chunked.into(),
            "10000000000000001\r\na\r\n0\r\n\r\n",
            None,
        ),
        (
            "a chunk that is longer",
            chunked.into(),
            "1\r\nabc\r\n0\r\n\r\n",
            None,
        ),
        ("a line feed alone", chunked.into(), "1\na\n0\n\n", None),
        (
            "a name with a space",
            "Content-Length : 0\r\n".into(),
            "",
            Some(400),
        ),
        ("a folded line", "X-A: b\r\n c: d\r\n".into(), "", Some(400)),
        (
            "a line without a colon",
            "nothing\r\n".into(),
            "",
            Some(400),
        ),
        (
            "a carriage return",
            "X-A: b\rX-C: d\r\n".into(),
            "",
            Some(400),
        ),
        ("a zero", "X-A: b\0\r\n".into(), "", Some(400)),
        ("an empty name", ": b\r\n".into(), "", Some(400)),
        ("another Host", "Host: b\r\n".into(), "", Some(400)),
    ] {
        let request = format!("POST /length HTTP/1.1\r\nHost: a\r\n{head}\r\n{body}{HIDDEN}");
        println!("{case}"); // shown when the test fails
        let answers = all_of(&address, request).await;
        let count = answers.matches("HTTP/1.1 ").count();
        assert!(count <= 1, "{case}: {answers}");
        assert!(!answers.contains(" 404 "), "{case}: {answers}");
        if let Some(status) = status {
            let line = format!("HTTP/1.1 {status} ");
            assert!(answers.starts_with(&line), "{case}: {answers}");
        } else {
            assert!(!answers.contains(" 200 "), "{case}: {answers}");
        }
        assert_eq!(get(&address, "/name").await.status, 200, "{case}");
    }
    let paths = spans.now().into_iter().flat_map(|span| span.attributes);
    let mut paths = paths.filter(|it| it.key == "url.path");
    assert!(paths.all(|path| !path.value.to_string().contains("hidden")));
}

#[tokio::test(flavor = "local")]
async fn what_is_not_a_request_that_is_served_is_answered_with_why() {
    let dir = socket_dir();
    let server = Server::new().service(BINDING, Site::default());
    let address = serve(server, &unix(&dir, "s")).await;
    let host = "Host: a\r\n";
    for (line, head, status, text) in [
        ("GET / HTTP/1.0", host, 505, "HTTP/1.1"),
        ("GET / HTTP/1.1", "", 400, "one Host"),
        ("GET http://b/ HTTP/1.1", host, 400, "different hosts"),
        ("GET http://a@b/ HTTP/1.1", "Host: a@b\r\n", 400, "a user"),
        ("GET ftp://a/ HTTP/1.1", host, 400, "neither http"),
        ("OPTIONS * HTTP/1.1", host, 400, "neither a path"),
        ("TRACE / HTTP/1.1", host, 405, "TRACE"),
        (
            "GET / HTTP/1.1",
            "Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
            501,
            "WebSockets",
        ),
        (
            "GET / HTTP/1.1",
            "Host: a\r\nbinding-span-binding: S\r\nBinding-Span-Binding: S\r\n",
            400,
            "twice",
        ),
        (
            "GET / HTTP/1.1",
            "Host: a\r\nbinding-span-binding: \u{e4}\r\n",
            400,
            "not text",
        ),
        ("GET  / HTTP/1.1", host, 400, ""),
        ("GET /a b HTTP/1.1", host, 400, ""),
        ("G@T / HTTP/1.1", host, 400, ""),
        ("GET / HTTP/2.7", host, 400, ""),
        ("CONNECT", host, 400, ""),
        ("CONNECT a", host, 400, "CONNECT NAME HTTP/1.1"),
    ] {
        let response = ask(&address, format!("{line}\r\n{head}\r\n")).await;
        assert_eq!(response.status, status, "{line} {head}");
        assert!(
            response.text().contains(text),
            "{line} {head}: {response:?}"
        );
    }
    // Behind another request it is no opening any more.
    let mut client = Client::connect(&address).await;
    client
        .send("GET /name HTTP/1.1\r\nHost: a\r\n\r\nCONNECT S HTTP/1.1\r\nHost: S\r\n\r\n")
        .await;
    assert_eq!(client.response(false).await.unwrap().status, 200);
    assert_eq!(client.response(false).await.unwrap().status, 400);
}

#[tokio::test(flavor = "local")]
async fn a_web_page_is_not_served_on_tcp() {
    let server = Server::new().service(BINDING, Site::default());
    let address = serve(server, &"127.0.0.1:0".parse().unwrap()).await;
    let Address::Tcp { port, .. } = address else {
        unreachable!()
    };
    let here = format!("127.0.0.1:{port}");
    let rebound = format!("evil.example:{port}");
    let origin = "Origin: https://evil.example\r\n";
    let named = "binding-span-binding: S\r\n";
    for (method, host, more, status) in [
        ("GET", "svc", "", 200),
        ("GET", &*here, "", 200),
        ("POST", "shop.example", &*format!("{origin}{named}"), 200),
        ("POST", &*here, origin, 403),
        ("GET", &*here, "Sec-Fetch-Site: cross-site\r\n", 403),
        // What asks before a page may add the header.
        (
            "OPTIONS",
            &*here,
            "Origin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\n\
             Access-Control-Request-Headers: binding-span-binding\r\n",
            403,
        ),
        ("GET", &*rebound, "", 421),
        ("GET", &*rebound, named, 421),
    ] {
        let request = format!("{method} /name HTTP/1.1\r\nHost: {host}\r\n{more}\r\n");
        let response = ask(&address, request).await;
        assert_eq!(response.status, status, "{method} {host} {more}");
        for (name, _) in [
            ("access-control-allow-origin", ()),
            ("access-control-allow-headers", ()),
        ] {
            assert_eq!(response.header(name), None);
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_client_has_so_long_and_a_head_so_many_bytes() {
    let dir = socket_dir();
    let site = Site::default();
    let limits = RpcLimits {
        network: NetworkLimits {
            frame: Duration::from_millis(200),
            write_stall: Duration::from_millis(200),
            ..NetworkLimits::default()
        },
        ..RpcLimits::default()
    };
    let server = Server::new().service(BINDING, site.clone()).limits(limits);
    let address = serve(server, &unix(&dir, "s")).await;
    // Nothing, half a head, half a second head: closed.
    for bytes in [
        "GE",
        "GET / HTTP/1.1\r\nHost:",
        "GET /name HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /name HTTP/1.1\r\nHost: a\r\n\r\nGET / HT",
    ] {
        all_of(&address, bytes).await;
    }
    // A body that does not come is an error to who reads it.
    let response = ask(
        &address,
        "POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1",
    )
    .await;
    assert_eq!(response.status, 500);
    assert!(
        response
            .text()
            .contains("nothing of the body came for 200ms"),
        "{response:?}"
    );
    site.0.end_of_body().await.unwrap_err();
    // A client that does not read.
    let mut client = Client::connect(&address).await;
    client.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.head().await.unwrap();
    site.0.end_of_body().await.unwrap_err();
    drop(client);
    let long = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(70_000)
    );
    assert_eq!(ask(&address, long).await.status, 431);
    let many = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "a: b\r\n".repeat(200)
    );
    assert_eq!(ask(&address, many).await.status, 431);
    assert_eq!(get(&address, "/name").await.status, 200);
}

#[tokio::test(flavor = "local")]
async fn garbage_is_answered_or_closed_and_costs_its_own_connection() {
    let dir = socket_dir();
    let server = Server::new().service(BINDING, Site::default());
    let address = serve(server, &unix(&dir, "s")).await;
    let mut random = fastrand::Rng::with_seed(11);
    let good = b"POST /length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for _ in 0..300 {
        let mut bytes = good.to_vec();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(1..bytes.len());
            match random.u8(0..3) {
                0 => bytes[at] = random.u8(..),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, *random.choice(b"\r\n :0\0x;,").unwrap()),
            }
        }
        let mut client = Client::connect(&address).await;
        client.send(&bytes).await;
        client.finish().await;
        client.rest().await;
    }
    assert_eq!(get(&address, "/name").await.status, 200);
}
