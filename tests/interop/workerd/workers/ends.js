// Calls the method that a request's path names, with the request's body as its arguments.
export default {
  async fetch(request, { SHOP }) {
    try {
      const method = new URL(request.url).pathname.split("/").pop();
      return Response.json((await SHOP[method](...(await request.json()))) ?? null);
    } catch (e) {
      const { name, message, retryable, overloaded } = e;
      return Response.json({ error: { name, message, retryable, overloaded } }, { status: 500 });
    }
  },
};
