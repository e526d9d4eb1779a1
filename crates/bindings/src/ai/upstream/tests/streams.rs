//! Bodies on their way.

use futures::{FutureExt, StreamExt};

use super::server::{Peer, Server};
use super::*;

/// A server that streams `chunks` chunks, and does `then`.
async fn streaming<T>(chunks: usize, then: fn(Peer) -> T) -> Server
where
    T: Future<Output = ()> + Send + 'static,
{
    Server::new(move |mut peer| async move {
        peer.request().await;
        peer.begin_stream().await;
        for n in 0..chunks {
            peer.chunk(&format!("data: {n}\n\n")).await;
            tokio::task::yield_now().await;
        }
        then(peer).await;
    })
    .await
}

async fn stays(mut peer: Peer) {
    peer.until_closed().await;
}

async fn goes(_: Peer) {}

#[tokio::test]
async fn a_reader_that_goes_closes_the_connection_at_once_and_gives_the_permit_back() {
    let server = streaming(1, stays).await;
    let mut options = options(&server);
    options.max_in_flight = 1;
    let provider = open(options);
    for n in 1..=3 {
        let mut answer = answer(&provider, chat()).await;
        answer.body.next().await.unwrap().unwrap();
        // It waits for the next chunk, as a reader does.
        assert!(answer.body.next().now_or_never().is_none());
        assert_eq!(provider.status().in_flight, 1);
        drop(answer);
        assert_eq!(provider.status().in_flight, 0);
        let closed = async { until(|| server.closed() == n).await };
        let at_once = tokio::time::timeout(Duration::from_secs(2), closed);
        at_once.await.expect("the server sees it at once");
    }
}

#[tokio::test]
async fn a_reader_that_goes_while_the_server_writes_stops_it() {
    let server = Server::new(|mut peer| async move {
        peer.request().await;
        peer.begin_stream().await;
        let chunk = "x".repeat(64 << 10);
        while peer.chunk(&chunk).await {}
        peer.until_closed().await;
    })
    .await;
    let provider = open(options(&server));
    let mut answer = answer(&provider, chat()).await;
    for _ in 0..20 {
        answer.body.next().await.unwrap().unwrap();
    }
    drop(answer);
    until(|| server.closed() == 1).await;
}

#[tokio::test]
async fn who_goes_before_the_answer_begins_closes_the_connection_too() {
    let server = Server::new(|mut peer| async move {
        peer.request().await;
        peer.until_closed().await;
    })
    .await;
    let provider = open(options(&server));
    let mut asking = Box::pin(provider.send(chat()));
    let heard = async { until(|| server.heard().len() == 1).await };
    tokio::select! {
        _ = &mut asking => panic!("nobody answers"),
        () = heard => {}
    }
    drop(asking);
    assert_eq!(provider.status().in_flight, 0);
    until(|| server.closed() == 1).await;
}

#[tokio::test]
async fn the_first_chunk_is_not_held_up_by_those_after_it() {
    let server = streaming(1, stays).await;
    let mut answer = answer(&open(options(&server)), chat()).await;
    let first = answer.body.next().await.unwrap().unwrap();
    assert_eq!(first, "data: 0\n\n");
}

#[tokio::test]
async fn a_stream_that_ends_early_is_broken() {
    let server = streaming(2, goes).await;
    let provider = open(options(&server));
    let mut answer = answer(&provider, chat()).await;
    assert!(answer.body.next().await.unwrap().is_ok());
    let mut last = answer.body.next().await.unwrap();
    while last.is_ok() {
        last = answer.body.next().await.expect("an error before the end");
    }
    let error = last.unwrap_err();
    assert!(matches!(error, UpstreamError::Broken { .. }), "{error:?}");
    assert_eq!(provider.status().in_flight, 0, "before the body is dropped");
    assert!(answer.body.next().await.is_none());
}

#[tokio::test]
async fn bodies_that_are_too_short_or_wrong_are_broken() {
    let cases = [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nplanted",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7\r\nplanted\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7\r\nplanted\r\nffffffffffffffffff\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    ];
    for bytes in cases {
        let server = Server::new(move |mut peer| async move {
            peer.request().await;
            peer.say(bytes).await;
        })
        .await;
        let provider = open(options(&server));
        let ended = match provider.send(chat()).await {
            Ok(answer) => text(answer.body).await,
            Err(error) => Err(error),
        };
        let error = ended.unwrap_err();
        assert!(matches!(error, UpstreamError::Broken { .. }), "{error:?}");
        assert!(
            !format!("{error:?} {error}").contains("planted"),
            "{error:?}"
        );
        assert_eq!(provider.status().in_flight, 0);
    }
}

#[tokio::test]
async fn a_whole_stream_ends_and_leaves_the_connection_for_others() {
    let server = Server::new(|mut peer| async move {
        while peer.request().await.is_some() {
            peer.begin_stream().await;
            peer.chunk("a").await;
            peer.chunk("b").await;
            peer.say("0\r\n\r\n").await;
        }
    })
    .await;
    let provider = open(options(&server));
    for _ in 0..3 {
        let answer = answer(&provider, chat()).await;
        assert_eq!(text(answer.body).await.unwrap(), "ab");
        assert_eq!(provider.status().in_flight, 0);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_stream_may_be_silent_for_so_long_only() {
    let server = streaming(1, stays).await;
    let mut options = options(&server);
    options.idle_timeout = Duration::from_millis(100);
    let provider = open(options);
    let mut answer = answer(&provider, chat()).await;
    assert!(answer.body.next().await.unwrap().is_ok());
    let error = answer.body.next().await.unwrap().unwrap_err();
    let UpstreamError::Timeout { after, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(after, Duration::from_millis(100));
    assert_eq!(provider.status().in_flight, 0);
    assert!(answer.body.next().await.is_none());
    until(|| server.closed() == 1).await;
}

#[tokio::test]
async fn a_slow_reader_is_not_the_providers_silence() {
    let server = Server::new(|mut peer| async move {
        peer.request().await;
        peer.begin_stream().await;
        for n in 0..5 {
            peer.chunk(&n.to_string()).await;
            tokio::time::sleep(Duration::from_millis(80)).await;
        }
        peer.say("0\r\n\r\n").await;
    })
    .await;
    let mut options = options(&server);
    options.idle_timeout = Duration::from_millis(500);
    let mut answer = answer(&open(options), chat()).await;
    assert_eq!(answer.body.next().await.unwrap().unwrap(), "0");
    // Once while it has begun to wait for the next chunk, and once when it has not.
    assert!(answer.body.next().now_or_never().is_none());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(answer.body.next().await.unwrap().unwrap(), "1");
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(text(answer.body).await.unwrap(), "234");
}
