// Calls the Rust service `Probe` (calls_rust.rs) in every way that JavaScript RPC has.
import assert from "node:assert";
import { RpcTarget, WorkerEntrypoint } from "cloudflare:workers";
import { cases as values } from "expressions.mjs";
import { serve } from "cases.js";

class Adder extends RpcTarget {
  #sum = 0;
  add(n) {
    return (this.#sum += n);
  }
  get sum() {
    return this.#sum;
  }
}

export class Echo extends WorkerEntrypoint {
  echo(value) {
    return value;
  }
}

const caught = async (promise) => {
  try {
    await promise;
  } catch (e) {
    return { name: e.name, class: e.constructor.name, message: e.message };
  }
  assert.fail("nothing was thrown");
};

const cases = {
  async values({ SVC, WORKER }) {
    const failed = [];
    for (const [name, make] of values) {
      const value = make();
      try {
        const back = await SVC.echo(value);
        // What a Worker would give back: for some errors that is not quite the original.
        if (name !== "invalid Date") assert.deepStrictEqual(back, await WORKER.echo(value));
        else assert.ok(back instanceof Date && Number.isNaN(back.getTime()));
      } catch (e) {
        failed.push(`${name}: ${e.message}`);
      }
    }
    return { cases: values.length, failed };
  },

  async errors({ SVC }) {
    const thrown = {};
    for (const name of ["Error", "TypeError", "RangeError", "ReferenceError", "SyntaxError", "EvalError", "URIError", "QuotaError"])
      thrown[name] = await caught(SVC.throw(name, `a ${name}: of ours`));
    thrown.empty = await caught(SVC.throw("TypeError", ""));
    thrown.unknown = await caught(SVC.nothing_of_that_name());
    thrown.panic = await caught(SVC.panic());
    return thrown;
  },

  async stub_from_rust({ SVC }) {
    using counter = await SVC.counter(5);
    assert.equal(await counter.increment(1), 6);
    assert.equal(await counter.increment(2), 8);
    assert.equal(await counter.value, 8);
    using copy = counter.dup();
    counter[Symbol.dispose]();
    assert.equal(await copy.increment(1), 9);
    using other = await SVC.counter(0);
    assert.equal(await SVC.add_all([copy, other], 10), 29);
    assert.equal(await other.value, 10);
    using swapped = await SVC.swap(copy, other);
    assert.equal(await swapped[0].value, 10);
    assert.equal(await swapped[1].value, 19);
    assert.equal(await swapped[2].increment(1), 11);
  },

  async stubs_from_js({ SVC }) {
    const adder = new Adder();
    assert.equal(await SVC.call(adder, "add", [1]), 1);
    assert.equal(await SVC.call(adder, "add", [2]), 3);
    assert.equal(await SVC.get(adder, "sum"), 3);
    assert.equal(await SVC.call((a, b) => a + b, "", [40, 2]), 42);
    assert.equal(await SVC.call({ deep: { target: (n) => n + 1 } }.deep.target, "", [1]), 2);
    const thrown = await caught(SVC.call(() => { throw new RangeError("from JavaScript"); }, "", []));
    assert.deepEqual(thrown, { name: "RangeError", class: "RangeError", message: "from JavaScript" });
  },

  async stub_there_and_back({ SVC }) {
    using back = await SVC.echo(new Adder());
    assert.equal(await back.add(7), 7);
    using fn = await SVC.echo((n) => n * 2);
    assert.equal(await fn(21), 42);
    using object = await SVC.echo({ name: "x", list: [new Adder(), (n) => n + 1] });
    assert.equal(object.name, "x");
    assert.equal(await object.list[0].add(1), 1);
    assert.equal(await object.list[1](1), 2);
  },

  async stub_is_kept({ SVC }) {
    const calls = [];
    using held = await SVC.keep((n) => { calls.push(n); return calls.length; });
    assert.equal(await held.again("a"), 1);
    assert.equal(await held.again("b"), 2);
    assert.deepEqual(calls, ["a", "b"]);
  },

  async pipelining({ SVC }) {
    assert.equal(await SVC.counter(1).increment(1), 2);
    assert.equal(await SVC.counter(1).value, 1);
    using result = SVC.object();
    const [name, first, deep, count] = await Promise.all([
      result.name, result.list, result.nested.deep, result.nested.counter.increment(4),
    ]);
    assert.deepEqual({ name, first, deep, count }, { name: "plain", first: [10, 20], deep: true, count: 4 });
    assert.equal(await SVC.object().nested.counter.fork().increment(1), 1);
    using all = await result;
    assert.equal(all.name, "plain");
    assert.equal(await all.nested.counter.value, 4);
    return {
      of_what_throws: await caught(SVC.throw("RangeError", "no").anything.more()),
      of_a_number: await caught(SVC.count().increment(1)),
      of_a_text: await caught(SVC.object().name.increment()),
      of_nothing: await caught(SVC.object().nothing.increment()),
    };
  },

  async properties({ SVC }) {
    assert.equal(await SVC.version, "property version");
    assert.equal(await SVC.deep.path.name, "property deep.path.name");
    assert.equal(await SVC.users.by.name(1), "users.by.name");
    return caught(SVC.missing);
  },

  async many({ SVC }) {
    const answers = await Promise.all(Array.from({ length: 64 }, (_, i) => SVC.echo(i)));
    assert.deepEqual(answers, Array.from({ length: 64 }, (_, i) => i));
    for (let i = 0; i < 300; i++) assert.equal(await SVC.echo(i), i);
  },

  async no_arguments({ SVC }) {
    return [await SVC.count(), await SVC.count(undefined), await SVC.count(1, 2, 3)];
  },

  async large({ SVC }) {
    const large = "x".repeat(4 * 1024 * 1024);
    assert.equal((await SVC.echo(large)).length, large.length);
    assert.equal((await SVC.echo(new Uint8Array(4 * 1024 * 1024).fill(7)))[4000000], 7);
  },

  async not_served({ SVC }) {
    return {
      signal: await caught(SVC.echo(new AbortController().signal)),
      service: await caught(SVC.echo(SVC)),
    };
  },

  async fetch({ SVC }) {
    const response = await SVC.fetch("http://x/");
    return { status: response.status, text: await response.text() };
  },

  async unknown_binding({ NONE }) {
    return caught(NONE.anything());
  },
};

export default { fetch: serve(cases) };
