//! A caller: an application of many threads that calls the example `ai_gateway` under its own
//! `tracing` span. The call's span is opened, parented, named, tagged and closed by the library.
//!
//! `cargo run --example ai_gateway unix:/tmp/ai.sock` in one terminal, then
//! `cargo run --example caller unix:/tmp/ai.sock "hello there"` in another. What is logged is the
//! enrichment, inside of the spans that it belongs to.

use js_rpc::{Client, ConnectOptions};
use tracing::Instrument;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let mut args = std::env::args().skip(1);
    let usage = "usage: caller ADDRESS [PROMPT]";
    let address = args.next().ok_or(usage)?.parse()?;
    let prompt = args.next().unwrap_or_else(|| "hello".into());

    let client = Client::connect(address, ConnectOptions::default()).await?;
    let request = tracing::info_span!("request", id = 7);
    let call = async { client.call("AI", "run", ("llama-4", prompt)).await };
    let answer: String = call.instrument(request).await?.parse()?;
    println!("{answer}");
    Ok(())
}
