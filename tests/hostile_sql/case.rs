//! A call that an honest client would not make, what must come of it, and how it is made.

use std::time::{Duration, Instant};

use js_rpc::{Args, CallError, CallOptions, Client, ConnectOptions, Value};
use js_value::Object;
use serde_json::Value as Json;

use crate::honest::local;
use crate::scene::{Scene, TIMEOUT};

/// What must come of a call.
#[derive(Debug, Clone)]
pub enum Expect {
    /// Its last statement returns these rows.
    Rows(Json),
    Succeeds,
    /// It fails with one of these in its message.
    Fails(&'static [&'static str]),
    /// It succeeds, or fails so: how far it comes depends on the machine.
    Ends(&'static [&'static str]),
    /// It is refused before it runs: an exception.
    Throws(&'static str),
    /// The same, or it fails with one of these: a value that takes long to read.
    Refused(&'static [&'static str]),
}

pub struct Case {
    pub name: String,
    pub args: Box<dyn Fn() -> Args>,
    pub expect: Expect,
    /// What another client finds afterwards.
    pub then: Option<(&'static str, Json)>,
}

/// A case of one statement, or of several in one text.
pub fn sql(name: &str, sql: &str) -> Case {
    with(name, sql, Vec::new)
}

/// The same with parameters.
pub fn with(name: &str, sql: &str, params: impl Fn() -> Vec<Value> + 'static) -> Case {
    let sql = sql.to_owned();
    call(name, move || crate::honest::query(&sql, params()))
}

/// Rows `c(n)` without end, and what is done with them.
pub fn endless(sql: &str) -> String {
    format!("with recursive c(n) as (select 1 union all select n + 1 from c) {sql}")
}

/// A case of several statements.
pub fn batch(name: &str, statements: impl Fn() -> Vec<String> + 'static) -> Case {
    call(name, move || {
        let queries = statements().into_iter().map(|sql| {
            let query = Object::from([("sql", Value::from(sql))]);
            Value::from(query)
        });
        crate::honest::queries(queries.collect())
    })
}

pub fn call(name: &str, args: impl Fn() -> Args + 'static) -> Case {
    Case {
        name: name.to_owned(),
        args: Box::new(args),
        expect: Expect::Succeeds,
        then: None,
    }
}

impl Case {
    pub fn succeeds(self) -> Self {
        self.expect(Expect::Succeeds)
    }

    pub fn rows(self, rows: Json) -> Self {
        self.expect(Expect::Rows(rows))
    }

    pub fn fails(self, says: &'static [&'static str]) -> Self {
        self.expect(Expect::Fails(says))
    }

    pub fn ends(self, says: &'static [&'static str]) -> Self {
        self.expect(Expect::Ends(says))
    }

    pub fn throws(self, says: &'static str) -> Self {
        self.expect(Expect::Throws(says))
    }

    pub fn refused(self, says: &'static [&'static str]) -> Self {
        self.expect(Expect::Refused(says))
    }

    fn expect(self, expect: Expect) -> Self {
        Self { expect, ..self }
    }

    pub fn then(self, sql: &'static str, rows: Json) -> Self {
        Self {
            then: Some((sql, rows)),
            ..self
        }
    }
}

/// What came of a call.
#[derive(Debug)]
pub struct Outcome {
    pub reply: Result<Json, String>,
    pub took: Duration,
}

impl Outcome {
    pub fn succeeded(&self) -> bool {
        matches!(&self.reply, Ok(json) if json["success"] == true)
    }

    /// The message of an error, or of an exception.
    pub fn message(&self) -> &str {
        match &self.reply {
            Ok(json) => json["error"]["$error"]["message"].as_str().unwrap_or(""),
            Err(thrown) => thrown,
        }
    }

    fn rows(&self) -> Option<&Json> {
        let results = self.reply.as_ref().ok()?["results"]["queryResults"].as_array()?;
        Some(&results.last()?["data"]["rows"])
    }

