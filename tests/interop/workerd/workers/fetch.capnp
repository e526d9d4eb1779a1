# A Worker that fetches from external services, in a workerd without any flag.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    ( name = "main", worker = (
      modules = [
        (name = "fetch.js", esModule = embed "fetch.js"),
        (name = "cases.js", esModule = embed "cases.js"),
      ],
      compatibilityDate = "2026-05-01",
      bindings = [
        (name = "SVC", service = "rust"),
        (name = "NAMED", service = "named"),
      ],
    )),
    # A Worker behind a caller, which has no way to ask it.
    ( name = "callee", worker = (
      modules = [(name = "called.js", esModule = embed "called.js")],
      compatibilityDate = "2026-05-01",
      compatibilityFlags = ["nodejs_compat"],
    )),
    # The addresses come from the command line.
    ( name = "rust", external = (address = "127.0.0.1:1", http = ()) ),
    ( name = "named", external = (
      address = "127.0.0.1:1",
      http = (injectRequestHeaders = [(name = "binding-span-binding", value = "WEB")]),
    )),
  ],
  sockets = [(name = "http", http = (), service = "main")],
);
