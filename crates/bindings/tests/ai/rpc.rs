//! `env.AI.run` by RPC: replies in Workers AI's shapes, and what is said of the caller's span.

use serde_json::json;

use crate::upstream::{Upstream, chat};
use crate::world::{World, attributes, map, steady};

#[tokio::test(flavor = "local")]
async fn a_prompt_is_answered_and_the_callers_span_says_who_answered_and_what_it_took() {
    let upstream = Upstream::answering(chat("Hello")).await;
    let world = World::of(&upstream).await;
    let inputs = json!({"prompt": "Hi", "max_tokens": 16, "temperature": 0.5, "top_p": 0.25, "seed": 7, "reasoning_effort": "low"});
    let (reply, span) = world.ran([json!("@cf/meta/llama"), inputs]).await;
    assert_eq!(reply["response"], "Hello");
    assert_eq!(reply["usage"]["total_tokens"], 10);
    let sent = upstream.last();
    assert_eq!(
        (sent.method.as_str(), sent.path.as_str()),
        ("POST", "/v1/chat/completions")
    );
    assert_eq!(
        sent.json()["messages"],
        json!([{"role": "user", "content": "Hi"}])
    );
    assert_eq!(sent.json()["model"], "@cf/meta/llama");
    assert_eq!(span.name, "chat @cf/meta/llama");
    assert_eq!(span.error, None);
    let expected = map([
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "up"),
        ("gen_ai.request.model", "@cf/meta/llama"),
        ("gen_ai.request.max_tokens", "16"),
        ("gen_ai.request.temperature", "0.5"),
        ("gen_ai.request.top_p", "0.25"),
        ("gen_ai.request.seed", "7"),
        ("gen_ai.request.reasoning.level", "low"),
        ("gen_ai.response.id", "chatcmpl-1"),
        ("gen_ai.response.model", "model-of-theirs"),
        ("gen_ai.response.finish_reasons", "stop"),
        ("gen_ai.usage.input_tokens", "7"),
        ("gen_ai.usage.output_tokens", "3"),
        ("gen_ai.usage.cache_read.input_tokens", "2"),
        ("gen_ai.usage.reasoning.output_tokens", "1"),
    ]);
    assert_eq!(attributes(&span), expected);
    let account = world.accounts.nth(1).await;
    assert_eq!(
        (account.status, account.attempts, account.error_type),
        (Some(200), 1, None)
    );
    assert_eq!(
        (account.gateway, account.log_id, account.cached),
        (None, None, None)
    );
}

#[tokio::test(flavor = "local")]
async fn model_and_provider_are_said_before_the_provider_answers() {
    let upstream = Upstream::new(|exchange| exchange.gone()).await;
    let world = World::of(&upstream).await;
    let call = world.call("run", [json!("m"), json!({"prompt": "Hi"})]);
    let call = tokio::task::spawn_local(async move { call.await.map(drop) });
    world.caller.hears("gen_ai.request.model m").await;
    world.caller.hears("gen_ai.provider.name up").await;
    world.caller.hears("name chat m").await;
    // The caller goes away before the answer, and so does the request.
    call.abort();
    let account = world.accounts.nth(1).await;
    assert_eq!(account.error_type.as_deref(), Some("canceled"));
    crate::world::until("the upstream's connection closes", || {
        upstream.closed() == 1
    })
    .await;
    let span = world.caller.reached(1).await;
    assert_eq!(span.name, "chat m");
    assert_eq!(span.outcome, binding_span::Outcome::Canceled);
}

