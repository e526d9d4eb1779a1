// A miniflare of its own, whose Worker is bound to a database: by a service of the form `external` at an address, or
// with `registry` instead by the name DB alone. Prints what the Worker answered.
import { Miniflare, convertV4MiniflareOptions } from 'miniflare';

const [where, sql] = process.argv.slice(2);
const script = `export default {
  async fetch(request, env) {
    try {
      return Response.json(await env.DB.query({ queries: [{ sql: await request.text() }] }));
    } catch (error) {
      return new Response(String(error), { status: 500 });
    }
  },
};`;
const enableDevRegistry = where === 'registry';
const DB = enableDevRegistry ? 'DB' : { external: { address: where, http: {} } };
const worker = { name: 'app', modules: true, compatibilityDate: '2026-05-01', script, serviceBindings: { DB } };
const miniflare = new Miniflare({ ...convertV4MiniflareOptions(worker), enableDevRegistry });
const response = await miniflare.dispatchFetch('http://app/', { method: 'POST', body: sql });
console.log(await response.text());
await miniflare.dispose();
