//! `inventory-server [ADDRESS]` serves a small warehouse; it prints the address that it got.

use your_own_service::{Warehouse, serve};

#[tokio::main(flavor = "local")]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:7500");
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    serve(listener, Warehouse::example()).await
}
