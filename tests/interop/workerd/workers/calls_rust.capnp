# A Worker that calls a Rust service through an external service.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    ( name = "main", worker = (
      modules = [
        (name = "calls_rust.js", esModule = embed "calls_rust.js"),
        (name = "cases.js", esModule = embed "cases.js"),
        (name = "expressions.mjs", esModule = embed "../../../../crates/js-value/tests/js/expressions.mjs"),
      ],
      compatibilityDate = "2026-05-01",
      compatibilityFlags = ["nodejs_compat"],
      bindings = [
        (name = "SVC", service = "rust"),
        (name = "WORKER", service = (name = "main", entrypoint = "Echo")),
        (name = "NONE", service = "nobody"),
      ],
      streamingTails = ["tail"],
    )),
    ( name = "tail", worker = (
      modules = [(name = "tail.js", esModule = embed "tail.js")],
      compatibilityDate = "2026-05-01",
    )),
    # The addresses come from the command line.
    ( name = "rust", external = (address = "127.0.0.1:1", http = (capnpConnectHost = "SVC")) ),
    ( name = "nobody", external = (address = "127.0.0.1:1", http = (capnpConnectHost = "NOBODY")) ),
  ],
  sockets = [(name = "http", http = (), service = "main")],
);
