// Starts workerd with worker.mjs inside.
import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const CONFIG = `
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [ (name = "main", worker = (
    modules = [
      (name = "worker.mjs", esModule = embed "worker.mjs"),
      (name = "expressions.mjs", esModule = embed "expressions.mjs"),
      (name = "host.mjs", esModule = embed "host.mjs"),
      (name = "to-json.mjs", esModule = embed "to-json.mjs") ],
    compatibilityDate = "2026-04-21",
    compatibilityFlags = ["experimental", "service_binding_extra_handlers"],
    bindings = [ (name = "QUEUE", queue = "main"), (name = "SELF", service = "main"), (name = "CALLEE", service = "proxy") ] )),
    (name = "proxy", external = (address = "127.0.0.1:1", http = (capnpConnectHost = "callee"))) ],
  sockets = [ (name = "http", address = "127.0.0.1:0", http = (), service = "main"),
    (name = "rpc", address = "127.0.0.1:0", http = (capnpConnectHost = "callee"), service = (name = "main", entrypoint = "Callee")) ] );
`;

/** A proxy to a port that becomes known later; keeps what passes from its clients. */
async function listen(ports) {
  const sent = [];
  const open = [];
  const server = createServer((client) => {
    const peer = connect(ports.rpc, "127.0.0.1");
    client.on("data", (data) => sent.push(data));
    client.pipe(peer).pipe(client);
    for (const socket of [client, peer]) open.push(socket.on("error", () => {}));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => {
    server.close();
    for (const socket of open) socket.destroy();
  };
  return { port: server.address().port, sent: () => Buffer.concat(sent), close };
}

/** Runs `use(ask, sent)`: `ask(path, json)` gives the worker's answer, `sent()` what it has sent to CALLEE. */
export async function withWorkerd(binary, use) {
  const dir = mkdtempSync(join(tmpdir(), "cases-"));
  cpSync(new URL(".", import.meta.url), dir, { recursive: true });
  writeFileSync(join(dir, "config.capnp"), CONFIG);
  const ports = {};
  const proxy = await listen(ports);
  const external = `--external-addr=proxy=127.0.0.1:${proxy.port}`;
  const child = spawn(binary, ["serve", "--experimental", join(dir, "config.capnp"), "--control-fd=3", external], {
    stdio: ["ignore", "inherit", "inherit", "pipe"],
  });
  try {
    await new Promise((resolve, reject) => {
      child.stdio[3].on("data", (lines) => {
        for (const line of String(lines).trim().split("\n")) {
          const { socket, port } = JSON.parse(line);
          if (socket) ports[socket] = port;
        }
        if (ports.http && ports.rpc) resolve();
      });
      child.on("exit", () => reject(new Error("workerd ended")));
    });
    const ask = async (path, json) => {
      const body = JSON.stringify(json ?? null);
      const response = await fetch(`http://127.0.0.1:${ports.http}${path}`, { method: "POST", body });
      if (!response.ok) throw new Error(await response.text());
      return await response.json();
    };
    return await use(ask, proxy.sent);
  } finally {
    child.kill();
    proxy.close();
    rmSync(dir, { recursive: true });
  }
}
