// Does one thing a path, each with events of its own.
import { DurableObject, tracing } from "cloudflare:workers";
import { channel } from "node:diagnostics_channel";

export class Socket extends DurableObject {
  async arm() {
    await this.ctx.storage.setAlarm(Date.now() + 1);
  }
  alarm() {
    console.log("the alarm");
  }
  fetch() {
    const [near, far] = Object.values(new WebSocketPair());
    this.ctx.acceptWebSocket(far);
    return new Response(null, { status: 101, webSocket: near });
  }
  webSocketMessage(socket, message) {
    socket.send(`re: ${message}`);
  }
  webSocketClose(socket, code) {
    socket.close(code);
  }
}

const cases = {
  logs() {
    console.debug("debug");
    console.info("info", 1, { a: [null, undefined, 1.5, -0] });
    console.log("\u001b[31mred\u200b");
    console.warn();
    console.error(new TypeError("bad"), "and", new Error("worse", { cause: 1 }));
    console.log({ date: new Date(0) }, new Map([[1, 2]]), 10n, Symbol("s"), () => 1, undefined, [undefined]);
    console.log("x".repeat(300 * 1024));
  },
  channels() {
    channel("some.channel").publish({
      a: 1, when: new Date(0), bytes: new Uint8Array([1, 2]), map: new Map([[1, 2]]), set: new Set([1]),
      nothing: undefined, holes: [1, , 3], fails: new RangeError("r", { cause: new Error("c") }), pattern: /a/g,
      text: "h\u00e9 \u20ac", deep: { list: [[{}]] }, buffer: new ArrayBuffer(2), negative: -0, 7: "seven",
    });
    for (const value of ["text", 5, 1.5, null, true, undefined, [], new Date(5)]) channel("plain").publish(value);
  },
  throws() {
    throw new RangeError("too far");
  },
  throws_no_error() {
    throw 42;
  },
  spans() {
    const first = tracing.startSpan("first");
    first.setAttributes({ text: "v", number: 1.5, yes: true, list: ["a", "b"] });
    first.updateName("second");
    first.setStatus({ code: "error", message: "boom" });
    first.end();
    for (const status of [{ code: "ok" }, { code: "error" }, { code: "unset" }, { code: "error", message: "" }]) {
      const span = tracing.startSpan("status");
      span.setStatus(status);
      span.end();
    }
    const records = tracing.startSpan("records");
    records.recordException(new TypeError("recorded"));
    records.end();
    tracing.getActiveSpan().updateName("the whole request");
  },
  async scheduled({ SELF }) {
    await SELF.scheduled({ cron: "* * * * 1", scheduledTime: new Date(1000) });
  },
  async queue({ SELF }) {
    await SELF.queue("orders", [{ id: "1", timestamp: new Date(0), body: "x", attempts: 1 }]);
  },
  async alarm({ SOCKET }) {
    await SOCKET.get(SOCKET.idFromName("alarm")).arm();
  },
  async socket({ SOCKET }) {
    const upgrade = { headers: { upgrade: "websocket" } };
    const { webSocket } = await SOCKET.get(SOCKET.idFromName("socket")).fetch("http://socket/", upgrade);
    webSocket.accept();
    const heard = new Promise((resolve) => webSocket.addEventListener("message", resolve));
    webSocket.send("hello");
    await heard;
    webSocket.close(1000, "bye");
  },
  async posts({ SELF }) {
    const headers = { authorization: "Bearer secret", cookie: "a=secret", "x-api-key": "secret", "x-kept": "kept" };
    const url = "http://user:secret@self/missing?token=secret&page=2";
    await (await SELF.fetch(url, { method: "POST", headers, body: "{}" })).text();
  },
};

export default {
  async fetch(request, env) {
    const called = cases[new URL(request.url).pathname.slice(1)];
    if (!called) return new Response("there is no such case", { status: 404 });
    await called(env);
    return new Response("done");
  },
  scheduled() {
    console.log("it is time");
  },
  queue() {},
};
