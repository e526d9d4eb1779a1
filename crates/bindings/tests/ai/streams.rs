//! Streamed answers: when their parts arrive, what is read from their end, and what comes of those that do not end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::upstream::{Upstream, delta, finish, usage};
use crate::world::{World, attributes, events, next, options, rest, until};

/// An upstream that sends an event of a stream for each that the test gives it, and ends with the test's end of that.
async fn controlled() -> (Upstream, UnboundedSender<Json>) {
    let (give, take) = unbounded_channel::<Json>();
    let take = Rc::new(RefCell::new(Some(take)));
    let upstream = Upstream::new(move |mut exchange| {
        let take = take.borrow_mut().take();
        async move {
            let mut take = take.expect("one request");
            exchange.begin().await;
            loop {
                let event = tokio::select! {
                    event = take.recv() => event,
                    () = tokio::time::sleep(Duration::from_millis(5)) => {
                        // A comment, as servers send to see whether anybody is there.
                        if !exchange.chunk(": ping\n\n").await {
                            return exchange.gone().await;
                        }
                        continue;
                    }
                };
                match event {
                    Some(Json::Null) => return, // dies
                    Some(event) => exchange.event(&event).await,
                    None => return exchange.end().await,
                };
            }
        }
    })
    .await;
    (upstream, give)
}

fn prompt() -> Vec<Json> {
    vec![json!("m"), json!({"prompt": "Hi", "stream": true})]
}

#[tokio::test(flavor = "local")]
async fn the_first_part_is_there_before_the_second_is_sent_and_the_end_enriches_the_span() {
    let (upstream, give) = controlled().await;
    let world = World::of(&upstream).await;
    give.send(delta("a")).unwrap();
    let mut stream = world.streamed(prompt()).await;
    assert_eq!(next(&mut stream).await, "data: {\"response\":\"a\"}\n\n");
    world.caller.hears("gen_ai.request.stream true").await;
    let early = world.caller.told();
    assert!(
        early
            .iter()
            .any(|said| said.starts_with("gen_ai.response.time_to_first_chunk ")),
        "{early:?}"
    );
    assert!(
        world.caller.now().is_empty() && world.accounts.all().is_empty(),
        "it goes on"
    );
    give.send(delta("b")).unwrap();
    assert_eq!(next(&mut stream).await, "data: {\"response\":\"b\"}\n\n");
    give.send(finish()).unwrap();
    give.send(usage()).unwrap();
    drop(give);
    let last = rest(stream).await;
    let last = events(&last);
    assert_eq!(last[0]["usage"]["total_tokens"], 16, "{last:?}");
    assert_eq!(last[1], "[DONE]");
    assert_eq!(
        upstream.last().json()["stream_options"],
        json!({"include_usage": true})
    );
    let span = world.caller.reached(1).await;
    assert_eq!((span.name.as_str(), &span.error), ("chat m", &None));
    let said = attributes(&span);
    assert_eq!(said["gen_ai.usage.input_tokens"], "11");
    assert_eq!(said["gen_ai.usage.output_tokens"], "5");
    assert_eq!(said["gen_ai.response.finish_reasons"], "length");
    assert!(
        said["gen_ai.response.time_to_first_chunk"]
            .parse::<f64>()
            .unwrap()
            > 0.0
    );
    let account = world.accounts.nth(1).await;
    assert!(account.stream && account.error_type.is_none() && account.first_chunk.is_some());
}

#[tokio::test(flavor = "local")]
async fn the_head_and_the_first_part_are_timed_apart() {
    const BETWEEN: Duration = Duration::from_millis(200);
    let upstream = Upstream::new(|mut exchange| async move {
        exchange.begin().await;
        tokio::time::sleep(BETWEEN).await;
        exchange.event(&delta("Hi")).await;
        exchange.event(&finish()).await;
        exchange.chunk("data: [DONE]\n\n").await;
        exchange.end().await;
    })
    .await;
    let world = World::of(&upstream).await;
    rest(world.streamed(prompt()).await).await;
    let account = world.accounts.nth(1).await;
    let (head, first) = (account.latency.unwrap(), account.first_chunk.unwrap());
    assert!(first >= head + BETWEEN / 2, "{head:?} {first:?}");
}

#[tokio::test(flavor = "local")]
async fn a_reader_that_goes_away_cancels_the_provider_at_once() {
    for plain in [false, true] {
        let (upstream, give) = controlled().await;
        let world = World::of(&upstream).await;
        give.send(delta("a")).unwrap();
        let since;
        if plain {
            let body = json!({"model": "m", "messages": [], "stream": true}).to_string();
            let request = ::http::Request::post("/v1/chat/completions").header("host", "ai");
            let mut response = world
                .send(request.body(http_body_util::Full::from(body)).unwrap())
                .await;
            let part = http_body_util::BodyExt::frame(response.body_mut())
                .await
                .unwrap()
                .unwrap();
            assert!(part.into_data().unwrap().starts_with(b"data: "));
            since = Instant::now();
            drop(response);
        } else {
            let mut stream = world.streamed(prompt()).await;
            next(&mut stream).await;
            since = Instant::now();
            drop(stream);
        }
        until("the upstream's connection closes", || {
            upstream.closed() == 1
        })
        .await;
        assert!(
            since.elapsed() < Duration::from_secs(1),
            "{:?}",
            since.elapsed()
        );
        let account = world.accounts.nth(1).await;
        assert_eq!(
            account.error_type.as_deref(),
            Some("canceled"),
            "plain: {plain}"
        );
        assert!(
            world
                .ai
                .status()
                .iter()
                .all(|provider| provider.in_flight == 0)
        );
    }
}

