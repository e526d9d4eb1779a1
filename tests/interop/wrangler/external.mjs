// A miniflare of its own, whose Worker has a service binding of the form `external`; prints what the Worker answered.
import { Miniflare, convertV4MiniflareOptions } from 'miniflare';

const [address, sql] = process.argv.slice(2);
const script = `export default {
  async fetch(request, env) {
    try {
      return Response.json(await env.DB.query({ queries: [{ sql: await request.text() }] }));
    } catch (error) {
      return new Response(String(error), { status: 500 });
    }
  },
};`;
const serviceBindings = { DB: { external: { address, http: {} } } };
const options = { name: 'app', modules: true, compatibilityDate: '2026-05-01', script, serviceBindings };
const miniflare = new Miniflare(convertV4MiniflareOptions(options));
const response = await miniflare.dispatchFetch('http://app/', { method: 'POST', body: sql });
console.log(await response.text());
await miniflare.dispose();
