// What a Worker does with an AI binding, and what Workers AI and AI Gateway answer. Which binding is in the path:
// `/CASE/BINDING`. Models named `standin/..` are answered by `Standin` in ai.rs, others by the word counter.
import assert from "node:assert";

const COUNTED = {
  response: "The last message has 3 words: one two three",
  finish_reason: "stop",
  usage: { prompt_tokens: 3, completion_tokens: 9, total_tokens: 12 },
};

const caught = async (action) => {
  try {
    await action();
  } catch (e) {
    return [e.name, e.message];
  }
  assert.fail("nothing was thrown");
};

/** The events of a stream, each as soon as it is there. */
async function* events(stream) {
  let text = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      const data = text.slice("data: ".length, end);
      yield data === "[DONE]" ? data : JSON.parse(data);
    }
  }
  assert.equal(text, "");
}

const collect = async (stream) => {
  const all = [];
  for await (const event of events(stream)) all.push(event);
  return all;
};

const weather = { name: "weather", description: "tells it", parameters: { type: "object", properties: { at: { type: "string" } } } };
const counting = { provider: "workers-ai", endpoint: "word-counter", headers: {}, query: { prompt: "one two three" } };
const standin = (model, query = {}) => ({
  provider: "standin",
  endpoint: "chat/completions",
  headers: { "content-type": "application/json" },
  query: { model, messages: [{ role: "user", content: "hi" }], ...query },
});

