// Starts workerd with worker.mjs inside.
import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const CONFIG = `
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [ (name = "main", worker = (
    modules = [
      (name = "worker.mjs", esModule = embed "worker.mjs"),
      (name = "expressions.mjs", esModule = embed "expressions.mjs"),
      (name = "to-json.mjs", esModule = embed "to-json.mjs") ],
    compatibilityDate = "2026-04-21",
    compatibilityFlags = ["experimental", "service_binding_extra_handlers"],
    bindings = [ (name = "QUEUE", queue = "main"), (name = "SELF", service = "main") ] )) ],
  sockets = [ (name = "http", address = "127.0.0.1:0", http = (), service = "main") ] );
`;

/** Runs `use(ask)`, where `ask(path, json)` gives the worker's answer. */
export async function withWorkerd(binary, use) {
  const dir = mkdtempSync(join(tmpdir(), "cases-"));
  cpSync(new URL(".", import.meta.url), dir, { recursive: true });
  writeFileSync(join(dir, "config.capnp"), CONFIG);
  const child = spawn(binary, ["serve", "--experimental", join(dir, "config.capnp"), "--control-fd=3"], {
    stdio: ["ignore", "inherit", "inherit", "pipe"],
  });
  try {
    const port = await new Promise((resolve, reject) => {
      child.stdio[3].on("data", (line) => resolve(JSON.parse(line).port));
      child.on("exit", () => reject(new Error("workerd ended")));
    });
    return await use(async (path, json) => {
      const body = JSON.stringify(json ?? null);
      const response = await fetch(`http://127.0.0.1:${port}${path}`, { method: "POST", body });
      if (!response.ok) throw new Error(await response.text());
      return await response.json();
    });
  } finally {
    child.kill();
    rmSync(dir, { recursive: true });
  }
}
