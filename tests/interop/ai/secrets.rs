//! Keys, prompts and answers are nowhere but where they belong: planted ones are looked for in all that the programs
//! write and show.

use std::path::Path;
use std::process::Stdio;

use futures::StreamExt;
use serde_json::{Value, json};

use crate::harness::{LlamaCpp, http};
use crate::rotel::Rotel;
use crate::scene::{Scene, answer, whole};
use crate::util::{Daemon, World, callee, caller, metrics};

/// Those that every request brings or meets. None is a part of another.
const PROVIDER_KEY: &str = "sk-planted-provider-31415926535";
const HEADER: &str = "planted-header-27182818284";
const CALLERS_KEY: &str = "sk-planted-caller-16180339887";
const PROMPT: &str = "plantedprompt14142135";
const SYSTEM: &str = "plantedsystem17320508";
/// What the word counter says that has seen the prompt.
const ANSWER: &str = "The last message has";

const KEYS: [&str; 3] = [PROVIDER_KEY, HEADER, CALLERS_KEY];
const TEXTS: [&str; 3] = [PROMPT, SYSTEM, ANSWER];

/// Providers that have the key: one that counts words, one that says no to the key, one that is not there, one that
/// breaks off.
fn tables(folder: &World, log_content: bool) -> String {
    std::fs::write(folder.path("planted.key"), PROVIDER_KEY).unwrap();
    std::fs::write(
        folder.path("planted.headers"),
        format!("x-planted: {HEADER}\n"),
    )
    .unwrap();
    let secrets = format!(
        "key-file = '{}'\nheader-file = '{}'\nbreak-after = 0\n",
        folder.text("planted.key"),
        folder.text("planted.headers")
    );
    format!(
        "[ai.AI.provider.words]\nbuiltin = true\n\
         [ai.AI.provider.locked]\nurl = '{}'\n{secrets}\
         [ai.AI.provider.keyed]\nurl = '{}'\n{secrets}\
         [ai.AI.provider.gone]\nurl = 'http://127.0.0.1:9/v1'\n{secrets}\
         [ai.AI.gateway.gw]\ncache-ttl = '1h'\nmax-attempts = 2\nretry-delay = '1ms'\nlog-content = {log_content}\n",
        LlamaCpp::locked().chat,
        LlamaCpp::shared().chat,
    )
}

fn messages() -> Value {
    json!([
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": format!("{PROMPT} again")},
    ])
}

/// What of these is in a text.
#[track_caller]
fn none_of(secrets: &[&str], what: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for secret in secrets {
        let at = text.find(secret).map(|at| {
            let from = text[..at]
                .char_indices()
                .rev()
                .nth(200)
                .map_or(0, |(at, _)| at);
            text[from..at + secret.len()].to_owned()
        });
        assert_eq!(at, None, "{secret} is in {what}");
    }
}

/// Those in the files of a folder, but for these.
#[track_caller]
fn none_in_files(secrets: &[&str], folder: &Path, but: &[&str]) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_file() && !but.contains(&name.as_str()) {
            none_of(secrets, &name, &std::fs::read(entry.path()).unwrap());
        }
    }
}

/// A live tail of a daemon, into a file.
fn live(world: &World, socket: &str) -> Daemon {
    let out = std::fs::File::create(world.path(&format!("{socket}.live"))).unwrap();
    let mut command = caller();
    let at = world.unix(socket);
    command.args(["tail", "--json", "--no-reconnect", "--connect", &at]);
    let mut tail = Daemon::spawn(command.stdin(Stdio::null()).stdout(out));
    tail.line("following");
    tail
}

