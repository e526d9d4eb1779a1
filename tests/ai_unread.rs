//! Streamed answers of models that nobody reads, or that are long: what the programs hold of them is bounded, the server
//! of models waits, and others are served beside them.

#[path = "ai_streams/ask.rs"]
mod ask;
#[path = "ai_streams/scene.rs"]
mod scene;
#[path = "ai_streams/upstream.rs"]
mod upstream;
mod util;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use ask::{Asker, Body};
use scene::{memory, start_callee, start_caller};
use upstream::Done;
use util::{Daemon, LIMIT, World};

/// What both programs may hold of each of them more than before, bytes, in any build.
const HELD: u64 = 3 << 19;

/// What the server sends of one of them that is read, bytes: much more than an allocator takes at a time.
const PASSED: u64 = 8 << 20;

/// Which way the streams take, through `caller serve` and `callee`.
#[derive(Debug, Clone, Copy)]
enum Way {
    Http,
    Rpc,
}

impl Way {
    /// Streams that are not read.
    fn unread(self) -> usize {
        match self {
            Self::Http => 12,
            Self::Rpc => 40,
        }
    }

    /// What may have left the server of each of them, bytes: it is in the programs, or in the kernel's buffers between
    /// them, which may be 10 MiB for TCP.
    fn a_stream(self) -> u64 {
        match self {
            Self::Http => 12 << 20,
            Self::Rpc => 2 << 20,
        }
    }
}

struct Scene {
    done: Arc<Done>,
    callee: Daemon,
    caller: Daemon,
    http: String,
    world: World,
}

impl Scene {
    fn start() -> Self {
        let done = Arc::<Done>::default();
        let (at, is_at) = std::sync::mpsc::channel();
        let counted = Arc::clone(&done);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = upstream::listen().unwrap();
                at.send(listener.local_addr().unwrap()).unwrap();
                upstream::serve(listener, counted).await;
            });
        });
        let world = World::new();
        let (callee, _) = start_callee(&world, &is_at.recv().unwrap().to_string());
        let (caller, http) = start_caller(&world);
        Self {
            done,
            callee,
            caller,
            http,
            world,
        }
    }

    async fn asker(&self, way: Way) -> Asker {
        match way {
            Way::Http => Asker::http(&self.http).await,
            Way::Rpc => Asker::rpc(&self.world.unix("caller.sock")).await,
        }
    }

    fn held(&self) -> u64 {
        memory(self.callee.id()).0 + memory(self.caller.id()).0
    }

    /// Waits until the server sends nothing any more; what it has sent.
    async fn stalled(&self) -> u64 {
        let until = Instant::now() + LIMIT;
        let sent = || self.done.bytes.load(Relaxed);
        let mut before = sent();
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = sent();
            if now == before {
                return now;
            }
            before = now;
            assert!(
                Instant::now() < until,
                "the server still sends, {now} bytes so far"
            );
        }
    }
}

#[test]
fn streams_that_nobody_reads_are_bounded_by_http() {
    run(Way::Http, 1);
}

#[test]
fn streams_that_nobody_reads_are_bounded_by_rpc() {
    run(Way::Rpc, 1);
}

#[test]
fn streams_of_many_events_at_a_time_that_nobody_reads_are_bounded_by_rpc() {
    run(Way::Rpc, 64);
}

fn run(way: Way, gathered: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .unwrap();
    runtime.block_on(async {
        let scene = Scene::start();
        let short = upstream::model(100, gathered, Duration::ZERO);
        scene.asker(way).await.stream(&short).await;
        let before = scene.held();
        let sent_before = scene.done.bytes.load(Relaxed);

        let endless = upstream::model(1_000_000_000, gathered, Duration::ZERO);
        let mut unread: Vec<(Asker, Body)> = Vec::new();
        for _ in 0..way.unread() {
            let mut asker = scene.asker(way).await;
            let mut body = asker.begin(&endless).await;
            assert!(body.next().await.is_some());
            unread.push((asker, body));
        }
        let sent = (scene.stalled().await - sent_before) / way.unread() as u64;
        let held = scene.held().saturating_sub(before) / way.unread() as u64;
        println!("{way:?}, {gathered} in a write: {sent} bytes sent and {held} held a stream");
        assert!(
            sent <= way.a_stream(),
            "{sent} bytes a stream have left the server"
        );
        assert!(held <= HELD, "{held} bytes a stream are held");

        // Who reads is served beside them.
        let mut other = scene.asker(way).await;
        let served = tokio::time::timeout(LIMIT, other.stream(&short)).await;
        assert!(served.is_ok(), "nobody else is served");

        // One of them is read: what is held does not grow with what has passed.
        let held = scene.held();
        let (_, body) = &mut unread[0];
        let sent = scene.done.bytes.load(Relaxed);
        while scene.done.bytes.load(Relaxed) < sent + PASSED {
            assert!(body.next().await.is_some());
        }
        let more = scene.held().saturating_sub(held);
        println!("{more} bytes more after {PASSED} have passed");
        assert!(more <= PASSED / 2, "{more} bytes more are held");

        // The server is left alone when nobody is there any more.
        drop(unread);
        let until = Instant::now() + LIMIT;
        let over = |count: &AtomicU64| count.load(Relaxed);
        while over(&scene.done.over) < over(&scene.done.begun) {
            assert!(Instant::now() < until, "{:?}", scene.done);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(other);
        assert!(scene.caller.stop().success());
        assert!(scene.callee.stop().success());
    });
}
