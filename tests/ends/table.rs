//! The table: each end over each way.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::callee::{self, ATTRIBUTE, GO, NAME, Settings};
use crate::harness;
use crate::scene::{Ended, ROUTES, Route, Scene, Setup, until};
use crate::spans::Span;

/// How a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Returned,
    Thrown,
    /// The caller's deadline is the shorter one.
    DeadlineAtCaller,
    /// The handler's limit is.
    DeadlineAtCallee,
    /// Whoever made the call goes away.
    Cancelled,
    /// The callee is killed.
    Lost,
    Panicked,
    /// The callee is shutting down: what comes then.
    Refused,
    /// And what was there before.
    Drained,
    /// The callee serves something else.
    NoBinding,
    /// There is no callee.
    NotThere,
}

pub const ENDS: [End; 11] = [
    End::Returned,
    End::Thrown,
    End::DeadlineAtCaller,
    End::DeadlineAtCallee,
    End::Cancelled,
    End::Lost,
    End::Panicked,
    End::Refused,
    End::Drained,
    End::NoBinding,
    End::NotThere,
];

impl End {
    const fn name(self) -> &'static str {
        match self {
            Self::Returned => "returned",
            Self::Thrown => "thrown",
            Self::DeadlineAtCaller => "deadline, the caller's",
            Self::DeadlineAtCallee => "deadline, the callee's",
            Self::Cancelled => "cancelled",
            Self::Lost => "connection lost",
            Self::Panicked => "panicked",
            Self::Refused => "callee shuts down: new",
            Self::Drained => "callee shuts down: in flight",
            Self::NoBinding => "no such binding",
            Self::NotThere => "no callee",
        }
    }

    const fn method(self) -> &'static str {
        match self {
            Self::Returned | Self::Refused | Self::NoBinding | Self::NotThere => "returns",
            Self::Thrown => "throws",
            Self::Panicked => "panics",
            Self::Drained => "waits",
            _ => "sleeps",
        }
    }

    pub fn setup(self) -> Setup {
        let mut setup = Setup::default();
        match self {
            Self::DeadlineAtCaller => setup.deadline = Some(Duration::from_secs(1)),
            Self::NoBinding => setup.callee.binding = "OTHER".to_owned(),
            Self::DeadlineAtCallee => setup.callee.handler = Some(Duration::from_millis(500)),
            _ => {}
        }
        setup
    }
}

