//! What peers may make a daemon hold, and how long things may take: an option for every limit of
//! [`RpcLimits`], where the reasons are.

use std::time::Duration;

use clap::Args;
use js_rpc::{NetworkLimits, RpcLimits};
use js_value::DecodeLimits;

use crate::cli::{self, Size};

/// The limits, as far as somebody said. The numbers of connections are said with who may connect, `drain`
/// and `deadline` by themselves.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Print the limits, an option a line, and exit: what peers may make this hold, how long things may take
    ///
    /// Why each is there is in the manual page.
    #[arg(long)]
    help_limits: bool,

    /// To connect, and for a peer to say how it opens; 10s by default
    ///
    /// A peer that does neither would be waited for for ever.
    #[arg(long = "limit-connect", value_name = "TIME", env = "BINDING_SPAN_LIMIT_CONNECT", value_parser = cli::deadline, hide_short_help = true)]
    connect: Option<Duration>,

    /// For a service to serve a call, whatever its caller gives it; 5m by default
    ///
    /// Then its method is dropped, and the call fails with its deadline.
    #[arg(long = "limit-handler", value_name = "TIME", env = "BINDING_SPAN_LIMIT_HANDLER", value_parser = cli::deadline, hide_short_help = true)]
    handler: Option<Duration>,

    /// For a callee to say that a session is over; 10s by default
    ///
    /// Once its last stub was dropped. After that the session is dropped, which cancels what is left of it.
    #[arg(long = "limit-linger", value_name = "TIME", env = "BINDING_SPAN_LIMIT_LINGER", value_parser = cli::deadline, hide_short_help = true)]
    linger: Option<Duration>,

    /// Bytes of one message; 33MiB by default
    ///
    /// workerd limits a serialized value to 32MiB. Beyond it the connection is closed.
    #[arg(
        long = "limit-frame-bytes",
        value_name = "SIZE",
        env = "BINDING_SPAN_LIMIT_FRAME_BYTES",
        value_parser = cli::some_bytes,
        hide_short_help = true
    )]
    frame_bytes: Option<Size>,

    /// Segments of one message; 512 by default
    ///
    /// Honest ones have a handful.
    #[arg(long = "limit-segments", value_name = "N", env = "BINDING_SPAN_LIMIT_SEGMENTS", value_parser = cli::positive::<u32>, hide_short_help = true)]
    segments: Option<u32>,

    /// How often all of a message may be visited; 8 by default
    ///
    /// Pointers may alias, so that a small message can stand for a large one. Ours reads each part once or twice.
    #[arg(long = "limit-traversals", value_name = "N", env = "BINDING_SPAN_LIMIT_TRAVERSALS", value_parser = cli::positive::<usize>, hide_short_help = true)]
    traversals: Option<usize>,

    /// How deep pointers of a message may nest; 64 by default
    ///
    /// As Cap'n Proto has it.
    #[arg(long = "limit-nesting", value_name = "N", env = "BINDING_SPAN_LIMIT_NESTING", value_parser = cli::positive::<u32>, hide_short_help = true)]
    nesting: Option<u32>,

    /// For a client's first message after it opened; 10s by default
    ///
    /// Whoever connects and says nothing would hold a connection for nothing.
    #[arg(long = "limit-first-frame", value_name = "TIME", env = "BINDING_SPAN_LIMIT_FIRST_FRAME", value_parser = cli::deadline, hide_short_help = true)]
    first_frame: Option<Duration>,

    /// For the next part of a message that has begun; 30s by default
    ///
    /// A part is 64 KiB at first, and then as much as has arrived.
    #[arg(long = "limit-frame", value_name = "TIME", env = "BINDING_SPAN_LIMIT_FRAME", value_parser = cli::deadline, hide_short_help = true)]
    frame: Option<Duration>,

    /// For which a client may say nothing while nothing is open; 1h by default
    ///
    /// While no call is in flight in either direction and no session is open.
    #[arg(long = "limit-idle", value_name = "TIME", env = "BINDING_SPAN_LIMIT_IDLE", value_parser = cli::deadline, hide_short_help = true)]
    idle: Option<Duration>,

    /// For which a peer may read nothing of what is queued for it; 30s by default
    ///
    /// What it does not read is memory.
    #[arg(long = "limit-write-stall", value_name = "TIME", env = "BINDING_SPAN_LIMIT_WRITE_STALL", value_parser = cli::deadline, hide_short_help = true)]
    write_stall: Option<Duration>,

    /// For a closing connection's queue to be written; 1s by default
    ///
    /// The end of a daemon waits for it.
    #[arg(long = "limit-close", value_name = "TIME", env = "BINDING_SPAN_LIMIT_CLOSE", value_parser = cli::deadline, hide_short_help = true)]
    close: Option<Duration>,

    /// Bytes queued for a peer before its next call waits; 1MiB by default
    ///
    /// It waits for --limit-pause and is refused if nothing was read by then.
    #[arg(
        long = "limit-queued",
        value_name = "SIZE",
        env = "BINDING_SPAN_LIMIT_QUEUED",
        value_parser = cli::some_bytes,
        hide_short_help = true
    )]
    queued: Option<Size>,

    /// For which a call waits for its peer to read; 1s by default
    ///
    /// Everything behind the call waits as well, so this must end: two peers may be waiting for each other.
    #[arg(long = "limit-pause", value_name = "TIME", env = "BINDING_SPAN_LIMIT_PAUSE", value_parser = cli::duration, hide_short_help = true)]
    pause: Option<Duration>,

    /// Bytes queued for a peer; 64MiB by default
    ///
    /// Room for two of the largest results. Beyond it the connection is closed.
    #[arg(
        long = "limit-max-queued",
        value_name = "SIZE",
        env = "BINDING_SPAN_LIMIT_MAX_QUEUED",
        value_parser = cli::some_bytes,
        hide_short_help = true
    )]
    max_queued: Option<Size>,

    /// Replies queued for a peer; 65536 by default
    ///
    /// What a peer that never reads can make of small messages.
    #[arg(long = "limit-max-queued-replies", value_name = "N", env = "BINDING_SPAN_LIMIT_MAX_QUEUED_REPLIES", value_parser = cli::positive::<usize>, hide_short_help = true)]
    max_queued_replies: Option<usize>,

    /// Calls of one connection that are not finished; 4096 by default
    ///
    /// Further ones are refused before they run. A binding call is up to three.
    #[arg(long = "limit-in-flight", value_name = "N", env = "BINDING_SPAN_LIMIT_IN_FLIGHT", value_parser = cli::positive::<usize>, hide_short_help = true)]
    in_flight: Option<usize>,

    /// Calls of ours that wait for room on a connection; 16384 by default
    ///
    /// We keep to the same number of unfinished calls; further ones wait, and beyond this fail.
    #[arg(long = "limit-waiting", value_name = "N", env = "BINDING_SPAN_LIMIT_WAITING", value_parser = cli::positive::<usize>, hide_short_help = true)]
    waiting: Option<usize>,

    /// Bytes of calls that have not returned; 16MiB by default
    ///
    /// And of results that the peer keeps for pipelining. One call alone may have more.
    #[arg(
        long = "limit-in-flight-bytes",
        value_name = "SIZE",
        env = "BINDING_SPAN_LIMIT_IN_FLIGHT_BYTES",
        value_parser = cli::some_bytes,
        hide_short_help = true
    )]
    in_flight_bytes: Option<Size>,

    /// Bytes of streams that arrived on a connection and were not read; 64MiB by default
    ///
    /// Beyond it a stream breaks off. Ours are at most 128KiB ahead of their readers, and wait. The same on both sides.
    #[arg(
        long = "limit-stream-bytes",
        value_name = "SIZE",
        env = "BINDING_SPAN_LIMIT_STREAM_BYTES",
        value_parser = cli::some_bytes,
        hide_short_help = true
    )]
    stream_bytes: Option<Size>,

    /// Bytes of messages that arrive or wait to be served, on all connections; 512MiB by default
    ///
    /// A user or address may have as much as is left for all others; 64KiB of each connection are not counted. A
    /// larger message waits for --limit-frame, after which its connection is closed; many small calls are refused.
    #[arg(
        long = "limit-incoming-bytes",
        value_name = "SIZE",
        env = "BINDING_SPAN_LIMIT_INCOMING_BYTES",
        value_parser = cli::some_bytes,
        hide_short_help = true
    )]
    incoming_bytes: Option<Size>,

    /// Calls that a peer has not finished, refused ones included; 16384 by default
    ///
    /// Beyond it the connection is closed.
    #[arg(long = "limit-questions", value_name = "N", env = "BINDING_SPAN_LIMIT_QUESTIONS", value_parser = cli::positive::<usize>, hide_short_help = true)]
    questions: Option<usize>,

    /// How deep calls of results that are not there may be chained; 64 by default
    ///
    /// What a chain holds is released recursively, and workerd goes four deep.
    #[arg(long = "limit-pipeline-depth", value_name = "N", env = "BINDING_SPAN_LIMIT_PIPELINE_DEPTH", value_parser = cli::positive::<u16>, hide_short_help = true)]
    pipeline_depth: Option<u16>,

    /// Steps from a result to the capability that is meant; 32 by default
    ///
    /// Honest ones have one or two.
    #[arg(long = "limit-transform", value_name = "N", env = "BINDING_SPAN_LIMIT_TRANSFORM", value_parser = cli::positive::<u32>, hide_short_help = true)]
    transform: Option<u32>,

    /// Capabilities in one message; 1032 by default
    ///
    /// A value has 1024 stubs at most.
    #[arg(long = "limit-capabilities", value_name = "N", env = "BINDING_SPAN_LIMIT_CAPABILITIES", value_parser = cli::positive::<u32>, hide_short_help = true)]
    capabilities: Option<u32>,

    /// Capabilities of ours that a peer holds; 16384 by default
    ///
    /// Each holds what stands behind it.
    #[arg(long = "limit-exports", value_name = "N", env = "BINDING_SPAN_LIMIT_EXPORTS", value_parser = cli::positive::<usize>, hide_short_help = true)]
    exports: Option<usize>,

    /// Capabilities of a peer's that we hold; 16384 by default
    ///
    /// A peer can offer more than anybody asked for.
    #[arg(long = "limit-imports", value_name = "N", env = "BINDING_SPAN_LIMIT_IMPORTS", value_parser = cli::positive::<usize>, hide_short_help = true)]
    imports: Option<usize>,

    /// Those of them that are promises; 4096 by default
    ///
    /// What waits for a promise is memory as well.
    #[arg(long = "limit-promises", value_name = "N", env = "BINDING_SPAN_LIMIT_PROMISES", value_parser = cli::positive::<usize>, hide_short_help = true)]
    promises: Option<usize>,

    /// Promises that resolve to promises, in a row; 64 by default
    ///
    /// The row is released recursively.
    #[arg(long = "limit-promise-depth", value_name = "N", env = "BINDING_SPAN_LIMIT_PROMISE_DEPTH", value_parser = cli::positive::<u16>, hide_short_help = true)]
    promise_depth: Option<u16>,

    /// Cancelled calls after which a connection is replaced; 8192 by default
    ///
    /// Each leaves an entry behind for as long as the connection lasts. Sessions that are open keep it.
    #[arg(long = "limit-recycle", value_name = "N", env = "BINDING_SPAN_LIMIT_RECYCLE", value_parser = cli::positive::<usize>, hide_short_help = true)]
    recycle: Option<usize>,

    /// Calls that we gave up after which we connect anew; 2048 by default
    ///
    /// Less than the other side's limit-recycle. New sessions use the new connection; the old one lasts as
    /// long as what is held through it.
    #[arg(long = "limit-renew", value_name = "N", env = "BINDING_SPAN_LIMIT_RENEW", value_parser = cli::positive::<usize>, hide_short_help = true)]
    renew: Option<usize>,

    /// Cancelled calls after which a connection is closed; 32768 by default
    ///
    /// Whatever is open on it.
    #[arg(long = "limit-cancelled", value_name = "N", env = "BINDING_SPAN_LIMIT_CANCELLED", value_parser = cli::positive::<usize>, hide_short_help = true)]
    cancelled: Option<usize>,

    /// Bytes of an exception's text; 64KiB by default
    ///
    /// Longer ones are cut. An abort's text is copied into each call in flight, and is cut at 1 KiB.
    #[arg(
        long = "limit-reason-bytes",
        value_name = "SIZE",
        env = "BINDING_SPAN_LIMIT_REASON_BYTES",
        value_parser = cli::some_bytes,
        hide_short_help = true
    )]
    reason_bytes: Option<Size>,

    /// How deep a value may nest; 128 by default, at most 256
    ///
    /// Arrays, objects, maps, sets and errors. Values are read recursively.
    #[arg(long = "limit-value-depth", value_name = "N", env = "BINDING_SPAN_LIMIT_VALUE_DEPTH", value_parser = depth, hide_short_help = true)]
    value_depth: Option<u32>,

    /// How many values a value may contain; 1048576 by default
    ///
    /// Counting each name of a property. Small ones take more memory than bytes.
    #[arg(long = "limit-values", value_name = "N", env = "BINDING_SPAN_LIMIT_VALUES", value_parser = cli::positive::<u32>, hide_short_help = true)]
    values: Option<u32>,

    /// Bytes of a BigInt; 8192 by default
    ///
    /// To print one takes quadratic time.
    #[arg(long = "limit-bigint-bytes", value_name = "N", env = "BINDING_SPAN_LIMIT_BIGINT_BYTES", value_parser = cli::positive::<u32>, hide_short_help = true)]
    bigint_bytes: Option<u32>,
}

