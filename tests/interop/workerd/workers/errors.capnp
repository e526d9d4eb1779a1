# A Worker that throws whatever there is to throw, and one that catches it: from a Worker, from a Rust service,
# and from a Rust service that got it from a Worker.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    ( name = "main", worker = (
      modules = [
        (name = "errors.js", esModule = embed "errors.js"),
        (name = "cases.js", esModule = embed "cases.js"),
      ],
      compatibilityDate = "2026-05-01",
      compatibilityFlags = ["nodejs_compat"],
      bindings = [
        (name = "RUST", service = "rust"),
        (name = "WORKER", service = (name = "main", entrypoint = "Thrower")),
      ],
    )),
    # The address comes from the command line.
    ( name = "rust", external = (address = "127.0.0.1:1", http = (capnpConnectHost = "SVC")) ),
  ],
  sockets = [(name = "http", http = (), service = (name = "main", entrypoint = "Main"))],
);
