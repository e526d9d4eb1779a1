// Reads V8 serializations as lines of hex, and writes each value again as Node serializes it.
import { createInterface } from "node:readline";
import v8 from "node:v8";

for await (const line of createInterface({ input: process.stdin })) {
  try {
    const deserializer = new v8.Deserializer(Buffer.from(line, "hex"));
    deserializer.readHeader();
    const value = deserializer.readValue();
    const serializer = new v8.Serializer();
    serializer.writeHeader();
    serializer.writeValue(value);
    console.log(serializer.releaseBuffer().toString("hex"));
  } catch (error) {
    console.log(String(error));
  }
}
