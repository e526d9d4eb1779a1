//! Streams of bytes in values: in both directions, by every route, of every shape, and how they end.

mod common;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use common::{SOON, World, every_way};
use futures::StreamExt;
use js_rpc::{
    Args, ByteSink, ByteStream, CallError, Context, Enrichment, External, Payload,
    STREAM_BYTES_RECEIVED, STREAM_BYTES_SENT, Service, ServiceResult, StreamError, Value,
    async_trait, reply, unknown_method,
};
use tokio::sync::Notify;

const MIB: usize = 1 << 20;

/// What the callee saw, for the test to look at.
#[derive(Default)]
struct Seen {
    /// Bytes that it produced for the stream that never ends.
    produced: Cell<usize>,
    /// How reading or writing ended.
    ended: RefCell<Vec<Result<usize, StreamError>>>,
    changed: Notify,
    held: RefCell<Option<ByteStream>>,
}

impl Seen {
    fn end(&self, outcome: Result<usize, StreamError>) {
        self.ended.borrow_mut().push(outcome);
        self.changed.notify_waiters();
    }

    /// How the last one ended, when it has.
    async fn ended(&self) -> Result<usize, StreamError> {
        let ended = async {
            loop {
                let changed = self.changed.notified();
                if let Some(last) = self.ended.borrow_mut().pop() {
                    return last;
                }
                changed.await;
            }
        };
        tokio::time::timeout(SOON, ended).await.expect("it ends")
    }
}

#[derive(Clone, Default)]
struct Streamer(Rc<Seen>);

#[derive(serde::Serialize, serde::Deserialize)]
struct Part {
    name: String,
    stream: ByteStream,
}

/// A stream as a value.
fn readable(stream: ByteStream) -> Payload {
    Payload {
        value: Value::ReadableStream(0),
        externals: vec![External::Readable(stream)],
    }
}

/// Arguments of a stream alone.
fn given(external: External) -> Args {
    let value = match &external {
        External::Readable(_) => Value::ReadableStream(0),
        External::Writable(_) => Value::WritableStream(0),
        External::Stub(_) => Value::Stub(0),
    };
    Args {
        values: vec![value],
        externals: vec![external],
    }
}

fn stream_of(externals: &[External]) -> ByteStream {
    match &externals[0] {
        External::Readable(stream) => stream.clone(),
        other => panic!("a stream, and not {other:?}"),
    }
}

fn sink_of(externals: &[External]) -> ByteSink {
    match &externals[0] {
        External::Writable(sink) => sink.clone(),
        other => panic!("a sink, and not {other:?}"),
    }
}

/// Bytes that differ wherever one looks.
fn pattern(from: usize, length: usize) -> Bytes {
    let byte = |i: usize| (i ^ (i >> 8) ^ (i >> 16)) as u8;
    (from..from + length).map(byte).collect::<Vec<u8>>().into()
}

/// A stream of so many bytes in chunks of about that size.
fn patterned(length: usize, chunk: usize) -> ByteStream {
    let starts = (0..length).step_by(chunk);
    let chunks = starts.map(move |at| Ok::<_, StreamError>(pattern(at, chunk.min(length - at))));
    ByteStream::new(futures::stream::iter(chunks))
}

/// Reads all of it and looks at each byte.
async fn check(mut stream: ByteStream) -> Result<usize, StreamError> {
    let mut length = 0;
    while let Some(bytes) = stream.next().await {
        let bytes = bytes?;
        assert_eq!(bytes, pattern(length, bytes.len()), "at {length}");
        length += bytes.len();
    }
    Ok(length)
}