/// Values are read recursively: more than this is not allowed whatever somebody says.
const DEEPEST: u32 = 256;

fn depth(text: &str) -> Result<u32, String> {
    match cli::positive::<u32>(text)? {
        depth if depth > DEEPEST => Err(format!("write {DEEPEST} or less")),
        depth => Ok(depth),
    }
}

impl LimitArgs {
    /// These limits, with what is said here.
    pub fn limits(&self, limits: RpcLimits) -> RpcLimits {
        let time = |said: Option<Duration>, limit| said.unwrap_or(limit);
        RpcLimits {
            connect: time(self.connect, limits.connect),
            handler: time(self.handler, limits.handler),
            linger: time(self.linger, limits.linger),
            network: self.network(limits.network),
            decode: self.decode(limits.decode),
            ..limits
        }
    }

    fn network(&self, limits: NetworkLimits) -> NetworkLimits {
        let bytes = |said: Option<Size>, limit| said.map_or(limit, Size::bytes);
        // Every field by name: one that is added has no option until it stands here.
        NetworkLimits {
            frame_bytes: bytes(self.frame_bytes, limits.frame_bytes),
            segments: self.segments.unwrap_or(limits.segments),
            traversals: self.traversals.unwrap_or(limits.traversals),
            nesting: self.nesting.unwrap_or(limits.nesting),
            first_frame: self.first_frame.unwrap_or(limits.first_frame),
            frame: self.frame.unwrap_or(limits.frame),
            idle: self.idle.unwrap_or(limits.idle),
            write_stall: self.write_stall.unwrap_or(limits.write_stall),
            close: self.close.unwrap_or(limits.close),
            queued: bytes(self.queued, limits.queued),
            pause: self.pause.unwrap_or(limits.pause),
            max_queued: bytes(self.max_queued, limits.max_queued),
            max_queued_replies: self.max_queued_replies.unwrap_or(limits.max_queued_replies),
            in_flight: self.in_flight.unwrap_or(limits.in_flight),
            waiting: self.waiting.unwrap_or(limits.waiting),
            in_flight_bytes: bytes(self.in_flight_bytes, limits.in_flight_bytes),
            stream_bytes: bytes(self.stream_bytes, limits.stream_bytes),
            incoming_bytes: bytes(self.incoming_bytes, limits.incoming_bytes),
            incoming: limits.incoming,
            questions: self.questions.unwrap_or(limits.questions),
            pipeline_depth: self.pipeline_depth.unwrap_or(limits.pipeline_depth),
            transform: self.transform.unwrap_or(limits.transform),
            capabilities: self.capabilities.unwrap_or(limits.capabilities),
            exports: self.exports.unwrap_or(limits.exports),
            imports: self.imports.unwrap_or(limits.imports),
            promises: self.promises.unwrap_or(limits.promises),
            promise_depth: self.promise_depth.unwrap_or(limits.promise_depth),
            recycle: self.recycle.unwrap_or(limits.recycle),
            renew: self.renew.unwrap_or(limits.renew),
            cancelled: self.cancelled.unwrap_or(limits.cancelled),
            reason_bytes: bytes(self.reason_bytes, limits.reason_bytes),
            stats: limits.stats,
            judge: limits.judge,
        }
    }

