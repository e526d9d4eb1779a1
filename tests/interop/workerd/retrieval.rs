//! What an index is for: a Worker finds sentences by their meaning, with real embeddings, through `caller serve`.

use bindings::ai::{Ai, AiOptions, Endpoint, ModelRule, ProviderOptions};
use js_rpc::Server;
use serde_json::Value;

use crate::harness::{Daemon, MiniLm, in_file, renamed, within};
use crate::vectorize::{World, worker};

/// The index, and a real model of embeddings as the binding AI.
async fn retrieval(model: &MiniLm) -> World {
    let url = model.url().parse().unwrap();
    let options = AiOptions {
        providers: vec![ProviderOptions::new("minilm", Endpoint::Http(url))],
        models: vec![ModelRule {
            pattern: "@cf/baai/*".into(),
            provider: None,
            model: Some(MiniLm::MODEL.into()),
            price: None,
        }],
        ..AiOptions::default()
    };
    let ai = Ai::open("AI", options, None).unwrap();
    World::new(384, Server::new().service("AI", ai)).await
}

#[tokio::test(flavor = "local")]
async fn a_worker_finds_sentences_by_their_meaning_and_the_spans_are_one_trace() {
    MiniLm::install();
    within(async {
        let model = MiniLm::start().await;
        let near = |score: &Value, wanted: f64| {
            let score = score.as_f64().unwrap();
            assert!((score - wanted).abs() < 1e-3, "{score}, not {wanted}");
        };
        for binding in ["HTTP", "VECTORIZE"] {
            let world = retrieval(&model).await;
            let address = world.ours.address();
            let binds = [format!("AI={address}"), format!("VECTORIZE={address}")];
            let caller = Daemon::caller(&["--bind", &binds[0], "--bind", &binds[1]]).await;
            let workerd = worker(&caller.address()).await;
            let run = async |case: &str| workerd.run(&format!("{case}/{binding}")).await;
            assert_eq!(run("remember").await, 7);
            let food = run("food").await;
            assert_eq!(food.as_array().unwrap().len(), 7);
            assert_eq!(food[0][0], "A man is eating food.");
            near(&food[0][1], 1.0);
            assert_eq!(food[1][0], "A man is eating a piece of bread.");
            near(&food[1][1], 0.7553);
            let pasta = run("pasta").await;
            let texts = [&pasta[0][0], &pasta[1][0]];
            assert!(
                texts
                    .iter()
                    .all(|text| text.as_str().unwrap().contains("eating")),
                "{pasta}"
            );
            // The filter leaves only what is further away.
            let animals = run("animals").await;
            assert_eq!(animals.as_array().unwrap().len(), 2);
            let cheetah = "A cheetah is running behind its prey.";
            let animals = animals.as_array().unwrap();
            let found = animals.iter().find(|found| found[0] == cheetah).unwrap();
            near(&found[1], 0.1419);
            assert_eq!(run("hunter").await[0][0], cheetah);

            // Of remember an embedding, an upsert and a description; of each question an embedding and a query.
            let streams = in_file(&caller.file("tail.jsonl"), 3 + 4 * 2).await;
            let spans: Vec<(String, String)> =
                streams.iter().map(|stream| span_of(stream)).collect();
            let traces: Vec<&String> = spans
                .iter()
                .filter(|(name, _)| name == "vectorize.query")
                .map(|(_, trace)| trace)
                .collect();
            assert_eq!(traces.len(), 4, "{binding}: {spans:#?}");
            // Workerd tells a plain HTTP service nothing of a trace.
            let traces = traces.iter().filter(|_| binding == "VECTORIZE");
            for trace in traces {
                let of_trace = spans.iter().filter(|(_, of)| of == *trace);
                let mut names: Vec<&str> = of_trace.map(|(name, _)| &**name).collect();
                names.sort_unstable();
                let wanted = ["embeddings @cf/baai/bge-small-en-v1.5", "vectorize.query"];
                assert_eq!(names, wanted, "{binding}: {spans:#?}");
            }
        }
    })
    .await;
}

/// The final name of the caller's span in a stream, and its trace.
fn span_of(stream: &[Value]) -> (String, String) {
    let opened = stream.iter().find(|e| e["event"]["type"] == "spanOpen");
    let opened = opened.unwrap_or_else(|| panic!("{stream:#?}"));
    let span = &opened["event"]["spanId"];
    let name = renamed(stream, span).unwrap_or_default();
    let trace = opened["spanContext"]["traceId"].as_str().unwrap();
    (name.to_owned(), trace.to_owned())
}
