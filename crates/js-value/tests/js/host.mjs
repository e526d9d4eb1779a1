// Values that travel in calls between Workers and nowhere else: [name, () => value, JSON]. The JSON is by hand, since
// a Worker sees headers sorted and merged, and no table of externals.

const body = (text) => new Response(text).body;
const TEXT = ["content-type", "text/plain;charset=UTF-8"];
const cookies = () => {
  const headers = new Headers({ "X-A": "1" });
  for (const cookie of ["a=1", "b=2"]) headers.append("Set-Cookie", cookie);
  headers.append("x-a", "2");
  return headers;
};
const COMMON = [
  "accept-charset", "accept-encoding", "accept-language", "accept-ranges",
  "accept", "access-control-allow-origin", "age", "allow",
  "authorization", "cache-control", "content-disposition", "content-encoding",
  "content-language", "content-length", "content-location", "content-range",
  "content-type", "cookie", "date", "etag",
  "expect", "expires", "from", "host",
  "if-match", "if-modified-since", "if-none-match", "if-range",
  "if-unmodified-since", "last-modified", "link", "location",
  "max-forwards", "proxy-authenticate", "proxy-authorization", "range",
  "referer", "refresh", "retry-after", "server",
  "set-cookie", "strict-transport-security", "transfer-encoding", "user-agent",
  "vary", "via", "www-authenticate",
];
const get = { method: "GET", url: "http://h/", headers: [] };
const post = (type) => ({ method: "POST", url: "http://h/", headers: type ? [["content-type", type]] : [], body: { $readable: 0 } });
const request = (init) => () => new Request("http://h/", init);
const text = (n, more) => ({ $response: { status: 200, headers: [TEXT], body: { $readable: n }, ...more } });

