# A Worker that passes streams to a Rust service, to another Worker, and to both through our caller.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    ( name = "main", worker = (
      modules = [(name = "streams.js", esModule = embed "streams.js")],
      compatibilityDate = "2026-05-01",
      compatibilityFlags = ["nodejs_compat"],
      bindings = [
        (name = "RUST", service = "rust"),
        (name = "RUST_PASSED_ON", service = "rust-through-caller"),
        (name = "WORKER", service = (name = "main", entrypoint = "Streams")),
        (name = "WORKER_PASSED_ON", service = "worker-through-caller"),
      ],
    )),
    ( name = "rust", external = (address = "127.0.0.1:1", http = (capnpConnectHost = "SVC")) ),
    ( name = "rust-through-caller", external = (address = "127.0.0.1:1", http = (capnpConnectHost = "SVC")) ),
    ( name = "worker-through-caller", external = (address = "127.0.0.1:1", http = (capnpConnectHost = "WORKER")) ),
  ],
  sockets = [(name = "http", http = (), service = "main")],
);
