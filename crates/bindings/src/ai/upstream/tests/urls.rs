//! Where requests go, and where they never go.

use super::server::{Server, ok};
use super::*;

#[tokio::test]
async fn a_path_stays_below_the_url() {
    let server = Server::answering(|_| ok("")).await;
    let provider = open(options(&server));
    let refused = [
        "../admin",
        "a/../../admin",
        "a/..",
        "..",
        ".",
        "a/./b",
        "%2e%2e/admin",
        "a/%2E%2e/admin",
        ".%2e/admin",
        "%252e%252e/admin",
        "a%2f..%2fadmin",
        "%25252e%25252e/admin",
        "%2525252525252541",
        "//evil.example/v1",
        "%2f%2fevil.example/v1",
        "/%2fevil.example",
        "http://evil.example/v1",
        "https:%2f%2fevil.example",
        "\\\\evil.example",
        "a\\..\\b",
        "a%5c..%5cb",
        "a#b",
        "a?b#c",
        "a b",
        "a\r\nx: y",
        "a%0d%0ax",
        "a%00",
        "a\tb",
        "a?b\nc",
        "%ff",
        "a/..;/b",
        "..%3bx/b",
    ];
    for path in refused {
        let request = UpstreamRequest {
            path: path.to_owned(),
            ..chat()
        };
        let error = error(&provider, request).await;
        assert!(
            matches!(error, UpstreamError::Request { .. }),
            "{path:?}: {error:?}"
        );
        assert!(!error.to_string().contains("evil"), "{error}");
    }
    let long = UpstreamRequest {
        path: "a".repeat(10_000),
        ..chat()
    };
    error(&provider, long).await;
    assert_eq!(server.connections(), 0);

    let passed = [
        ("", "/v1"),
        ("?a=b", "/v1?a=b"),
        ("/chat/completions", "/v1/chat/completions"),
        (
            "models/gemini:generateContent",
            "/v1/models/gemini:generateContent",
        ),
        ("run/@cf/meta/llama-3.1", "/v1/run/@cf/meta/llama-3.1"),
        ("a%20b/..c/d..", "/v1/a%20b/..c/d.."),
        ("a?u=http://x/../y%0a", "/v1/a?u=http://x/../y%0a"),
        ("@evil.example", "/v1/@evil.example"),
        (":80", "/v1/:80"),
    ];
    for (path, target) in passed {
        let request = UpstreamRequest {
            path: path.to_owned(),
            ..chat()
        };
        answer(&provider, request).await;
        let heard = server.heard().pop().unwrap();
        assert_eq!(heard.split(' ').nth(1).unwrap(), target);
    }
}

#[tokio::test]
async fn paths_are_joined_whether_the_url_ends_with_a_slash_or_has_no_path() {
    let server = Server::answering(|_| ok("")).await;
    for (base, target) in [
        ("", "/chat/completions"),
        ("/", "/chat/completions"),
        ("/v1/", "/v1/chat/completions"),
        ("/a/b", "/a/b/chat/completions"),
    ] {
        let endpoint = Endpoint::Http(server.url(base));
        answer(&open(ProviderOptions::new("local", endpoint)), chat()).await;
        let heard = server.heard().pop().unwrap();
        assert_eq!(heard.split(' ').nth(1).unwrap(), target);
    }
}

#[test]
fn options_that_cannot_be_meant_are_refused_by_name() {
    let at = |url: &str| ProviderOptions::new("local", Endpoint::Http(url.parse().unwrap()));
    let mut cases = vec![
        (at("http://user:planted@127.0.0.1/v1"), "password"),
        (at("http://planted@127.0.0.1/v1"), "password"),
        (at("ftp://planted/v1"), "http://"),
        (at("/planted"), "no host"),
        (at("http://127.0.0.1/v1?key=planted"), "query"),
    ];
    let good = || at("http://127.0.0.1/v1");
    let changed = |change: fn(&mut ProviderOptions)| {
        let mut options = good();
        change(&mut options);
        options
    };
    cases.push((changed(|it| it.max_in_flight = 0), "in flight"));
    cases.push((changed(|it| it.timeout = Duration::ZERO), "an answer"));
    cases.push((changed(|it| it.idle_timeout = Duration::ZERO), "silent"));
    cases.push((
        changed(|it| it.connect_timeout = Duration::ZERO),
        "connecting",
    ));
    cases.push((changed(|it| it.key_header = http::header::HOST), "host"));
    let hop = |it: &mut ProviderOptions| {
        let value = HeaderValue::from_static("planted");
        it.headers.insert("transfer-encoding", value);
    };
    cases.push((changed(hop), "transfer-encoding"));
    for (options, why) in cases {
        let error = Provider::open(options).err().unwrap().to_string();
        assert!(
            error.contains("\"local\"") && error.contains(why),
            "{error}"
        );
        assert!(!error.contains("planted"), "{error}");
    }
    for name in ["", "a/b", "a b", "a\n"] {
        let options = ProviderOptions {
            name: name.to_owned(),
            ..good()
        };
        let error = Provider::open(options).err().unwrap().to_string();
        assert!(error.contains("its name"), "{error}");
    }
    // The largest values are no trouble for clocks.
    let mut options = good();
    options.idle_timeout = Duration::MAX;
    options.break_for = Duration::MAX;
    options.timeout = Duration::MAX;
    options.max_in_flight = usize::MAX;
    assert_eq!(open(options).status().in_flight, 0);
}