export const hostCases = [
  ["ReadableStream", () => body("x"), { $readable: 0 }],
  ["ReadableStream of JavaScript", () => new ReadableStream({ pull: (c) => c.close() }), { $readable: 0 }],
  ["ReadableStream of an IdentityTransformStream", () => new IdentityTransformStream().readable, { $readable: 0 }],
  ["WritableStream of a TransformStream", () => new TransformStream().writable, { $writable: 0 }],
  ["WritableStream of JavaScript", () => new WritableStream({}), { $writable: 0 }],
  ["streams of all kinds", () => [body("x"), new WritableStream({}), body("y")], [{ $readable: 0 }, { $writable: 1 }, { $readable: 2 }]],
  ["one stream twice", () => { const s = body("x"); return [s, s]; }, [{ $readable: 0 }, { $readable: 0 }]],
  ["Headers", () => new Headers({ "content-type": "a/b", "X-Foo": "1", "x-bar": " 2 ", "x-empty": "" }),
    { $headers: [["content-type", "a/b"], ["X-Foo", "1"], ["x-bar", "2"], ["x-empty", ""]] }],
  ["empty Headers", () => new Headers(), { $headers: [] }],
  ["Headers with cookies", cookies, { $headers: [["set-cookie", "a=1"], ["set-cookie", "b=2"], ["X-A", "1"], ["X-A", "2"]] }],
  ["Headers beyond ASCII", () => new Headers({ "x-l": "\u00e9", "x-u": "\u20ac" }), { $headers: [["x-l", "\u00e9"], ["x-u", "\u20ac"]] }],
  ["immutable Headers", () => Response.redirect("http://x/").headers, { $headers: { guard: "immutable", list: [["location", "http://x/"]] } }],
  ["Headers of all common names", () => new Headers(COMMON.map((name) => [name, "1"])), { $headers: COMMON.map((name) => [name, "1"]) }],
  ["Request", request(), { $request: get }],
  ["Request with a query", () => new Request("http://h/p?q#f"), { $request: { ...get, url: "http://h/p?q#f" } }],
  ["Request with text", request({ method: "POST", body: "text" }), { $request: post(TEXT[1]) }],
  ["Request with no text", request({ method: "POST", body: "" }), { $request: post(TEXT[1]) }],
  ["Request with bytes", request({ method: "POST", body: new Uint8Array(2) }), { $request: post() }],
  ["Request with a stream", () => new Request("http://h/", { method: "POST", body: body("z"), duplex: "half" }), { $request: post() }],
  ["Request with a form", request({ method: "POST", body: new URLSearchParams({ a: "b" }) }), { $request: post("application/x-www-form-urlencoded;charset=UTF-8") }],
  ["Request with a Blob", request({ method: "POST", body: new Blob(["q"], { type: "a/b" }) }), { $request: post("a/b") }],
  ["Request that follows redirects", request({ redirect: "follow" }), { $request: get }],
  ["Request that follows none", request({ redirect: "manual" }), { $request: { ...get, redirect: "manual" } }],
  ["Request with cf", request({ cf: { a: 1, o: {} } }), { $request: { ...get, cf: { a: 1, o: {} } } }],
  ["Request without cache", request({ cache: "no-store" }), { $request: { ...get, cache: "no-store" } }],
  ["Request for an encoded body", request({ encodeResponseBody: "manual" }), { $request: { ...get, encodeResponseBody: "manual" } }],
  ["Response", () => new Response(), { $response: { status: 200, headers: [] } }],
  ["Response without a body", () => new Response(null, { status: 204 }), { $response: { status: 204, headers: [] } }],
  ["Response with text", () => new Response("x"), text(0)],
  ["Response with no text", () => new Response(""), text(0)],
  ["Response with bytes", () => new Response(new Uint8Array(1)), text(0, { headers: [] })],
  ["Response with a stream", () => new Response(body("x")), text(0, { headers: [] })],
  ["Response with JSON", () => Response.json({}), text(0, { headers: [["content-type", "application/json"]] })],
  ["Response with a status", () => new Response("x", { status: 404, statusText: "Nope", headers: { a: "b" } }),
    { $response: { status: 404, statusText: "Nope", headers: [TEXT, ["a", "b"]], body: { $readable: 0 } } }],
  ["Response that is encoded", () => new Response("x", { encodeBody: "manual" }), text(0, { encodeBody: "manual" })],
  ["Response with cf", () => new Response("x", { cf: { a: 1 } }), text(0, { cf: { a: 1 } })],
  ["Response.error()", () => Response.error(), { $response: { status: 0, headers: [] } }],
  ["Response.redirect()", () => Response.redirect("http://x/", 301),
    { $response: { status: 301, headers: { guard: "immutable", list: [["location", "http://x/"]] } } }],
  ["Blob", () => new Blob(["abc"], { type: "text/plain" }), { $blob: { type: "text/plain", bytes: "YWJj" } }],
  ["empty Blob", () => new Blob([]), { $blob: { type: "", bytes: "" } }],
  ["DOMException", () => Object.defineProperty(new DOMException("m", "AbortError"), "stack", { value: "s" }),
    { $error: { name: "DOMException(AbortError)", message: "m", stack: "s" } }],
  ["Response and its headers", () => { const r = new Response("x"); return [r, r.headers, {}, r, {}]; },
    [text(0), { $headers: [TEXT] }, {}, text(0), {}]],
  ["Headers and their Response", () => { const r = new Response("x"), o = {}; return [o, r.headers, r, o, r.headers, r]; },
    [{}, { $headers: [TEXT] }, text(0), {}, { $headers: [TEXT] }, text(0)]],
  ["Response and its body", () => { const r = new Response("x"), o = {}; return [r, r.body, o, r.body, o]; },
    [text(0), { $readable: 0 }, {}, { $readable: 0 }, {}]],
  ["body and its Response", () => { const r = new Response("x"), o = {}; return [r.body, r, o, r.body, o, r]; },
    [{ $readable: 0 }, text(0), {}, { $readable: 0 }, {}, text(0)]],
  ["Response and its cf", () => { const r = new Response("x", { cf: { o: {} } }); return [r, r.cf, r.cf.o, {}]; },
    [text(0, { cf: { o: {} } }), { o: {} }, {}, {}]],
  ["cf and its Request", () => { const o = {}, r = new Request("http://h/", { method: "POST", body: "q", cf: { a: 1 } }); return [o, r.cf, r, r.headers, r.body, o, r]; },
    [{}, { a: 1 }, { $request: { ...post(TEXT[1]), cf: { a: 1 } } }, { $headers: [TEXT] }, { $readable: 0 }, {}, { $request: { ...post(TEXT[1]), cf: { a: 1 } } }]],
  ["objects around a Response", () => { const o = {}; return [o, new Response(body("y")), o, new Headers(), o]; },
    [{}, text(0, { headers: [] }), {}, { $headers: [] }, {}]],
];

/** Values that workerd does not pass: [name, () => value, its words]. */
const plain = (name) => `Could not serialize object of type "${name}". This type does not support serialization.`;
export const refusedCases = [
  ["AbortSignal", () => new AbortController().signal, "AbortSignal serialization is not enabled."],
  ["Request with a signal", request({ signal: AbortSignal.abort() }), "AbortSignal serialization is not enabled."],
  ["Response with a WebSocket", () => new Response(null, { status: 101, webSocket: new WebSocketPair()[0] }), plain("WebSocket")],
  ["TransformStream", () => new TransformStream(), plain("TransformStream")],
  ["File", () => new File(["a"], "n"), plain("File")],
  ["FormData", () => new FormData(), plain("FormData")],
  ["URL", () => new URL("http://h/"), plain("URL")],
  ["URLSearchParams", () => new URLSearchParams(), plain("URLSearchParams")],
  ["WebSocket", () => new WebSocketPair()[0], plain("WebSocket")],
  ["CryptoKey", () => crypto.subtle.generateKey({ name: "AES-GCM", length: 128 }, true, ["encrypt"]), plain("CryptoKey")],
  ["Event", () => new Event("x"), plain("Event")],
  ["object of a class", () => new (class Foo {})(), plain("Foo")],
  ["Symbol", () => Symbol("x"), "Symbol(x) could not be cloned."],
  ["WeakMap", () => new WeakMap(), "#<WeakMap> could not be cloned."],
];