/// Everything that may go well or wrong.
fn everything(scene: &Scene) {
    let (callee, caller) = (&scene.callee_url, &scene.caller_url);
    scene.run(async |ai| {
        let whole_of = json!({"messages": messages()});
        let said = ai.run("words/x", &whole_of).await.unwrap();
        let answered = said["response"].as_str().unwrap();
        assert!(
            answered.starts_with(ANSWER) && answered.contains(PROMPT),
            "{said}"
        );
        let streamed = json!({"messages": messages(), "stream": true});
        let events = whole(ai.stream("words/x", &streamed).await).await;
        assert!(events.ends_with("[DONE]\n\n"), "{events}");
        ai.run(
            "keyed/tiny",
            &json!({"messages": messages(), "max_tokens": 3}),
        )
        .await
        .unwrap();
        for model in ["locked/tiny", "gone/tiny"] {
            let error = ai.run(model, &whole_of).await.unwrap_err();
            none_of(&KEYS, "an error", error.to_string().as_bytes());
        }
        // llama.cpp repeats what it does not understand.
        let odd = json!({"messages": messages(), "tool_choice": PROMPT, "tools": [{"name": "f"}]});
        let error = ai.run("keyed/tiny", &odd).await.unwrap_err().to_string();
        assert!(error.contains(PROMPT), "{error}");
        // Left in mid-stream.
        let long = json!({"messages": messages(), "stream": true, "max_tokens": 2_000});
        let mut left = ai.stream("keyed/tiny", &long).await;
        left.next().await.unwrap().unwrap();
        drop(left);
        // What cannot be meant.
        for inputs in [
            json!({"messages": PROMPT, "prompt": PROMPT}),
            json!({"prompt": PROMPT, "n": 2}),
            json!({"prompt": PROMPT, "response_format": {"type": PROMPT}}),
        ] {
            ai.run("words/x", &inputs).await.unwrap_err();
        }
        let gateway = ai.gateway("gw").await;
        let request = |provider: &str| {
            json!({
                "provider": provider,
                "endpoint": "chat/completions",
                "headers": {"authorization": format!("Bearer {CALLERS_KEY}")},
                "query": {"model": "tiny", "max_tokens": 40, "messages": messages()},
            })
        };
        let list = json!([request("gone"), request("locked"), request("words")]);
        for _ in 0..2 {
            let got = answer(&gateway, &list, &json!({})).await;
            assert!(
                got.status() == 200 && got.body().contains(PROMPT),
                "{got:?}"
            );
        }
        for provider in ["gone", "locked"] {
            let got = answer(&gateway, &request(provider), &json!({})).await;
            assert!(got.status().as_u16() >= 400, "{got:?}");
        }
        drop(gateway);
        ai.spans().await;
    });
    for url in [callee, caller] {
        let body = json!({"model": "words/x", "messages": messages()});
        for path in [
            "/v1/chat/completions",
            "/v1/AI/gw/compat/chat/completions",
            "/v1/AI/gw/words/chat/completions",
            "/v1/AI/gw/locked/chat/completions",
            "/v1/AI/gw/gone/chat/completions",
        ] {
            for stream in [false, true] {
                let mut body = body.clone();
                body["stream"] = stream.into();
                http::post(&format!("{url}{path}"), CALLERS_KEY, &body);
            }
            let odd = json!({"model": "keyed/tiny", "messages": messages(), "tool_choice": PROMPT});
            http::post(&format!("{url}{path}"), CALLERS_KEY, &odd);
            // Cut off in the middle of the prompt.
            let text = body.to_string();
            let cut = &text[..text.find(PROMPT).unwrap() + PROMPT.len()];
            let refused = http::post_text(&format!("{url}{path}"), CALLERS_KEY, cut);
            assert!(refused.status >= 400, "{path}: {refused:?}");
            none_of(
                &TEXTS,
                "what is said of a bad body",
                refused.body.as_bytes(),
            );
        }
        let model =
            format!("cf-consn-model-id: words/x\r\ncf-aig-authorization: {CALLERS_KEY}\r\n");
        let run = json!({"inputs": {"messages": messages()}, "options": {}});
        let got = http::post_with(&format!("{url}/run"), CALLERS_KEY, &model, &run);
        assert_eq!(got.status, 200, "{got:?}");
    }
}

fn checked(log_content: bool) {
    let folder = World::new();
    let rotel = Rotel::start(&folder);
    let endpoint = rotel.http();
    let options = ["--otlp", &endpoint, "--log", "trace"];
    let more = tables(&folder, log_content);
    let scene = Scene::with(&LlamaCpp::shared().chat, &more, &options, &options);
    let admins = ["callee-admin.sock", "caller-admin.sock"];
    let tails = admins.map(|socket| live(&scene.world, socket));
    let lives = admins.map(|socket| format!("{socket}.live"));
    everything(&scene);
    let mut shown = String::new();
    for socket in admins {
        shown.push_str(&metrics(&scene.world, socket));
        let health = ["health", "--connect", &scene.world.unix(socket)];
        let health = scene.world.run(caller(), &health);
        shown.push_str(&(health.stdout + &health.stderr));
    }
    assert!(shown.contains("binding_span_ai_requests_total"), "{shown}");
    let check = scene.world.run(
        callee(),
        &[
            "--config",
            "callee.toml",
            "--check-config",
            "--log",
            "trace",
        ],
    );
    assert_eq!(check.code, Some(0), "{check:?}");
    shown.push_str(&(check.stdout + &check.stderr));
    let (world, said) = scene.stop();
    for mut tail in tails {
        // They end with the daemons.
        none_of(&KEYS, "a tail's own lines", tail.rest().as_bytes());
    }
    let all = [&KEYS[..], &TEXTS[..]].concat();
    none_of(&all, "metrics, health and the check", shown.as_bytes());
    for said in &said {
        assert!(said.contains("TRACE"), "{said}");
        none_of(&all, "the log", said.as_bytes());
    }
    let exported = std::fs::read(folder.path("rotel.txt")).unwrap();
    let exported = String::from_utf8_lossy(&exported).into_owned();
    for name in ["ai_gateway.run", "chat words/x"] {
        assert!(exported.contains(name), "{name}: {exported}");
    }
    none_of(&all, "what was exported", exported.as_bytes());
    for tail in ["caller.jsonl", "callee.jsonl"]
        .map(str::to_owned)
        .into_iter()
        .chain(lives)
    {
        let text = std::fs::read_to_string(world.path(&tail)).unwrap();
        assert!(text.contains("gen_ai.request.model"), "{tail}: {text}");
    }
    let database = std::fs::read(world.path("ai.sqlite")).unwrap();
    let wal = std::fs::read(world.path("ai.sqlite-wal")).unwrap_or_default();
    let database = [database, wal].concat();
    none_of(&KEYS, "the gateway's log", &database);
    let logs = ["ai.sqlite", "ai.sqlite-wal"];
    match log_content {
        false => none_of(&TEXTS, "the gateway's log", &database),
        true => {
            let text = String::from_utf8_lossy(&database);
            for secret in TEXTS {
                assert!(
                    text.contains(secret),
                    "{secret} is logged where that is wanted"
                );
            }
        }
    }
    none_in_files(&all, world.path("").as_path(), &logs);
    none_in_files(
        &all,
        folder.path("").as_path(),
        &["planted.key", "planted.headers"],
    );
}

#[test]
fn keys_prompts_and_answers_are_nowhere() {
    checked(false);
}

#[test]
fn prompts_and_answers_are_in_the_gateway_s_log_alone_where_it_has_them() {
    checked(true);
}
