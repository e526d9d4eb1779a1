//! A stand-in for a server of models that is as fast as its reader: no model, the same chunk again and again.
//!
//! The model's name says what the answer is like: `EVENTS-GATHERED-PAUSE` are so many events, so many of them in one
//! write, with a pause of so many microseconds before each write but the first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// What it has done.
#[derive(Debug, Default)]
pub struct Done {
    /// Bytes of answers that the system took.
    pub bytes: AtomicU64,
    /// Streams that have begun.
    pub begun: AtomicU64,
    /// Streams that are over, to their end or not.
    pub over: AtomicU64,
}

/// Where it listens. The kernel holds little of what is not read, so that what was written says who holds it.
pub fn listen() -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_send_buffer_size(64 << 10)?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    socket.listen(1024)
}

/// Answers for good.
pub async fn serve(listener: TcpListener, done: Arc<Done>) {
    while let Ok((stream, _)) = listener.accept().await {
        let done = Arc::clone(&done);
        tokio::spawn(async move {
            // Who goes away may.
            let _ = answer(stream, &done).await;
        });
    }
}

/// The model's name for a stream.
pub fn model(events: usize, gathered: usize, pause: Duration) -> String {
    format!("{events}-{gathered}-{}", pause.as_micros())
}

/// A chunk as OpenAI's servers send it.
fn chunk(delta: Value, finish: Value) -> String {
    let chunk = json!({
        "id": "chatcmpl-CxGq7zPpFoXHf8dyVx0kQm3bTn4sK",
        "object": "chat.completion.chunk",
        "created": 1_764_000_000,
        "model": "stand-in",
        "service_tier": "default",
        "system_fingerprint": "fp_51db84afab",
        "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}],
        "usage": null,
    });
    format!("data: {chunk}\n\n")
}

/// A piece of text, as an event.
pub fn piece() -> String {
    chunk(json!({"content": " streams"}), Value::Null)
}

fn last() -> String {
    let usage = json!({
        "choices": [],
        "usage": {"prompt_tokens": 8, "completion_tokens": 9, "total_tokens": 17},
    });
    let finish = chunk(json!({}), json!("stop"));
    format!("{finish}data: {usage}\n\ndata: [DONE]\n\n")
}

fn whole() -> String {
    let answer = json!({
        "id": "chatcmpl-CxGq7zPpFoXHf8dyVx0kQm3bTn4sK",
        "object": "chat.completion",
        "created": 1_764_000_000,
        "model": "stand-in",
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": "A stream is a brook that has been told where to go."},
            "finish_reason": "stop",
        }],
        "usage": {"prompt_tokens": 8, "completion_tokens": 12, "total_tokens": 20},
    });
    answer.to_string()
}

async fn answer(mut stream: TcpStream, done: &Done) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut read = Vec::new();
    loop {
        let Some(request) = request(&mut stream, &mut read).await? else {
            return Ok(());
        };
        if request["stream"] != json!(true) {
            let body = whole();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
            let text = format!("{head}{}\r\n\r\n{body}", body.len());
            stream.write_all(text.as_bytes()).await?;
            continue;
        }
        done.begun.fetch_add(1, Relaxed);
        let streamed = events(&mut stream, request["model"].as_str(), &done.bytes).await;
        done.over.fetch_add(1, Relaxed);
        streamed?;
    }
}

/// The next request's body.
async fn request(stream: &mut TcpStream, read: &mut Vec<u8>) -> std::io::Result<Option<Value>> {
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
            let length = head.split("content-length: ").nth(1);
            let length = length.and_then(|text| text.lines().next()?.trim().parse().ok());
            let whole = end + 4 + length.unwrap_or(0);
            if read.len() >= whole {
                let body = serde_json::from_slice(&read[end + 4..whole]).unwrap_or_default();
                read.drain(..whole);
                return Ok(Some(body));
            }
        }
        if stream.read_buf(read).await? == 0 {
            return Ok(None);
        }
    }
}

async fn events(
    stream: &mut TcpStream,
    model: Option<&str>,
    bytes: &AtomicU64,
) -> std::io::Result<()> {
    let mut numbers = model.unwrap_or_default().split('-').map(str::parse::<u64>);
    let mut number = |default| numbers.next().and_then(Result::ok).unwrap_or(default);
    let (events, gathered, pause) = (number(8), number(1).max(1), number(0));
    let part = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let many = part(&piece()).repeat(usize::try_from(gathered).unwrap_or(1));
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    for n in 0..events.div_ceil(gathered) {
        if n > 0 && pause > 0 {
            tokio::time::sleep(Duration::from_micros(pause)).await;
        }
        let mut left = many.as_bytes();
        while !left.is_empty() {
            let written = stream.write(left).await?;
            bytes.fetch_add(written as u64, Relaxed);
            left = &left[written..];
        }
    }
    let end = format!("{}0\r\n\r\n", part(&last()));
    stream.write_all(end.as_bytes()).await
}
