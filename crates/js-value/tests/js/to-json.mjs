// The JSON table of the crate's documentation once more, in JavaScript: what Rust is compared with.

const WORDS = ["undefined", "number", "bigint", "date", "bytes", "buffer", "view", "map", "set", "array", "regexp", "error", "stub", "boxed", "text", "readable", "writable", "headers", "request", "response", "blob"];
const RESERVED = new RegExp(`^\\$+(${WORDS.join("|")})$`);

const base64 = (buffer, offset = 0, length = buffer.byteLength) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer, offset, length)));

/**
 * `native`: whether errors travel with all their properties. Numbers come out as source text of
 * their JSON, in {raw}, since JSON.stringify cannot write integers beyond 2^53 as Rust does.
 */
export function toJson(value, native, open = []) {
  if (open.includes(value)) throw new Error("cycle");
  const go = (inner) => toJson(inner, native, typeof value === "object" ? [...open, value] : open);
  const properties = (object, names = Object.keys(object)) =>
    Object.fromEntries(names.map((name) => [name, go(object[name])]));

  if (value === undefined) return { $undefined: true };
  if (value === null || typeof value === "boolean") return value;
  if (typeof value === "number") return number(value);
  if (typeof value === "bigint") return bigint(value);
  if (typeof value === "string") {
    return value.isWellFormed() ? value : { $text: [...Array(value.length).keys()].map((i) => value.charCodeAt(i)) };
  }
  if (value instanceof Date) return { $date: isNaN(value) ? null : value.toISOString() };
  if (value instanceof RegExp) return { $regexp: { source: go(value.source), flags: value.flags } };
  if (value instanceof Map) return { $map: [...value].map(([k, v]) => [go(k), go(v)]) };
  if (value instanceof Set) return { $set: [...value].map(go) };
  if (value instanceof ArrayBuffer) return { $buffer: base64(value) };
  if (ArrayBuffer.isView(value)) {
    const bytes = base64(value.buffer, value.byteOffset, value.byteLength);
    return value instanceof Uint8Array ? { $bytes: bytes } : { $view: { kind: value.constructor.name, bytes } };
  }
  if (value instanceof Error) return { $error: error(value, native, go, properties) };
  if ([Boolean, Number, String, BigInt].some((kind) => value instanceof kind)) return { $boxed: go(value.valueOf()) };
  if (Array.isArray(value)) {
    const names = Object.keys(value);
    const elements = names.filter((name) => String(name >>> 0) === name);
    const others = names.filter((name) => String(name >>> 0) !== name);
    if (elements.length === value.length && others.length === 0) return value.map(go);
    const array = { length: value.length, elements: properties(value, elements) };
    if (others.length > 0) array.properties = properties(value, others);
    return { $array: array };
  }
  const names = Object.keys(value);
  if (names.length === 1 && RESERVED.test(names[0])) return { ["$" + names[0]]: go(value[names[0]]) };
  return properties(value);
}

function number(value) {
  if (!Number.isFinite(value)) return { $number: String(value) };
  if (Object.is(value, -0)) return { raw: "-0.0" };
  if (Number.isInteger(value) && value >= -(2 ** 63) && value < 2 ** 64) return { raw: String(BigInt(value)) };
  return { raw: String(value) };
}

function bigint(value) {
  const is64 = value >= -(2n ** 63n) && value < 2n ** 64n;
  return is64 && BigInt(Number(value)) !== value ? { raw: String(value) } : { $bigint: String(value) };
}

function error(value, native, go, properties) {
  const classes = ["EvalError", "RangeError", "ReferenceError", "SyntaxError", "TypeError", "URIError"];
  const name = native || classes.includes(value.name) ? value.name : "Error";
  const json = { name, message: value.message, stack: value.stack };
  const own = Object.getOwnPropertyNames(value);
  if (own.includes("cause")) json.cause = go(value.cause);
  const others = own.filter((name) => !["name", "message", "stack", "cause"].includes(name));
  if (native && others.length > 0) json.properties = properties(value, others);
  return json;
}

/** Writes what `toJson` gives. */
export function text(json) {
  if (json === null || typeof json !== "object") return JSON.stringify(json);
  if (Array.isArray(json)) return `[${json.map(text).join(",")}]`;
  if (typeof json.raw === "string") return json.raw;
  return `{${Object.entries(json).map(([name, value]) => `${JSON.stringify(name)}:${text(value)}`).join(",")}}`;
}
