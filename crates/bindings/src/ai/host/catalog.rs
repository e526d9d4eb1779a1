//! The metrics of AI bindings. `docs/metrics.md` has the same list for people.

host::catalog! {
    ALL;
    REQUESTS = Counter "binding_span_ai_requests",
        "Requests to models that ended, by what was asked for and how they ended";
    TOKENS = Counter "binding_span_ai_tokens",
        "Tokens of requests to models, as providers counted them";
    COST = Counter "binding_span_ai_cost_dollars",
        "What requests to models cost, in US dollars, where prices are configured";
    CACHE = Counter "binding_span_ai_cache_lookups",
        "Requests to models that looked for an answer in a gateway's cache, by whether it was there";
    RETRIES = Counter "binding_span_ai_retries",
        "Attempts at providers beyond the first of each request";
    FALLBACKS = Counter "binding_span_ai_fallbacks",
        "Requests to a gateway that another provider than the first ended";
    LATENCY = Histogram "binding_span_ai_upstream_latency_seconds",
        "From when a request was sent to a provider until the head of its answer";
    FIRST_CHUNK = Histogram "binding_span_ai_first_chunk_seconds",
        "From when a request was sent to a provider until the first byte of its answer's body";
    LOG_LOST = Counter "binding_span_ai_log_lost_entries",
        "Entries of gateways' logs that were lost, because the log could not keep up or could not be written";
    IN_FLIGHT = Gauge "binding_span_ai_requests_in_flight",
        "Requests that a provider is answering";
    WAITING = Gauge "binding_span_ai_requests_waiting",
        "Requests that wait until a provider may be asked";
    CIRCUIT_OPEN = Gauge "binding_span_ai_circuit_open",
        "1 while a provider's circuit breaker is open because it failed several times in a row";
}
