//! The greedy clients. Each does what it does until it is told to stop.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use capnp::message::Builder;
use capnp_rpc::rpc_capnp::message;
use futures::future::join_all;
use js_rpc::{Args, Binding, Value};
use serde_json::json;

use super::honest::{Kind, connect, local, query};
use super::scene::Ports;

/// A greedy client, and whose calls are measured beside it.
pub struct Client {
    pub name: &'static str,
    pub beside: Kind,
    pub run: fn(&Ports, &AtomicBool),
}

const fn client(name: &'static str, beside: Kind, run: fn(&Ports, &AtomicBool)) -> Client {
    Client { name, beside, run }
}

pub const ALL: &[Client] = &[
    client(
        "wire: 60 connections, 31 MiB of an unfinished message each",
        Kind::Callee,
        |ports, stop| {
            unfinished(&ports.world.path("callee.sock"), 60, stop);
        },
    ),
    client(
        "wire: 300 connections that say nothing",
        Kind::Callee,
        |ports, stop| {
            let path = ports.world.path("callee.sock");
            let _idle: Vec<_> = (0..300)
                .map(|_| UnixStream::connect(&path).unwrap())
                .collect();
            wait(stop);
        },
    ),
    client(
        "wire: 1,000 calls at a time, again and again",
        Kind::Callee,
        |ports, stop| {
            by_wire(&ports.world.unix("callee.sock"), 1, stop, async |binding| {
                many(binding, 1000).await
            });
        },
    ),
    client(
        "wire: calls that are given up at once",
        Kind::Callee,
        |ports, stop| {
            by_wire(&ports.world.unix("callee.sock"), 2, stop, async |binding| {
                for _ in 0..100 {
                    let call = binding.call("query", small());
                    let _ = tokio::time::timeout(Duration::ZERO, call.into_future()).await;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            });
        },
    ),
    client(
        "wire: 4 calls at a time with a million parameters",
        Kind::Callee,
        |ports, stop| {
            million(&ports.world.unix("callee.sock"), stop);
        },
    ),
    client(
        "wire: large results that are not read",
        Kind::Callee,
        |ports, stop| {
            unread(&ports.world.unix("callee.sock"), stop);
        },
    ),
    client(
        "wire: an abort of 8 MB with calls in flight",
        Kind::Callee,
        |ports, stop| {
            aborts(ports, stop);
        },
    ),
    client(
        "sidecar: 6 clients with a call of 15 MB each",
        Kind::Sidecar,
        |ports, stop| {
            by_wire(&ports.world.unix("caller.sock"), 6, stop, async |binding| {
                large(binding, 15 << 20).await
            });
        },
    ),
    client(
        "sidecar: 60 connections, 31 MiB of an unfinished message each",
        Kind::Sidecar,
        |ports, stop| {
            unfinished(&ports.world.path("caller.sock"), 60, stop);
        },
    ),
    client(
        "sidecar: 1,000 calls at a time, again and again",
        Kind::Sidecar,
        |ports, stop| {
            by_wire(&ports.world.unix("caller.sock"), 1, stop, async |binding| {
                many(binding, 1000).await
            });
        },
    ),
    client(
        "sidecar: 40 calls of 700 KiB at a time",
        Kind::Sidecar,
        |ports, stop| {
            by_wire(&ports.world.unix("caller.sock"), 1, stop, async |binding| {
                join_all((0..40).map(|_| large(binding, 700 << 10))).await;
            });
        },
    ),
    client(
        "sidecar: 4 calls at a time with a million parameters",
        Kind::Sidecar,
        |ports, stop| {
            million(&ports.world.unix("caller.sock"), stop);
        },
    ),
    client(
        "sidecar: large results that are not read",
        Kind::Sidecar,
        |ports, stop| {
            unread(&ports.world.unix("caller.sock"), stop);
        },
    ),
    client(
        "http: 4 bodies at a time of a million values",
        Kind::Http,
        |ports, stop| {
            let values = format!("[{}0]", "0,".repeat((1 << 20) - 4));
            by_http(ports, 4, stop, &values);
        },
    ),
    client("http: 40 calls at a time", Kind::Http, |ports, stop| {
        let body = json!([query("select 1", json!([]))]).to_string();
        by_http(ports, 40, stop, &body);
    }),
    client(
        "http: 20 bodies of 8 MB that do not end",
        Kind::LongHttp,
        |ports, stop| {
            let head = head(8 << 20);
            let part = vec![b' '; 7 << 20];
            let streams: Vec<_> = (0..20)
                .map(|_| {
                    let mut stream = TcpStream::connect(&ports.http).unwrap();
                    stream.write_all(head.as_bytes()).unwrap();
                    stream.set_nonblocking(true).unwrap();
                    (stream, 0)
                })
                .collect();
            send(streams, &part, stop);
        },
    ),
    client(
        "http: long bodies, one after the other",
        Kind::LongHttp,
        |ports, stop| {
            let body = json!([query("select 1", json!(["x".repeat(7 << 20)]))]).to_string();
            by_http(ports, 1, stop, &body);
        },
    ),
    client(
        "admin: 60 connections that say nothing",
        Kind::Admin,
        |ports, stop| {
            let _idle: Vec<_> = (0..60)
                .map(|_| TcpStream::connect(&ports.admin).unwrap())
                .collect();
            wait(stop);
        },
    ),
    client(
        "admin: 60 readers of the tail that do not read",
        Kind::Admin,
        |ports, stop| {
            let asked: Vec<_> = (0..60).map(|_| ask(ports, "/tail", 1)).collect();
            wait(stop);
            drop(asked);
        },
    ),
    client(
        "admin: 100 scrapes on each connection, unread",
        Kind::Admin,
        |ports, stop| {
            while !stop.load(Relaxed) {
                let asked: Vec<_> = (0..10).map(|_| ask(ports, "/metrics", 100)).collect();
                thread::sleep(Duration::from_millis(50));
                drop(asked);
            }
        },
    ),
];

fn wait(stop: &AtomicBool) {
    while !stop.load(Relaxed) {
        thread::sleep(Duration::from_millis(5));
    }
}

/// Sends as much of `part` as is taken, on each of these.
fn send<S: Write>(mut streams: Vec<(S, usize)>, part: &[u8], stop: &AtomicBool) {
    while !stop.load(Relaxed) {
        for (stream, sent) in &mut streams {
            if let Ok(n) = stream.write(&part[*sent..]) {
                *sent += n;
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Connections with a message that does not end.
fn unfinished(path: &std::path::Path, count: usize, stop: &AtomicBool) {
    let words: u32 = (31 << 20) / 8;
    let part = vec![0; (31 << 20) - 8];
    let streams = (0..count)
        .map(|_| {
            let mut stream = UnixStream::connect(path).unwrap();
            stream
                .write_all(&[0u32.to_le_bytes(), words.to_le_bytes()].concat())
                .unwrap();
            stream.set_nonblocking(true).unwrap();
            (stream, 0)
        })
        .collect();
    send(streams, &part, stop);
}

/// Connections on which the same is done until it is enough.
fn by_wire(address: &str, count: usize, stop: &AtomicBool, run: impl AsyncFn(&Binding)) {
    local().block_on(async {
        let one = async || {
            let binding = connect(address).await;
            while !stop.load(Relaxed) {
                run(&binding).await;
            }
        };
        let stopped = async {
            while !stop.load(Relaxed) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            _ = join_all((0..count).map(|_| one())) => {}
            () = stopped => {}
        }
    });
}

fn small() -> Args {
    Args::from_json(vec![query("select 1", json!([]))]).unwrap()
}

async fn many(binding: &Binding, count: usize) {
    join_all((0..count).map(|_| binding.call("query", small()).into_future())).await;
}

/// A call that is refused, after all of it was sent.
async fn large(binding: &Binding, bytes: usize) {
    let args = Args::from(vec![Value::from("x".repeat(bytes))]);
    let _ = binding.call("nothing", args).await;
}

fn million(address: &str, stop: &AtomicBool) {
    let params = Value::from(vec![Value::from(1); 1_000_000]);
    by_wire(address, 1, stop, async |binding| {
        let one = async || {
            let args = Args::from(vec![params.clone()]);
            let _ = binding.call("query", args).await;
        };
        join_all((0..4).map(|_| one())).await;
    });
}

/// Asks for much, and does not look at it.
fn unread(address: &str, stop: &AtomicBool) {
    let runtime = local();
    let _held = runtime.block_on(async {
        let sql = "select hex(zeroblob(500000))";
        let mut held = Vec::new();
        for _ in 0..4 {
            let binding = connect(address).await;
            let args = || Args::from_json(vec![query(sql, json!([]))]).unwrap();
            let calls: Vec<_> = (0..20)
                .map(|_| binding.call("query", args()).send())
                .collect();
            held.push((binding, calls));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        held
    });
    // Nothing runs on this thread meanwhile.
    wait(stop);
}

fn aborts(ports: &Ports, stop: &AtomicBool) {
    let mut abort = Builder::new_default();
    let reason = "x".repeat(8 << 20);
    abort
        .init_root::<message::Builder<'_>>()
        .init_abort()
        .set_reason(&reason);
    let mut bytes = Vec::new();
    for question in 0..2000 {
        let mut bootstrap = Builder::new_default();
        let asked = bootstrap.init_root::<message::Builder<'_>>();
        asked.init_bootstrap().set_question_id(question);
        capnp::serialize::write_message(&mut bytes, &bootstrap).unwrap();
    }
    capnp::serialize::write_message(&mut bytes, &abort).unwrap();
    while !stop.load(Relaxed) {
        let mut stream = UnixStream::connect(ports.world.path("callee.sock")).unwrap();
        let mut reads = stream.try_clone().unwrap();
        let reader = thread::spawn(move || drop(reads.read_to_end(&mut Vec::new())));
        let _ = stream.write_all(&bytes);
        reader.join().unwrap();
    }
}

fn head(length: usize) -> String {
    format!(
        "POST /v1/call/DB/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}

/// So many clients that make one call after the other.
fn by_http(ports: &Ports, count: usize, stop: &AtomicBool, body: &str) {
    let request = head(body.len()) + body;
    thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| {
                let mut stream = TcpStream::connect(&ports.http).unwrap();
                stream
                    .set_read_timeout(Some(Duration::from_secs(20)))
                    .unwrap();
                let mut some = vec![0; 64 << 10];
                while !stop.load(Relaxed) {
                    // Answers are short, and come whole.
                    let asked = stream.write_all(request.as_bytes());
                    if !matches!(asked.and_then(|()| stream.read(&mut some)), Ok(n) if n > 0) {
                        stream = TcpStream::connect(&ports.http).unwrap();
                    }
                }
            });
        }
    });
}

fn ask(ports: &Ports, path: &str, times: usize) -> TcpStream {
    let mut stream = TcpStream::connect(&ports.admin).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").repeat(times);
    // It may have been closed already.
    let _ = stream.write_all(request.as_bytes());
    stream
}
