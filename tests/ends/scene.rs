//! A callee, a way to it, and calls that go that way.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use binding_span::{Sinks, SpanSink};
use js_rpc::{Args, CallError, ConnectOptions, Connection};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value as Json, json};
use tail::{Feed, JsonLines};
use tokio::sync::{mpsc as channel, oneshot};
use tokio::task::LocalSet;

use crate::callee::{self, BEGUN, BINDING, Settings};
use crate::harness::Builder;
use crate::spans::{self, Span};
use crate::util::{self, Daemon, LIMIT, World};

/// A way to the callee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The library in this process.
    Library,
    /// `caller call`.
    Call,
    /// `caller call`, `caller serve`.
    Sidecar,
    /// `caller call`, `caller serve`, `caller serve`.
    TwoSidecars,
    /// `caller serve --http`.
    Http,
    /// A Worker in workerd.
    Worker,
    /// A Worker, `caller serve`.
    WorkerSidecar,
}

pub const ROUTES: [Route; 7] = [
    Route::Library,
    Route::Call,
    Route::Sidecar,
    Route::TwoSidecars,
    Route::Http,
    Route::Worker,
    Route::WorkerSidecar,
];

impl Route {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Library => "library",
            Self::Call => "`caller call`",
            Self::Sidecar => "`caller call`, sidecar",
            Self::TwoSidecars => "`caller call`, two sidecars",
            Self::Http => "HTTP",
            Self::Worker => "Worker",
            Self::WorkerSidecar => "Worker, sidecar",
        }
    }

    const fn sidecars(self) -> usize {
        match self {
            Self::Library | Self::Call | Self::Worker => 0,
            Self::Sidecar | Self::Http | Self::WorkerSidecar => 1,
            Self::TwoSidecars => 2,
        }
    }

    /// Whether calls are requests to something that speaks HTTP.
    pub const fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Worker | Self::WorkerSidecar)
    }
}

/// How a scene is to be.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    pub callee: Settings,
    /// The deadline of the one who makes calls.
    pub deadline: Option<Duration>,
}

/// The programs.
pub struct Scene {
    pub world: World,
    pub route: Route,
    pub callee: Option<Daemon>,
    setup: Setup,
    /// The first is the one at the callee.
    sidecars: Vec<Daemon>,
    library: Option<Library>,
    worker: Option<Worker>,
}

/// How a call ended for whoever made it: an exit code, a status, or `error.type`; and its words.
#[derive(Debug, Clone)]
pub struct Ended {
    pub code: String,
    pub text: String,
    /// From HTTP.
    pub body: Json,
}

/// A call that was made.
pub struct Flight {
    abandon: Box<dyn FnOnce() + Send>,
    done: Receiver<Ended>,
}

impl Flight {
    #[track_caller]
    pub fn end(self) -> Ended {
        self.done.recv_timeout(LIMIT).expect("the call ends")
    }

    /// Whoever made it goes away.
    #[track_caller]
    pub fn abandon(self) -> Ended {
        (self.abandon)();
        self.done.recv_timeout(LIMIT).expect("the call is given up")
    }
}

fn sidecar(n: usize) -> String {
    format!("sidecar{n}")
}

impl Scene {
    pub fn new(route: Route, setup: &Setup) -> Self {
        let world = World::new();
        let callee = world.start(callee::command(&setup.callee), &[]).ready();
        Self::behind(route, setup, world, Some(callee), callee::SOCKET)
    }

