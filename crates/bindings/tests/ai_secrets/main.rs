//! Keys, prompts and answers are where they belong, and nowhere else. A binary of its own: what is logged is collected
//! for the whole process.

#[path = "../../../js-rpc/tests/common/spans.rs"]
mod spans;
#[path = "../ai/upstream.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod upstream;
#[path = "../ai/world.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod world;

use std::io;
use std::sync::{Arc, Mutex};

use bindings::ai::Secret;
use serde_json::{Value as Json, json};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::upstream::{Upstream, chat};
use crate::world::{World, with_gateway};

const KEY: &str = "planted-provider-key";
const CALLER: &str = "planted-caller-key";
const PROMPT: &str = "planted-prompt";
const ANSWER: &str = "planted-answer";
const REFUSAL: &str = "planted-refusal";

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn messages() -> Json {
    json!([{"role": "user", "content": PROMPT}])
}

#[tokio::test(flavor = "local")]
async fn nothing_planted_is_on_spans_in_accounts_logs_or_the_log() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(lines.clone())
        .with_ansi(false)
        .finish();
    // Those of `log` as well, which is what the HTTP client uses.
    subscriber.init();
    let upstream = Upstream::new(|mut exchange| async move {
        let asked: Json = serde_json::from_slice(&exchange.seen.body).unwrap_or_default();
        match asked["model"].as_str().unwrap_or_default() {
            "refuses" => {
                let words = format!("{REFUSAL}: {PROMPT} is not allowed");
                let body = json!({"error": {"message": words, "type": words, "code": words}});
                exchange.answer(400, &[], &body.to_string()).await;
            }
            "garbles" => exchange.answer(200, &[], &format!("{{{ANSWER}")).await,
            "breaks" => {
                exchange.begin().await;
                exchange
                    .chunk(&format!(
                        "data: {{\"choices\": [{{\"delta\": {{\"content\": \"{ANSWER}\"}}}}]}}\n\n"
                    ))
                    .await;
            }
            "errs" => {
                exchange.begin().await;
                exchange
                    .event(&json!({"error": {"message": REFUSAL}}))
                    .await;
                exchange.end().await;
            }
            _ if asked["stream"] == json!(true) => exchange.stream(&[ANSWER]).await,
            _ => exchange.ok(&chat(ANSWER)).await,
        }
    })
    .await;
    let mut options = with_gateway(&upstream, |gateway| {
        gateway.cache_ttl = std::time::Duration::from_secs(60);
        gateway.max_attempts = 2;
    });
    let folder = tempfile::tempdir().unwrap();
    options.log = Some(folder.path().join("log.sqlite"));
    options.providers[0].key = Some(Secret::Value(KEY.parse().unwrap()));
    options.providers[0].break_after = 0;
    options.providers[0]
        .headers
        .insert("x-tenant-token", KEY.parse().unwrap());
    let world = World::new(options).await;
    let mut errors = Vec::new();
    let credentials = format!("Bearer {CALLER}");
    for model in ["fine", "fine", "refuses", "garbles", "breaks", "errs"] {
        for stream in [false, true] {
            let openai = json!({"model": model, "messages": messages(), "stream": stream});
            let headers = [
                ("authorization", credentials.as_str()),
                ("cf-aig-authorization", CALLER),
            ];
            for path in [
                "/v1/chat/completions",
                "/v1/AI/g/up/chat/completions",
                "/v1/AI/g/compat/chat/completions",
            ] {
                let request = ::http::Request::post(path)
                    .header("host", "ai")
                    .header("authorization", &credentials);
                let request = request.header(headers[1].0, headers[1].1);
                let body = http_body_util::Full::from(openai.to_string());
                let response = world.send(request.body(body).unwrap()).await;
                let _ = http_body_util::BodyExt::collect(response.into_body()).await;
            }
            for options in [
                json!({}),
                json!({"gateway": {"id": "g"}, "extraHeaders": {"authorization": CALLER}}),
            ] {
                let inputs = json!({"messages": messages(), "stream": stream});
                match world.run([json!(model), inputs, options]).await {
                    Ok(reply) => {
                        if let Some(stream) = reply.readable(0).cloned() {
                            drop(reply);
                            let _ = stream.read_to_end(1 << 20).await;
                        }
                    }
                    Err(error) => errors.push((model, error.to_string())),
                }
            }
            let step = json!({
                "provider": "up", "endpoint": "chat/completions", "query": openai,
                "headers": {"authorization": credentials},
            });
            world.universal([json!([step.clone(), step])]).await;
        }
    }
    // Some providers take their key in the query.
    let path = format!("/v1/AI/g/up/models/m:generate?key={CALLER}");
    assert_eq!(world.post(&path, &json!({})).await.status, 200);
    // What cannot be read at all.
    for body in [format!("{{\"{PROMPT}"), format!("\"{PROMPT}\"")] {
        for path in [
            "/v1/chat/completions",
            "/run",
            "/ai-gateway/universal/run/g",
            "/v1/AI/g/up/chat/completions",
        ] {
            let answer = world
                .http(
                    "POST",
                    path,
                    &[
                        ("content-type", "application/json"),
                        ("cf-consn-model-id", "m"),
                    ],
                    body.clone(),
                )
                .await;
            assert!(
                !answer.text().contains(PROMPT) || path.ends_with("up/chat/completions"),
                "{path}: {}",
                answer.text()
            );
        }
    }
    assert!(
        upstream
            .seen()
            .iter()
            .all(|seen| seen.header("authorization") == Some(&format!("Bearer {KEY}")))
    );
    assert!(
        !upstream
            .seen()
            .iter()
            .any(|seen| format!("{:?}", seen.headers).contains(CALLER))
    );
    for (model, error) in &errors {
        // What the provider said of the request is for who made it.
        let theirs = *model == "refuses" || *model == "errs";
        assert!(theirs || !error.contains("planted"), "{model}: {error}");
        assert!(!error.contains(KEY) && !error.contains(CALLER), "{error}");
    }
    assert!(errors.iter().any(|(_, error)| error.contains(REFUSAL)));
    world.ai.close().await;
    let spans = format!("{:#?}{:#?}", world.caller.now(), world.callee.now());
    let said = format!("{:?}{:?}", world.caller.told(), world.callee.told());
    let accounts = format!("{:#?}{:#?}", world.accounts.all(), world.ai.options());
    let logged = String::from_utf8_lossy(&lines.0.lock().unwrap()).into_owned();
    let mut log = Vec::new();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        log.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    let log = String::from_utf8_lossy(&log).into_owned();
    // They are searched.
    assert!(spans.contains("ai_gateway.run"));
    assert!(log.contains("chat/completions"), "{} bytes", log.len());
    assert!(log.contains("models/m:generate"), "{} bytes", log.len());
    assert!(logged.contains("binding_span::enrichment") && logged.contains("TRACE"));
    for (place, text) in [
        ("spans", spans),
        ("said", said),
        ("accounts", accounts),
        ("logged", logged),
        ("log", log),
    ] {
        for secret in [KEY, CALLER, PROMPT, ANSWER, REFUSAL] {
            if let Some(at) = text.find(secret) {
                let from = text.floor_char_boundary(at.saturating_sub(600));
                let to = text.ceil_char_boundary((at + 100).min(text.len()));
                panic!("{secret} is in {place}: {}", &text[from..to]);
            }
        }
    }
}
