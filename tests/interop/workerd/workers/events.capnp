# A Worker that does whatever there is to tell of, and whose events go to a tail Worker and to us at once.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    ( name = "main", worker = (
      modules = [(name = "events.js", esModule = embed "events.js")],
      compatibilityDate = "2026-05-01",
      compatibilityFlags = ["nodejs_compat", "experimental", "service_binding_extra_handlers"],
      streamingTails = ["tail", "ours"],
      durableObjectNamespaces = [(className = "Socket", uniqueKey = "socket")],
      durableObjectStorage = (inMemory = void),
      bindings = [
        (name = "SOCKET", durableObjectNamespace = "Socket"),
        (name = "SELF", service = "main"),
      ],
    )),
    ( name = "tail", worker = (
      modules = [(name = "tail.js", esModule = embed "tail.js")],
      compatibilityDate = "2026-05-01",
    )),
    # The address comes from the command line.
    ( name = "ours", external = (address = "127.0.0.1:1", http = (capnpConnectHost = "TAIL")) ),
  ],
  sockets = [(name = "http", http = (), service = "main")],
);
