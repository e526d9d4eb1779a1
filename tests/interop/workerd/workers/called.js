// What called.rs calls.
import { RpcTarget, WorkerEntrypoint } from "cloudflare:workers";
import { inspect } from "node:util";

class Counter extends RpcTarget {
  #value;
  constructor(value) {
    super();
    this.#value = value;
  }
  increment(n = 1) {
    return (this.#value += n);
  }
  get value() {
    return this.#value;
  }
}

export default class extends WorkerEntrypoint {
  add(a, b) {
    return a + b;
  }
  echo(value) {
    return value;
  }
  show(...values) {
    return inspect(values, { depth: 10 });
  }
  throw(name, message) {
    throw new globalThis[name](message);
  }
  counter(value) {
    return new Counter(value);
  }
  object() {
    return { name: "plain", nested: { counter: new Counter(10), list: [1, 2] } };
  }
  async call(stub, n) {
    return (await stub.increment(n)) + (await stub.increment(n));
  }
  nothing() {}
  stream() {
    return new Blob(["text"]).stream();
  }
  get version() {
    return "1.0";
  }
  deep = { path: {} };
}

export class Entry extends WorkerEntrypoint {
  add(a, b) {
    return a + b + 1000;
  }
}