#[tokio::test(flavor = "local")]
async fn tools_are_asked_for_and_their_calls_are_in_the_reply() {
    let mut answer = chat("");
    answer["choices"][0]["finish_reason"] = json!("tool_calls");
    answer["choices"][0]["message"] = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Bern\"}"}},
    ]});
    let upstream = Upstream::answering(answer).await;
    let world = World::of(&upstream).await;
    let tool = json!({"name": "weather", "description": "d", "parameters": {"type": "object", "properties": {}}});
    let inputs = json!({"messages": [{"role": "user", "content": "Rain?"}], "tools": [tool]});
    let (reply, span) = world.ran([json!("m"), inputs]).await;
    assert_eq!(reply["tool_calls"][0]["name"], "weather");
    assert_eq!(reply["tool_calls"][0]["arguments"], json!({"city": "Bern"}));
    let sent = upstream.last().json();
    assert_eq!(sent["tools"][0]["type"], "function");
    assert_eq!(sent["tools"][0]["function"]["name"], "weather");
    assert_eq!(
        attributes(&span)["gen_ai.response.finish_reasons"],
        "tool_calls"
    );
}

#[tokio::test(flavor = "local")]
async fn json_mode_gives_an_object_and_what_is_none_fails() {
    for (content, good) in [("{\"a\":1}", true), ("certainly!", false)] {
        let upstream = Upstream::answering(chat(content)).await;
        let world = World::of(&upstream).await;
        let inputs = json!({"prompt": "Hi", "response_format": {"type": "json_object"}});
        if good {
            let (reply, span) = world.ran([json!("m"), inputs]).await;
            assert_eq!(reply["response"], json!({"a": 1}));
            assert_eq!(attributes(&span)["gen_ai.output.type"], "json");
        } else {
            let (error, span) = world.failed([json!("m"), inputs]).await;
            assert!(error.contains("5024: JSON Mode couldn't be met"), "{error}");
            assert_eq!(span.error.unwrap().kind, "InferenceUpstreamError");
            let account = world.accounts.nth(1).await;
            assert_eq!(account.error_type.as_deref(), Some("invalid_answer"));
            assert_eq!(
                account.reading.usage.output,
                Some(3),
                "they are paid for all the same"
            );
        }
    }
}

#[tokio::test(flavor = "local")]
async fn embeddings_are_rows_in_the_order_of_their_texts() {
    let upstream = Upstream::answering(json!({
        "object": "list", "model": "e", "usage": {"prompt_tokens": 4, "total_tokens": 4},
        "data": [{"index": 1, "embedding": [3, 4]}, {"index": 0, "embedding": [1, 2]}],
    }))
    .await;
    let world = World::of(&upstream).await;
    let (reply, span) = world
        .ran([json!("@cf/baai/bge"), json!({"text": ["a", "b"]})])
        .await;
    assert_eq!(reply["shape"], json!([2, 2]));
    assert_eq!(reply["data"], json!([[1, 2], [3, 4]]));
    assert_eq!(upstream.last().path, "/v1/embeddings");
    assert_eq!(span.name, "embeddings @cf/baai/bge");
    let expected = map([
        ("gen_ai.operation.name", "embeddings"),
        ("gen_ai.provider.name", "up"),
        ("gen_ai.request.model", "@cf/baai/bge"),
        ("gen_ai.response.model", "e"),
        ("gen_ai.usage.input_tokens", "4"),
    ]);
    assert_eq!(steady(&span), expected);
}

#[tokio::test(flavor = "local")]
async fn a_raw_response_is_a_response_also_when_it_is_an_error() {
    let upstream = Upstream::statuses(&[(200, &[]), (429, &[("retry-after", "7")])]).await;
    let world = World::of(&upstream).await;
    let ask = || {
        world.run([
            json!("m"),
            json!({"prompt": "Hi"}),
            json!({"returnRawResponse": true}),
        ])
    };
    let response = ask().await.unwrap().into_payload().into_response().unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
    let body = response.into_body().read_to_end(1 << 20).await.unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["response"], "fine");
    let reply = ask().await.unwrap();
    assert_eq!(reply.stated_error().unwrap().kind, "429");
    let response = reply.into_payload().into_response().unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "7");
}

