# Two Workers with our caller between them, and the tail of the first.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    ( name = "main", worker = (
      modules = [
        (name = "sidecar.js", esModule = embed "sidecar.js"),
        (name = "cases.js", esModule = embed "cases.js"),
      ],
      compatibilityDate = "2026-05-01",
      compatibilityFlags = ["nodejs_compat"],
      bindings = [
        (name = "WORKER", service = "worker-through-caller"),
        (name = "GATEWAY", service = "gateway-through-caller"),
      ],
      streamingTails = ["tail"],
    )),
    ( name = "callee", worker = (
      modules = [(name = "called.js", esModule = embed "called.js")],
      compatibilityDate = "2026-05-01",
      compatibilityFlags = ["nodejs_compat"],
    )),
    ( name = "tail", worker = (
      modules = [(name = "tail.js", esModule = embed "tail.js")],
      compatibilityDate = "2026-05-01",
    )),
    ( name = "worker-through-caller", external = (address = "127.0.0.1:1", http = (capnpConnectHost = "WORKER")) ),
    ( name = "gateway-through-caller", external = (address = "127.0.0.1:1", http = (capnpConnectHost = "GATEWAY")) ),
  ],
  sockets = [(name = "http", http = (), service = "main")],
);
