# A Worker that is called, through the debug port and through CONNECT, and whose tail tells how.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    ( name = "main", worker = (
      modules = [(name = "called.js", esModule = embed "called.js")],
      compatibilityDate = "2026-05-01",
      compatibilityFlags = ["nodejs_compat"],
      streamingTails = ["tail"],
    )),
    ( name = "tail", worker = (
      modules = [(name = "tail.js", esModule = embed "tail.js")],
      compatibilityDate = "2026-05-01",
    )),
  ],
  sockets = [(name = "http", http = (capnpConnectHost = "main"), service = "main")],
);