/// What is to be seen of a call.
pub struct Expected {
    /// By the library, an exit code, a status; a Worker has 500 for whatever is thrown there.
    pub codes: (&'static str, &'static str, &'static str),
    /// Part of what people are told; of what a Worker catches.
    pub says: (&'static str, &'static str),
    /// The outcome of the caller's span, and whether what the callee said is on it.
    pub outcome: &'static str,
    pub told: bool,
    /// `error.type` of the caller's.
    pub error: Option<&'static str>,
    /// The outcome and `error.type` of the callee's span, if it has one and can write it down, and whether what
    /// was said is on that.
    pub served: Option<(&'static str, Option<&'static str>, bool)>,
    /// `outcome` in metrics.
    pub counted: &'static str,
}

const RETURNED: Expected = Expected {
    codes: ("ok", "0", "200"),
    says: ("\"done\"", "\"done\""),
    outcome: "ok",
    told: true,
    error: None,
    served: Some(("ok", None, false)),
    counted: "ok",
};

fn expected(end: End, route: Route) -> Expected {
    let worker = route == Route::Worker;
    let expected = match end {
        End::Returned | End::Drained => RETURNED,
        End::Thrown => Expected {
            codes: ("Thrown", "1", "500"),
            says: ("RangeError: too far", "RangeError: too far"),
            outcome: "exception",
            error: Some("RangeError"),
            served: Some(("exception", Some("RangeError"), false)),
            counted: "exception",
            ..RETURNED
        },
        End::Panicked => Expected {
            codes: ("Thrown", "1", "500"),
            says: (
                "Error: internal error: the method panicked",
                "Error: internal error: the method panicked",
            ),
            outcome: "exception",
            error: Some("Error"),
            served: Some(("exception", Some("Error"), false)),
            counted: "exception",
            ..RETURNED
        },
        End::DeadlineAtCaller => Expected {
            codes: ("Deadline", "124", "504"),
            says: (
                "deadline of 1s passed without an answer",
                "Error: deadline of 1s passed without an answer",
            ),
            outcome: "exceededWallTime",
            error: Some("deadline"),
            served: Some(("exceededWallTime", Some("deadline"), false)),
            counted: "deadline",
            ..RETURNED
        },
        End::DeadlineAtCallee => Expected {
            codes: ("Deadline", "124", "504"),
            says: (
                "deadline of 500ms passed without an answer",
                "Error: deadline of 500ms passed without an answer",
            ),
            outcome: "exceededWallTime",
            error: Some("deadline"),
            served: Some(("exceededWallTime", Some("deadline"), false)),
            counted: "deadline",
            ..RETURNED
        },
        End::Cancelled => Expected {
            codes: ("dropped", "130", "gone"),
            says: ("", ""),
            outcome: "canceled",
            told: false,
            error: None,
            served: Some(("canceled", None, true)),
            counted: "canceled",
        },
        End::Lost => Expected {
            codes: ("Disconnected", "69", "502"),
            says: ("connection lost: ", "Error: Network connection lost."),
            outcome: "exception",
            told: false,
            error: Some("disconnected"),
            served: None,
            counted: "exception",
        },
        End::NoBinding => Expected {
            codes: ("Refused", "1", "400"),
            says: (
                "there is no binding \"SHOP\" here; there is: OTHER",
                "Error: ",
            ),
            outcome: "exception",
            told: false,
            error: Some("refused"),
            served: None,
            counted: "exception",
        },
        End::Refused | End::NotThere if route == Route::Call => Expected {
            // Nobody listens there any more.
            codes: ("", "69", ""),
            says: ("cannot connect to ", ""),
            outcome: "",
            told: false,
            error: None,
            served: None,
            counted: "",
        },
        End::NotThere => Expected {
            codes: ("Unavailable", "69", "503"),
            says: ("cannot connect to ", "Error: "),
            outcome: "exception",
            told: false,
            error: Some("unavailable"),
            served: None,
            counted: "exception",
        },
        End::Refused => Expected {
            codes: ("Overloaded", "69", "503"),
            says: ("the callee is overloaded: ", "Error: "),
            outcome: "exception",
            told: false,
            error: Some("overloaded"),
            served: None,
            counted: "exception",
        },
    };
    match (expected.error, expected.served) {
        // workerd has no place for it in an answer that is an error.
        (Some(_), Some((outcome, error, _))) if worker => Expected {
            served: Some((outcome, error, true)),
            ..expected
        },
        _ => expected,
    }
}

/// Makes a call that ends so.
fn make(end: End, scene: &mut Scene) -> Ended {
    let call = |scene: &Scene| scene.call(end.method(), &json!([]));
    match end {
        End::Cancelled => {
            let call = call(scene);
            scene.begun();
            call.abandon()
        }
        End::Lost => {
            let call = call(scene);
            scene.begun();
            scene.callee.take().unwrap().kill();
            call.end()
        }
        End::NotThere => {
            assert!(scene.callee.take().unwrap().stop().success());
            call(scene).end()
        }
        End::Refused | End::Drained => {
            let slow = scene.call(End::Drained.method(), &json!([]));
            scene.begun();
            let callee = scene.callee.take().unwrap();
            callee.signal(Signal::TERM);
            let socket = scene.world.path(callee::SOCKET);
            until("it stops listening", || !socket.exists());
            let new = (end == End::Refused).then(|| call(scene).end());
            std::fs::write(scene.world.path(GO), "").unwrap();
            let finished = slow.end();
            assert!(callee.end().success());
            new.unwrap_or(finished)
        }
        _ => call(scene).end(),
    }
}

fn told(span: &Span) -> bool {
    span.get(ATTRIBUTE.0) == Some(ATTRIBUTE.1)
}

/// Makes a call, and looks at everything that is to be seen of it. What it says is for people.
pub fn cell(end: End, route: Route, setup: &Setup, expected: &Expected) -> String {
    let mut scene = Scene::new(route, setup);
    let ended = make(end, &mut scene);
    let method = end.method();

    let (library, exit, status) = expected.codes;
    let code = match route {
        Route::Library => library,
        Route::Call | Route::Sidecar | Route::TwoSidecars => exit,
        Route::Http => status,
        Route::Worker | Route::WorkerSidecar => match status {
            "200" | "gone" => status,
            _ => "500",
        },
    };
    assert_eq!(ended.code, code, "{ended:?}");
    let says = match route {
        Route::Worker | Route::WorkerSidecar => expected.says.1,
        _ => expected.says.0,
    };
    assert!(ended.text.contains(says), "{says:?} in {ended:?}");
    if route == Route::Http
        && let Some(error) = expected.error
    {
        assert_eq!(ended.body["error"]["name"], error, "{ended:?}");
    }

    let mut cell = code.to_owned();
    if matches!(route, Route::Worker | Route::WorkerSidecar) && code == "500" {
        // As workerd tells errors of the way there from those of the application.
        let flags = match expected.error {
            Some("disconnected" | "unavailable") => (true, false),
            Some("overloaded") => (false, true),
            _ => (false, false),
        };
        let flag = |name: &str| ended.body["error"][name] == true;
        assert_eq!((flag("retryable"), flag("overloaded")), flags, "{ended:?}");
        let (text, _) = ended
            .text
            .split_once("; reference =")
            .unwrap_or((&ended.text, ""));
        let _ = write!(cell, " {text}");
        for name in ["retryable", "overloaded"] {
            let _ = write!(
                cell,
                "{}",
                if flag(name) {
                    format!(", {name}")
                } else {
                    String::new()
                }
            );
        }
    }
    if let Some((outcome, error, on_it)) = expected.served {
        let served = scene.served_to_its_end(method);
        assert_eq!(served.outcome.as_deref(), Some(outcome), "{served:?}");
        assert_eq!(served.error_type(), error, "{served:?}");
        assert_eq!(told(&served), on_it, "{served:?}");
        let renamed = if on_it { NAME } else { served.opened.as_str() };
        assert_eq!(served.name, renamed, "{served:?}");
        let began = scene.served();
        let child = began
            .iter()
            .find(|span| span.opened == callee::BEGUN)
            .unwrap();
        assert!(child.outcome.is_some(), "child spans close: {child:?}");
        let _ = write!(cell, "; callee {}", shown(&served));
    } else if end != End::Lost {
        let served = scene.served();
        let ran = |span: &&Span| span.get("jsrpc.method") == Some(method);
        assert!(
            !served.iter().any(|span| ran(&span)),
            "it did not run: {served:#?}"
        );
    }
    if expected.outcome.is_empty() {
        return cell;
    }
    for (i, span) in scene.called(method).iter().enumerate() {
        assert_eq!(span.outcome.as_deref(), Some(expected.outcome), "{span:?}");
        assert_eq!(span.error_type(), expected.error, "{span:?}");
        assert_eq!(span.opened, "jsRpcSession", "{span:?}");
        assert_eq!(told(span), expected.told, "{span:?}");
        let name = if expected.told { NAME } else { "jsRpcSession" };
        assert_eq!(span.name, name, "{span:?}");
        if let (Some(class), Some((kind, _))) = (expected.error, &span.error) {
            assert_eq!(kind, class, "{span:?}");
        }
        if expected.served.is_some() {
            assert_eq!(
                scene.served_to_its_end(method).trace,
                span.trace,
                "{span:?}"
            );
        }
        if i == 0 {
            let _ = write!(cell, "; caller {}", shown(span));
        }
    }
    scene.counted(method, expected.counted, expected.error);
    scene.stop();
    cell
}

/// A span in a few words.
fn shown(span: &Span) -> String {
    let outcome = span.outcome.as_deref().unwrap_or("open");
    let error = span
        .error_type()
        .map(|class| format!(" {class}"))
        .unwrap_or_default();
    let said = if told(span) { " + said" } else { "" };
    format!("`{}`{said} {outcome}{error}", span.name)
}

/// Fills a table, several cells at a time; fails with every cell that is not as it has to be.
pub fn fill(
    title: &str,
    ends: &[End],
    routes: &[Route],
    fill: impl Fn(End, Route) -> Option<String> + Sync,
) {
    if routes
        .iter()
        .any(|route| matches!(route, Route::Worker | Route::WorkerSidecar))
    {
        // What it takes to install workerd is not part of any cell.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(harness::within(async {}));
    }
    let cells: Vec<(End, Route)> = ends
        .iter()
        .flat_map(|end| routes.iter().map(|route| (*end, *route)))
        .collect();
    let (next, filled) = (
        AtomicUsize::new(0),
        Mutex::new(vec![String::new(); cells.len()]),
    );
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&(end, route)) = cells.get(i) else {
                        return;
                    };
                    let cell = catch_unwind(AssertUnwindSafe(|| fill(end, route)));
                    filled.lock().unwrap()[i] = match cell {
                        Ok(cell) => cell.unwrap_or_else(|| "–".to_owned()),
                        Err(_) => {
                            failed.lock().unwrap().push((end, route));
                            "FAILED".to_owned()
                        }
                    };
                }
            });
        }
    });
    let filled = filled.into_inner().unwrap();
    let mut table = format!("\n{title}\n\n| end |");
    for route in routes {
        let _ = write!(table, " {} |", route.name());
    }
    let _ = write!(table, "\n|---|{}", "---|".repeat(routes.len()));
    for (end, cells) in ends.iter().zip(filled.chunks(routes.len())) {
        let _ = write!(table, "\n| {} | {} |", end.name(), cells.join(" | "));
    }
    println!("{table}\n");
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "not as they have to be: {failed:?}");
}

#[test]
fn how_calls_end() {
    fill("How calls end", &ENDS, &ROUTES, |end, route| {
        let none = match end {
            // A Worker has no deadline of its own: what it gives up it cancels.
            End::DeadlineAtCaller => route == Route::Worker,
            // The library connects before it calls.
            End::NotThere => route == Route::Library,
            _ => false,
        };
        (!none).then(|| cell(end, route, &end.setup(), &expected(end, route)))
    });
}

/// The same with a callee that knows workerd's three calls alone, as one of an older version does: an error is a
/// text there, and what was said stays on the callee's own span.
pub fn older(end: End) -> (Setup, Expected) {
    let mut setup = end.setup();
    setup.callee = Settings {
        one_message: false,
        ..setup.callee
    };
    let expected = expected(end, Route::Worker);
    (setup, expected)
}
