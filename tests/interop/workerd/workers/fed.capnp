# A Worker whose events go to us, and a tail Worker that we send them to, and whose own events come to us as well.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    ( name = "main", worker = (
      modules = [(name = "called.js", esModule = embed "called.js")],
      compatibilityDate = "2026-05-01",
      compatibilityFlags = ["nodejs_compat"],
      streamingTails = ["ours"],
    )),
    ( name = "tail", worker = (
      modules = [(name = "tail.js", esModule = embed "tail.js")],
      compatibilityDate = "2026-05-01",
      streamingTails = ["ours"],
    )),
    # The address comes from the command line.
    ( name = "ours", external = (address = "127.0.0.1:1", http = (capnpConnectHost = "TAIL")) ),
  ],
  sockets = [(name = "http", http = (capnpConnectHost = "main"), service = "main")],
);
