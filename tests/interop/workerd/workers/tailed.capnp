# A Worker that is called, and whose events go to a tail Worker and to us at once.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    ( name = "main", worker = (
      modules = [(name = "called.js", esModule = embed "called.js")],
      compatibilityDate = "2026-05-01",
      compatibilityFlags = ["nodejs_compat"],
      streamingTails = ["tail", "ours"],
    )),
    ( name = "tail", worker = (
      modules = [(name = "tail.js", esModule = embed "tail.js")],
      compatibilityDate = "2026-05-01",
    )),
    ( name = "ours", external = (address = "127.0.0.1:1", http = (capnpConnectHost = "TAIL")) ),
  ],
  sockets = [(name = "http", http = (capnpConnectHost = "main"), service = "main")],
);
