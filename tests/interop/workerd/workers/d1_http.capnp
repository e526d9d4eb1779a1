# A Worker with a D1 database that Rust serves, in a stock workerd: nothing experimental.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    ( name = "main", worker = (
      modules = [
        (name = "d1.js", esModule = embed "d1.js"),
        (name = "cases.js", esModule = embed "cases.js"),
      ],
      compatibilityDate = "2026-05-01",
      compatibilityFlags = ["nodejs_compat"],
      bindings = [
        ( name = "DB", wrapped = (
          moduleName = "cloudflare-internal:d1-api",
          innerBindings = [(name = "fetcher", service = "database")],
        )),
      ],
      streamingTails = ["tail"],
    )),
    ( name = "tail", worker = (
      modules = [(name = "tail.js", esModule = embed "tail.js")],
      compatibilityDate = "2026-05-01",
    )),
    ( name = "database", external = (address = "127.0.0.1:1", http = (capnpConnectHost = "DB")) ),
  ],
  sockets = [(name = "http", http = (), service = "main")],
);
