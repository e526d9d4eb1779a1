//! What `examples/workers` promises: its Workers, its configuration, and the spans that its tail Worker prints.

use js_rpc::Server;

use crate::harness::{Builder, Daemon, Ours, get, within};
use crate::sidecar::Gateway;

#[tokio::test(flavor = "local")]
async fn the_example_prints_a_query_and_a_call_of_a_rust_service_as_named_and_tagged_spans() {
    within(async {
        let callee = Daemon::callee().await;
        let gateway = Ours::serve(Server::new().service("AI", Gateway)).await;
        let builder = Builder::new("../../../../examples/workers/config");
        let caller = Daemon::caller(&[
            "--bind",
            &format!("DB={}", callee.address()),
            "--bind",
            &format!("AI={}", gateway.address()),
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
        let product = r#"{"name":"teapot","price":34,"slogan":"BUY THIS TEAPOT"}"#;
        assert_eq!((status, body.as_str()), (200, product));
        for line in [
            "[workerd] jsRpcSession  ok",
            "[caller, DB] jsRpcSession -> d1.batch  ok",
            "[caller, DB] jsRpcSession -> d1.query  ok",
            "    db.query.text=SELECT name, price FROM product WHERE id = ?",
            "    db.response.returned_rows=1",
            "[caller, AI] jsRpcSession -> ai_gateway.run  ok",
            "    gen_ai.request.model=llama-4",
        ] {
            workerd
                .tail(|printed| printed.other.iter().any(|other| other == line))
                .await;
        }
    })
    .await;
}
