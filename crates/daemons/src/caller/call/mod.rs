//! `caller call`: one call, its result on the standard output stream, its spans on the standard error
//! stream.

mod args;
mod arguments;
mod output;

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::{Duration, Instant};

use js_rpc::{ConnectOptions, Connection, PendingCall, Reply, RpcLimits};
use tail::{Recorder, Tree};

use self::output::Output;
use crate::exit::Failure;
use crate::otel::Plan;
use crate::signals::Signals;
use crate::telemetry::Telemetry;

pub use args::{CallArgs, Target};

pub(super) async fn from_command_line(args: CallArgs) -> Result<(), Failure> {
    let mut output = Output::take()?;
    let arguments = arguments::read(&args.arguments, std::io::stdin())?;
    let recorder = Arc::new(Recorder::new());
    let plan = Plan::from_env(&args.otlp, "caller");
    let telemetry = Telemetry::new().tail(args.tail.as_ref())?.export(&plan)?;
    let telemetry = if args.no_tree {
        telemetry
    } else {
        telemetry.record(&recorder)
    };
    let mut signals = Signals::install()?;
    let began = Instant::now();
    let connection = tokio::select! {
        connection = connect(&args, &telemetry) => connection?,
        number = signals.next() => return Err(Failure::Signal(number)),
    };
    // Interrupted, the call is cancelled, and its span ends as any other does.
    let outcome = tokio::select! {
        outcome = call(&connection, &args, arguments, began) => outcome.map_err(Failure::from),
        number = signals.next() => Err(Failure::Signal(number)),
    };
    let outcome = outcome.and_then(|reply| output.result(&reply));
    let end = async {
        close(connection).await;
        telemetry.finish().await;
    };
    tokio::select! {
        () = end => {}
        number = signals.next() => return Err(Failure::Signal(number)),
    }
    output::tree(&spans(&recorder, args.verbose), args.verbose);
    outcome
}

/// The spans of the call; what only repeats the command line is for those who want everything.
fn spans(recorder: &Recorder, verbose: bool) -> Tree {
    let mut spans = recorder.take();
    for span in &mut spans {
        span.attributes
            .retain(|a| verbose || !super::is_protocol(&a.key));
    }
    spans.iter().collect()
}

async fn connect(args: &CallArgs, telemetry: &Telemetry) -> Result<Connection, Failure> {
    let trust = args.trust.trust(&args.identity, args.insecure)?;
    args.trust.check(&trust, &[&args.connect])?;
    let default = RpcLimits::default();
    let options = ConnectOptions {
        sinks: telemetry.sinks(),
        limits: RpcLimits {
            connect: default.connect.min(args.deadline),
            ..default
        },
        connect: args.connect_name.clone(),
        trust,
    };
    Ok(Connection::connect(&args.connect, options).await?)
}

fn call(
    connection: &Connection,
    args: &CallArgs,
    arguments: js_rpc::Args,
    began: Instant,
) -> PendingCall {
    let binding = connection.binding(&args.target.binding);
    let call = match args.get {
        true => binding.get(&args.target.method),
        false => binding.call(&args.target.method, arguments),
    };
    // The deadline is for all of it.
    let call = call.deadline(args.deadline).since(began);
    match args.parent() {
        Some(parent) => call.parent(parent).into_future(),
        None => call.into_future(),
    }
}

/// How long a callee may take to say that the session is over.
const GOODBYE: Duration = Duration::from_secs(2);

/// Ends the session in order, as a workerd wants it.
async fn close(connection: Connection) {
    let ended = connection.ended();
    drop(connection);
    let _ = tokio::time::timeout(GOODBYE, ended).await;
}

/// The result as JSON.
fn json(reply: &Reply) -> Result<serde_json::Value, Failure> {
    reply
        .to_json()
        .map_err(|error| Failure::Callee(format!("the result cannot be written as JSON: {error}")))
}
