// What a Worker does with a D1 database, and what D1 answers.
import assert from "node:assert";
import { serve } from "cases.js";

const message = async (promise) => {
  try {
    await promise;
  } catch (e) {
    return e.message;
  }
  assert.fail("nothing was thrown");
};

const cases = {
  async statements({ DB }) {
    const created = await DB.prepare("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, tall BOOLEAN)").run();
    assert.deepEqual([created.success, created.results], [true, []]);
    const inserted = await DB.prepare("INSERT INTO users (name, tall) VALUES (?1, ?2), (?3, ?4) RETURNING id, name, tall")
      .bind("Ada", true, "Grace", false)
      .all();
    const rows = [{ id: 1, name: "Ada", tall: 1 }, { id: 2, name: "Grace", tall: 0 }];
    assert.deepEqual(inserted.results, rows);
    assert.equal(inserted.meta.changes, 2);
    assert.equal(inserted.meta.last_row_id, 2);
    assert.equal(inserted.meta.changed_db, true);
    const all = DB.prepare("SELECT * FROM users ORDER BY id");
    const read = await all.all();
    assert.deepEqual([read.success, read.results], [true, rows]);
    assert.deepEqual(
      [read.meta.changes, read.meta.changed_db, read.meta.rows_read, read.meta.rows_written],
      [0, false, 2, 0],
    );
    assert.equal(typeof read.meta.duration, "number");
    assert.ok(read.meta.size_after > 0);
    assert.deepEqual(await all.first(), rows[0]);
    assert.equal(await all.first("name"), "Ada");
    assert.deepEqual(await all.raw(), [[1, "Ada", 1], [2, "Grace", 0]]);
    assert.deepEqual(await all.raw({ columnNames: true }), [["id", "name", "tall"], [1, "Ada", 1], [2, "Grace", 0]]);
    assert.equal(await DB.prepare("SELECT * FROM users WHERE id = ?").bind(99).first(), null);
    assert.equal(await message(all.first("nobody")), "D1_COLUMN_NOTFOUND: Column not found (nobody)");
    const join = DB.prepare("SELECT a.id, b.id FROM users a, users b WHERE a.id = 1 AND b.id = 2");
    assert.deepEqual((await join.all()).results, [{ id: 2 }]);
    assert.deepEqual(await join.raw(), [[1, 2]]);
    assert.equal((await DB.prepare("DELETE FROM users WHERE id = 2").run()).meta.changes, 1);
  },

  async batch({ DB }) {
    const [created, inserted, read] = await DB.batch([
      DB.prepare("CREATE TABLE t (a INTEGER UNIQUE)"),
      DB.prepare("INSERT INTO t VALUES (?), (?)").bind(1, 2),
      DB.prepare("SELECT a FROM t WHERE a > ?").bind(1),
    ]);
    assert.deepEqual([created.results, inserted.meta.changes, read.results], [[], 2, [{ a: 2 }]]);
    const failed = await message(DB.batch([
      DB.prepare("INSERT INTO t VALUES (3)"),
      DB.prepare("INSERT INTO t VALUES (1)"),
      DB.prepare("INSERT INTO t VALUES (4)"),
    ]));
    // One transaction: nothing of it stays.
    assert.equal(await DB.prepare("SELECT count(*) AS n FROM t").first("n"), 2);
    return failed;
  },

  async exec({ DB }) {
    const done = await DB.exec("CREATE TABLE e (a)\nINSERT INTO e VALUES (1)\nSELECT * FROM e");
    assert.equal(done.count, 3);
    assert.equal(typeof done.duration, "number");
    assert.equal((await DB.exec("select 1")).count, 1);
    return message(DB.exec("INVALID SQL"));
  },

  async types({ DB }) {
    const bytes = [0, 1, 254, 255];
    const values = {
      integer: 7, negative: -7, largest: 2 ** 53 - 1, real: 1.5, small: 5e-324, text: "h\u00e9 \u20ac \u{1f600}", empty: "",
      nul: "a\u0000b", nothing: null, yes: true, no: false, blob: new Uint8Array(bytes), buffer: new Uint8Array(bytes).buffer, list: bytes,
    };
    const back = {};
    for (const [name, value] of Object.entries(values)) back[name] = await DB.prepare("SELECT ?1 AS v").bind(value).first("v");
    assert.deepEqual(back, { ...values, yes: 1, no: 0, blob: bytes, buffer: bytes, list: bytes });
    const kinds = await DB.prepare("SELECT typeof(?1) i, typeof(?2) r, typeof(?3) t, typeof(?4) b, typeof(?5) n, typeof(?6) o")
      .bind(1, 1.5, "x", new Uint8Array(1), null, true)
      .first();
    assert.deepEqual(kinds, { i: "integer", r: "real", t: "text", b: "blob", n: "null", o: "integer" });
    const large = await DB.prepare("SELECT 9007199254740993 AS n, 9223372036854775807 AS m").first();
    assert.deepEqual(large, { n: Number(9007199254740993n), m: Number(9223372036854775807n) });
    assert.match(await message((async () => DB.prepare("SELECT ?").bind(undefined).first())()), /^D1_TYPE_ERROR: /);
    assert.match(await message((async () => DB.prepare("SELECT ?").bind(1n).first())()), /^D1_TYPE_ERROR: /);
    // SQLite has no NaN.
    assert.equal(await DB.prepare("SELECT ?1 AS v").bind(NaN).first("v"), null);
  },

  async errors({ DB }) {
    await DB.prepare("CREATE TABLE u (a INTEGER UNIQUE NOT NULL)").run();
    await DB.prepare("INSERT INTO u VALUES (1)").run();
    return {
      syntax: await message(DB.prepare("SELEC 1").all()),
      table: await message(DB.prepare("SELECT * FROM nowhere").run()),
      column: await message(DB.prepare("SELECT b FROM u").first()),
      unique: await message(DB.prepare("INSERT INTO u VALUES (1)").run()),
      not_null: await message(DB.prepare("INSERT INTO u VALUES (NULL)").run()),
      few: await message(DB.prepare("SELECT ?1, ?2").bind(1).all()),
      many: await message(DB.prepare("SELECT ?1").bind(1, 2).all()),
      nothing: await message(DB.prepare("").all()),
      transaction: await message(DB.prepare("BEGIN").run()),
      dump: await message(DB.dump()),
    };
  },

  async sessions({ DB }) {
    const session = DB.withSession("first-primary");
    assert.equal(session.getBookmark(), null);
    await session.prepare("CREATE TABLE s (a)").run();
    const first = session.getBookmark();
    assert.ok(first, "no bookmark");
    await session.prepare("INSERT INTO s VALUES (1)").run();
    const second = session.getBookmark();
    assert.ok(second.localeCompare(first) > 0, `${second} after ${first}`);
    const later = DB.withSession(second);
    assert.deepEqual((await later.prepare("SELECT a FROM s").all()).results, [{ a: 1 }]);
    assert.ok(later.getBookmark().localeCompare(second) >= 0);
    const anywhere = DB.withSession();
    await anywhere.batch([anywhere.prepare("SELECT 1"), anywhere.prepare("SELECT 2")]);
    assert.ok(anywhere.getBookmark());
    await DB.prepare("SELECT 1").all();
  },

  async query({ DB }) {
    const { results, bookmark } = await DB.query({ queries: [{ sql: "SELECT ?1 AS n, 'x' AS t", params: [41] }] });
    assert.deepEqual(results[0].data, { kind: "raw", columns: ["n", "t"], rows: [[41, "x"]] });
    assert.equal(typeof bookmark, "string");
    return message(DB.query({ queries: [{ sql: "SELEC" }] }));
  },

  async figures({ DB }) {
    const figures = async (sql, ...values) => {
      const { meta } = await DB.prepare(sql).bind(...values).run();
      return [meta.rows_read, meta.rows_written, meta.changes, meta.last_row_id, meta.changed_db];
    };
    assert.deepEqual(await figures("CREATE TABLE f (a INTEGER PRIMARY KEY, b INT)"), [1, 2, 0, 0, true]);
    assert.deepEqual(await figures("CREATE INDEX fb ON f (b)"), [2, 1, 0, 0, true]);
    assert.deepEqual(await figures("INSERT INTO f (b) VALUES (?), (?), (?)", 7, 7, 8), [0, 6, 3, 3, true]);
    assert.deepEqual(await figures("SELECT * FROM f WHERE b = ?", 7), [3, 0, 0, 3, false]);
    assert.deepEqual(await figures("SELECT * FROM f x, f y"), [12, 0, 0, 3, false]);
    assert.deepEqual(await figures("SELECT count(*) FROM f"), [3, 0, 0, 3, false]);
    assert.deepEqual(await figures("SELECT * FROM f WHERE b IN (7, 8)"), [6, 0, 0, 3, false]);
    assert.deepEqual(await figures("UPDATE f SET b = b + 1"), [3, 6, 3, 3, true]);
    assert.deepEqual(await figures("DELETE FROM f"), [0, 3, 3, 3, true]);
    assert.equal((await figures("DROP TABLE f"))[1], 0);
    const [one, two] = await DB.batch([DB.prepare("SELECT 1 AS n"), DB.prepare("SELECT 2 AS n")]);
    assert.deepEqual([one.results, two.results], [[{ n: 1 }], [{ n: 2 }]]);
    assert.equal(one.meta.rounded_integers, undefined);
    const large = await DB.prepare("SELECT 9007199254740993 AS n, 7 AS m").all();
    assert.equal(large.meta.rounded_integers, 1);
    assert.deepEqual((await DB.prepare("SELECT 5 AS n").run()).results, [{ n: 5 }]);
  },

  async write({ DB }) {
    await DB.exec("CREATE TABLE IF NOT EXISTS seen (who TEXT)");
    await DB.prepare("INSERT INTO seen VALUES ('the Worker')").run();
  },

  async read({ DB }) {
    return DB.prepare("SELECT who FROM seen ORDER BY who").raw();
  },

  async many({ DB }) {
    await DB.exec("CREATE TABLE m (a INTEGER)");
    await Promise.all(Array.from({ length: 64 }, (_, i) => DB.prepare("INSERT INTO m VALUES (?)").bind(i).run()));
    return DB.prepare("SELECT count(DISTINCT a) AS n FROM m").first("n");
  },
};

export default { fetch: serve(cases) };
