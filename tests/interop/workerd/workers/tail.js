// A streaming tail Worker that prints every event as a line of JSON. What JSON lacks is written as an
// object: {"int64": "1"} for a BigInt, {"float64": "NaN"} for what is no finite number.
const print = (event) => console.log("TAIL " + JSON.stringify(event, plain));

function plain(_key, value) {
  if (typeof value === "bigint") return { int64: String(value) };
  if (typeof value === "number" && !Number.isFinite(value)) return { float64: String(value) };
  return value;
}

export default {
  tailStream(onset) {
    print(onset);
    return print;
  },
};
