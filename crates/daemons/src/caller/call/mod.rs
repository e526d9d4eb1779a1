//! `caller call`: one call, its result on the standard output stream, its spans on the standard error
//! stream.

mod args;
mod arguments;
mod output;

use std::sync::Arc;
use std::time::Duration;

use js_rpc::{ConnectOptions, Connection, PendingCall, Reply, RpcLimits};
use tail::{Recorder, Tree};

use self::output::Output;
use crate::exit::Failure;
use crate::otel::Plan;
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
    let connection = connect(&args, &telemetry).await?;
    let outcome = send(&connection, &args, arguments).await;
    let outcome = outcome
        .map_err(Failure::from)
        .and_then(|reply| output.result(&reply));
    close(connection).await;
    telemetry.finish().await;
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

fn send(connection: &Connection, args: &CallArgs, arguments: js_rpc::Args) -> PendingCall {
    let binding = connection.binding(&args.target.binding);
    let call = match args.get {
        true => binding.get(&args.target.method),
        false => binding.call(&args.target.method, arguments),
    };
    let call = call.deadline(args.deadline);
    match args.parent() {
        Some(parent) => call.parent(parent).send(),
        None => call.send(),
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
