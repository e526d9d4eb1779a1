//! `inventory-client ADDRESS SKU...` asks how many there are, and prints what the callee made of the
//! span of each call.

use your_own_service::{connect, lookup};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr);
    log.with_ansi(false).without_time().init();
    let mut args = std::env::args().skip(1);
    let address = args
        .next()
        .ok_or("usage: inventory-client ADDRESS SKU...")?;
    let inventory = connect(&address).await?;
    for sku in args {
        println!("{sku}: {}", lookup(&inventory, &sku).await?);
    }
    Ok(())
}