#[tokio::test(flavor = "local")]
async fn a_reader_that_has_all_did_not_go_away() {
    let (upstream, give) = controlled().await;
    let world = World::of(&upstream).await;
    for event in [delta("a"), finish(), usage(), json!("[DONE]")] {
        give.send(event).unwrap();
    }
    // `"[DONE]"` with quotes is none of OpenAI's: a real one follows, and the body goes on.
    let stream = world.streamed(prompt()).await;
    drop(give);
    rest(stream).await;
    assert_eq!(world.accounts.nth(1).await.error_type.as_deref(), None);
}

#[tokio::test(flavor = "local")]
async fn a_body_that_stays_open_after_its_end_ends_all_the_same() {
    let upstream = Upstream::new(|mut exchange| async move {
        exchange.begin().await;
        exchange.event(&delta("a")).await;
        exchange.event(&finish()).await;
        exchange.chunk("data: [DONE]\n\n").await;
        exchange.gone().await;
    })
    .await;
    let mut options = options(&upstream);
    options.providers[0].idle_timeout = Duration::from_millis(100);
    let world = World::new(options).await;
    let text = rest(world.streamed(prompt()).await).await;
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert_eq!(world.accounts.nth(1).await.error_type, None);
}

#[tokio::test(flavor = "local")]
async fn a_provider_that_dies_in_the_middle_is_an_error_in_the_stream_and_on_the_span() {
    let (upstream, give) = controlled().await;
    let world = World::of(&upstream).await;
    give.send(delta("a")).unwrap();
    let mut stream = world.streamed(prompt()).await;
    next(&mut stream).await;
    give.send(Json::Null).unwrap();
    let last = events(&rest(stream).await);
    assert_eq!(last.len(), 1, "no [DONE]: {last:?}");
    assert_eq!(last[0]["internalCode"], 3043);
    let span = world.caller.reached(1).await;
    assert_eq!(span.error.unwrap().kind, "upstream_broken");
    assert_eq!(
        world.accounts.nth(1).await.error_type.as_deref(),
        Some("upstream_broken")
    );

    // An OpenAI client gets what came, and sees the connection break.
    let (upstream, give) = controlled().await;
    let world = World::of(&upstream).await;
    give.send(delta("a")).unwrap();
    give.send(Json::Null).unwrap();
    let body = json!({"model": "m", "messages": [], "stream": true}).to_string();
    let request = ::http::Request::post("/v1/chat/completions").header("host", "ai");
    let response = world
        .send(request.body(http_body_util::Full::from(body)).unwrap())
        .await;
    assert!(
        http_body_util::BodyExt::collect(response.into_body())
            .await
            .is_err()
    );
    assert_eq!(
        world.accounts.nth(1).await.error_type.as_deref(),
        Some("upstream_broken")
    );
}

#[tokio::test(flavor = "local")]
async fn usage_that_nobody_asked_for_is_read_and_left_out() {
    let upstream =
        Upstream::new(|exchange| async move { exchange.stream(&["a", "b"]).await }).await;
    let world = World::of(&upstream).await;
    for (options, passed) in [
        (Json::Null, false),
        (json!({"include_usage": true}), true),
        (json!({"include_usage": false}), false),
    ] {
        let mut body = json!({"model": "m", "messages": [], "stream": true});
        if !options.is_null() {
            body["stream_options"] = options.clone();
        }
        let answer = world.post("/v1/chat/completions", &body).await;
        assert!(
            answer
                .header("content-type")
                .unwrap()
                .starts_with("text/event-stream")
        );
        let events = events(answer.text());
        assert_eq!(events.last().unwrap(), "[DONE]");
        let has = events.iter().any(|event| event.get("usage").is_some());
        assert_eq!(has, passed, "{options}");
        assert_eq!(events[0], delta("a"));
        let known = world.accounts.all().pop().unwrap().reading.usage.output;
        let refused = options == json!({"include_usage": false});
        assert_eq!(known, (!refused).then_some(5), "{options}");
    }
    let span = world
        .callee
        .now()
        .into_iter()
        .find(|span| span.name == "chat m")
        .unwrap();
    assert_eq!(attributes(&span)["gen_ai.usage.output_tokens"], "5");
}

