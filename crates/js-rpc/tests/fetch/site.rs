//! A service that is fetched.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ::http::{HeaderMap, Request, Response, StatusCode};
use bytes::Bytes;
use js_rpc::{
    Args, ByteStream, Context, Enrichment, JsError, Service, ServiceResult, StreamError,
    async_trait, enrich, unknown_method,
};
use serde_json::json;
use tokio::sync::Notify;

/// What a test sees of it.
#[derive(Default)]
pub struct Seen {
    /// Bytes that it wrote into bodies.
    pub written: Cell<u64>,
    /// What ended the last body that it wrote or read.
    pub ended: Cell<Option<Result<(), StreamError>>>,
    pub changed: Notify,
}

impl Seen {
    fn end(&self, how: Result<(), StreamError>) {
        self.ended.set(Some(how));
        self.changed.notify_waiters();
    }

    /// How the next body ends.
    pub async fn end_of_body(&self) -> Result<(), StreamError> {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if let Some(how) = self.ended.take() {
                    return how;
                }
                changed.await;
            }
        };
        tokio::time::timeout(crate::common::SOON, wait)
            .await
            .expect("a body ends")
    }
}

#[derive(Default, Clone)]
pub struct Site(pub Rc<Seen>);

pub const CHUNK: usize = 16 << 10;

#[async_trait(?Send)]
impl Service for Site {
    async fn call(&self, method: &str, _args: Args, _cx: &Context) -> ServiceResult {
        unknown_method(method)
    }

    async fn fetch(
        &self,
        request: Request<ByteStream>,
        cx: &Context,
    ) -> Result<Response<ByteStream>, JsError> {
        cx.enrich(Enrichment::new().attribute("app.binding", cx.binding().to_owned()));
        let (head, body) = request.into_parts();
        let mut response = Response::new(ByteStream::empty());
        match head.uri.path() {
            "/echo" => *response.body_mut() = body,
            "/head" => {
                let headers: Vec<[String; 2]> = pairs(&head.headers);
                let seen = json!({
                    "method": head.method.as_str(),
                    "url": head.uri.to_string(),
                    "headers": headers,
                });
                *response.body_mut() = seen.to_string().into();
            }
            "/length" => {
                let all = body.read_to_end(1 << 30).await;
                self.0.end(all.clone().map(drop));
                let all = all.map_err(|error| JsError::error(error.to_string()))?;
                *response.body_mut() = all.len().to_string().into();
            }
            "/stream" => {
                let count = head.uri.query().map_or(u64::MAX, |n| n.parse().unwrap());
                *response.body_mut() = self.stream(count, None);
            }
            "/broken" => *response.body_mut() = self.stream(2, Some("the disk is gone")),
            "/trickle" => {
                let parts = futures::stream::unfold(0u32, |n| async move {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    // Where no context is at hand.
                    enrich(Enrichment::new().attribute("app.parts", i64::from(n)));
                    (n < 3).then_some((Ok::<_, StreamError>(Bytes::from("x")), n + 1))
                });
                *response.body_mut() = ByteStream::new(parts);
            }
            "/bare" => *response.status_mut() = StatusCode::NO_CONTENT,
            "/status" => {
                let code = head.uri.query().unwrap().parse::<u16>().unwrap();
                *response.status_mut() = StatusCode::from_u16(code).unwrap();
                *response.body_mut() = "some text".into();
            }
            "/headers" => {
                for (name, value) in [
                    ("connection", "x-private, close"),
                    ("x-private", "1"),
                    ("transfer-encoding", "gzip"),
                    ("content-length", "9999"),
                    ("set-cookie", "a=1"),
                    ("set-cookie", "b=2"),
                    ("keep-alive", "timeout=1"),
                ] {
                    response.headers_mut().append(name, value.parse().unwrap());
                }
                *response.body_mut() = "body".into();
            }
            "/short" => {
                response
                    .headers_mut()
                    .insert("content-length", "100000".parse().unwrap());
                *response.body_mut() = self.stream(2, None);
            }
            "/name" => {
                cx.enrich(Enrichment::new().name("site.name").attribute("app.n", 1));
                *response.body_mut() = "named".into();
            }
            "/stated" => {
                cx.enrich(Enrichment::new().attribute("error.type", "Quota"));
                *response.body_mut() = "no".into();
            }
            "/throw" => return Err(JsError::type_error("not like this")),
            "/panic" => panic!("as it should"),
            "/never" => std::future::pending().await,
            _ => *response.status_mut() = StatusCode::NOT_FOUND,
        }
        Ok(response)
    }
}

impl Site {
    /// A stream of so many chunks, and then an end or an error.
    fn stream(&self, count: u64, error: Option<&'static str>) -> ByteStream {
        let (sink, stream) = ByteStream::pipe();
        let seen = Rc::clone(&self.0);
        tokio::task::spawn_local(async move {
            for n in 0..count {
                let chunk = vec![n as u8; CHUNK];
                if let Err(error) = sink.write(chunk).await {
                    return seen.end(Err(error));
                }
                seen.written.set(seen.written.get() + CHUNK as u64);
            }
            match error {
                Some(error) => sink.fail(error),
                None => seen.end(sink.end().await),
            }
        });
        stream
    }
}

pub fn pairs(headers: &HeaderMap) -> Vec<[String; 2]> {
    let pair = |(name, value): (&::http::HeaderName, &::http::HeaderValue)| {
        [name.to_string(), value.to_str().unwrap().to_owned()]
    };
    headers.iter().map(pair).collect()
}
