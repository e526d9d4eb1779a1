//! A Worker of a workerd without any flag fetches from a service of ours by HTTP: directly, and through `caller`,
//! which gives the request its span.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ::http::{Request, Response, StatusCode};
use js_rpc::{
    AcceptStats, Address, Args, ByteStream, Context, Enrichment, JsError, Listener, Server,
    Service, ServiceResult, StreamError, async_trait, unknown_method,
};
use serde_json::{Value, json};

use crate::harness::{Builder, Daemon, Ours, Workerd, get, within};

const CHUNK: usize = 64 << 10;
const MIB_64: u64 = 64 << 20;

/// What the Worker in `workers/fetch.js` fetches from.
#[derive(Default, Clone)]
struct Web(Rc<Seen>);

#[derive(Default)]
struct Seen {
    written: Cell<u64>,
    ends: RefCell<Vec<Result<(), StreamError>>>,
}

#[async_trait(?Send)]
impl Service for Web {
    async fn call(&self, method: &str, _args: Args, _cx: &Context) -> ServiceResult {
        unknown_method(method)
    }

    async fn fetch(
        &self,
        request: Request<ByteStream>,
        cx: &Context,
    ) -> Result<Response<ByteStream>, JsError> {
        let (head, body) = request.into_parts();
        cx.enrich(Enrichment::new().name(format!("web{}", head.uri.path())));
        let mut response = Response::new(ByteStream::empty());
        let number = head.uri.query().and_then(|query| query.parse().ok());
        match head.uri.path() {
            "/seen" => {
                let mine = head.headers.get("x-mine");
                let body = body.read_to_end(100).await;
                let body = body.map_err(|error| JsError::error(error.to_string()))?;
                let seen = json!({
                    "method": head.method.as_str(),
                    "url": head.uri.to_string(),
                    "mine": mine.map(|value| value.to_str().unwrap()),
                    "binding": head.headers.contains_key("binding-span-binding"),
                    "served": cx.binding(),
                    "body": String::from_utf8_lossy(&body),
                });
                *response.body_mut() = seen.to_string().into();
                let own = "theirs".parse().unwrap();
                response.headers_mut().insert("x-own", own);
            }
            "/status" => {
                let status = number.and_then(|n| StatusCode::from_u16(n as u16).ok());
                *response.status_mut() = status.unwrap();
                *response.body_mut() = "a text".into();
            }
            "/nothing" => *response.status_mut() = StatusCode::NO_CONTENT,
            "/throw" => return Err(JsError::range_error("too far")),
            "/length" => {
                let mut body = body;
                let mut length = 0;
                while let Some(part) = futures::StreamExt::next(&mut body).await {
                    length += part
                        .map_err(|error| JsError::error(error.to_string()))?
                        .len();
                }
                *response.body_mut() = length.to_string().into();
            }
            "/echo" => *response.body_mut() = body,
            "/stream" => *response.body_mut() = self.stream(number.unwrap(), false),
            "/broken" => *response.body_mut() = self.stream(4, true),
            _ => *response.status_mut() = StatusCode::NOT_FOUND,
        }
        Ok(response)
    }
}

impl Web {
    fn stream(&self, count: u64, breaks: bool) -> ByteStream {
        let (sink, stream) = ByteStream::pipe();
        let seen = Rc::clone(&self.0);
        tokio::task::spawn_local(async move {
            for _ in 0..count {
                if let Err(error) = sink.write(vec![7; CHUNK]).await {
                    return seen.ends.borrow_mut().push(Err(error));
                }
                seen.written.set(seen.written.get() + CHUNK as u64);
            }
            if breaks {
                return sink.fail("on purpose");
            }
            let ended = sink.end().await;
            seen.ends.borrow_mut().push(ended);
        });
        stream
    }
}

async fn worker(address: &Address) -> Workerd {
    Builder::new("fetch")
        .external("rust", address)
        .external("named", address)
        .external("proxy", address)
        .start()
        .await
}

