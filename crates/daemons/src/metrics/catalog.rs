//! Every metric by name, with its type and what it means. `docs/metrics.md` has the same list for people;
//! a test holds the two together.

use host::catalog;
use host::metrics::Metric;

/// All of them, in the order in which they are written: those of kinds of bindings among them.
pub(crate) fn all() -> impl Iterator<Item = &'static Metric> {
    let of_kinds = crate::kinds::all().iter().flat_map(|kind| kind.metrics());
    FIRST.iter().chain(of_kinds).chain(BEHIND).copied()
}

catalog! {
    FIRST;
    BUILD = Info "binding_span_build",
        "What runs: the program and its version";
    READY = Gauge "binding_span_ready",
        "1 while calls are taken, 0 while starting or draining";
    CALLS = Counter "binding_span_calls",
        "Calls that returned, failed or were abandoned, by how they ended";
    DURATION = Histogram "binding_span_call_duration_seconds",
        "From when a call's span opened until it returned, failed or was abandoned";
    ERRORS = Counter "binding_span_call_errors",
        "Calls that did not end well, by what went wrong (error.type)";
    IN_FLIGHT = Gauge "binding_span_calls_in_flight",
        "Calls that have not returned";
    SPANS_OPEN = Gauge "binding_span_spans_open",
        "Spans of calls that are open: of those in flight, and of sessions of which something is held";
    ENRICHED = Counter "binding_span_enrichments_applied",
        "Calls whose span was renamed or tagged";
    RENAMES = Counter "binding_span_renames",
        "Renames of spans of calls";
    ATTRIBUTES = Counter "binding_span_attributes_applied",
        "Attributes that spans of calls got";
    DROPPED = Counter "binding_span_attributes_dropped",
        "Attributes and names that were dropped from enrichment, by reason";
    SESSIONS = Counter "binding_span_sessions",
        "Sessions of calls that were opened";
    SESSIONS_OPEN = Gauge "binding_span_sessions_open",
        "Sessions of calls that are open";
    ACCEPTED = Counter "binding_span_connections_accepted",
        "Connections that were let in";
    CONNECTIONS = Gauge "binding_span_connections_open",
        "Connections that are open, of those that were let in";
    REFUSED = Counter "binding_span_connections_refused",
        "Connections that were not served, by reason";
    LINK_CONNECTED = Gauge "binding_span_binding_connected",
        "1 while a binding is connected to its callee";
    LINK_FAILING = Gauge "binding_span_binding_failing",
        "1 since the last attempt to connect a binding to its callee failed";
}

catalog! {
    BEHIND;
    FRAMES = Counter "binding_span_network_frames",
        "RPC messages";
    BYTES = Counter "binding_span_network_bytes",
        "Bytes of RPC messages";
    QUEUED = Gauge "binding_span_network_queued_bytes",
        "Bytes of RPC messages that peers have not read yet";
    INTERVENTIONS = Counter "binding_span_network_interventions",
        "Calls refused, texts cut and connections closed because of what a peer did, by reason";
    CANCELLED = Counter "binding_span_network_calls_cancelled",
        "Calls that peers cancelled before they returned";
    ABANDONED = Counter "binding_span_network_calls_abandoned",
        "Calls of ours that were cancelled before they returned";
    RENEWED = Counter "binding_span_network_connections_renewed",
        "Connections of ours that were replaced because of what cancelled calls left behind";
    TAIL_QUEUED = Gauge "binding_span_tail_queued_events",
        "Tail events that wait for a reader";
    TAIL_LOST = Counter "binding_span_tail_lost_events",
        "Tail events that a reader did not get, by reason";
    TAIL_DECLINED = Counter "binding_span_tail_declined_events",
        "Tail events that the peer behind --tail-to asked not to get";
    TAIL_EVICTED = Counter "binding_span_tail_evicted_invocations",
        "Invocations of the tail that were given up because too many were open";
    TAIL_LEFT_OUT = Counter "binding_span_tail_left_out_events",
        "Tail events of other processes that a reader does not get: not known, come back, or what a tail did";
    TAIL_UNKNOWN = Counter "binding_span_tail_unknown_members",
        "Parts of tail events of other processes that this version does not know, by where they stand";
    TAIL_CUT = Counter "binding_span_tail_cut_values",
        "Texts and lists in tail events of other processes that were too long and were cut";
    TAIL_EARLY = Counter "binding_span_tail_early_spans",
        "Spans that opened in a tail before their names were final, because too much waited for names";
    OTLP_SAMPLED = Counter "binding_span_otlp_sampled_spans",
        "Spans that were recorded for an OTLP receiver: open, queued, exported and lost ones together";
    OTLP_OPEN = Gauge "binding_span_otlp_open_spans",
        "Spans for an OTLP receiver that have not ended";
    OTLP_EXPORTED = Counter "binding_span_otlp_exported_spans",
        "Spans that an OTLP receiver took";
    OTLP_LOST = Counter "binding_span_otlp_lost_spans",
        "Spans that no OTLP receiver got, by reason";
    OTLP_QUEUED = Gauge "binding_span_otlp_queued_spans",
        "Spans that ended and wait for an OTLP receiver";
    OTLP_CUT = Counter "binding_span_otlp_attributes_cut",
        "Attributes and new names that spans for OTLP lost to a limit on their number, or to one on memory";
    LOG_QUEUED = Gauge "binding_span_log_queued_bytes",
        "Bytes of log lines that wait for whoever reads the standard error stream";
    LOG_LOST = Counter "binding_span_log_lost_lines",
        "Lines that are missing in the log, by reason";
    START_TIME = Gauge "process_start_time_seconds",
        "When the process began, in seconds since 1970";
    MEMORY = Gauge "process_resident_memory_bytes",
        "Memory that the process has, in bytes";
    OPEN_FDS = Gauge "process_open_fds",
        "Descriptors that the process has";
    MAX_FDS = Gauge "process_max_fds",
        "Descriptors that the process may have";
}