    /// What is wrong with it.
    fn wrong(&self, expect: &Expect) -> Option<String> {
        let says = |list: &[&str]| list.iter().any(|part| self.message().contains(part));
        let failed = self.reply.is_ok() && !self.succeeded();
        let right = match expect {
            Expect::Rows(rows) => self.succeeded() && self.rows() == Some(rows),
            Expect::Succeeds => self.succeeded(),
            Expect::Fails(list) => failed && says(list),
            Expect::Ends(list) => self.succeeded() || (failed && says(list)),
            Expect::Throws(part) => self.reply.is_err() && says(&[part]),
            Expect::Refused(list) => !self.succeeded() && says(list),
        };
        (!right).then(|| {
            let mut reply = format!("{:?}", self.reply);
            reply.truncate(reply.floor_char_boundary(600));
            format!("expected {expect:?}, got {reply}")
        })
    }

    /// Whether it was stopped because others waited.
    fn gave_way(&self) -> bool {
        self.message().contains("because other clients waited")
    }
}

/// What a theme has cost.
#[derive(Debug, Default)]
pub struct Done {
    pub cases: usize,
    pub slowest: (Duration, String),
    pub alone: usize,
    pub wrong: Vec<String>,
}

/// How much longer than its time a call may take to be answered.
const SPARE: Duration = Duration::from_secs(1);

/// Makes a call on a connection of its own.
pub fn make(scene: &Scene, args: Args) -> Outcome {
    local(async {
        let client = Client::connect(scene.address(), ConnectOptions::default()).await;
        outcome(&client.unwrap(), args).await
    })
}

pub async fn outcome(client: &Client, args: Args) -> Outcome {
    let began = Instant::now();
    let options = CallOptions {
        deadline: Some(TIMEOUT * 4),
        ..CallOptions::default()
    };
    let reply = client.call_with("DB", "query", args, options).await;
    let took = began.elapsed();
    let reply = match reply {
        Ok(reply) => Ok(reply.to_json().unwrap_or(Json::Null)),
        Err(error) => Err(said(&error)),
    };
    Outcome { reply, took }
}

fn said(error: &CallError) -> String {
    error.to_string()
}

/// Runs a theme; `alone` makes the honest clients pause, or go on.
pub fn run(scene: &Scene, cases: Vec<Case>, alone: impl Fn(bool)) -> Done {
    let mut done = Done::default();
    for case in cases {
        done.cases += 1;
        let mut outcome = make(scene, (case.args)());
        // How it ends by itself is seen where nobody waits; so is whether it was late for itself alone.
        let late = outcome.took > TIMEOUT + SPARE;
        let first = outcome.took;
        if late || (outcome.gave_way() && outcome.wrong(&case.expect).is_some()) {
            alone(true);
            std::thread::sleep(Duration::from_millis(260));
            outcome = make(scene, (case.args)());
            alone(false);
            done.alone += 1;
        }
        let name = &case.name;
        if outcome.took > TIMEOUT + SPARE {
            done.wrong.push(format!("{name}: took {:?}", outcome.took));
        } else if late {
            println!("    {name}: took {first:?}, and alone {:?}", outcome.took);
        }
        if let Some(wrong) = outcome.wrong(&case.expect) {
            done.wrong.push(format!("{name}: {wrong}"));
        }
        if let Some((sql, rows)) = &case.then {
            let found = make(scene, crate::honest::query(sql, Vec::new()));
            if let Some(wrong) = found.wrong(&Expect::Rows(rows.clone())) {
                done.wrong
                    .push(format!("{name}: afterwards: {sql}: {wrong}"));
            }
        }
        if std::env::var_os("HOSTILE_SQL_VERBOSE").is_some() {
            let mut said = outcome.message().to_owned();
            said.truncate(said.floor_char_boundary(160));
            println!("    {name}: {:?} {said}", outcome.took);
        }
        if outcome.took > done.slowest.0 {
            done.slowest = (outcome.took, name.clone());
        }
    }
    done
}
