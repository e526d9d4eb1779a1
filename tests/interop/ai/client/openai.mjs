// OpenAI's client library for Node.js does what it is asked to and prints what came of it, as a line of JSON each.
//
// openai.mjs REQUESTS, a list of {"operation", "base", "key", "model", "retries", "usage", ...more of the request};
// "usage": false does not ask a stream for its usage.
import OpenAI from "openai";

const messages = [{ role: "user", content: "Say something." }];

async function streamed(client, model, { usage = true, ...more }) {
  const request = { model, messages, stream: true, ...more };
  if (usage) request.stream_options = { include_usage: true };
  const seen = { text: "", calls: [], finish: null, usage: null, chunks: 0 };
  for await (const chunk of await client.chat.completions.create(request)) {
    seen.chunks += 1;
    seen.usage = chunk.usage ?? seen.usage;
    for (const { delta, finish_reason: finish } of chunk.choices) {
      seen.text += delta.content ?? "";
      seen.finish = finish ?? seen.finish;
      for (const { index, function: part } of delta.tool_calls ?? []) {
        const call = (seen.calls[index] ??= { name: "", arguments: "" });
        call.name += part.name ?? "";
        call.arguments += part.arguments ?? "";
      }
    }
  }
  return seen;
}

const operations = {
  async chat(client, model, more) {
    const { choices: [{ message, finish_reason: finish }], usage } =
      await client.chat.completions.create({ model, messages, ...more });
    const calls = (message.tool_calls ?? []).map(({ function: call }) => call);
    return { text: message.content ?? "", calls, finish, usage };
  },
  stream: streamed,
  // Goes away after the first piece of text.
  async leave(client, model, more) {
    for await (const chunk of await client.chat.completions.create({ model, messages, stream: true, ...more })) {
      const text = chunk.choices[0]?.delta.content;
      if (text) return { text };
    }
    return { text: null };
  },
  async embeddings(client, model, more) {
    const { data, usage } = await client.embeddings.create({ model, ...more });
    return { lengths: data.map(({ embedding }) => embedding.length), first: data[0].embedding[0], usage };
  },
  async models(client) {
    const { data } = await client.models.list();
    return data.map(({ id }) => id);
  },
};

for (const { operation, base, key, model, retries, ...more } of JSON.parse(process.argv[2])) {
  const client = new OpenAI({ baseURL: base, apiKey: key, maxRetries: retries ?? 0 });
  let result;
  try {
    result = await operations[operation](client, model, more);
  } catch (error) {
    if (!(error instanceof OpenAI.OpenAIError)) throw error;
    const { status = null, type = null, message } = error;
    result = { error: { kind: error.constructor.name, status, type, message } };
  }
  console.log(JSON.stringify(result));
}
