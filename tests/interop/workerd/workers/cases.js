// Runs the case that a request's path names; answers with what it returns as JSON, or with what it threw.
export const serve = (cases) => async (request, env, ctx) => {
  const name = new URL(request.url).pathname.slice(1);
  try {
    if (!cases[name]) throw new Error(`there is no case ${name}`);
    return Response.json((await cases[name](env, ctx)) ?? null);
  } catch (e) {
    return new Response(`${e?.stack ?? e}`, { status: 500 });
  }
};
