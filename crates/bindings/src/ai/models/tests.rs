use std::time::Duration;

use super::*;
use crate::ai::options::{Endpoint, ProviderOptions};
use crate::ai::upstream::test_server::{Server, ok, status};

fn at(name: &str, server: &Server) -> ProviderOptions {
    ProviderOptions::new(name, Endpoint::Http(server.url("/v1")))
}

fn nowhere(name: &str) -> ProviderOptions {
    let url = "http://127.0.0.1:9/v1".parse().unwrap();
    ProviderOptions::new(name, Endpoint::Http(url))
}

fn rule(pattern: &str, provider: Option<&str>, model: Option<&str>) -> ModelRule {
    ModelRule {
        pattern: pattern.to_owned(),
        provider: provider.map(str::to_owned),
        model: model.map(str::to_owned),
        price: None,
    }
}

fn options(providers: Vec<ProviderOptions>, models: Vec<ModelRule>) -> AiOptions {
    AiOptions {
        providers,
        models,
        ..AiOptions::default()
    }
}

#[test]
fn rules_come_first_then_providers_by_name_then_the_first() {
    let price = Price {
        input: 1.0,
        output: 2.0,
        cached_input: None,
    };
    let mut priced = rule("openai/gpt-*", Some("openai"), None);
    priced.price = Some(price);
    let rules = vec![
        rule("@cf/meta/llama-3.1-8b-instruct", None, Some("llama3.1")),
        rule("@cf/*", Some("router"), None),
        rule("gpt-?", Some("openai"), Some("gpt")),
        priced,
    ];
    let providers = vec![nowhere("ollama"), nowhere("openai"), nowhere("router")];
    let models = Models::new(&options(providers, rules)).unwrap();
    for (name, provider, model) in [
        ("@cf/meta/llama-3.1-8b-instruct", "ollama", "llama3.1"),
        ("@cf/meta/other", "router", "@cf/meta/other"),
        ("@CF/meta/other", "ollama", "@CF/meta/other"),
        ("gpt-4", "openai", "gpt"),
        ("gpt-4o", "ollama", "gpt-4o"),
        ("openai/gpt-4o", "openai", "gpt-4o"),
        ("openai/o3", "openai", "o3"),
        ("router/openai/o3", "router", "openai/o3"),
        ("nobody/o3", "ollama", "nobody/o3"),
        ("openai/", "ollama", "openai/"),
        ("openai", "ollama", "openai"),
    ] {
        let resolved = models.resolve(name).unwrap();
        let found = (resolved.provider.name(), resolved.model.as_str());
        assert_eq!(found, (provider, model), "{name}");
        let expected = (name == "openai/gpt-4o").then_some(price);
        assert_eq!(resolved.price, expected, "{name}");
    }
    assert!(models.provider("router").is_some() && models.provider("x").is_none());
    assert_eq!(models.resolve("").err(), Some(ModelError::Name(0)));
    let long = "x".repeat(600);
    assert_eq!(models.resolve(&long).err(), Some(ModelError::Name(600)));
    let none = Models::new(&options(vec![], vec![])).unwrap();
    assert_eq!(none.resolve("x").err(), Some(ModelError::NoProvider));
}

