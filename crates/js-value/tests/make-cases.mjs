// Makes cases.jsonl, the table that the Rust codec is tested against:
//
//     npm install --prefix /tmp/workerd workerd@1.20261117.1
//     node make-cases.mjs /tmp/workerd/node_modules/@cloudflare/workerd-linux-64/bin/workerd > cases.jsonl
//
// Each line: name, from (node, workerd, call or format), js, hex, json (null: contains itself), and
// canonical: false where we read the bytes but write others. Rows of workerd are kept where its bytes
// differ from Node's or Node has none; rows of "call" are arguments that a Worker sent to another; rows of "format" are written by hand from workerd's source.
import v8 from "node:v8";
import { cases } from "./js/expressions.mjs";
import { text, toJson } from "./js/to-json.mjs";
import { withWorkerd } from "./js/workerd.mjs";

/** Read by us, but written in another way: resizable buffers as fixed ones ... */
const NOT_CANONICAL = new Set(["resizable buffer", "view of a resizable buffer"]);
/** ... and, as Node does, integers of 32 bits where workerd's small integers have 31. */
const NOT_CANONICAL_WORKERD = new Set([
  "2^30",
  "largest 32-bit integer",
  "smallest 32-bit integer",
  "object with large indexes",
  "array of undefined",
]);
/** ... and the headers of a request or response are written with it, not as a reference. */
const NOT_CANONICAL_CALL = new Set(["Headers and their Response"]);

function serialize(value) {
  const serializer = new v8.Serializer();
  serializer.writeHeader();
  serializer.writeValue(value);
  return serializer.releaseBuffer().toString("hex");
}

function nodeRow([name, make]) {
  if (name === "Float16Array" && !globalThis.Float16Array) return [];
  const value = make();
  let json = null;
  try {
    json = text(toJson(value, false));
  } catch (e) {
    if (e.message !== "cycle") throw e;
  }
  return [{ name, js: String(make).slice(6), hex: serialize(value), json }];
}

const byHand = [
  { name: "stub", js: "new RpcStub(target)", hex: "ff0f5c01", json: '{"$stub":0}' },
  { name: "two stubs", js: "[stub, 1, stub]", hex: "ff0f41035c0149025c01240003", json: '[{"$stub":0},1,{"$stub":1}]' },
  { name: "one stub twice", js: "[stub, stub]", hex: "ff0f41025c015e01240002", json: '[{"$stub":0},{"$stub":0}]' },
];

/** The bytes of the call that ends with this name, without the mark: an array of the value alone. */
function callHex(sent, name) {
  const mark = Buffer.from(`"?MARK ${name}$\x00\x02`, "latin1");
  mark[1] = name.length + 5;
  const end = sent.indexOf(mark);
  const begin = sent.lastIndexOf(Buffer.from([0xff, 0x0f, 0x41, 2]), end);
  if (end < 0 || begin < 0) throw new Error(`no bytes of ${name}`);
  return `ff0f4101${sent.subarray(begin + 4, end).toString("hex")}240001`;
}

async function callRows(ask, sent) {
  const rows = await ask("/calls");
  return rows.map(({ name, js, json }) => ({ name, js: `[${js}]`, hex: callHex(sent(), name), json: `[${json}]` }));
}

const [binary] = process.argv.slice(2);
const node = cases.flatMap(nodeRow);
const nodeHex = new Map(node.map((row) => [row.name, row.hex]));
const [workerd, calls] = binary
  ? await withWorkerd(binary, async (ask, sent) => [await ask("/cases"), await callRows(ask, sent)])
  : [[], []];
const rows = [
  ...node.map((row) => ({ from: "node", ...row })),
  ...workerd.filter((row) => nodeHex.get(row.name) !== row.hex).map((row) => ({ from: "workerd", ...row })),
  ...calls.map((row) => ({ from: "call", ...row })),
  ...byHand.map((row) => ({ from: "format", ...row })),
];
for (const { from, name, js, hex, json } of rows) {
  const differs = NOT_CANONICAL.has(name) || (from === "workerd" && NOT_CANONICAL_WORKERD.has(name)) ||
    (from === "call" && NOT_CANONICAL_CALL.has(name));
  const canonical = differs ? ',"canonical":false' : "";
  const fields = [["from", from], ["name", name], ["js", js], ["hex", hex]].map(([k, v]) => `"${k}":${JSON.stringify(v)}`);
  console.log(`{${fields.join(",")},"json":${json}${canonical}}`);
}