/// The service, and workerds that reach it directly and through `caller`.
async fn both_ways() -> (Web, Ours, Daemon, [(&'static str, Workerd); 2]) {
    let web = Web::default();
    let ours = Ours::serve(Server::new().service("WEB", web.clone())).await;
    let bind = format!("WEB={}", ours.address());
    let caller = Daemon::caller(&["--bind", &bind]).await;
    let direct = worker(ours.address()).await;
    let passed = worker(&caller.address()).await;
    (web, ours, caller, [("direct", direct), ("passed", passed)])
}

#[tokio::test(flavor = "local")]
async fn a_worker_fetches_directly_and_through_the_caller() {
    within(async {
        let (_web, _ours, caller, ways) = both_ways().await;
        for (way, workerd) in &ways {
            let seen = workerd.run("seen").await;
            let expected = json!({
                "status": 200, "own": "theirs", "method": "POST", "mine": "1",
                // workerd sends no scheme.
                "url": "http://any.example/seen?a=1",
                "binding": false, "served": "WEB", "body": "hello",
            });
            assert_eq!(seen, expected, "{way}");
            let statuses = workerd.run("statuses").await;
            let expected = json!([
                [200, "a text"],
                [404, "a text"],
                [503, "a text"],
                [204, ""],
                [500, "RangeError: too far\n"],
            ]);
            assert_eq!(statuses, expected, "{way}");
            assert_eq!(workerd.run("many").await, "done", "{way}");
        }
        // The caller's spans have the callee's names.
        let tail = std::fs::read_to_string(caller.file("tail.jsonl")).unwrap();
        let events: Vec<Value> = tail
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let all = json!(events).to_string();
        for part in [
            "web/seen",
            "web/throw",
            "http.request.method",
            "http.response.status_code",
        ] {
            assert!(all.contains(part), "{part}: {all}");
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_worker_uses_a_connection_again() {
    within(async {
        let stats = AcceptStats::default();
        let server = Server::new()
            .service("WEB", Web::default())
            .count_accepts(&stats);
        let ours = Ours::serve(server).await;
        let workerd = worker(ours.address()).await;
        assert_eq!(workerd.run("many").await, "done");
        assert!(stats.accepted() < 5, "{} connections", stats.accepted());
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn sixty_four_mebibytes_pass_with_flat_memory() {
    within(async {
        let (_web, _ours, caller, ways) = both_ways().await;
        let before = caller.peak_kib();
        for (way, workerd) in &ways {
            for case in ["up", "down", "echo"] {
                assert_eq!(workerd.run(case).await, MIB_64, "{way} {case}");
            }
        }
        let grown = caller.peak_kib() - before;
        println!("64 MiB up, down and back: the caller's peak grew by {grown} KiB");
        assert!(grown < 16 << 10, "{grown} KiB");
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_stream_that_is_cancelled_or_breaks_is_so_at_both_ends() {
    within(async {
        let (web, _ours, _caller, ways) = both_ways().await;
        for (way, workerd) in &ways {
            assert_eq!(workerd.run("cancelled").await, true, "{way}");
            let ended = async {
                while web.0.ends.borrow().is_empty() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), ended)
                .await
                .unwrap_or_else(|_| panic!("{way}: it is still written"));
            assert!(web.0.ends.take()[0].is_err(), "{way}");
            let broken = workerd.run("broken").await;
            assert_eq!(broken[0], 200, "{way}");
            assert!(broken[1].is_string(), "{way}: {broken}");
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_header_that_the_configuration_adds_names_the_binding_and_vouches_for_pages() {
    within(async {
        let server = Server::new()
            .service("WEB", Web::default())
            .service("OTHER", Web::default());
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let address = listener.address().clone();
        tokio::task::spawn_local(server.serve([listener], std::future::pending()));
        let workerd = worker(&address).await;
        let passed = workerd.run("passed").await;
        assert_eq!(passed[0][0], 403, "{passed}");
        let text = passed[0][1].as_str().unwrap();
        assert!(text.contains("injectRequestHeaders"), "{text}");
        assert_eq!(passed[1][0], 200, "{passed}");
        let seen: Value = serde_json::from_str(passed[1][1].as_str().unwrap()).unwrap();
        assert_eq!(seen["url"], "http://shop.example/seen");
        assert_eq!(seen["binding"], false);
        let statuses = workerd.run("statuses").await;
        assert_eq!(statuses[0][0], 421, "{statuses}");
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn the_configuration_has_the_last_word_on_the_binding_and_keeps_urls_whole() {
    within(async {
        let ours = Ours::serve(Server::new().service("WEB", Web::default())).await;
        let workerd = worker(ours.address()).await;
        let configured = workerd.run("configured").await;
        assert_eq!(configured[0], 200, "{configured}");
        assert_eq!(configured[1]["served"], "WEB", "{configured}");
        assert_eq!(configured[2], "https://any.example/seen?a=b");
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn what_has_nothing_to_fetch_from_says_why() {
    within(async {
        // A Worker behind the caller, and nobody behind another.
        let behind = Builder::new("fetch").start().await;
        let bind = format!("W={}#callee", behind.debug_port());
        let caller = Daemon::caller(&["--bind", &bind]).await;
        let (status, text) = get(&caller.address(), "/").await;
        assert_eq!(status, 501, "{text}");
        assert!(
            text.contains("a workerd takes no HTTP requests by RPC"),
            "{text}"
        );
        let caller = Daemon::caller(&["--bind", "N=unix:./nobody"]).await;
        let (status, text) = get(&caller.address(), "/").await;
        assert_eq!(status, 503, "{text}");
        assert!(text.contains("is the callee running"), "{text}");
    })
    .await;
}