    /// The way to a callee that listens on a socket in the folder.
    pub fn behind(
        route: Route,
        setup: &Setup,
        world: World,
        callee: Option<Daemon>,
        socket: &str,
    ) -> Self {
        let mut to = world.unix(socket);
        let mut sidecars = Vec::new();
        for n in 0..route.sidecars() {
            let name = sidecar(n);
            let file = |what: &str| world.unix(&format!("{name}.{what}"));
            let mut args = vec!["serve".to_owned()];
            args.extend(["--listen".into(), file("sock")]);
            args.extend(["--http".into(), file("http")]);
            args.extend(["--admin".into(), file("admin")]);
            args.extend(["--tail".into(), format!("./{name}.jsonl")]);
            args.extend(["--bind".into(), format!("{BINDING}={to}")]);
            if let Some(deadline) = setup.deadline.filter(|_| route.is_http()) {
                args.extend(["--deadline".into(), format!("{}ms", deadline.as_millis())]);
            }
            if let Some(in_flight) = setup.callee.in_flight {
                args.extend(["--limit-in-flight".into(), in_flight.to_string()]);
            }
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let mut daemon = world.start(util::caller(), &args);
            daemon.line("(HTTP, POST /v1/call/BINDING/METHOD)");
            sidecars.push(daemon);
            to = file("sock");
        }
        let library = (route == Route::Library).then(|| Library::to(&world, &to));
        let worker = matches!(route, Route::Worker | Route::WorkerSidecar);
        let worker = worker.then(|| Worker::to(&to));
        Self {
            world,
            route,
            callee,
            setup: setup.clone(),
            sidecars,
            library,
            worker,
        }
    }

    /// Where `caller call` connects to.
    pub fn address(&self) -> String {
        match self.sidecars.len() {
            0 => self.world.unix(callee::SOCKET),
            n => self.world.unix(&format!("{}.sock", sidecar(n - 1))),
        }
    }

    fn http(&self) -> PathBuf {
        match &self.worker {
            Some(worker) => worker.http.clone(),
            None => self.world.path("sidecar0.http"),
        }
    }

    /// Makes a call.
    pub fn call(&self, method: &str, args: &Json) -> Flight {
        match &self.library {
            Some(library) => library.call(method, args, self.setup.deadline),
            None if self.route.is_http() => post(&self.http(), &path(method), args),
            None => self.program(method, args),
        }
    }

