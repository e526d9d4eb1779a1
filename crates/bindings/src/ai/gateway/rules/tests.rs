use http::HeaderValue;
use serde_json::json;

use super::*;

fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
    list.iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect()
}

fn gateway() -> Rules {
    Rules::of_gateway(&GatewayOptions::new("test"))
}

#[test]
fn headers_and_options_say_the_same() {
    let by_headers = gateway()
        .with_headers(&headers(&[
            ("cf-aig-skip-cache", "true"),
            ("cf-aig-cache-ttl", "123"),
            ("cf-aig-cache-key", "key"),
            ("cf-aig-metadata", r#"{"user":7,"big":"1"}"#),
            ("cf-aig-collect-log", "false"),
            ("cf-aig-event-id", "event"),
            ("cf-aig-request-timeout", "5000"),
            ("cf-aig-max-attempts", "4"),
            ("cf-aig-retry-delay", "250"),
            ("cf-aig-backoff", "linear"),
        ]))
        .unwrap();
    let by_options = gateway()
        .with_options(&json!({
            "id": "ignored",
            "skipCache": true,
            "cacheTtl": 123.0,
            "cacheKey": "key",
            "metadata": {"user": 7, "big": {"$bigint": "1"}},
            "collectLog": false,
            "eventId": "event",
            "requestTimeoutMs": 5000,
            "retries": {"maxAttempts": 4, "retryDelayMs": 250, "backoff": "linear"},
        }))
        .unwrap();
    assert_eq!(by_headers, by_options);
    assert_eq!(by_headers.request_timeout, Some(Duration::from_secs(5)));
    assert_eq!(
        by_headers.attempts,
        Attempts {
            max: 4,
            delay: Duration::from_millis(250),
            backoff: Backoff::Linear
        }
    );
    assert!(!by_headers.collect_log && by_headers.skip_cache);
}

#[test]
fn what_is_refused_is_named_with_what_is_accepted() {
    for (name, value, says) in [
        (
            "cf-aig-max-attempts",
            "6",
            "cf-aig-max-attempts is \"6\"; give a whole number from 1 to 5",
        ),
        ("cf-aig-max-attempts", "0", "from 1 to 5"),
        ("cf-aig-max-attempts", "two", "from 1 to 5"),
        (
            "cf-aig-retry-delay",
            "5001",
            "a whole number of milliseconds from 0 to 5000",
        ),
        (
            "cf-aig-request-timeout",
            "0",
            "milliseconds from 1 to 3600000",
        ),
        ("cf-aig-cache-ttl", "59", "seconds from 60 to 2678400, or 0"),
        ("cf-aig-cache-ttl", "-1", "seconds from 60 to 2678400, or 0"),
        (
            "cf-aig-cache-ttl",
            "2678401",
            "seconds from 60 to 2678400, or 0",
        ),
        (
            "cf-aig-skip-cache",
            "yes",
            "cf-aig-skip-cache is \"yes\"; give true or false",
        ),
        (
            "cf-aig-backoff",
            "random",
            "give constant, linear or exponential",
        ),
        (
            "cf-aig-metadata",
            "{",
            "cf-aig-metadata is not JSON (column 1)",
        ),
        (
            "cf-aig-custom-cost",
            r#"{"total_cost":-1}"#,
            "cf-aig-custom-cost is not a cost",
        ),
        (
            "cf-aig-custom-cost",
            "{}",
            "cf-aig-custom-cost is not a cost",
        ),
    ] {
        let error = gateway()
            .with_headers(&headers(&[(name, value)]))
            .unwrap_err();
        assert!(error.message.contains(says), "{}", error.message);
    }
    for (options, says) in [
        (
            json!({"cacheTtl": 61.5}),
            "cacheTtl is 61.5; give a whole number",
        ),
        (json!({"cacheTtl": [60]}), "cacheTtl is an array"),
        (
            json!({"retries": {"maxAttempts": 9}}),
            "retries.maxAttempts is 9",
        ),
        (json!({"retries": 3}), "retries: 3; give an object"),
        (json!({"cacheKey": 5}), "cacheKey is 5; give text"),
        (
            json!({"cacheKey": "k".repeat(1025)}),
            "cacheKey has 1025 bytes",
        ),
        (
            json!({"skipCache": 1}),
            "skipCache is 1; give true or false",
        ),
        (json!("x"), "the gateway's options: \"x\"; give an object"),
    ] {
        let error = gateway().with_options(&options).unwrap_err();
        assert!(error.message.contains(says), "{}", error.message);
    }
}

#[test]
fn nothing_given_leaves_the_gateways_rules() {
    assert_eq!(gateway().with_options(&Value::Null).unwrap(), gateway());
    let nulls = json!({"cacheKey": null, "retries": null, "metadata": null});
    assert_eq!(gateway().with_options(&nulls).unwrap(), gateway());
    let empty = headers(&[("cf-aig-cache-key", ""), ("cf-aig-event-id", "")]);
    assert_eq!(gateway().with_headers(&empty).unwrap(), gateway());
}

#[test]
fn the_cache_is_used_when_somebody_says_for_how_long() {
    let day = Duration::from_secs(24 * 3600);
    let caching = || {
        Rules::of_gateway(&GatewayOptions {
            cache_ttl: day,
            ..GatewayOptions::new("test")
        })
    };
    let options = |rules: Rules, options| rules.with_options(&options).unwrap().caches();
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(gateway().caches(), None);
    assert_eq!(caching().caches(), Some(day));
    assert_eq!(options(gateway(), json!({"cacheTtl": 60})), seconds(60));
    assert_eq!(options(caching(), json!({"cacheTtl": 60})), seconds(60));
    assert_eq!(options(caching(), json!({"cacheTtl": 0})), None);
    assert_eq!(options(caching(), json!({"skipCache": true})), None);
    assert_eq!(options(gateway(), json!({"cacheKey": "k"})), seconds(300));
    assert_eq!(options(caching(), json!({"cacheKey": "k"})), Some(day));
    let skipped = json!({"cacheKey": "k", "cacheTtl": 60, "skipCache": true});
    assert_eq!(options(gateway(), skipped), None);
}

#[test]
fn old_names_of_headers_count_unless_the_new_one_is_there() {
    let old = headers(&[("cf-skip-cache", "true"), ("cf-cache-ttl", "100")]);
    let rules = gateway().with_headers(&old).unwrap();
    assert!(rules.skip_cache);
    assert_eq!(rules.cache_ttl, Some(Duration::from_secs(100)));
    let both = headers(&[("cf-cache-ttl", "100"), ("cf-aig-cache-ttl", "200")]);
    let rules = gateway().with_headers(&both).unwrap();
    assert_eq!(rules.cache_ttl, Some(Duration::from_secs(200)));
}

#[test]
fn a_request_cannot_turn_content_on() {
    let payload = |value| headers(&[("cf-aig-collect-log-payload", value)]);
    assert!(
        !gateway()
            .with_headers(&payload("true"))
            .unwrap()
            .log_content
    );
    let on = Rules::of_gateway(&GatewayOptions {
        log_content: true,
        ..GatewayOptions::new("test")
    });
    assert!(
        on.clone()
            .with_headers(&payload("true"))
            .unwrap()
            .log_content
    );
    assert!(!on.with_headers(&payload("false")).unwrap().log_content);
}

#[test]
fn a_custom_cost_is_by_the_token_or_all_of_it() {
    let cost = |text| {
        let headers = headers(&[("cf-aig-custom-cost", text)]);
        gateway()
            .with_headers(&headers)
            .unwrap()
            .custom_cost
            .unwrap()
    };
    let usage = Usage {
        input: Some(1000),
        output: Some(500),
        ..Usage::default()
    };
    let both = cost(r#"{"per_token_in":0.001,"per_token_out":0.002}"#);
    assert_eq!(both.of(&usage), Some(2.0));
    assert_eq!(both.of(&Usage::default()), None);
    assert_eq!(cost(r#"{"per_token_in":0.001}"#).of(&usage), Some(1.0));
    assert_eq!(
        cost(r#"{"total_cost":1.22}"#).of(&Usage::default()),
        Some(1.22)
    );
}

#[test]
fn the_gateways_own_key_is_for_nobody_else() {
    let given = headers(&[("cf-aig-authorization", "Bearer planted-secret")]);
    let rules = gateway().with_headers(&given).unwrap();
    assert_eq!(rules, gateway());
    assert!(forwarded(&given).is_empty());
}

#[test]
fn a_provider_gets_its_headers_and_not_ours() {
    let given = headers(&[
        ("authorization", "Bearer provider"),
        ("x-api-key", "k"),
        ("anthropic-version", "2023-06-01"),
        ("content-type", "application/json"),
        ("accept", "text/event-stream"),
        ("openai-organization", "org"),
        ("cf-aig-cache-key", "k"),
        ("cf-consn-model-id", "m"),
        ("cf-ray", "r"),
        ("host", "h"),
        ("cookie", "c"),
        ("content-length", "5"),
        ("accept-encoding", "gzip"),
        ("connection", "close, X-Hop"),
        ("x-hop", "1"),
        ("x-forwarded-for", "1.2.3.4"),
        ("traceparent", "00-x"),
        ("transfer-encoding", "chunked"),
    ]);
    let forwarded = forwarded(&given);
    let mut names: Vec<_> = forwarded.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "accept",
            "anthropic-version",
            "authorization",
            "content-type",
            "openai-organization",
            "x-api-key"
        ]
    );
}

#[test]
fn a_header_that_is_no_text_is_refused() {
    let mut given = HeaderMap::new();
    let value = HeaderValue::from_bytes(&[0xff, 0xfe]).unwrap();
    given.insert("cf-aig-cache-key", value);
    let error = gateway().with_headers(&given).unwrap_err();
    assert_eq!(error.message, "cf-aig-cache-key is not text in UTF-8");
    let name = HeaderValue::from_bytes("{\"stadt\":\"Köln\"}".as_bytes()).unwrap();
    let given = HeaderMap::from_iter([(HeaderName::from_static("cf-aig-metadata"), name)]);
    let rules = gateway().with_headers(&given).unwrap();
    assert_eq!(rules.metadata["stadt"], json!("Köln"));
}
