import { serve } from "./cases.js";

const CHUNK = new Uint8Array(64 << 10).fill(7);

// A stream of so many chunks that are made as they are wanted.
function chunks(count) {
  let n = 0;
  return new ReadableStream({
    pull(controller) {
      if (n++ < count) controller.enqueue(CHUNK);
      else controller.close();
    },
  });
}

async function count(body) {
  let bytes = 0;
  for await (const chunk of body) bytes += chunk.byteLength;
  return bytes;
}

async function caught(promise) {
  try {
    await promise;
    return null;
  } catch (e) {
    return `${e}`;
  }
}

const cases = {
  async seen({ SVC }) {
    const init = { method: "POST", headers: { "x-mine": "1" }, body: "hello" };
    const response = await SVC.fetch("https://any.example/seen?a=1", init);
    return { status: response.status, own: response.headers.get("x-own"), ...(await response.json()) };
  },
  async statuses({ SVC }) {
    const statuses = [];
    for (const path of ["status?200", "status?404", "status?503", "nothing", "throw"]) {
      const response = await SVC.fetch(`http://svc/${path}`);
      statuses.push([response.status, await response.text()]);
    }
    return statuses;
  },
  async many({ SVC }) {
    for (let i = 0; i < 100; i++) await (await SVC.fetch("http://svc/status?200")).text();
    return "done";
  },
  async up({ SVC }) {
    const response = await SVC.fetch("http://svc/length", { method: "POST", body: chunks(1024) });
    return Number(await response.text());
  },
  async down({ SVC }) {
    return count((await SVC.fetch("http://svc/stream?1024")).body);
  },
  async echo({ SVC }) {
    return count((await SVC.fetch("http://svc/echo", { method: "POST", body: chunks(1024) })).body);
  },
  async cancelled({ SVC }) {
    const reader = (await SVC.fetch("http://svc/stream?1000000")).body.getReader();
    const { value } = await reader.read();
    await reader.cancel("enough");
    return value.byteLength > 0;
  },
  async broken({ SVC }) {
    const response = await SVC.fetch("http://svc/broken");
    return [response.status, await caught(response.arrayBuffer())];
  },
  // A browser's request, passed on as it came.
  async passed({ SVC, NAMED }) {
    const headers = { origin: "https://shop.example", "sec-fetch-site": "same-origin" };
    const statuses = [];
    for (const service of [SVC, NAMED]) {
      const response = await service.fetch("https://shop.example/seen", { headers });
      statuses.push([response.status, await response.text()]);
    }
    return statuses;
  },
};

export default { fetch: serve(cases) };
