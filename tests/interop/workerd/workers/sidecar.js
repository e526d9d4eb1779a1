// Calls another Worker, and a Rust service, through our caller.
import assert from "node:assert";
import { RpcTarget } from "cloudflare:workers";
import { serve } from "cases.js";

class Adder extends RpcTarget {
  #sum = 0;
  increment(n) {
    return (this.#sum += n);
  }
}

const caught = async (promise) => {
  try {
    const value = await promise;
    return { value: String(value) };
  } catch (e) {
    return { name: e.name, message: e.message };
  }
};

const cases = {
  async worker({ WORKER }) {
    assert.equal(await WORKER.add(1, 2), 3);
    assert.deepEqual(await WORKER.echo(new Map([["a", { b: [1n, new Date(5)] }]])), new Map([["a", { b: [1n, new Date(5)] }]]));
    using counter = await WORKER.counter(5);
    assert.equal(await counter.increment(1), 6);
    assert.equal(await counter.value, 6);
    assert.equal(await WORKER.counter(1).increment(1), 2);
    assert.equal(await WORKER.object().nested.counter.increment(1), 11);
    assert.equal(await WORKER.call(new Adder(), 5), 15);
    assert.equal(await WORKER.version, "1.0");
    assert.deepEqual(await caught(WORKER.throw("RangeError", "far: away")), { name: "RangeError", message: "far: away" });
    assert.equal((await caught(WORKER.nobody())).message, 'The RPC receiver does not implement the method "nobody".');
  },

  async streams({ WORKER }) {
    return {
      readable: await caught(WORKER.show(new Blob(["text"]).stream())),
      response: await caught(WORKER.show(new Response("text"))),
      plain_response: await caught(WORKER.show(new Response(null, { status: 204 }))),
      request: await caught(WORKER.show(new Request("http://x/"))),
      headers: await caught(WORKER.show(new Headers({ a: "b" }))),
      blob: await caught(WORKER.show(new Blob(["text"]))),
      writable: await caught(WORKER.show(new TransformStream().writable)),
      returned: { value: await new Response(await WORKER.stream()).text() },
    };
  },

  async gateway({ GATEWAY }) {
    return GATEWAY.run("model-1", "a prompt");
  },
};

export default { fetch: serve(cases) };
