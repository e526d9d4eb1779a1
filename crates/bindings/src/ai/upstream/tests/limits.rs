//! How many requests at once, and for how long.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use futures::{FutureExt, StreamExt};
use http::StatusCode;

use super::server::{Peer, Server, ok};
use super::*;

/// A server that never answers.
async fn silent() -> Server {
    Server::new(|mut peer| async move {
        peer.request().await;
        peer.until_closed().await;
    })
    .await
}

/// One that begins a stream and keeps it open.
async fn streaming() -> Server {
    async fn serve(mut peer: Peer) {
        peer.request().await;
        peer.begin_stream().await;
        peer.chunk("data: 1\n\n").await;
        peer.until_closed().await;
    }
    Server::new(serve).await
}

#[tokio::test]
async fn nobody_waits_longer_than_the_limit_for_an_answer_to_begin() {
    let server = silent().await;
    let mut options = options(&server);
    options.timeout = Duration::from_millis(100);
    let provider = open(options);
    let before = Instant::now();
    let error = error(&provider, chat()).await;
    let UpstreamError::Timeout { ref name, after } = error else {
        panic!("{error:?}");
    };
    assert_eq!(
        (name.as_str(), after),
        ("local", Duration::from_millis(100))
    );
    assert!(before.elapsed() < Duration::from_secs(2));
    assert_eq!(error.status(), StatusCode::GATEWAY_TIMEOUT);
    assert!(error.is_passing());
    until(|| server.closed() == 1).await;
    assert_eq!(provider.status().in_flight, 0);
}

#[tokio::test]
async fn a_head_alone_is_no_beginning_and_a_requests_own_limit_counts() {
    let server = Server::new(|mut peer| async move {
        peer.request().await;
        peer.begin_stream().await;
        peer.until_closed().await;
    })
    .await;
    let provider = open(options(&server));
    let mut request = chat();
    request.timeout = Some(Duration::from_millis(50));
    let error = error(&provider, request).await;
    let UpstreamError::Timeout { after, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(after, Duration::from_millis(50));
    until(|| server.closed() == 1).await;
}

#[tokio::test]
async fn a_connection_that_is_refused_or_takes_too_long_is_none() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let at = |port: u16| {
        let url = format!("http://127.0.0.1:{port}/v1").parse().unwrap();
        ProviderOptions::new("local", Endpoint::Http(url))
    };
    let refused = error(&open(at(port)), chat()).await;
    assert_eq!(refused.error_type(), "upstream_connect");
    assert_eq!(refused.status(), StatusCode::BAD_GATEWAY);
    assert!(
        refused.to_string().contains("Connection refused"),
        "{refused}"
    );
    assert!(
        !refused.to_string().contains(&port.to_string()),
        "{refused}"
    );

    // Whose queue is full leaves others without an answer.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let full = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    loop {
        let connecting = tokio::net::TcpStream::connect(full);
        match tokio::time::timeout(Duration::from_millis(100), connecting).await {
            Ok(connected) => queue.push(connected.unwrap()),
            Err(_) => break,
        }
    }
    let mut options = at(full.port());
    options.connect_timeout = Duration::from_millis(100);
    let error = error(&open(options), chat()).await;
    assert!(matches!(error, UpstreamError::Connect { .. }), "{error:?}");
    assert!(
        error.to_string().contains("no connection within 100ms"),
        "{error}"
    );
}

#[tokio::test]
async fn requests_beyond_the_limit_wait_and_those_beyond_that_are_refused() {
    let server = streaming().await;
    let mut options = options(&server);
    (options.max_in_flight, options.max_waiting) = (1, 1);
    let provider = open(options);
    let first = answer(&provider, chat()).await;
    assert_eq!(provider.status().in_flight, 1);
    let mut second = Box::pin(provider.send(chat()));
    assert!(second.as_mut().now_or_never().is_none());
    assert_eq!(provider.status().waiting, 1);

    let third = error(&provider, chat()).await;
    assert!(matches!(third, UpstreamError::Busy(_)), "{third:?}");
    assert_eq!(third.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(third.is_passing());
    assert_eq!(server.heard().len(), 1, "who waits is not sent");

    // Who gives up waiting leaves the place to others.
    drop(second);
    assert_eq!(provider.status().waiting, 0);
    let second = provider.send(chat());
    let (second, ()) = tokio::join!(second, async { drop(first) });
    assert_eq!(provider.status().in_flight, 1);
    assert_eq!(server.heard().len(), 2);
    drop(second);
    assert_eq!(provider.status().in_flight, 0);
}

#[tokio::test]
async fn waiting_has_a_limit_and_is_not_the_providers_failure() {
    let server = streaming().await;
    let mut options = options(&server);
    (options.max_in_flight, options.break_after) = (1, 1);
    options.timeout = Duration::from_millis(100);
    let provider = open(options);
    let _first = answer(&provider, chat()).await;
    let error = error(&provider, chat()).await;
    assert!(matches!(error, UpstreamError::Waited { .. }), "{error:?}");
    assert_eq!(error.error_type(), "upstream_busy");
    assert_eq!(provider.status().waiting, 0);
    assert!(!provider.status().circuit_open);
}

#[tokio::test]
async fn two_hundred_requests_at_once_are_all_answered_a_few_at_a_time() {
    static NOW: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    async fn serve(mut peer: Peer) {
        while peer.request().await.is_some() {
            MOST.fetch_max(NOW.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            NOW.fetch_sub(1, Ordering::SeqCst);
            peer.say(&ok("hello")).await;
        }
    }
    let server = Server::new(serve).await;
    let mut options = options(&server);
    options.max_in_flight = 20;
    let provider = open(options);
    let all = (0..200).map(|_| async {
        let answer = provider.send(chat()).await?;
        text(answer.body).await
    });
    let answers = futures::future::join_all(all).await;
    assert!(
        answers
            .iter()
            .all(|it| matches!(it, Ok(text) if text == "hello"))
    );
    assert_eq!(MOST.load(Ordering::SeqCst), 20);
    // A permit is back as soon as the body has ended; its connection may take a moment longer to be free.
    assert!(server.connections() <= 60, "{}", server.connections());
    let status = provider.status();
    assert_eq!((status.in_flight, status.waiting), (0, 0));
}

#[tokio::test]
async fn two_hundred_streams_at_once_end_when_their_readers_go() {
    let server = streaming().await;
    let provider = open(options(&server));
    let mut answers = Vec::new();
    for _ in 0..200 {
        let mut answer = answer(&provider, chat()).await;
        let first = answer.body.next().await.unwrap().unwrap();
        assert_eq!(first, "data: 1\n\n");
        answers.push(answer);
    }
    assert_eq!(provider.status().in_flight, 200);
    drop(answers);
    assert_eq!(provider.status().in_flight, 0);
    until(|| server.closed() == 200).await;
}
