//! What goes to a provider, and what comes back.

use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::server::{Server, ok, status};
use super::*;

fn header<'a>(request: &'a str, name: &str) -> Vec<&'a str> {
    let head = request.split("\r\n\r\n").next().unwrap();
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines
        .filter(|(it, _)| it.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect()
}

#[tokio::test]
async fn a_request_goes_below_the_url_with_the_key_and_without_the_callers_connection() {
    let server = Server::answering(|_| ok("hello")).await;
    let mut options = options(&server);
    options.key = key("sk-ours");
    options
        .headers
        .insert("x-org", HeaderValue::from_static("ours"));
    let mut request = chat();
    for (name, value) in [
        ("authorization", "Bearer sk-theirs"),
        ("x-api-key", "sk-theirs"),
        ("api-key", "sk-theirs"),
        ("x-goog-api-key", "sk-theirs"),
        ("proxy-authorization", "Basic theirs"),
        ("connection", "keep-alive, x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers"),
        ("upgrade", "h2c"),
        ("transfer-encoding", "chunked"),
        ("content-length", "999"),
        ("host", "elsewhere.example"),
        ("accept-encoding", "gzip"),
        ("expect", "100-continue"),
        ("user-agent", "theirs"),
        ("x-org", "theirs"),
        ("content-type", "application/json"),
        ("x-request-id", "7"),
    ] {
        request
            .headers
            .insert(name, HeaderValue::from_static(value));
    }
    request.path = "chat/completions?a=b%2Fc".to_owned();
    let provider = open(options);
    let answer = answer(&provider, request).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(text(answer.body).await.unwrap(), "hello");

    let heard = &server.heard()[0];
    assert!(heard.starts_with("POST /v1/chat/completions?a=b%2Fc HTTP/1.1\r\n"));
    assert!(heard.ends_with("\r\n\r\n{}"), "{heard}");
    assert!(!heard.contains("theirs"), "{heard}");
    assert_eq!(header(heard, "authorization"), ["Bearer sk-ours"]);
    assert_eq!(header(heard, "x-org"), ["ours"]);
    assert_eq!(header(heard, "host"), [server.at.to_string()]);
    assert_eq!(header(heard, "content-length"), ["2"]);
    assert_eq!(header(heard, "content-type"), ["application/json"]);
    assert_eq!(header(heard, "x-request-id"), ["7"]);
    let own = concat!("binding-span/", env!("CARGO_PKG_VERSION"));
    assert_eq!(header(heard, "user-agent"), [own]);
    for gone in [
        "connection",
        "x-hop",
        "keep-alive",
        "te",
        "upgrade",
        "accept-encoding",
        "expect",
    ] {
        assert_eq!(header(heard, gone), [""; 0], "{gone}");
    }
}

#[tokio::test]
async fn callers_bring_their_own_keys_where_the_provider_has_none() {
    let server = Server::answering(|_| ok("")).await;
    let provider = open(options(&server));
    answer(&provider, with("authorization", "Bearer sk-theirs")).await;
    answer(&provider, with("x-api-key", "sk-theirs")).await;
    let heard = server.heard();
    assert_eq!(header(&heard[0], "authorization"), ["Bearer sk-theirs"]);
    assert_eq!(header(&heard[1], "x-api-key"), ["sk-theirs"]);
}

#[tokio::test]
async fn a_key_in_another_header_goes_as_it_is_and_alone() {
    let server = Server::answering(|_| ok("")).await;
    let mut named = options(&server);
    named.key = key("sk-ours");
    named.key_header = HeaderName::from_static("x-api-key");
    answer(&open(named), with("authorization", "Bearer sk-theirs")).await;
    // Configured as a header like others.
    let mut configured = options(&server);
    let own = HeaderValue::from_static("Bearer sk-ours");
    configured.headers.insert("authorization", own);
    answer(&open(configured), with("api-key", "sk-theirs")).await;
    let heard = server.heard();
    assert_eq!(header(&heard[0], "x-api-key"), ["sk-ours"]);
    assert_eq!(header(&heard[0], "authorization"), [""; 0]);
    assert_eq!(header(&heard[1], "authorization"), ["Bearer sk-ours"]);
    assert_eq!(header(&heard[1], "api-key"), [""; 0]);
}

