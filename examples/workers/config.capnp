# A shop: a Worker with a D1 database and an AI binding, both served by `callee`, and a Worker that shows spans.
#
# The Worker calls through `caller`, which owns the spans of its calls. The addresses are on the command line of
# workerd, see `start`.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    ( name = "shop", worker = (
      modules = [(name = "shop.js", esModule = embed "shop.js")],
      compatibilityDate = "2026-05-01",
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

    # One caller, two bindings: a name picks the binding, of calls and of the plain HTTP that D1 speaks.
    ( name = "caller-db", external = (address = "unix:./caller.sock", http = (
      injectRequestHeaders = [(name = "binding-span-binding", value = "DB")],
    )) ),
    ( name = "caller-ai", external = (address = "unix:./caller.sock", http = (capnpConnectHost = "AI")) ),
  ],
  sockets = [(name = "http", address = "127.0.0.1:8787", http = (), service = "shop")],
);
