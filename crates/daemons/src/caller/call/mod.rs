//! `caller call`: one call, its result on the standard output stream, its spans on the standard error
//! stream.

mod args;
mod arguments;
mod output;

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Instant;

use js_rpc::{Address, CallError, ConnectOptions, LazyConnection, PendingCall, Reply, RpcLimits};
use tail::{Recorder, Tree};

use self::output::Output;
use crate::cli::SwitchOrPath;
use crate::dev_registry;
use crate::exit::Failure;
use crate::otel::Plan;
use crate::signals::Signals;
use crate::telemetry::Telemetry;

pub(crate) use args::USAGE;
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
    let to = Destination::of(&args)?;
    let connection = connection(&args, &to, &telemetry)?;
    // Interrupted, the call is cancelled, and its span ends as any other does.
    let outcome = tokio::select! {
        outcome = call(&connection, &args, &to, arguments, began) => Ok(outcome),
        number = signals.next() => Err(Failure::Signal(number)),
    };
    // Of a call that reached nobody a tree only repeats the message.
    let unreached = matches!(&outcome, Ok(Err(CallError::Unavailable(_))));
    let outcome = outcome.and_then(|outcome| outcome.map_err(|error| to.failure(error)));
    // Written also if the callee says that the call failed: it is what it answered.
    let outcome = match outcome {
        Ok(reply) => tokio::select! {
            written = output.result(&reply) => written.and_then(|()| {
                let stated = reply.stated_error();
                stated.map_or(Ok(()), |error| Err(error.into()))
            }),
            number = signals.next() => Err(Failure::Signal(number)),
        },
        Err(error) => Err(error),
    };
    let end = async {
        connection.close().await;
        telemetry.finish().await;
    };
    tokio::select! {
        () = end => {}
        number = signals.next() => return Err(Failure::Signal(number)),
    }
    if !unreached || args.verbose {
        output::tree(&spans(&recorder, args.verbose), args.verbose);
    }
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

/// Where the call goes.
struct Destination {
    address: Address,
    /// The name that what is called has there.
    binding: String,
    /// What it means that nobody is there.
    gone: Option<String>,
}

impl Destination {
    fn of(args: &CallArgs) -> Result<Self, Failure> {
        let binding = args.target.binding.clone();
        let said = args.dev.as_ref().filter(|dev| **dev != SwitchOrPath::Off);
        match (said, &args.connect) {
            (None, Some(address)) => Ok(Self {
                address: address.clone(),
                binding,
                gone: None,
            }),
            (None, None) => Err(Failure::Usage("write --connect ADDR, or --dev".into())),
            (Some(_), Some(_)) if std::env::var_os("BINDING_SPAN_CONNECT").is_none() => {
                Err(Failure::Usage(
                    "--connect and --dev both say where the callee is; leave one of them out"
                        .into(),
                ))
            }
            (Some(dev), _) => {
                let found = dev_registry::find(dev, &binding)?;
                Ok(Self {
                    address: found.address,
                    binding: found.service,
                    gone: Some(found.gone),
                })
            }
        }
    }

    fn failure(&self, error: CallError) -> Failure {
        match (error, &self.gone) {
            (CallError::Unavailable(why), Some(gone)) => {
                Failure::Unavailable(format!("{gone} ({why})"))
            }
            (error, _) => error.into(),
        }
    }
}

/// Not made yet: connecting is part of the call, and of its span.
fn connection(
    args: &CallArgs,
    to: &Destination,
    telemetry: &Telemetry,
) -> Result<LazyConnection, Failure> {
    let trust = args.trust.trust(&args.identity, args.insecure)?;
    args.trust.check(&trust, &[&to.address])?;
    let options = ConnectOptions {
        sinks: telemetry.sinks(),
        limits: RpcLimits::default(),
        connect: args.connect_name.clone(),
        trust,
    };
    Ok(LazyConnection::new(to.address.clone(), options))
}

fn call(
    connection: &LazyConnection,
    args: &CallArgs,
    to: &Destination,
    arguments: js_rpc::Args,
    began: Instant,
) -> PendingCall {
    let binding = connection.binding(&to.binding);
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

/// The result as JSON. The call succeeded if there is none for it: that is our format's fault, not the callee's.
fn json(reply: &Reply) -> Result<serde_json::Value, Failure> {
    reply.to_json().map_err(|error| {
        Failure::Output(format!(
            "the call returned, but its result cannot be written as JSON: {error}"
        ))
    })
}
