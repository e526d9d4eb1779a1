//! A callee: an AI gateway in about twenty lines. It names its caller's span as soon as it knows what
//! the call is, and adds token counts when it knows them; both arrive with the reply.
//!
//! `cargo run --example ai_gateway unix:/tmp/ai.sock` serves the binding `AI` until Ctrl-C, for the
//! example `caller` or any other. Without an address it serves, calls itself, and shows the span.

use std::sync::Arc;

use js_rpc::{
    Address, Args, ConnectOptions, Connection, Context, Enrichment, Listener, Server, Service,
    ServiceResult, async_trait, reply, unknown_method,
};

struct Gateway;

#[async_trait(?Send)]
impl Service for Gateway {
    async fn call(&self, method: &str, args: Args, cx: &Context) -> ServiceResult {
        match method {
            "run" => {
                let (model, prompt): (String, String) = args.parse()?;
                let name = Enrichment::new().name("ai_gateway.run");
                cx.enrich(name.attribute("gen_ai.request.model", model));
                reply(&answer(&prompt).await)
            }
            _ => unknown_method(method),
        }
    }
}

/// Stands for the model. It is deep below the method and has no context at hand.
async fn answer(prompt: &str) -> String {
    tokio::task::yield_now().await;
    let answer = prompt.to_uppercase();
    let tokens = |text: &str| text.split_whitespace().count();
    js_rpc::enrich(
        Enrichment::new()
            .attribute("gen_ai.usage.input_tokens", tokens(prompt))
            .attribute("gen_ai.usage.output_tokens", tokens(&answer)),
    );
    answer
}

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    match std::env::args().nth(1) {
        Some(address) => serve(address.parse()?).await,
        None => demo().await,
    }
}

async fn serve(address: Address) -> Result<(), Box<dyn std::error::Error>> {
    let listener = Listener::bind(&address).await?;
    eprintln!("serving AI on {}", listener.address());
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    Server::new()
        .service("AI", Gateway)
        .serve([listener], stop)
        .await;
    Ok(())
}

async fn demo() -> Result<(), Box<dyn std::error::Error>> {
    let listener = Listener::bind(&"127.0.0.1:0".parse()?).await?;
    let address = listener.address().clone();
    let server = Server::new().service("AI", Gateway);
    tokio::task::spawn_local(server.serve([listener], std::future::pending()));

    let recorder = Arc::new(tail::Recorder::new());
    let options = ConnectOptions {
        sinks: Arc::new([recorder.clone() as _]),
        ..ConnectOptions::default()
    };
    let ai = Connection::connect(&address, options).await?.binding("AI");
    let answer: String = ai
        .call("run", ("llama-4", "hello binding span"))
        .await?
        .parse()?;
    println!("{answer}");
    let tree: tail::Tree = recorder.spans().iter().collect();
    print!("{}", tree.render(tail::TreeStyle::plain()));
    Ok(())
}