#[tokio::test(flavor = "local")]
async fn what_a_stream_of_a_gateways_handle_took_is_on_the_span_of_its_run() {
    let upstream =
        Upstream::new(|exchange| async move { exchange.stream(&["a", "b"]).await }).await;
    let world = World::of(&upstream).await;
    let query = json!({"model": "m", "messages": [], "stream": true});
    let step = json!({"provider": "up", "endpoint": "chat/completions", "query": query});
    let answer = world.universal([step.clone()]).await;
    assert!(answer.text().ends_with("data: [DONE]\n\n"), "{answer:?}");
    // The same as a Worker does it, which drops the handle at once.
    let pending = world.call("gateway", [json!("g")]).send();
    let args = js_rpc::Args::from_json(vec![step]).unwrap();
    let run = pending.pipelined().unwrap().call("run", args);
    let (opened, ran) = futures::join!(pending, run.into_future());
    drop(opened);
    let response = ran.unwrap().into_payload().into_response().unwrap();
    let body = response.into_body().read_to_end(1 << 20).await.unwrap();
    assert!(body.ends_with(b"data: [DONE]\n\n"));
    world.caller.closed().await;
    let spans = world.caller.now();
    for (name, count) in [("ai_gateway.run", Some("5")), ("ai_gateway.open", None)] {
        let named: Vec<_> = spans.iter().filter(|it| it.name == name).collect();
        assert_eq!(named.len(), 2, "{spans:#?}");
        for span in named {
            let said = attributes(span);
            let output = said.get("gen_ai.usage.output_tokens");
            assert_eq!(output.map(String::as_str), count, "{spans:#?}");
            assert_eq!(span.error, None);
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_provider_without_stream_options_is_not_sent_them() {
    let upstream = Upstream::new(|exchange| async move { exchange.stream(&["a"]).await }).await;
    let mut options = options(&upstream);
    options.providers[0].stream_usage = false;
    let world = World::new(options).await;
    rest(world.streamed(prompt()).await).await;
    assert_eq!(upstream.last().json().get("stream_options"), None);
}

/// Bytes of memory that this process has.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test(flavor = "local")]
async fn two_hundred_streams_at_once_hold_no_more_than_their_windows() {
    const STREAMS: usize = 200;
    const EVENT: usize = 16 << 10;
    let sent = Rc::new(Cell::new(0usize));
    let counted = Rc::clone(&sent);
    let event = format!("data: {}\n\n", delta(&"x".repeat(EVENT)));
    let event: Rc<str> = format!("{:x}\r\n{event}\r\n", event.len()).into();
    let upstream = Upstream::new(move |mut exchange| {
        let (sent, event) = (Rc::clone(&counted), Rc::clone(&event));
        async move {
            exchange.begin().await;
            // Far more than anybody reads.
            while exchange.say(&event).await {
                sent.set(sent.get() + EVENT);
            }
        }
    })
    .await;
    let world = World::of(&upstream).await;
    let before = resident();
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let mut stream = world.streamed(prompt()).await;
        assert!(
            next(&mut stream)
                .await
                .starts_with("data: {\"response\":\"x")
        );
        streams.push(stream);
    }
    assert_eq!(world.ai.status()[0].in_flight, STREAMS);
    // Nobody reads on: what the provider can send comes to a stop, at what sockets and windows hold.
    let mut seen = 0;
    while sent.get() != seen {
        seen = sent.get();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let each = resident().saturating_sub(before) / STREAMS;
    println!(
        "{each} bytes a stream, of {} that were sent",
        sent.get() / STREAMS
    );
    // Both ends of the call and of the provider's connection are in this process.
    assert!(each < 1 << 20, "{each} bytes are held of each stream");
    drop(streams);
    world.accounts.nth(STREAMS).await;
    let mut accounts = world.accounts.all().into_iter();
    assert!(accounts.all(|it| it.error_type.as_deref() == Some("canceled")));
    assert_eq!(world.ai.status()[0].in_flight, 0);
}

#[tokio::test(flavor = "local")]
async fn an_operator_who_wants_it_has_prompts_and_answers_on_spans() {
    let upstream =
        Upstream::new(|exchange| async move { exchange.stream(&["planted-", "answer"]).await })
            .await;
    let mut options = options(&upstream);
    options.content_on_spans = true;
    let world = World::new(options).await;
    let stream = world
        .streamed([json!("m"), json!({"messages": json!([{"role": "user", "content": "planted-prompt"}]), "stream": true})])
        .await;
    rest(stream).await;
    let said = attributes(&world.caller.reached(1).await);
    let part = |role: &str, text: &str| json!({"role": role, "parts": [{"type": "text", "content": text}]});
    let json = |key: &str| serde_json::from_str::<Json>(&said[key]).unwrap();
    assert_eq!(
        json("gen_ai.input.messages"),
        json!([part("user", "planted-prompt")])
    );
    let mut answer = part("assistant", "planted-answer");
    answer["finish_reason"] = json!("length");
    assert_eq!(json("gen_ai.output.messages"), json!([answer]));
}
