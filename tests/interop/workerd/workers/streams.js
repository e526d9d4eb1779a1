// Streams in values, in every direction and of every shape. Which Worker or service they go to is in the
// path: `/CASE/BINDING`. The same class is what other Workers call; `Streams` in streams.rs is its Rust form.
import assert from "node:assert";
import { WorkerEntrypoint } from "cloudflare:workers";

const byte = (i) => (i ^ (i >> 8) ^ (i >> 16)) & 0xff;

/** Bytes that differ wherever one looks. */
function pattern(from, length) {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = byte(from + i);
  return bytes;
}

/** A stream of so many bytes; `end` is what happens behind them. */
function patterned(length, chunk, end = (controller) => controller.close()) {
  let at = 0;
  return new ReadableStream({
    type: "bytes",
    pull(controller) {
      if (at >= length) {
        end(controller);
        controller.byobRequest?.respond(0);
        return;
      }
      const bytes = pattern(at, Math.min(chunk, length - at));
      at += bytes.length;
      controller.enqueue(bytes);
    },
  });
}

/** Reads all of it and looks at the first byte of each chunk. */
async function check(stream) {
  let length = 0;
  for await (const bytes of stream) {
    assert.strictEqual(bytes[0], byte(length));
    assert.strictEqual(bytes.at(-1), byte(length + bytes.length - 1));
    length += bytes.length;
  }
  return length;
}

let canceled = 0;
let opened;

export class Streams extends WorkerEntrypoint {
  make(length, chunk) {
    return patterned(length, chunk);
  }
  read(stream) {
    return check(stream);
  }
  async first(stream) {
    const reader = stream.getReader();
    const { value } = await reader.read();
    await reader.cancel();
    return value.length > 0;
  }
  echo(value) {
    return value;
  }
  endless() {
    let at = 0;
    return new ReadableStream({
      type: "bytes",
      pull(controller) {
        const bytes = pattern(at, 10_000);
        at += bytes.length;
        controller.enqueue(bytes);
      },
      cancel() {
        canceled++;
      },
    });
  }
  async canceled() {
    for (let i = 0; i < 200 && canceled === 0; i++) await scheduler.wait(10);
    return canceled > 0;
  }
  breaks() {
    return patterned(1000, 1000, () => {
      throw new Error("on purpose");
    });
  }
  async fill(writable) {
    const writer = writable.getWriter();
    let at = 0;
    for (const length of [1, 10, 100_000, 300_000]) {
      await writer.write(pattern(at, length));
      at += length;
    }
    await writer.close();
    return at;
  }
  open() {
    const { readable, writable } = new IdentityTransformStream();
    opened = check(readable);
    this.ctx.waitUntil(opened);
    return writable;
  }
  opened() {
    return opened;
  }
}

const failure = async (promise) => {
  try {
    await promise;
  } catch (e) {
    return e.message;
  }
  assert.fail("nothing was thrown");
};

const LENGTHS = [
  [0, 1],
  [1, 1],
  [10, 3],
  [1 << 16, 1 << 16],
  [3 << 20, 100_000],
];