    fn program(&self, method: &str, args: &Json) -> Flight {
        let mut command = util::caller();
        let address = self.address();
        command
            .args([
                "call",
                "--no-tree",
                "--tail",
                "call.jsonl",
                "--connect",
                &address,
            ])
            .arg(format!("{BINDING}.{method}"))
            .args(args.as_array().unwrap().iter().map(Json::to_string))
            .current_dir(self.world.path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(deadline) = self.setup.deadline {
            command.args(["--deadline", &format!("{}ms", deadline.as_millis())]);
        }
        let child = command.spawn().unwrap();
        let pid = Pid::from_child(&child);
        let done = apart(move || {
            let output = child.wait_with_output().unwrap();
            let done = util::Done::from(output);
            let code = done
                .code
                .map_or("a signal".to_owned(), |code| code.to_string());
            let text = match done.code {
                Some(0) => done.stdout.trim_end(),
                _ => done.last_line(),
            };
            Ended {
                code,
                text: text.to_owned(),
                body: Json::Null,
            }
        });
        Flight {
            abandon: Box::new(move || kill_process(pid, Signal::INT).unwrap()),
            done,
        }
    }

    /// Waits until a method has said what it is, and goes on.
    pub fn begun(&self) {
        let begun = || self.served().iter().any(|span| span.opened == BEGUN);
        until("the method has begun", begun);
    }

    /// The callee's spans so far.
    pub fn served(&self) -> Vec<Span> {
        spans::read(&self.world.path(callee::TAIL))
    }

    /// Waits until the callee's span of a method has closed.
    pub fn served_to_its_end(&self, method: &str) -> Span {
        let find = || {
            let spans = self.served().into_iter();
            spans
                .filter(Span::is_served)
                .find(|span| span.get("jsrpc.method") == Some(method) && span.outcome.is_some())
        };
        until("the callee's span closes", || find().is_some());
        find().unwrap()
    }

    /// Who has spans of calls that this way makes, and where they are.
    pub fn callers(&self) -> Vec<String> {
        let own = match self.route {
            Route::Library => vec!["library.jsonl".to_owned()],
            Route::Call | Route::Sidecar | Route::TwoSidecars => vec!["call.jsonl".to_owned()],
            Route::Http | Route::Worker | Route::WorkerSidecar => Vec::new(),
        };
        let sidecars = (0..self.sidecars.len()).map(|n| format!("{}.jsonl", sidecar(n)));
        own.into_iter().chain(sidecars).collect()
    }

    /// The one span that each caller has of a method, closed.
    #[track_caller]
    pub fn called(&self, method: &str) -> Vec<Span> {
        let all = self.callers().into_iter().map(|file| {
            let path = self.world.path(&file);
            let find = || -> Vec<Span> {
                let spans = spans::read(&path).into_iter().filter(Span::is_called);
                spans
                    .filter(|span| span.get("jsrpc.method") == Some(method))
                    .collect()
            };
            let closed = || find().iter().any(|span| span.outcome.is_some());
            until(&format!("the span in {file} closes"), closed);
            let mut found = find();
            assert_eq!(found.len(), 1, "one call, one span: {found:#?}");
            found.remove(0)
        });
        all.collect()
    }

    /// Waits until each sidecar has counted that a call ended so.
    pub fn counted(&self, method: &str, outcome: &str, error: Option<&str>) {
        for n in 0..self.sidecars.len() {
            let admin = format!("{}.admin", sidecar(n));
            let side = format!("side=\"client\",binding=\"{BINDING}\"");
            let calls = format!(
                "binding_span_calls_total{{{side},method=\"{method}\",outcome=\"{outcome}\"}} 1"
            );
            let counted = || util::metrics(&self.world, &admin);
            let has = |line: &str| counted().lines().any(|known| known == line);
            until(&format!("{calls} in\n{}", counted()), || has(&calls));
            if let Some(error) = error {
                let errors =
                    format!("binding_span_call_errors_total{{{side},error_type=\"{error}\"}} 1");
                assert!(has(&errors), "{errors} in\n{}", counted());
            }
        }
    }

    /// Stops what passes calls on.
    #[track_caller]
    pub fn stop(&mut self) {
        drop(self.library.take());
        drop(self.worker.take());
        for sidecar in self.sidecars.drain(..).rev() {
            assert!(sidecar.stop().success());
        }
        if let Some(callee) = self.callee.take() {
            assert!(callee.stop().success());
        }
    }
}

/// The path of a call by HTTP.
pub fn path(method: &str) -> String {
    format!("/v1/call/{BINDING}/{method}")
}

/// Waits until something is true that is soon.
#[track_caller]
pub fn until(what: &str, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn apart(call: impl FnOnce() -> Ended + Send + 'static) -> Receiver<Ended> {
    let (tell, done) = mpsc::channel();
    thread::spawn(move || tell.send(call()));
    done
}

/// A request.
pub fn post(socket: &std::path::Path, path: &str, args: &Json) -> Flight {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let (other, body) = (stream.try_clone().unwrap(), args.to_string());
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let done = apart(move || {
        let mut text = String::new();
        let answered = stream
            .write_all(request.as_bytes())
            .and_then(|()| stream.read_to_string(&mut text));
        match answered {
            Ok(1..) => answer(&text),
            _ => Ended {
                code: "gone".into(),
                text: String::new(),
                body: Json::Null,
            },
        }
    });
    Flight {
        abandon: Box::new(move || other.shutdown(std::net::Shutdown::Both).unwrap()),
        done,
    }
}

fn answer(text: &str) -> Ended {
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let body: Json = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {text}"));
    let error = &body["error"];
    let text = match error.is_null() {
        true => body.to_string(),
        false => format!(
            "{}: {}",
            error["name"].as_str().unwrap_or_default(),
            error["message"].as_str().unwrap_or_default()
        ),
    };
    Ended {
        code: head.split(' ').nth(1).unwrap().to_owned(),
        text,
        body,
    }
}

/// A connection of the library, on a thread of its own.
pub struct Library {
    calls: Option<channel::UnboundedSender<Calling>>,
    thread: Option<JoinHandle<()>>,
}

struct Calling {
    method: String,
    args: Json,
    deadline: Option<Duration>,
    abandoned: oneshot::Receiver<()>,
    tell: mpsc::Sender<Ended>,
}

impl Library {
    fn to(world: &World, address: &str) -> Self {
        let (address, tail) = (address.parse().unwrap(), world.path("library.jsonl"));
        let (calls, mut called) = channel::unbounded_channel::<Calling>();
        let run = async move || {
            let lines = Arc::new(JsonLines::file(tail).unwrap());
            let feed = Feed::new();
            feed.subscribe(lines.clone());
            let sinks: Sinks = Arc::new([Arc::new(feed) as Arc<dyn SpanSink>]);
            let options = ConnectOptions {
                sinks,
                ..ConnectOptions::default()
            };
            let connection = Connection::connect(&address, options).await.unwrap();
            while let Some(calling) = called.recv().await {
                tokio::task::spawn_local(calling.run(connection.clone()));
            }
            lines.flush(Duration::from_secs(10));
        };
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            LocalSet::new().block_on(&runtime, run());
        });
        Self {
            calls: Some(calls),
            thread: Some(thread),
        }
    }