#[test]
fn what_contradicts_itself_is_refused_by_name() {
    let priced = |input| ModelRule {
        price: Some(Price {
            input,
            output: 0.0,
            cached_input: None,
        }),
        ..rule("x", None, None)
    };
    let one = || vec![nowhere("one"), nowhere("two")];
    let cases = [
        (
            vec![nowhere("one"), nowhere("one")],
            vec![],
            "two providers are called \"one\"",
        ),
        (
            one(),
            vec![rule("x*", Some("three"), None)],
            "\"x*\": no provider is called \"three\"; there is one, two",
        ),
        (vec![], vec![rule("x", None, None)], "there is no provider"),
        (one(), vec![rule("", None, None)], "its pattern is empty"),
        (
            one(),
            vec![rule("x", None, Some(""))],
            "its model has no name",
        ),
        (one(), vec![priced(-1.0)], "its price"),
        (one(), vec![priced(f64::NAN)], "its price"),
    ];
    for (providers, rules, why) in cases {
        let error = Models::new(&options(providers, rules)).err().unwrap();
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn models_are_listed_from_all_providers_and_kept() {
    let first = Server::answering(|_| {
        ok(r#"{"object":"list","data":[{"id":"llama3","object":"model","created":7,"owned_by":"library"},{"id":5},{"id":"b"}]}"#)
    })
    .await;
    let broken =
        Server::answering(|_| status("500 No", r#"{"object":"list","data":[{"id":"x"}]}"#)).await;
    let providers = vec![
        at("first", &first),
        at("broken", &broken),
        nowhere("nowhere"),
    ];
    let rules = vec![
        rule("@cf/meta/llama", None, Some("llama3")),
        rule("@cf/*", None, None),
    ];
    let models = Models::new(&options(providers, rules)).unwrap();
    let (one, two) = tokio::join!(models.list(), models.list());
    assert!(Arc::ptr_eq(&one, &two));
    let listed = |id: &str, provider: &str, owned_by: Option<&str>, created| Listed {
        id: id.to_owned(),
        provider: provider.to_owned(),
        owned_by: owned_by.map(str::to_owned),
        created,
    };
    let expected = [
        listed("@cf/meta/llama", "first", None, None),
        listed("llama3", "first", Some("library"), Some(7)),
        listed("b", "first", None, None),
    ];
    assert_eq!(one.models, expected);
    assert_eq!(one.missing, ["broken", "nowhere"]);
    assert_eq!(first.heard().len(), 1, "two at once ask once");
    assert!(first.heard()[0].starts_with("GET /v1/models HTTP/1.1\r\n"));
    let expired = Instant::now() - Duration::from_millis(1);
    models.listing.lock().await.as_mut().unwrap().0 = expired;
    models.list().await;
    assert_eq!(first.heard().len(), 2);
}

#[tokio::test]
async fn a_listed_model_is_reached_by_the_name_under_which_it_is_listed() {
    let both = || {
        let list = r#"{"object":"list","data":[{"id":"same"},{"id":"priced"},{"id":"taken"}]}"#;
        Server::answering(move |_| ok(list))
    };
    let (first, second) = (both().await, both().await);
    let providers = vec![at("first", &first), at("second", &second)];
    let rules = vec![
        rule("priced", None, None),
        rule("taken", Some("second"), Some("other")),
    ];
    let models = Models::new(&options(providers, rules)).unwrap();
    let listing = models.list().await;
    let ids: Vec<&str> = listing.models.iter().map(|it| it.id.as_str()).collect();
    let expected = [
        "priced",
        "taken",
        "same",
        "first/taken",
        "second/same",
        "second/priced",
        "second/taken",
    ];
    assert_eq!(ids, expected);
    for listed in &listing.models {
        let resolved = models.resolve(&listed.id).unwrap();
        assert_eq!(resolved.provider.name(), listed.provider, "{}", listed.id);
    }
}

#[test]
fn only_lists_of_models_are_read() {
    let ids = |text: &str| {
        let entries = read(text.as_bytes())?;
        Some(entries.into_iter().map(|it| it.id).collect::<Vec<_>>())
    };
    for none in [
        "",
        "<html>",
        "[]",
        "{}",
        "null",
        r#"{"data":[]}"#,
        r#"{"data":null}"#,
        r#"{"data":[1,{"name":"x"}]}"#,
        r#"{"object":"list","data":{}}"#,
        r#"{"object":"page","data":[]}"#,
    ] {
        assert_eq!(ids(none), None, "{none}");
    }
    let nobody: Option<Vec<String>> = Some(Vec::new());
    assert_eq!(ids(r#"{"object":"list","data":null}"#), nobody);
    assert_eq!(ids(r#"{"object":"list","data":[]}"#), nobody);
    let some = ids(r#"{"data":[{"id":"a"},{"id":""}]}"#);
    assert_eq!(some, Some(vec!["a".to_owned()]));
    let many: Vec<_> = (0..6_000).map(|n| format!(r#"{{"id":"m{n}"}}"#)).collect();
    let many = format!(r#"{{"data":[{}]}}"#, many.join(","));
    assert_eq!(ids(&many).unwrap().len(), MAX_MODELS);
}
