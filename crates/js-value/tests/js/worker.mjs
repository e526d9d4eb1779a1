// Runs inside workerd: a queue's messages are V8 serializations, and its consumer here is ourselves.
import { WorkerEntrypoint } from "cloudflare:workers";
import { cases } from "expressions.mjs";
import { hostCases, refusedCases } from "host.mjs";
import { toJson, text } from "to-json.mjs";

const hex = (buffer) => [...new Uint8Array(buffer)].map((b) => b.toString(16).padStart(2, "0")).join("");
const unhex = (hex) => new Uint8Array((hex.match(/../g) ?? []).map((b) => parseInt(b, 16))).buffer;
let sent;
let received;

/** How workerd writes a value. */
async function write(env, value) {
  await env.QUEUE.send(value, { contentType: "v8" });
  return sent;
}

async function rows(env) {
  const rows = [];
  for (const [name, make] of cases) {
    const value = make();
    if (value === undefined) continue; // no message of a queue
    let json = null;
    try {
      json = text(toJson(value, true));
    } catch (e) {
      if (e.message !== "cycle") throw e;
    }
    rows.push({ name, js: String(make).slice(6), hex: await write(env, value), json });
  }
  return rows;
}

/** How workerd writes what it has read. */
async function echo(env, line) {
  received = undefined;
  const message = { id: "1", timestamp: new Date(), serializedBody: unhex(line), attempts: 1 };
  const { outcome } = await env.SELF.queue("cases", [message]);
  if (outcome !== "ok" || received === undefined) return `not read: ${outcome}`;
  return await write(env, received);
}

/** Sends each value in a call, whose bytes pass withWorkerd's proxy; `MARK name` ends them. */
async function calls(env) {
  const rows = [];
  for (const [name, make, json] of hostCases) {
    await env.CALLEE.take(make(), `MARK ${name}`);
    rows.push({ name, js: String(make).replace(/^\(\) => /, ""), json: text(json) });
  }
  for (const [name, make, words] of refusedCases) {
    const said = await env.CALLEE.take(await make()).then(() => "it passed", (error) => `${error.name}: ${error.message}`);
    if (said !== `DataCloneError: ${words}`) throw new Error(`${name}: ${said}`);
  }
  return rows;
}

export class Callee extends WorkerEntrypoint {
  take() {}
}

export default {
  async fetch(request, env) {
    switch (new URL(request.url).pathname) {
      case "/cases":
        return Response.json(await rows(env));
      case "/calls":
        return Response.json(await calls(env));
      case "/echo": {
        const echoes = [];
        for (const line of await request.json()) echoes.push(await echo(env, line));
        return Response.json(echoes);
      }
      default: // a message of the queue
        sent = hex(await request.arrayBuffer());
        return Response.json({ metadata: { metrics: { backlogCount: 0, backlogBytes: 0 } } });
    }
  },

  async queue(batch) {
    received = batch.messages[0].body;
  },
};
