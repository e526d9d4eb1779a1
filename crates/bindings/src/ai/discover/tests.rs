use std::time::Instant;

use super::*;
use crate::ai::upstream::test_server::{Server, ok, status};

const LIST: &str = r#"{"object":"list","data":[{"id":"llama3"},{"id":"phi"}]}"#;

fn candidate(what: &'static str, server: &Server) -> Candidate {
    let url = server.url("/v1").to_string();
    Candidate { what, url }
}

#[tokio::test]
async fn servers_of_models_are_found_and_other_programs_are_not() {
    let ollama = Server::answering(|_| ok(LIST)).await;
    let many: Vec<_> = (0..500).map(|n| format!(r#"{{"id":"m{n}"}}"#)).collect();
    let many = format!(r#"{{"data":[{}]}}"#, many.join(","));
    let vllm = Server::answering(move |_| ok(&many)).await;
    let page = Server::answering(|_| ok("<html>")).await;
    let closed = Server::answering(|_| status("401 No", LIST)).await;
    let target = ollama.url("/v1/models");
    let moved = move |_: &str| {
        format!("HTTP/1.1 302 Go\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n")
    };
    let moved = Server::answering(moved).await;
    let silent = Server::new(|mut peer| async move { peer.until_closed().await }).await;
    let endless = Server::new(|mut peer| async move {
        peer.request().await;
        peer.begin_stream().await;
        while peer.chunk(&" ".repeat(64 << 10)).await {}
    })
    .await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = Candidate {
        what: "nobody",
        url: format!("http://{}/v1", free.local_addr().unwrap()),
    };
    drop(free);
    let candidates = [
        candidate("silent", &silent),
        candidate("page", &page),
        candidate("vLLM", &vllm),
        candidate("closed", &closed),
        candidate("moved", &moved),
        candidate("endless", &endless),
        nobody,
        candidate("Ollama", &ollama),
    ];
    let before = Instant::now();
    let found = discover(&candidates).await;
    assert!(before.elapsed() < Duration::from_secs(3), "all at once");
    let names: Vec<_> = found.iter().map(|it| it.what).collect();
    assert_eq!(names, ["vLLM", "Ollama"]);
    assert_eq!(found[0].models.len(), 100);
    assert_eq!(found[1].models, ["llama3", "phi"]);
    assert_eq!(found[1].url, candidates[7].url);
    let heard = ollama.heard();
    assert_eq!(heard.len(), 1, "a redirect is not followed");
    assert!(heard[0].starts_with("GET /v1/models HTTP/1.1\r\n"));
    assert!(!heard[0].contains("authorization"));
}

#[test]
fn usual_servers_are_on_this_machine() {
    for candidate in usual_servers() {
        assert!(
            candidate.url.starts_with("http://127.0.0.1:"),
            "{candidate:?}"
        );
        assert!(candidate.url.parse::<http::Uri>().is_ok());
    }
}