#[tokio::test(flavor = "local")]
async fn models_are_listed_with_a_name_of_their_own_on_the_span() {
    let upstream =
        Upstream::answering(json!({"data": [{"id": "a-model"}, {"id": "another"}]})).await;
    let world = World::of(&upstream).await;
    let reply = world
        .call("models", [json!({"search": "a-mod"})])
        .await
        .unwrap();
    let models = reply.to_json().unwrap();
    assert_eq!(models.as_array().unwrap().len(), 1, "{models}");
    assert_eq!(models[0]["name"], "a-model");
    assert_eq!(world.caller.reached(1).await.name, "ai.models");
    assert!(world.accounts.all().is_empty());
}

#[tokio::test(flavor = "local")]
async fn what_is_not_served_and_what_cannot_be_meant_is_named() {
    let upstream = Upstream::answering(chat("Hi")).await;
    let world = World::of(&upstream).await;
    for method in ["toMarkdown", "autorag", "aiSearch"] {
        let error = world.call(method, []).await.unwrap_err().to_string();
        assert!(
            error.contains(&format!("{method} is not served")),
            "{error}"
        );
    }
    for (args, says) in [
        (vec![], "the model is a text"),
        (vec![json!("m")], "the inputs must be an object"),
        (
            vec![json!("m"), json!({})],
            "the inputs need one of `prompt`",
        ),
        (
            vec![json!("m"), json!({"prompt": 5})],
            "`prompt` must be a text",
        ),
        (
            vec![json!("m"), json!({"prompt": "a"}), json!(5)],
            "the options are not an object",
        ),
        (
            vec![
                json!("m"),
                json!({"prompt": "a"}),
                json!({"websocket": true}),
            ],
            "websocket is not served",
        ),
        (vec![json!("m"), json!({"image": [1, 2]})], "not served"),
        (
            vec![
                json!("m"),
                json!({"prompt": "a"}),
                json!({"extraHeaders": {"a b": "c"}}),
            ],
            "\"a b\" is not a header name",
        ),
        (
            vec![
                json!("m"),
                json!({"prompt": "a"}),
                json!({"gateway": {"id": "g/x"}}),
            ],
            "the gateway's id is \"g/x\"",
        ),
    ] {
        let error = world.run(args).await.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    assert!(upstream.seen().is_empty());
    assert!(world.accounts.all().is_empty(), "nobody was asked");
}

#[tokio::test(flavor = "local")]
async fn a_gateways_handle_and_what_is_called_on_it_have_spans_of_their_own() {
    let mut answer = chat("Hi");
    let other = json!({"index": 1, "message": {"content": "Ho"}, "finish_reason": "length"});
    answer["choices"].as_array_mut().unwrap().push(other);
    let upstream = Upstream::answering(answer).await;
    let world = World::of(&upstream).await;
    let step = json!({"provider": "up", "endpoint": "chat/completions", "query": {"model": "m", "messages": []}});
    // As a Worker does it: `run` is called on what `gateway` will return.
    let pending = world.call("gateway", [json!("g")]).send();
    let run = pending
        .pipelined()
        .unwrap()
        .call("run", js_rpc::Args::from_json(vec![step]).unwrap());
    let (opened, ran) = futures::join!(pending, run.into_future());
    let response = ran.unwrap().into_payload().into_response().unwrap();
    assert_eq!(response.status(), 200);
    drop((opened, response));
    world.caller.reached(2).await;
    let spans = world.caller.now();
    let named = |name: &str| {
        spans
            .iter()
            .find(|span| span.name == name)
            .unwrap_or_else(|| panic!("{spans:#?}"))
    };
    let (open, run) = (named("ai_gateway.open"), named("ai_gateway.run"));
    assert_eq!(run.parent, Some(open.context.span_id));
    assert_eq!(attributes(open), map([("ai_gateway.id", "g")]));
    assert_eq!(attributes(run)["gen_ai.usage.output_tokens"], "3");
    let reasons = attributes(run)["gen_ai.response.finish_reasons"].clone();
    assert_eq!(reasons, r#"["stop", "length"]"#);
}
