// Runs the statements in the query `sql`, in order, and answers with [rowsRead, rowsWritten] of each.
import { DurableObject } from "cloudflare:workers";

export class Sql extends DurableObject {
  run(statements) {
    return statements.map((sql) => {
      const cursor = this.ctx.storage.sql.exec(sql);
      cursor.toArray();
      return [cursor.rowsRead, cursor.rowsWritten];
    });
  }
}

export default {
  async fetch(request, env) {
    const statements = new URL(request.url).searchParams.getAll("sql");
    const stub = env.SQL.get(env.SQL.newUniqueId());
    return Response.json(await stub.run(statements));
  },
};
