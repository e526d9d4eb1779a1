# A Worker whose calls of a Rust service end in every way.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    ( name = "main", worker = (
      modules = [(name = "ends.js", esModule = embed "ends.js")],
      compatibilityDate = "2026-05-01",
      bindings = [(name = "SHOP", service = "shop")],
    )),
    # The address comes from the command line.
    ( name = "shop", external = (address = "127.0.0.1:1", http = (capnpConnectHost = "SHOP")) ),
  ],
  sockets = [(name = "http", http = (), service = "main")],
);