#[tokio::test]
async fn every_status_is_an_answer_and_loses_the_connections_headers() {
    let server = Server::answering(|request| {
        let path = request.split(' ').nth(1).unwrap();
        let code = path.rsplit('/').next().unwrap();
        format!(
            "HTTP/1.1 {code} Some\r\nretry-after: 7\r\nkeep-alive: timeout=5\r\nconnection: x-hop\r\nx-hop: 1\r\ncontent-length: 2\r\n\r\nno"
        )
    })
    .await;
    let provider = open(options(&server));
    for code in [200_u16, 400, 401, 404, 429, 500, 501, 503] {
        let mut request = chat();
        request.path = code.to_string();
        let answer = answer(&provider, request).await;
        assert_eq!(answer.status, code);
        assert_eq!(answer.headers["retry-after"], "7");
        for gone in ["keep-alive", "connection", "x-hop", "transfer-encoding"] {
            assert!(!answer.headers.contains_key(gone), "{gone}");
        }
        assert_eq!(text(answer.body).await.unwrap(), "no");
    }
    assert_eq!(server.connections(), 1, "the connection is used again");
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_its_target_not_repeated() {
    let elsewhere = Server::answering(|_| ok("stolen")).await;
    let target = elsewhere.url("/?token=planted").to_string();
    let answers = move |request: &str| {
        let code = request
            .split(' ')
            .nth(1)
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap();
        format!("HTTP/1.1 {code} Go\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n")
    };
    let server = Server::answering(answers).await;
    let mut options = options(&server);
    options.key = key("sk-ours");
    options.break_after = 1;
    let provider = open(options);
    for code in ["300", "301", "302", "303", "307", "308"] {
        let mut request = chat();
        request.path = code.to_owned();
        let error = error(&provider, request).await;
        assert!(matches!(error, UpstreamError::Broken { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("redirects") && text.contains(code), "{text}");
        assert!(!text.contains("planted"), "{text}");
    }
    assert_eq!(elsewhere.connections(), 0);
    assert!(
        !provider.status().circuit_open,
        "a caller's path can cause it"
    );
}

#[tokio::test]
async fn cookies_are_not_kept_and_bodies_not_decoded() {
    let server = Server::answering(|_| {
        "HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc".to_owned()
    })
    .await;
    let provider = open(options(&server));
    for _ in 0..2 {
        let answer = answer(&provider, chat()).await;
        assert_eq!(answer.headers["content-encoding"], "gzip");
        assert_eq!(text(answer.body).await.unwrap(), "abc");
    }
    assert_eq!(header(&server.heard()[1], "cookie"), [""; 0]);
}

#[tokio::test]
async fn only_methods_with_a_body_say_how_long_it_is() {
    let server = Server::answering(|_| ok("")).await;
    let provider = open(options(&server));
    for method in [Method::GET, Method::POST] {
        let request = UpstreamRequest {
            method,
            body: Bytes::new(),
            ..chat()
        };
        answer(&provider, request).await;
    }
    let heard = server.heard();
    assert_eq!(header(&heard[0], "content-length"), [""; 0]);
    assert_eq!(header(&heard[1], "content-length"), ["0"]);
}

#[tokio::test]
async fn what_would_show_the_key_is_not_sent() {
    let server = Server::answering(|request| ok(request)).await;
    let provider = open(options(&server));
    for method in [Method::TRACE, Method::CONNECT] {
        let error = error(&provider, UpstreamRequest { method, ..chat() }).await;
        assert_eq!(error.error_type(), "upstream_request");
        assert_eq!(error.status(), StatusCode::BAD_REQUEST);
        assert!(!error.is_passing());
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn informational_answers_are_skipped_but_not_for_ever() {
    let hints = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let server = Server::answering(move |_| format!("{hints}{}", ok("hello"))).await;
    let answered = answer(&open(options(&server)), chat()).await;
    assert_eq!(answered.status, StatusCode::OK);
    assert!(!answered.headers.contains_key("link"));
    assert_eq!(text(answered.body).await.unwrap(), "hello");

    let endless = Server::new(|mut peer| async move {
        peer.request().await;
        while peer.say("HTTP/1.1 103 Early Hints\r\n\r\n").await {
            tokio::task::yield_now().await;
        }
    });
    let mut options = options(&endless.await);
    options.timeout = Duration::from_millis(200);
    let error = error(&open(options), chat()).await;
    assert!(matches!(error, UpstreamError::Timeout { .. }), "{error:?}");
}

#[tokio::test]
async fn what_is_no_answer_is_broken() {
    let long = format!(
        "HTTP/1.1 200 OK\r\nx: {}\r\n\r\n",
        "planted".repeat(100_000)
    );
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: planted\r\n".repeat(1_000));
    let cases = [
        ("a huge head", long),
        ("too many headers", many),
        ("no HTTP", "planted planted planted\r\n\r\n".to_owned()),
        ("nothing", String::new()),
        ("half a head", "HTTP/1.1 200 OK\r\nx: plan".to_owned()),
        (
            "a protocol that nobody asked for",
            "HTTP/1.1 101 Go\r\nupgrade: planted\r\nconnection: upgrade\r\n\r\n".to_owned(),
        ),
    ];
    for (what, bytes) in cases {
        let server = Server::new(move |mut peer| {
            let bytes = bytes.clone();
            async move {
                peer.request().await;
                peer.say(&bytes).await;
            }
        })
        .await;
        let provider = open(options(&server));
        let error = error(&provider, chat()).await;
        assert!(
            matches!(error, UpstreamError::Broken { .. }),
            "{what}: {error:?}"
        );
        assert!(
            !format!("{error} {error:?}").contains("planted"),
            "{error:?}"
        );
        assert_eq!(error.error_type(), "upstream_broken");
        assert_eq!(provider.status().in_flight, 0, "{what}");
    }
}

#[tokio::test]
async fn a_connection_that_the_server_closed_meanwhile_is_not_used() {
    let server = Server::new(|mut peer| async move {
        peer.request().await;
        peer.say(&ok("once")).await;
    })
    .await;
    let provider = open(options(&server));
    for n in 1..=5 {
        let answer = answer(&provider, chat()).await;
        assert_eq!(text(answer.body).await.unwrap(), "once");
        until(|| server.heard().len() == n).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.connections(), 5);
}

#[tokio::test]
async fn errors_of_the_server_have_a_body_too() {
    let server = Server::answering(|_| status("502 Bad Gateway", "why")).await;
    let answer = answer(&open(options(&server)), chat()).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_eq!(text(answer.body).await.unwrap(), "why");
}
