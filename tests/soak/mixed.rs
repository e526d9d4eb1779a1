//! A mixed load on the real programs: calls, sessions held, calls given up, connections that come and go.

use std::time::{Duration, Instant};

use js_rpc::{Address, Binding, CallError, ConnectOptions, Connection};
use serde_json::json;

/// Where it goes: a `callee`, and a `caller serve` in front of it, which have the database `DB`.
pub struct Load {
    pub callee: Address,
    pub caller: Address,
    pub until: Instant,
}

/// What was done.
pub struct Done {
    pub answered: u64,
    pub given_up: u64,
    pub held: u64,
    pub connections: u64,
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} calls answered, {} given up, {} sessions held, {} connections made",
            self.answered, self.given_up, self.held, self.connections
        )
    }
}

const NEXT: Duration = Duration::from_millis(1);

/// A statement that takes some milliseconds.
const SLOW: &str = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000) \
                    select sum(i) from n";

impl Load {
    /// Loads both programs until it is time.
    pub async fn run(&self) -> Result<Done, CallError> {
        let direct = self.connect(&self.callee).await?;
        let through = self.connect(&self.caller).await?;
        let (direct, through) = (direct.binding("DB"), through.binding("DB"));
        let done = tokio::try_join!(
            self.call(&direct),
            self.call(&through),
            self.call(&through),
            self.give_up(&direct),
            self.give_up(&through),
            self.hold(&direct),
            self.hold(&through),
            self.reconnect(&self.callee),
            self.reconnect(&self.caller),
        )?;
        let (a, b, c, d, e, f, g, h, i) = done;
        Ok(Done {
            answered: a + b + c,
            given_up: d + e,
            held: f + g,
            connections: h + i,
        })
    }

    async fn connect(&self, at: &Address) -> Result<Connection, CallError> {
        Connection::connect(at, ConnectOptions::default()).await
    }

    fn goes_on(&self) -> bool {
        Instant::now() < self.until
    }

    /// Reads, and now and then writes.
    async fn call(&self, db: &Binding) -> Result<u64, CallError> {
        let mut calls = 0;
        while self.goes_on() {
            let sql = match calls % 10 {
                0 => "insert into t values (4)",
                1 => "delete from t where a = 4",
                _ => "select * from t",
            };
            db.call("query", (request(sql),)).await?;
            calls += 1;
            tokio::time::sleep(NEXT).await;
        }
        Ok(calls)
    }

    /// Gives up at a deadline, or by dropping the call.
    async fn give_up(&self, db: &Binding) -> Result<u64, CallError> {
        let mut calls = 0;
        while self.goes_on() {
            let call = db.call("query", (request(SLOW),));
            if calls % 2 == 0 {
                match call.deadline(NEXT).await {
                    Ok(_) | Err(CallError::Deadline(_)) => {}
                    Err(error) => return Err(error),
                }
            } else {
                let call = call.send();
                tokio::time::sleep(NEXT).await;
                drop(call);
            }
            calls += 1;
            tokio::time::sleep(NEXT * 5).await;
        }
        Ok(calls)
    }

    /// Keeps sessions open for a while, by what was asked for ahead of their results.
    async fn hold(&self, db: &Binding) -> Result<u64, CallError> {
        let mut held = 0;
        while self.goes_on() {
            let mut ahead = Vec::new();
            for _ in 0..20 {
                let call = db.call("query", (request("select 1"),)).send();
                ahead.push(call.pipelined());
                call.await?;
            }
            held += ahead.len() as u64;
            tokio::time::sleep(NEXT * 50).await;
        }
        Ok(held)
    }

    /// Connects, calls once, and goes.
    async fn reconnect(&self, at: &Address) -> Result<u64, CallError> {
        let mut connections = 0;
        while self.goes_on() {
            let connection = self.connect(at).await?;
            connection
                .binding("DB")
                .call("query", (request("select 1"),))
                .await?;
            connections += 1;
            tokio::time::sleep(NEXT * 10).await;
        }
        Ok(connections)
    }
}

fn request(sql: &str) -> serde_json::Value {
    json!({"queries": [{"sql": sql}]})
}
