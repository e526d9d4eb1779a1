//! Clients of one connection that want all there is, as often as they can.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use js_rpc::{Args, Binding, ConnectOptions, Connection, Value};
use js_value::Object;

use crate::case::endless;
use crate::honest::{local, query};
use crate::scene::Scene;

/// For how long each of them is there.
const TIME: Duration = Duration::from_millis(2_000);

#[derive(Clone, Copy)]
pub struct Greedy {
    pub name: &'static str,
    /// Calls in flight, on each connection.
    in_flight: usize,
    connections: usize,
    args: fn() -> Args,
    /// After which a call is cancelled.
    cancel: Option<Duration>,
    /// Several connections, which together may have more than one's share: what that costs is printed.
    pub many: bool,
}

const fn of(name: &'static str, in_flight: usize, args: fn() -> Args) -> Greedy {
    Greedy {
        name,
        in_flight,
        connections: 1,
        args,
        cancel: None,
        many: false,
    }
}

fn read() -> Args {
    query(&endless("select count(*) from c"), Vec::new())
}

fn write() -> Args {
    let sql = endless("insert into seq(v) select n from c where n < 0");
    query(&sql, Vec::new())
}

fn small() -> Args {
    query("select 1", Vec::new())
}

fn small_write() -> Args {
    query("update honest set v = v where id = 1", Vec::new())
}

fn semicolons() -> Args {
    query(&";".repeat(15_000_000), Vec::new())
}

fn numbers() -> Args {
    let params = (0..1_000_000).map(|n| Value::Number(f64::from(n)));
    let query = Object::from([
        ("sql", Value::from("select ?1")),
        ("params", params.collect()),
    ]);
    crate::honest::queries(vec![query.into()])
}

pub const ALL: &[Greedy] = &[
    of("4 endless selects", 4, read),
    of("100 endless selects", 100, read),
    of("4 endless writes", 4, write),
    of("100 endless writes", 100, write),
    of("2,000 small reads", 2_000, small),
    of("2,000 small writes", 2_000, small_write),
    of("15 MB of semicolons", 2, semicolons),
    of("a million parameters", 2, numbers),
    Greedy {
        cancel: Some(Duration::from_millis(5)),
        ..of("cancelled writes", 10, write)
    },
    Greedy {
        cancel: Some(Duration::from_millis(30)),
        ..of("cancelled selects", 20, read)
    },
    Greedy {
        connections: 20,
        many: true,
        ..of("20 with a write each", 1, write)
    },
];

/// What came of the calls.
#[derive(Debug, Default)]
pub struct Came {
    pub calls: usize,
    pub by_class: BTreeMap<String, usize>,
    pub longest: Duration,
}

impl Came {
    fn add(&mut self, class: &str, took: Duration) {
        self.calls += 1;
        *self.by_class.entry(class.to_owned()).or_default() += 1;
        self.longest = self.longest.max(took);
    }
}

/// Runs one for a while, and leaves with what is in flight.
pub fn run(scene: &Scene, greedy: Greedy) -> Came {
    let came: Rc<RefCell<Came>> = Rc::default();
    let address = scene.address();
    local(async {
        let mut tasks = Vec::new();
        for _ in 0..greedy.connections {
            let connection = Connection::connect(&address, ConnectOptions::default()).await;
            let binding = connection.unwrap().binding("DB");
            for _ in 0..greedy.in_flight {
                let (binding, came) = (binding.clone(), Rc::clone(&came));
                tasks.push(tokio::task::spawn_local(again(greedy, binding, came)));
            }
        }
        tokio::time::sleep(TIME).await;
        for task in tasks {
            task.abort();
        }
    });
    Rc::try_unwrap(came)
        .map(RefCell::into_inner)
        .unwrap_or_default()
}

async fn again(greedy: Greedy, binding: Binding, came: Rc<RefCell<Came>>) {
    loop {
        let began = Instant::now();
        let call = binding.call("query", (greedy.args)());
        let reply = match greedy.cancel {
            None => call.await,
            Some(after) => match tokio::time::timeout(after, call).await {
                Ok(reply) => reply,
                Err(_) => {
                    came.borrow_mut().add("cancelled", began.elapsed());
                    continue;
                }
            },
        };
        let class = match reply {
            Ok(reply) => match reply.value().get("error").and_then(Value::as_error) {
                None => "done".to_owned(),
                Some(error) => class(&error.message),
            },
            Err(error) => class(&error.to_string()),
        };
        came.borrow_mut().add(&class, began.elapsed());
        // Whoever is refused at once does not come again at once.
        if began.elapsed() < Duration::from_millis(1) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn class(message: &str) -> String {
    const KNOWN: [&str; 6] = [
        "because other clients waited",
        "ran longer than",
        "Too many requests queued",
        "statement too long",
        "Wrong number of parameter",
        "overloaded",
    ];
    let known = KNOWN.iter().find(|known| message.contains(**known));
    known.map_or_else(
        || message.chars().take(120).collect(),
        |known| (*known).to_owned(),
    )
}

/// Whether every call ended in a way that a greedy client is to expect.
pub fn strange(came: &Came) -> Vec<String> {
    let known = |class: &str| {
        ["done", "cancelled"].contains(&class) || self::class(class) == class && class.len() < 30
    };
    let strange = came.by_class.keys().filter(|class| !known(class));
    strange.cloned().collect()
}
