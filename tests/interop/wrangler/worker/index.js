// A Worker as people write it, with ordinary service bindings: GET /BINDING?sql=.. asks that one,
// and GET /BINDING?fetch= fetches from it.
import { WorkerEntrypoint } from 'cloudflare:workers';

export default {
  async fetch(request, env) {
    const { pathname, searchParams } = new URL(request.url);
    const binding = env[pathname.slice(1)];
    try {
      if (searchParams.has('fetch')) return await binding.fetch('http://service/');
      return Response.json(await binding.query({ queries: [{ sql: searchParams.get('sql') }] }));
    } catch (error) {
      return new Response(String(error), { status: 500 });
    }
  },
};

export class Calculator extends WorkerEntrypoint {
  add(a, b) {
    return a + b;
  }
}
