# A Durable Object whose SQL says how many rows each statement read and wrote. `disk` is named when workerd starts.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    ( name = "main", worker = (
      modules = [(name = "d1_rows.js", esModule = embed "d1_rows.js")],
      compatibilityDate = "2026-05-01",
      bindings = [(name = "SQL", durableObjectNamespace = "Sql")],
      durableObjectNamespaces = [(className = "Sql", uniqueKey = "sql", enableSql = true)],
      durableObjectStorage = (localDisk = "disk"),
    )),
    ( name = "disk", disk = (writable = true) ),
  ],
  sockets = [(name = "http", http = (), service = "main")],
);
