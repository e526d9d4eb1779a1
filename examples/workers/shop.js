// An ordinary Worker. Nothing in it knows of spans.
export default {
  async fetch(request, env) {
    const id = Number(new URL(request.url).pathname.slice(1) || 1);
    await env.DB.batch([
      env.DB.prepare("CREATE TABLE IF NOT EXISTS product (id INTEGER PRIMARY KEY, name TEXT, price REAL)"),
      env.DB.prepare("INSERT OR IGNORE INTO product VALUES (1, 'kettle', 29.5), (2, 'teapot', 34)"),
    ]);
    const product = await env.DB.prepare("SELECT name, price FROM product WHERE id = ?").bind(id).first();
    if (!product) return new Response(`there is no product ${id}\n`, { status: 404 });
    const { response } = await env.AI.run("llama-4", { prompt: `buy this ${product.name}` });
    return Response.json({ ...product, slogan: response });
  },
};