#[async_trait(?Send)]
impl Service for Streamer {
    async fn call(&self, method: &str, args: Args, cx: &Context) -> ServiceResult {
        let seen = Rc::clone(&self.0);
        match method {
            "make" => {
                let (length, chunk): (usize, usize) = args.parse()?;
                Ok(readable(patterned(length, chunk)))
            }
            "read" => match check(stream_of(&args.externals)).await {
                Ok(length) => reply(&length),
                Err(error) => Err(js_rpc::JsError::error(error.to_string())),
            },
            // Reads after it returned.
            "take" => {
                let stream = stream_of(&args.externals);
                tokio::task::spawn_local(async move { seen.end(check(stream).await) });
                reply(&"taken")
            }
            "ignore" => reply(&"ignored"),
            // As parts of types, in both directions.
            "typed" => {
                let (part,): (Part,) = args.parse()?;
                let length = check(part.stream).await;
                let length = length.map_err(|error| js_rpc::JsError::error(error.to_string()))?;
                let stream = patterned(length, 100);
                reply(&Part {
                    name: part.name + " there",
                    stream,
                })
            }
            "first" => {
                let mut stream = stream_of(&args.externals);
                let first = stream.next().await.unwrap().unwrap();
                reply(&first.len())
            }
            "echo" => Ok(Payload {
                value: args.values.into_iter().next().unwrap(),
                externals: args.externals,
            }),
            "fill" => {
                let sink = sink_of(&args.externals);
                let mut at = 0;
                for length in [1, 10, 100_000, 300_000] {
                    let written = sink.write(pattern(at, length)).await;
                    written.map_err(|error| js_rpc::JsError::error(error.to_string()))?;
                    at += length;
                }
                let _ = sink.end().await;
                reply(&at)
            }
            "open" => {
                let (sink, stream) = ByteStream::pipe();
                tokio::task::spawn_local(async move { seen.end(check(stream).await) });
                Ok(Payload {
                    value: Value::WritableStream(0),
                    externals: vec![External::Writable(sink)],
                })
            }
            // Keeps it and does not read it.
            "hold" => {
                seen.held.replace(Some(stream_of(&args.externals)));
                reply(&"held")
            }
            "endless" => {
                let (sink, stream) = ByteStream::pipe();
                tokio::task::spawn_local(async move {
                    loop {
                        let at = seen.produced.get();
                        if let Err(error) = sink.write(pattern(at, 10_000)).await {
                            return seen.end(Err(error));
                        }
                        seen.produced.set(at + 10_000);
                    }
                });
                Ok(readable(stream))
            }
            // Says nothing, and waits for the reader to go.
            "silent" => {
                let (sink, stream) = ByteStream::pipe();
                tokio::task::spawn_local(async move {
                    sink.closed().await;
                    seen.end(Err(StreamError::Canceled));
                });
                Ok(readable(stream))
            }
            "breaks" => {
                let (sink, stream) = ByteStream::pipe();
                tokio::task::spawn_local(async move {
                    sink.write(pattern(0, 1000)).await.unwrap();
                    sink.fail("on purpose");
                });
                Ok(readable(stream))
            }
            "late" => {
                cx.enrich(Enrichment::new().name("stream"));
                let (sink, stream) = ByteStream::pipe();
                let scope = cx.scope().clone();
                tokio::task::spawn_local(async move {
                    sink.write("tokens").await.unwrap();
                    scope.enrich(Enrichment::new().attribute("tokens", 7));
                    sink.end().await.unwrap();
                });
                Ok(readable(stream))
            }
            _ => unknown_method(method),
        }
    }
}

/// The stream in the result of a call.
async fn result(world: &World, method: &str, args: impl js_rpc::IntoArgs) -> ByteStream {
    let reply = world.binding().call(method, args).await.unwrap();
    stream_of(reply.externals())
}

fn bytes(span: &tail::FinishedSpan, name: &str) -> Option<i64> {
    let attribute = span.attributes.iter().find(|a| a.key == name)?;
    attribute.value.to_string().parse().ok()
}

