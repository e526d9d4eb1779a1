// Reads V8 serializations as lines of hex, and writes each value again as Node serializes it, or
// workerd when its binary is given.
import { text } from "node:stream/consumers";
import v8 from "node:v8";
import { withWorkerd } from "./workerd.mjs";

function echo(line) {
  try {
    const deserializer = new v8.Deserializer(Buffer.from(line, "hex"));
    deserializer.readHeader();
    const value = deserializer.readValue();
    const serializer = new v8.Serializer();
    serializer.writeHeader();
    serializer.writeValue(value);
    return serializer.releaseBuffer().toString("hex");
  } catch (error) {
    return String(error);
  }
}

const lines = (await text(process.stdin)).split("\n");
const [binary] = process.argv.slice(2);
const echoes = binary ? await withWorkerd(binary, (ask) => ask("/echo", lines)) : lines.map(echo);
console.log(echoes.join("\n"));
