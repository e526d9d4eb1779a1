// OpenAI's client library for Node.js does what it is asked to and prints what came of it, as JSON.
//
// openai.mjs OPERATION OPTIONS, where the options are {"base", "key", "model", "retries", ...more of the request}
import OpenAI from "openai";

const [operation, options] = [process.argv[2], JSON.parse(process.argv[3])];
const { base, key, model, retries, ...more } = options;
const client = new OpenAI({ baseURL: base, apiKey: key, maxRetries: retries ?? 0 });
const messages = [{ role: "user", content: "Say something." }];

async function streamed() {
  const request = { model, messages, stream: true, stream_options: { include_usage: true }, ...more };
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
  async chat() {
    const { choices: [{ message, finish_reason: finish }], usage } =
      await client.chat.completions.create({ model, messages, ...more });
    const calls = (message.tool_calls ?? []).map(({ function: call }) => call);
    return { text: message.content ?? "", calls, finish, usage };
  },
  stream: streamed,
  // Goes away after the first piece of text.
  async leave() {
    for await (const chunk of await client.chat.completions.create({ model, messages, stream: true, ...more })) {
      const text = chunk.choices[0]?.delta.content;
      if (text) return { text };
    }
    return { text: null };
  },
  async embeddings() {
    const { data, usage } = await client.embeddings.create({ model, ...more });
    return { lengths: data.map(({ embedding }) => embedding.length), first: data[0].embedding[0], usage };
  },
  async models() {
    const { data } = await client.models.list();
    return data.map(({ id }) => id);
  },
};

let result;
try {
  result = await operations[operation]();
} catch (error) {
  if (!(error instanceof OpenAI.OpenAIError)) throw error;
  result = {
    error: { kind: error.constructor.name, status: error.status ?? null, type: error.type ?? null, message: error.message },
  };
}
console.log(JSON.stringify(result));