#[tokio::test(flavor = "local")]
async fn a_stream_in_a_result_arrives_whole_whatever_its_length() {
    every_way(Streamer::default, async |world| {
        for (length, chunk) in [
            (0, 1),
            (1, 1),
            (10, 3),
            (64 << 10, 64 << 10),
            (3 * MIB, 200_000),
        ] {
            let stream = result(world, "make", (length, chunk)).await;
            assert_eq!(check(stream).await, Ok(length));
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_stream_in_an_argument_arrives_whole_whatever_its_length() {
    every_way(Streamer::default, async |world| {
        for (length, chunk) in [
            (0, 1),
            (1, 1),
            (10, 3),
            (64 << 10, 64 << 10),
            (3 * MIB, 200_000),
        ] {
            let args = given(External::Readable(patterned(length, chunk)));
            let read: usize = world
                .binding()
                .call("read", args)
                .await
                .unwrap()
                .parse()
                .unwrap();
            assert_eq!(read, length);
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_stream_goes_there_and_back() {
    every_way(Streamer::default, async |world| {
        let args = given(External::Readable(patterned(MIB, 50_000)));
        let stream = result(world, "echo", args).await;
        assert_eq!(check(stream).await, Ok(MIB));
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn who_is_given_an_end_to_write_to_writes() {
    every_way(Streamer::default, async |world| {
        let (sink, stream) = ByteStream::pipe();
        let call = world
            .binding()
            .call("fill", given(External::Writable(sink)));
        let (written, read) = tokio::join!(call.into_future(), check(stream));
        assert_eq!(written.unwrap().parse::<usize>().unwrap(), 400_011);
        assert_eq!(read, Ok(400_011));
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn who_gets_an_end_to_write_to_writes() {
    let seen = Rc::new(Seen::default());
    every_way(
        || Streamer(Rc::clone(&seen)),
        async |world| {
            let reply = world.call("open").await.unwrap();
            let sink = sink_of(reply.externals());
            drop(reply);
            for at in (0..MIB).step_by(1 << 16) {
                sink.write(pattern(at, 1 << 16)).await.unwrap();
            }
            sink.end().await.unwrap();
            assert_eq!(seen.ended().await, Ok(MIB));
        },
    )
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_stream_is_no_further_ahead_than_a_few_windows() {
    let seen = Rc::new(Seen::default());
    every_way(
        || Streamer(Rc::clone(&seen)),
        async |world| {
            seen.produced.set(0);
            let mut stream = result(world, "endless", ()).await;
            stream.next().await.unwrap().unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
            let ahead = seen.produced.get();
            assert!(ahead < MIB, "{ahead} bytes ahead");
            let mut read = 0;
            while read < 4 * MIB {
                read += stream.next().await.unwrap().unwrap().len();
            }
            assert!(seen.produced.get() > 4 * MIB);
            drop(stream);
            assert_eq!(seen.ended().await, Err(StreamError::Canceled));
            world.caller.closed().await;
        },
    )
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_reader_that_goes_cancels_a_stream_that_says_nothing() {
    let seen = Rc::new(Seen::default());
    every_way(
        || Streamer(Rc::clone(&seen)),
        async |world| {
            // workerd's streams have no way to tell before something is written.
            if world.wire == common::Wire::ThreeCalls {
                return;
            }
            let stream = result(world, "silent", ()).await;
            common::a_while().await;
            drop(stream);
            assert_eq!(seen.ended().await, Err(StreamError::Canceled));
            world.caller.closed().await;
            world.callee.closed().await;
        },
    )
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_stream_that_breaks_off_breaks_off_at_its_reader() {
    every_way(Streamer::default, async |world| {
        let stream = result(world, "breaks", ()).await;
        let outcome = check(stream).await;
        assert!(
            matches!(outcome, Err(StreamError::Broken(_))),
            "{outcome:?}"
        );
        let items = [Ok(pattern(0, 1000)), Err("on purpose")];
        let broken = ByteStream::new(futures::stream::iter(items));
        let call = world
            .binding()
            .call("read", given(External::Readable(broken)));
        let error = call.await.unwrap_err();
        assert!(matches!(error, CallError::Thrown(_)), "{error:?}");
        assert!(error.to_string().contains("broke off"), "{error}");
        world.caller.closed().await;
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn the_rest_of_a_stream_that_is_not_wanted_is_not_sent() {
    let seen = Rc::new(Seen::default());
    every_way(
        || Streamer(Rc::clone(&seen)),
        async |world| {
            for method in ["first", "ignore"] {
                let (sink, stream) = ByteStream::pipe();
                let writer = Rc::clone(&seen);
                let writing = tokio::task::spawn_local(async move {
                    let mut written = 0;
                    while sink.write(pattern(written, 10_000)).await.is_ok() {
                        written += 10_000;
                        writer.produced.set(written);
                    }
                });
                let args = given(External::Readable(stream));
                world.binding().call(method, args).await.unwrap();
                tokio::time::timeout(SOON, writing).await.unwrap().unwrap();
                assert!(seen.produced.get() < 2 * MIB);
            }
            world.caller.closed().await;
        },
    )
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_callee_may_read_on_after_it_returned() {
    let seen = Rc::new(Seen::default());
    every_way(
        || Streamer(Rc::clone(&seen)),
        async |world| {
            let args = given(External::Readable(patterned(2 * MIB, 100_000)));
            world.binding().call("take", args).await.unwrap();
            assert_eq!(seen.ended().await, Ok(2 * MIB));
            world.caller.closed().await;
            let span = world.caller.last();
            assert_eq!(bytes(&span, STREAM_BYTES_SENT), Some(2 * MIB as i64));
        },
    )
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_call_that_is_given_up_takes_its_streams_along() {
    every_way(Streamer::default, async |world| {
        // Sent and never read.
        let (sink, stream) = ByteStream::pipe();
        let args = given(External::Readable(stream));
        let call = world.binding().call("read", args);
        let outcome = call.deadline(Duration::from_millis(50)).await;
        assert!(
            matches!(outcome, Err(CallError::Deadline(_))),
            "{outcome:?}"
        );
        let closed = tokio::time::timeout(SOON, sink.closed()).await;
        assert!(closed.is_ok(), "whoever writes finds out");
        world.caller.closed().await;
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn the_span_is_open_until_the_stream_ends_and_tells_its_bytes() {
    every_way(Streamer::default, async |world| {
        let stream = result(world, "make", (300_000, 10_000)).await;
        common::a_while().await;
        assert_eq!(world.caller.open(), 1);
        assert_eq!(check(stream).await, Ok(300_000));
        world.caller.closed().await;
        world.callee.closed().await;
        let span = world.caller.last();
        assert_eq!(bytes(&span, STREAM_BYTES_RECEIVED), Some(300_000));
        assert_eq!(bytes(&span, STREAM_BYTES_SENT), None);
        let above = world.above_callee(&span).await;
        assert_eq!(bytes(&above, STREAM_BYTES_RECEIVED), Some(300_000));
        let served = world.callee.last();
        assert_eq!(bytes(&served, STREAM_BYTES_SENT), Some(300_000));
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn what_is_said_while_a_stream_runs_is_on_the_span() {
    every_way(Streamer::default, async |world| {
        // workerd's results carry the enrichment from before the return alone.
        if world.wire == common::Wire::ThreeCalls {
            return;
        }
        let stream = result(world, "late", ()).await;
        let read = stream.read_to_end(100).await.unwrap();
        assert_eq!(read, "tokens");
        world.caller.closed().await;
        let span = world.caller.last();
        assert_eq!(span.name, "stream");
        assert_eq!(bytes(&span, "tokens"), Some(7));
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn many_streams_share_a_connection_and_calls_pass_those_that_nobody_reads() {
    every_way(Streamer::default, async |world| {
        let unread = common::all((0..200).map(|_| result(world, "make", (300_000, 50_000)))).await;
        common::a_while().await;
        let read = common::all((0..20).map(async |_| {
            let stream = result(world, "make", (300_000, 50_000)).await;
            check(stream).await
        }))
        .await;
        assert!(read.iter().all(|length| *length == Ok(300_000)));
        drop(unread);
        world.caller.closed().await;
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn streams_of_small_pieces_that_nobody_reads_leave_room_for_others() {
    every_way(Streamer::default, async |world| {
        // Each could have a thousand small writes on its way, and together more than a connection has room for.
        let unread = common::all((0..40).map(|_| result(world, "make", (300_000, 100)))).await;
        common::a_while().await;
        let read = async { check(result(world, "make", (30_000, 100)).await).await };
        let read = tokio::time::timeout(Duration::from_secs(60), read).await;
        assert_eq!(read, Ok(Ok(30_000)));
        drop(unread);
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn streams_are_parts_of_types() {
    every_way(Streamer::default, async |world| {
        let part = Part {
            name: "here and".into(),
            stream: patterned(1000, 10),
        };
        let back = world.binding().call("typed", (part,)).await.unwrap();
        let back: Part = back.parse().unwrap();
        assert_eq!(back.name, "here and there");
        assert_eq!(check(back.stream).await, Ok(1000));
        let wrong = world.binding().call("typed", ("no stream",)).await;
        assert!(wrong.is_err());
        // Beside a call's values there is nothing that a stream could be.
        assert!(serde_json::to_string(&patterned(1, 1)).is_err());
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_peer_that_writes_more_than_may_be_unread_loses_its_stream_and_no_call() {
    let seen = Rc::new(Seen::default());
    let dir = common::socket_dir();
    let address = common::unix(&dir, "callee");
    let mut limits = js_rpc::RpcLimits::default();
    limits.network.stream_bytes = 64 << 10;
    let stats = limits.network.stats.clone();
    let server = js_rpc::Server::new().limits(limits);
    let server = server.service(common::BINDING, Streamer(Rc::clone(&seen)));
    common::serve(server, &address).await;
    // A client that believes that the peer takes more.
    let options = js_rpc::ConnectOptions::default();
    let connection = js_rpc::Connection::connect(&address, options)
        .await
        .unwrap();
    let binding = connection.binding(common::BINDING);
    let (sink, stream) = ByteStream::pipe();
    let writing =
        tokio::task::spawn_local(
            async move { while sink.write(pattern(0, 50_000)).await.is_ok() {} },
        );
    let held = binding.call("hold", given(External::Readable(stream)));
    held.await.unwrap();
    tokio::time::timeout(SOON, writing).await.unwrap().unwrap();
    assert!(stats.count(js_rpc::Reason::StreamBytes) > 0);
    let made = binding.call("make", (10, 10)).await.unwrap();
    assert_eq!(check(stream_of(made.externals())).await, Ok(10));
}

#[tokio::test(flavor = "local")]
async fn a_stream_of_another_length_than_it_says_is_an_error() {
    for (declared, seen) in [(5, 4), (3, 4)] {
        let stream = ByteStream::from("four").with_length(declared);
        let error = stream.read_to_end(100).await.unwrap_err();
        assert_eq!(error, StreamError::Length { declared, seen });
    }
    let stream = ByteStream::from("four").with_length(4);
    assert_eq!(stream.length(), Some(4));
    assert_eq!(stream.read_to_end(4).await.unwrap(), "four");
    let error = ByteStream::from("four").read_to_end(3).await.unwrap_err();
    assert_eq!(error, StreamError::TooLong(3));
}