/** What is the same however the binding is reached. */
const cases = {
  async text(AI) {
    assert.deepEqual(await AI.run("word-counter", { prompt: "one two three" }), COUNTED);
    const messages = [
      { role: "system", content: "count" },
      { role: "user", content: "one two three" },
    ];
    const chat = await AI.run("@cf/meta/llama-3.1-8b-instruct", { messages, max_tokens: 2 });
    assert.deepEqual(chat, {
      response: "The last",
      finish_reason: "length",
      usage: { prompt_tokens: 4, completion_tokens: 2, total_tokens: 6 },
    });
  },

  async json_mode(AI) {
    const response_format = { type: "json_schema", json_schema: { type: "object", properties: { words: { type: "number" } } } };
    const { response } = await AI.run("word-counter", { prompt: "one two three", response_format });
    assert.deepEqual(response, { words: 3 });
  },

  async tools(AI) {
    const messages = [{ role: "user", content: "how is the weather?" }];
    const reply = await AI.run("standin/tools", { messages, tools: [weather] });
    assert.equal(reply.response, null);
    assert.deepEqual(reply.tool_calls, [{ id: "call_1", name: "weather", arguments: { at: "sea" } }]);
    assert.equal(reply.finish_reason, "tool_calls");
    // The word counter calls none, and says so.
    return caught(() => AI.run("word-counter", { messages, tools: [weather] }));
  },

  async embeddings(AI) {
    const { shape, data } = await AI.run("@cf/baai/bge-base-en-v1.5", { text: ["a b", "b a", "c"] });
    assert.deepEqual(shape, [3, 64]);
    assert.deepEqual(data.map((vector) => vector.length), [64, 64, 64]);
    assert.deepEqual(data[0], data[1]);
    assert.notDeepEqual(data[0], data[2]);
    assert.deepEqual((await AI.run("@cf/baai/bge-base-en-v1.5", { text: "a b" })).data, [data[0]]);
  },

  async stream(AI) {
    const stream = await AI.run("word-counter", { prompt: "one two three", stream: true });
    assert.ok(stream instanceof ReadableStream);
    const all = await collect(stream);
    assert.equal(all.pop(), "[DONE]");
    assert.equal(all.map(({ response }) => response).join(""), COUNTED.response);
    assert.deepEqual(all.at(-1), { ...COUNTED, response: "" });
    assert.equal(all.length, 10);
  },

  /** The second event is written when the first has been read. */
  async stream_as_it_comes(AI) {
    const seen = [];
    for await (const event of events(await AI.run("standin/paced", { prompt: "x", stream: true }))) {
      seen.push(event.response ?? event);
      if (seen.length === 1) await AI.run("standin/go", { prompt: "x" });
    }
    assert.deepEqual(seen, ["first", "second", "", "[DONE]"]);
  },

  async stream_that_breaks_off(AI) {
    const all = [];
    for await (const event of events(await AI.run("standin/broken", { prompt: "x", stream: true }))) {
      all.push(event);
      if (all.length === 1) await AI.run("standin/go", { prompt: "x" });
    }
    assert.equal(all[0].response, "first");
    assert.equal(all.length, 2);
    return [all[1].name, all[1].internalCode, all[1].error];
  },

  /** A reader that goes away ends the provider's work. */
  async stream_that_is_cancelled(AI) {
    const reader = (await AI.run("standin/endless", { prompt: "x", stream: true })).getReader();
    assert.ok((await reader.read()).value.length > 0);
    await reader.cancel();
  },

  async raw(AI) {
    const response = await AI.run("word-counter", { prompt: "one two three" }, { returnRawResponse: true });
    assert.ok(response instanceof Response);
    assert.deepEqual([response.status, response.headers.get("content-type")], [200, "application/json"]);
    assert.deepEqual(await response.json(), COUNTED);
    const stream = await AI.run("word-counter", { prompt: "a", stream: true }, { returnRawResponse: true });
    assert.equal(stream.headers.get("content-type"), "text/event-stream");
    assert.equal((await collect(stream.body)).at(-1), "[DONE]");
    const refused = await AI.run("word-counter", {}, { returnRawResponse: true });
    const { internalCode, name, errors } = await refused.json();
    assert.deepEqual([refused.status, internalCode, name, errors[0].code], [400, 5006, "InvalidInput", 5006]);
  },

  async errors(AI) {
    return [
      await caught(() => AI.run("word-counter", { prompt: "a", messages: [] })),
      await caught(() => AI.run("word-counter", {})),
      await caught(() => AI.run("standin/limited", { prompt: "x" })),
      await caught(() => AI.run("standin/failing", { prompt: "x" })),
      await caught(() => AI.run("standin/limited", { prompt: "x", stream: true })),
      await caught(() => AI.run("@cf/black-forest-labs/flux-1-schnell", { prompt: "a cat" })),
      await caught(() => AI.run("word-counter", { prompt: "x" }, { gateway: { id: "not a gateway" } })),
    ];
  },

  async models(AI) {
    const all = await AI.models();
    const counter = all.find(({ name }) => name === "word-counter");
    assert.equal(counter.task.name, "Text Generation");
    assert.deepEqual(Object.keys(counter).sort(), ["description", "id", "name", "properties", "source", "tags", "task"]);
    assert.deepEqual(await AI.models({ search: "word", per_page: 1 }), [counter]);
    assert.deepEqual(await AI.models({ search: "nothing like it" }), []);
  },

  async gateway_option(AI) {
    const options = { gateway: { id: "g", cacheTtl: 60, cacheKey: crypto.randomUUID(), metadata: { user: 7 } }, returnRawResponse: true };
    const ask = () => AI.run("word-counter", { prompt: "one two three" }, options);
    const [first, second] = [await ask(), await ask()];
    const marks = ({ headers }) => [headers.get("cf-aig-cache-status"), headers.get("cf-aig-step")];
    assert.deepEqual([marks(first), marks(second)], [["MISS", "0"], ["HIT", "0"]]);
    assert.deepEqual(await second.json(), COUNTED);
    const log = await AI.gateway("g").getLog(second.headers.get("cf-aig-log-id"));
    assert.deepEqual([log.cached, log.metadata, log.success], [true, { user: 7 }, true]);
  },

  async gateway_run(AI) {
    const response = await AI.gateway("my-gateway").run(counting);
    assert.ok(response instanceof Response);
    assert.equal(response.status, 200);
    assert.deepEqual(await response.json(), COUNTED);
    // Options hold for all of a list; what a request says itself comes before them.
    const headers = { "cf-aig-metadata": { user: 123 }, "cf-aig-custom-cost": { total_cost: 1.5 }, "cf-aig-skip-cache": false };
    const options = { gateway: { metadata: { user: 1 }, eventId: "e-1" }, extraHeaders: { "x-custom": "stuff" } };
    const gateway = AI.gateway("my-gateway");
    const told = await gateway.run([{ ...counting, headers }], options);
    assert.equal(told.headers.get("cf-aig-event-id"), "e-1");
    const { metadata, cost, custom_cost } = await gateway.getLog(told.headers.get("cf-aig-log-id"));
    assert.deepEqual({ metadata, cost, custom_cost }, { metadata: { user: 123 }, cost: 1.5, custom_cost: true });
    const unlogged = await gateway.run(counting, { gateway: { collectLog: false } });
    assert.equal(unlogged.headers.get("cf-aig-log-id"), null);
    // An unknown provider is an answer, not an exception.
    const refused = await gateway.run({ ...counting, provider: "nobody" });
    return [refused.status, (await refused.json()).errors[0].message];
  },

  async gateway_stream(AI) {
    const response = await AI.gateway("g").run({ ...counting, query: { prompt: "one two three", stream: true } });
    assert.equal(response.headers.get("content-type"), "text/event-stream");
    const all = await collect(response.body);
    assert.deepEqual(all.slice(-2), [{ ...COUNTED, response: "" }, "[DONE]"]);
    // A provider's own events stay what they are.
    const passed = await AI.gateway("g").run(standin("short", { stream: true }));
    assert.equal((await collect(passed.body))[0].choices[0].delta.content, "first");
  },

  async gateway_fallback(AI) {
    const response = await AI.gateway("g").run([standin("failing"), standin("limited"), counting]);
    assert.deepEqual([response.status, response.headers.get("cf-aig-step")], [200, "2"]);
    assert.deepEqual(await response.json(), COUNTED);
    const failed = await AI.gateway("g").run([standin("failing"), standin("limited")]);
    assert.deepEqual([failed.status, failed.headers.get("retry-after")], [429, "7"]);
  },

  async gateway_url(AI) {
    const gateway = AI.gateway("my-gateway");
    return [await gateway.getUrl(), await gateway.getUrl("openai"), await gateway.getUrl("workers-ai")];
  },

  async gateway_log(AI) {
    const gateway = AI.gateway("g");
    const before = Date.now();
    const id = (await gateway.run(counting)).headers.get("cf-aig-log-id");
    const log = await gateway.getLog(id);
    assert.ok(log.created_at instanceof Date);
    assert.ok(Math.abs(log.created_at - before) < 60_000, `${log.created_at}`);
    const { created_at, duration, request_size, response_size, ...others } = log;
    assert.ok([duration, request_size, response_size].every(Number.isInteger));
    assert.deepEqual(others, {
      id,
      provider: "counter",
      model: "word-counter",
      model_type: "chat",
      path: "chat/completions",
      request_type: "whole",
      request_content_type: "application/json",
      status_code: 200,
      response_content_type: "application/json",
      success: true,
      cached: false,
      tokens_in: 3,
      tokens_out: 9,
      step: 0,
      custom_cost: false,
      // What was said is not in the log.
      request_head_complete: false,
      response_head_complete: false,
    });
    assert.equal(await gateway.patchLog(id, { feedback: 1, score: 80, metadata: { a: "b" } }), undefined);
    const { feedback, score, metadata } = await gateway.getLog(id);
    assert.deepEqual({ feedback, score, metadata }, { feedback: 1, score: 80, metadata: { a: "b" } });
    return [
      await caught(() => gateway.getLog("nothing")),
      await caught(() => gateway.patchLog("nothing", { feedback: -1 })),
      await caught(() => AI.gateway("other").getLog(id)),
      await caught(() => gateway.patchLog(id, { feedback: 7 })),
    ];
  },

  /** What the object `env.AI` itself knows of the last request. */
  async properties(AI) {
    await AI.run("word-counter", { prompt: "a" });
    const first = AI.lastRequestId;
    assert.match(first, /^[0-9A-Za-z-]{20,}$/);
    assert.deepEqual([AI.lastRequestHttpStatusCode, AI.aiGatewayLogId], [200, null]);
    await AI.run("word-counter", { prompt: "a" }, { gateway: { id: "g" } });
    assert.notEqual(AI.lastRequestId, first);
    assert.equal((await AI.gateway("g").getLog(AI.aiGatewayLogId)).model, "word-counter");
    await caught(() => AI.run("word-counter", { prompt: "a", messages: [] }));
    assert.deepEqual([AI.lastRequestHttpStatusCode, AI.lastRequestInternalStatusCode], [400, 1001]);
  },

  /** By a signal that is aborted already, while nobody has answered, and in mid-stream. */
  async aborted(AI) {
    const before = await caught(() => AI.run("word-counter", { prompt: "x" }, { signal: AbortSignal.abort() }));
    assert.equal(before[0], "AbortError");
    for (const run of [
      (signal) => AI.run("standin/hanging", { prompt: "x" }, { signal }),
      (signal) => AI.gateway("g").run(standin("hanging"), { signal }),
    ]) {
      const controller = new AbortController();
      const waiting = caught(() => run(controller.signal));
      await scheduler.wait(50);
      controller.abort();
      assert.equal((await waiting)[0], "AbortError");
    }
    const controller = new AbortController();
    const stream = await AI.run("standin/endless", { prompt: "x", stream: true }, { signal: controller.signal });
    const reader = stream.getReader();
    assert.ok((await reader.read()).value.length > 0);
    controller.abort();
    const rest = await caught(async () => {
      while (!(await reader.read()).done);
    });
    assert.equal(rest[0], "AbortError");
  },

  async not_served_by_http(AI) {
    const file = { name: "a.txt", blob: new Blob(["a"], { type: "text/plain" }) };
    const audio = { body: new Blob(["a"]).stream(), contentType: "audio/wav" };
    const form = new FormData();
    form.append("prompt", "cat");
    const websocket = await AI.run("@cf/deepgram/flux", { encoding: "utf8" }, { websocket: true });
    return {
      markdown: await caught(() => AI.toMarkdown([file])),
      formats: await AI.toMarkdown().supported(),
      autorag: await caught(() => AI.autorag("a").search({ query: "q" })),
      autorags: await caught(() => AI.autorag().list()),
      audio: await caught(() => AI.run("@cf/openai/whisper", { audio })),
      form: await caught(() => AI.run("any", { multipart: { body: form, contentType: "multipart/form-data" } })),
      websocket: [websocket.status, await websocket.text()],
    };
  },

  async not_served_by_calls(AI) {
    return {
      markdown: await caught(() => AI.toMarkdown([])),
      autorag: await caught(() => AI.autorag("a").search({ query: "q" })),
      search: await caught(() => AI.aiSearch().list()),
      audio: await caught(() => AI.run("@cf/openai/whisper", { audio: new Blob(["a"]).stream() })),
      websocket: await caught(() => AI.run("any", { prompt: "a" }, { websocket: true })),
      signal: await caught(() => AI.run("any", { prompt: "a" }, { signal: new AbortController().signal })),
      method: await caught(() => AI.nothing()),
    };
  },

  /** By calls, whatever the binding itself is reached by. */
  async gateway_in_beta(AI) {
    const gateway = AI.gateway("beta", { beta: true });
    const response = await gateway.run([counting], { gateway: { metadata: { user: 1 } } });
    assert.deepEqual(await response.json(), COUNTED);
    const log = await gateway.getLog(response.headers.get("cf-aig-log-id"));
    assert.deepEqual([log.created_at instanceof Date, log.metadata], [true, { user: 1 }]);
    return gateway.getUrl("openai");
  },

  async one_of_each(AI) {
    await AI.run("@cf/meta/llama-3.1-8b-instruct", { prompt: "one two three", temperature: 0.5 });
    await collect(await AI.run("word-counter", { prompt: "one two three", stream: true }));
    await AI.run("@cf/baai/bge-base-en-v1.5", { text: ["a b"] });
    await (await AI.gateway("g").run([standin("failing"), counting])).text();
    const { body } = await AI.gateway("g").run({ ...counting, query: { prompt: "one two", stream: true } });
    await collect(body);
    await caught(() => AI.run("standin/limited", { prompt: "x" }));
  },
};

export default {
  async fetch(request, env) {
    const [, name, binding] = new URL(request.url).pathname.split("/");
    try {
      return Response.json((await cases[name](env[binding])) ?? null);
    } catch (e) {
      return new Response(`${name}: ${e?.stack ?? e}`, { status: 500 });
    }
  },
};
