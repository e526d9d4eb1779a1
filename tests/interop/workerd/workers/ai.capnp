# A Worker with AI bindings that Rust serves, in a stock workerd: nothing experimental.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    ( name = "main", worker = (
      modules = [(name = "ai.js", esModule = embed "ai.js")],
      compatibilityDate = "2026-05-01",
      compatibilityFlags = ["nodejs_compat"],
      bindings = [
        # What wrangler makes of `"ai": {"binding": "AI"}`.
        ( name = "HTTP", wrapped = (
          moduleName = "cloudflare-internal:ai-api",
          innerBindings = [(name = "fetcher", service = "plain")],
        )),
        # The same, whose gateways may be asked for by calls as well.
        ( name = "BOTH", wrapped = (
          moduleName = "cloudflare-internal:ai-api",
          innerBindings = [(name = "fetcher", service = "calls")],
        )),
        # What it makes of a service that is bound as AI.
        (name = "CALLS", service = "calls"),
      ],
    )),
    # The addresses come from the command line.
    ( name = "plain", external = (address = "127.0.0.1:1", http = ()) ),
    ( name = "calls", external = (address = "127.0.0.1:1", http = (capnpConnectHost = "AI")) ),
  ],
  sockets = [(name = "http", http = (), service = "main")],
);
