# A shop: a Worker with a D1 database and an AI gateway, both written in Rust, and a Worker that shows spans.
#
# The Worker calls through `caller`, which owns the spans of its calls. The addresses are on the command line of
# workerd, see `start`. D1 bindings need `workerd serve --experimental`, and the two flags below.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    ( name = "shop", worker = (
      modules = [(name = "shop.js", esModule = embed "shop.js")],
      compatibilityDate = "2026-05-01",
      compatibilityFlags = ["experimental", "d1_binding_jsrpc"],
      bindings = [
        ( name = "DB", wrapped = (
          moduleName = "cloudflare-internal:d1-api",
          innerBindings = [(name = "fetcher", service = "caller-db")],
        )),
        (name = "AI", service = "caller-ai"),
      ],
      streamingTails = ["spans"],
    )),

    ( name = "spans", worker = (
      modules = [(name = "spans.js", esModule = embed "spans.js")],
      compatibilityDate = "2026-05-01",
    )),

    # One caller, two bindings: the name picks the binding.
    ( name = "caller-db", external = (address = "unix:./caller.sock", http = (capnpConnectHost = "DB")) ),
    ( name = "caller-ai", external = (address = "unix:./caller.sock", http = (capnpConnectHost = "AI")) ),
  ],
  sockets = [(name = "http", address = "127.0.0.1:8787", http = (), service = "shop")],
);