    fn call(&self, method: &str, args: &Json, deadline: Option<Duration>) -> Flight {
        let (abandon, abandoned) = oneshot::channel();
        let (tell, done) = mpsc::channel();
        let calling = Calling {
            method: method.to_owned(),
            args: args.clone(),
            deadline,
            abandoned,
            tell,
        };
        self.calls.as_ref().unwrap().send(calling).ok().unwrap();
        Flight {
            abandon: Box::new(move || abandon.send(()).unwrap()),
            done,
        }
    }
}

impl Calling {
    async fn run(self, connection: Connection) {
        let args = self.args.as_array().unwrap().clone();
        let call = connection
            .binding(BINDING)
            .call(&self.method, Args::from_json(args).unwrap());
        let call = match self.deadline {
            Some(deadline) => call.deadline(deadline),
            None => call,
        };
        let ended = tokio::select! {
            biased;
            Ok(()) = self.abandoned => Ended {
                code: "dropped".into(),
                text: String::new(),
                body: Json::Null,
            },
            outcome = call => match outcome {
                Ok(reply) => Ended {
                    code: "ok".into(),
                    text: reply.to_json().unwrap().to_string(),
                    body: Json::Null,
                },
                Err(error) => Ended {
                    code: word(&error).to_owned(),
                    text: error.to_string(),
                    body: json!(error.kind()),
                },
            },
        };
        let _ = self.tell.send(ended);
    }
}

/// The kind of an error, as programs tell it.
fn word(error: &CallError) -> &'static str {
    match error {
        CallError::Thrown(_) => "Thrown",
        CallError::Overloaded(_) => "Overloaded",
        CallError::Deadline(_) => "Deadline",
        CallError::Canceled => "Canceled",
        CallError::Unavailable(_) => "Unavailable",
        CallError::Unimplemented(_) => "Unimplemented",
        CallError::Refused(_) => "Refused",
        CallError::Protocol(_) => "Protocol",
        CallError::Disconnected(_) => "Disconnected",
        CallError::Arguments(_) => "Arguments",
        CallError::Result(_) => "Result",
        _ => "another",
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        drop(self.calls.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

/// A workerd whose Worker calls; its process is that of a thread.
struct Worker {
    http: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn to(address: &str) -> Self {
        let address = address.parse().unwrap();
        let (tell, started) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let run = async move {
                let workerd = Builder::new("ends").external("shop", &address);
                let workerd = workerd.start().await;
                tell.send(workerd.http()).unwrap();
                drop(stopped.await);
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(run);
        });
        let js_rpc::Address::Unix(http) = started.recv_timeout(LIMIT).unwrap() else {
            panic!("it has a socket");
        };
        Self {
            http,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}