const cases = {
  async results(to) {
    for (const [length, chunk] of LENGTHS)
      assert.strictEqual(await check(await to.make(length, chunk)), length);
  },
  async arguments(to) {
    for (const [length, chunk] of LENGTHS)
      assert.strictEqual(await to.read(patterned(length, chunk)), length);
  },
  async there_and_back(to) {
    for (const n of [0, 10, 1 << 20])
      assert.strictEqual(await check(await to.echo(patterned(n, 50_000))), n);
    const two = await to.echo({ a: patterned(10, 10), b: [patterned(20, 20)] });
    assert.deepStrictEqual([await check(two.a), await check(two.b[0])], [10, 20]);
  },
  /** A Response with each kind of body. */
  async responses(to) {
    const form = () => {
      const form = new FormData();
      form.append("a", "ä");
      return form;
    };
    const bodies = {
      nothing: () => null,
      empty: () => "",
      text: () => "text",
      bytes: () => new Uint8Array([1, 2, 255]),
      buffer: () => new Uint8Array([1, 2, 255]).buffer,
      stream: () => patterned(100_000, 1000),
      identity: () => {
        const { readable, writable } = new IdentityTransformStream();
        const writer = writable.getWriter();
        writer.write(pattern(0, 1000)).then(() => writer.close());
        return readable;
      },
      form,
      params: () => new URLSearchParams({ a: "b c" }),
      blob: () => new Blob(["blob"], { type: "text/x-blob" }),
    };
    const headers = [["x-a", "1"], ["x-b", "ä"], ["set-cookie", "a=1"], ["set-cookie", "b=2"], ["content-language", "de"]];
    for (const [kind, body] of Object.entries(bodies)) {
      const made = () => new Response(body(), { status: kind === "nothing" ? 204 : 299, statusText: "Fine", headers });
      const [wanted, back] = [made(), await to.echo(made())];
      assert.ok(back instanceof Response, kind);
      assert.deepStrictEqual([back.status, back.statusText], [wanted.status, wanted.statusText], kind);
      if (kind !== "form") {
        assert.deepStrictEqual([...back.headers], [...wanted.headers], kind);
        const bytes = async (response) => new Uint8Array(await response.arrayBuffer());
        assert.deepStrictEqual(await bytes(back), await bytes(wanted), kind);
      } else assert.deepStrictEqual([...(await back.formData())], [["a", "ä"]]);
    }
    assert.strictEqual((await to.echo(Response.error())).type, "error");
    const json = await to.echo({ inner: [Response.json({ a: 1 })] });
    assert.deepStrictEqual(await json.inner[0].json(), { a: 1 });
  },
  async requests(to) {
    const get = await to.echo(new Request("https://example.com/path?q=1", { headers: { "x-a": "1" }, redirect: "manual" }));
    assert.deepStrictEqual(
      [get.method, get.url, get.headers.get("x-a"), get.redirect, get.body],
      ["GET", "https://example.com/path?q=1", "1", "manual", null],
    );
    for (const body of ["text", new Uint8Array([1, 2]), patterned(70_000, 1000), new URLSearchParams({ a: "b" })]) {
      const sent = new Request("https://example.com/", { method: "PUT", body });
      const type = sent.headers.get("content-type");
      const back = await to.echo(sent);
      assert.deepStrictEqual([back.method, back.headers.get("content-type")], ["PUT", type]);
      assert.ok((await back.arrayBuffer()).byteLength > 1);
    }
  },
  async headers_and_blobs(to) {
    const headers = new Headers([["a", "1"], ["b", "2"], ["set-cookie", "x"], ["set-cookie", "y"]]);
    const back = await to.echo({ headers, same: headers });
    assert.deepStrictEqual([...back.headers], [...headers]);
    assert.strictEqual(back.headers, back.same);
    const blob = await to.echo(new Blob(["text"], { type: "text/plain" }));
    assert.deepStrictEqual([blob.type, await blob.text()], ["text/plain", "text"]);
  },
  async large(to) {
    assert.strictEqual(await check(await to.make(64 << 20, 1 << 16)), 64 << 20);
    assert.strictEqual(await to.read(patterned(64 << 20, 1 << 16)), 64 << 20);
  },
  async canceled_by_the_reader(to) {
    const reader = (await to.endless()).getReader();
    assert.ok((await reader.read()).value.length > 0);
    await reader.cancel();
    assert.ok(await to.canceled());
  },
  async canceled_by_the_callee(to) {
    let canceled = false;
    const stream = new ReadableStream({
      type: "bytes",
      pull: (controller) => controller.enqueue(pattern(0, 10_000)),
      cancel: () => (canceled = true),
    });
    assert.ok(await to.first(stream));
    for (let i = 0; i < 500 && !canceled; i++) await scheduler.wait(10);
    assert.ok(canceled);
  },
  async broken_by_the_callee(to) {
    const stream = await to.breaks();
    return (await failure(check(stream))).length > 0;
  },
  async broken_by_the_writer(to) {
    const stream = patterned(1000, 1000, () => {
      throw new Error("on purpose");
    });
    return (await failure(to.read(stream))).length > 0;
  },
  async written_by_the_callee(to) {
    const { readable, writable } = new IdentityTransformStream();
    const [written, read] = await Promise.all([to.fill(writable), check(readable)]);
    assert.deepStrictEqual([written, read], [400_011, 400_011]);
  },
  async written_to_the_callee(to) {
    const writer = (await to.open()).getWriter();
    for (let at = 0; at < 1 << 20; at += 1 << 16) await writer.write(pattern(at, 1 << 16));
    await writer.close();
    assert.strictEqual(await to.opened(), 1 << 20);
  },
};

export default {
  async fetch(request, env) {
    const [, name, binding] = new URL(request.url).pathname.split("/");
    try {
      return Response.json((await cases[name](env[binding])) ?? null);
    } catch (e) {
      return new Response(`${name}: ${e.stack}`, { status: 500 });
    }
  },
};