    fn decode(&self, limits: DecodeLimits) -> DecodeLimits {
        DecodeLimits {
            max_depth: self.value_depth.unwrap_or(limits.max_depth),
            max_values: self.values.unwrap_or(limits.max_values),
            max_bigint_bytes: self.bigint_bytes.unwrap_or(limits.max_bigint_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;

    #[test]
    fn the_help_says_the_defaults() {
        let command = LimitArgs::augment_args(Command::new("limits")).no_binary_name(true);
        let limits = || {
            let all = command.get_arguments();
            all.filter(|arg| arg.get_id() != "help_limits")
        };
        let said = limits().filter_map(|arg| {
            let help = arg.get_help()?.to_string();
            let (_, default) = help.split_once("; ")?;
            let default = default.split(" by default").next()?;
            Some(format!("--{}={default}", arg.get_long()?))
        });
        let said: Vec<String> = said.collect();
        assert_eq!(said.len(), limits().count(), "each has one");
        let matches = command.try_get_matches_from(said).unwrap();
        let said = LimitArgs::from_arg_matches(&matches).unwrap();
        let none = LimitArgs::default();
        let default = format!("{:?}", none.limits(RpcLimits::default()));
        assert_eq!(format!("{:?}", said.limits(RpcLimits::default())), default);
    }
}
