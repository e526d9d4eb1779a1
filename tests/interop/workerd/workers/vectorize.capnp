# A Worker with Vectorize bindings that Rust serves, in a stock workerd: nothing experimental.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    ( name = "main", worker = (
      modules = [(name = "vectorize.js", esModule = embed "vectorize.js")],
      compatibilityDate = "2026-05-01",
      compatibilityFlags = ["nodejs_compat"],
      bindings = [
        # What wrangler makes of `"vectorize": [{"binding": .., "index_name": ..}]`.
        ( name = "HTTP", wrapped = (
          moduleName = "cloudflare-internal:vectorize-api",
          innerBindings = [
            (name = "fetcher", service = "plain"),
            (name = "indexId", text = "docs"),
            (name = "indexVersion", text = "v2"),
          ],
        )),
        ( name = "LINES", wrapped = (
          moduleName = "cloudflare-internal:vectorize-api",
          innerBindings = [
            (name = "fetcher", service = "plain"),
            (name = "indexId", text = "docs"),
            (name = "indexVersion", text = "v2"),
            (name = "useNdJson", json = "true"),
          ],
        )),
        # Without a version it is the first.
        ( name = "FIRST", wrapped = (
          moduleName = "cloudflare-internal:vectorize-api",
          innerBindings = [
            (name = "fetcher", service = "plain"),
            (name = "indexId", text = "docs"),
          ],
        )),
        # What wrangler makes of a service that is bound as VECTORIZE.
        (name = "VECTORIZE", service = "calls"),
        ( name = "AI_HTTP", wrapped = (
          moduleName = "cloudflare-internal:ai-api",
          innerBindings = [(name = "fetcher", service = "plain-ai")],
        )),
        (name = "AI", service = "calls-ai"),
        (name = "OLD", service = "old"),
      ],
      streamingTails = ["tail"],
    )),
    # A Worker from before metadata was optional.
    ( name = "old", worker = (
      modules = [(name = "old.js", esModule =
        "export default { fetch: async (_, { FIRST }) => Response.json(await FIRST.query([1, 0, 0], { topK: 1 })) };")],
      compatibilityDate = "2023-10-01",
      bindings = [
        ( name = "FIRST", wrapped = (
          moduleName = "cloudflare-internal:vectorize-api",
          innerBindings = [(name = "fetcher", service = "plain"), (name = "indexId", text = "docs")],
        )),
      ],
    )),
    ( name = "tail", worker = (
      modules = [(name = "tail.js", esModule = embed "tail.js")],
      compatibilityDate = "2026-05-01",
    )),
    # The addresses come from the command line.
    ( name = "plain", external = (address = "127.0.0.1:1", http = (
      injectRequestHeaders = [(name = "binding-span-binding", value = "VECTORIZE")],
    )) ),
    ( name = "calls", external = (address = "127.0.0.1:1", http = (capnpConnectHost = "VECTORIZE")) ),
    ( name = "plain-ai", external = (address = "127.0.0.1:1", http = (
      injectRequestHeaders = [(name = "binding-span-binding", value = "AI")],
    )) ),
    ( name = "calls-ai", external = (address = "127.0.0.1:1", http = (capnpConnectHost = "AI")) ),
  ],
  sockets = [(name = "http", http = (), service = "main")],
);
