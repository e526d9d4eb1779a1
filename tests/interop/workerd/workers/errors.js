// What errors.rs has thrown and caught.
import { RpcTarget, WorkerEntrypoint } from "cloudflare:workers";
import { serve } from "cases.js";

class QuotaError extends Error {
  name = "QuotaError";
  code = 7;
}

class Target extends RpcTarget {
  get count() {
    return 5;
  }
}

const throws = {
  plain: () => new Error("plain"),
  type: () => new TypeError("no: good"),
  empty: () => new RangeError(),
  retryable: () => Object.assign(new Error("stock is low"), { retryable: true }),
  overloaded: () => Object.assign(new TypeError("too busy"), { overloaded: true, code: "E_BUSY" }),
  nul: () => new Error("a\0b"),
  cause: () => new Error("outer", { cause: new TypeError("inner", { cause: 42 }) }),
  aggregate: () => new AggregateError([new RangeError("first"), 2, { a: 1 }], "many"),
  suppressed: () => new SuppressedError(new Error("a"), new Error("b"), "both"),
  custom: () => new QuotaError("full"),
  circular: () => { const e = new Error("circular"); e.self = e; return e; },
  unicode: () => new Error("hä € 😀"),
  properties: () => Object.assign(new Error("p"), { map: new Map([[1, new Date(0)]]), big: 1n, bytes: new Uint8Array([1]) }),
  wasm: () => new WebAssembly.CompileError("w"),
  abort: () => new DOMException("stop", "AbortError"),
  // What V8 does not serialize: the text is all that is sent.
  retryable_function: () => Object.assign(new Error("f"), { retryable: true, f: () => 1 }),
  symbol: () => Symbol("s"),
  number: () => 42,
  text: () => "text",
  null: () => null,
  undefined: () => undefined,
  object: () => ({ a: 1 }),
  map: () => new Map([[1, 2]]),
};

export class Thrower extends WorkerEntrypoint {
  throw(name) {
    throw throws[name]();
  }
  rethrow(value) {
    throw value;
  }
  get count() {
    return 5;
  }
  get bad() {
    throw new RangeError("the getter threw");
  }
  target() {
    return new Target();
  }
}

// An error as JSON; `remote` is what workerd adds to all that a callee threw.
const shown = (e, depth = 0) => {
  if (!(e instanceof Error || e instanceof DOMException)) {
    if (e === null || typeof e !== "object") return `${typeof e} ${String(e)}`;
    return Object.fromEntries(Object.entries(e).map(([name, value]) => [name, shown(value, depth + 1)]));
  }
  const own = Object.getOwnPropertyNames(e).filter((name) => !["stack", "message", "name"].includes(name));
  const properties = own.map((name) => [name, depth < 3 ? shown(e[name], depth + 1) : "..."]);
  return { class: e.constructor.name, name: e.name, message: e.message, own: Object.fromEntries(properties) };
};

const caught = async (promise) => {
  try {
    await promise;
  } catch (e) {
    return shown(e);
  }
  return "nothing was thrown";
};

const all = async (call) => {
  const outcomes = {};
  for (const name in throws) outcomes[name] = await caught(call(name));
  return outcomes;
};

const cases = {
  // As a Worker throws it.
  worker: ({ WORKER }) => all((name) => WORKER.throw(name)),
  // Caught by Rust, which throws it again.
  through_rust: ({ RUST }) => all((name) => RUST.call(() => { throw throws[name](); })),
  rust: async ({ RUST }) => {
    const names = ["plain", "nul", "cause", "aggregate", "custom", "retryable", "overloaded", "number", "object", "large", "stub"];
    const outcomes = {};
    for (const name of names) outcomes[name] = await caught(RUST.throw(name));
    outcomes.get = await caught(RUST.property);
    outcomes.pipelined = await caught(RUST.throw("custom").anything.more());
    return outcomes;
  },
};

export { Thrower as default };
export class Main extends WorkerEntrypoint {
  fetch(request) {
    return serve(cases)(request, this.env);
  }
}
