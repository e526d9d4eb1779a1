//! What `examples/workers` promises: its Workers, its configuration, and the spans that its tail Worker prints.

use crate::harness::{Builder, Daemon, get, within};

#[tokio::test(flavor = "local")]
async fn the_example_prints_a_query_and_a_request_to_a_model_as_named_and_tagged_spans() {
    within(async {
        let callee = Daemon::callee_with(&["--ai", "AI=builtin"]).await;
        let builder = Builder::new("../../../../examples/workers/config");
        let caller = Daemon::caller(&[
            "--bind",
            &format!("DB={}", callee.address()),
            "--bind",
            &format!("AI={}", callee.address()),
            "--tail-to",
            &format!("{}#spans", builder.debug_port()),
        ])
        .await;
        let mut workerd = builder
            .external("caller-db", &caller.address())
            .external("caller-ai", &caller.address())
            .start()
            .await;
        let (status, body) = get(&workerd.http(), "/2").await;
        let slogan = "The last message has 3 words: buy this teapot";
        let product = format!(r#"{{"name":"teapot","price":34,"slogan":"{slogan}"}}"#);
        assert_eq!((status, body), (200, product));
        for line in [
            "[workerd] jsRpcSession  ok",
            "[caller, DB] jsRpcSession -> d1.batch  ok",
            "[caller, DB] jsRpcSession -> d1.query  ok",
            "    db.query.text=SELECT name, price FROM product WHERE id = ?",
            "    db.response.returned_rows=1",
            "[caller, AI] jsRpcSession -> chat llama-4  ok",
            "    gen_ai.request.model=llama-4",
            "    gen_ai.usage.output_tokens=9",
        ] {
            workerd
                .tail(|printed| printed.other.iter().any(|other| other == line))
                .await;
        }
    })
    .await;
}
