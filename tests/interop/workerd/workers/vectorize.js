// What a Worker does with a Vectorize index of 3 dimensions by cosine, which has metadata indexes on `kind` (string) and
// `size` (number). Which binding is in the path: `/CASE/BINDING`.
import assert from "node:assert";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

const east = { kind: "axis", size: 1, at: { name: "east", degrees: 0 }, tags: ["a", "b"] };
const north = { kind: "axis", size: 2, at: { name: "north", degrees: 90 } };
const slope = { kind: "between", size: 3, steep: true };

/** Vectors of each type that values may have. */
const vectors = () => [
  { id: "east", values: [1, 0, 0], metadata: structuredClone(east) },
  { id: "north", values: new Float32Array([0, 1, 0]), metadata: structuredClone(north) },
  { id: "slope", values: new Float64Array([0.6, 0.8, 0]), metadata: structuredClone(slope), namespace: "hills" },
];

const IDS = ["east", "north", "slope"];
const float32 = (values) => Array.from(new Float32Array(values));

/** Whatever was there is gone, and the three vectors are. */
const filled = async (V) => {
  await V.deleteByIds([...IDS, "new", "other"]);
  await V.upsert(vectors());
};

const idsOf = ({ matches }) => matches.map(({ id }) => id);

const caught = async (action) => {
  try {
    await action();
  } catch (e) {
    assert.equal(e.name, "Error");
    return e.message;
  }
  assert.fail(`nothing was thrown: ${action}`);
};

const cases = {
  async describe(V) {
    await filled(V);
    const { mutationId } = await V.deleteByIds(["slope"]);
    assert.match(mutationId, UUID);
    const { processedUpToDatetime, ...info } = await V.describe();
    assert.deepEqual(info, { vectorCount: 2, dimensions: 3, processedUpToMutation: mutationId });
    const ago = Date.now() - Date.parse(processedUpToDatetime);
    assert.ok(ago > -1000 && ago < 60_000, `${processedUpToDatetime}, ${ago} ms ago`);
  },

  async write(V) {
    await V.deleteByIds([...IDS, "new", "other"]);
    const [first, second] = [await V.insert(vectors()), await V.upsert(vectors())];
    assert.match(first.mutationId, UUID);
    assert.deepEqual(Object.keys(first), ["mutationId"]);
    assert.notEqual(first.mutationId, second.mutationId);
    assert.deepEqual(await V.getByIds(["slope", "nobody", "east", "north"]), [
      { id: "slope", namespace: "hills", values: float32([0.6, 0.8, 0]), metadata: slope },
      { id: "east", values: [1, 0, 0], metadata: east },
      { id: "north", values: [0, 1, 0], metadata: north },
    ]);
    // An insert leaves alone what is there; an upsert replaces it whole.
    await V.insert([{ id: "east", values: [0, 0, 1] }, { id: "new", values: Float32Array.of(0, 0, 1) }]);
    assert.deepEqual((await V.getByIds(["east"]))[0].values, [1, 0, 0]);
    assert.deepEqual(await V.getByIds(["new"]), [{ id: "new", values: [0, 0, 1] }]);
    await V.upsert([{ id: "slope", values: [0, 0, 0.5] }]);
    assert.deepEqual(await V.getByIds(["slope"]), [{ id: "slope", values: [0, 0, 0.5] }]);
    assert.match((await V.deleteByIds(["new", "nobody"])).mutationId, UUID);
    assert.deepEqual(await V.getByIds(["new"]), []);
  },

  async query(V) {
    await filled(V);
    const all = await V.query([1, 0, 0]);
    assert.deepEqual(all, {
      count: 3,
      matches: [
        { id: "east", score: 1 },
        { id: "slope", score: 0.6, namespace: "hills" },
        { id: "north", score: 0 },
      ],
    });
    for (const vector of [new Float32Array([0, 2, 0]), new Float64Array([0, 2, 0])]) {
      assert.deepEqual(await V.query(vector, { topK: 1 }), { count: 1, matches: [{ id: "north", score: 1 }] });
    }
    const whole = await V.query([1, 0, 0], { topK: 2, returnValues: true, returnMetadata: "all" });
    assert.deepEqual(whole.matches, [
      { id: "east", score: 1, values: [1, 0, 0], metadata: east },
      { id: "slope", score: 0.6, namespace: "hills", values: float32([0.6, 0.8, 0]), metadata: slope },
    ]);
    assert.deepEqual(idsOf(await V.query([1, 0, 0], { namespace: "hills" })), ["slope"]);
    assert.deepEqual(await V.query([1, 0, 0], { namespace: "nowhere" }), { count: 0, matches: [] });
  },

  async metadata(V) {
    await filled(V);
    const told = async (returnMetadata) => {
      const { matches } = await V.query([1, 0, 0], { topK: 1, returnMetadata });
      return matches[0].metadata;
    };
    for (const nothing of [undefined, false, "none"]) assert.equal(await told(nothing), undefined);
    for (const all of [true, "all"]) assert.deepEqual(await told(all), east);
    assert.deepEqual(await told("indexed"), { kind: "axis", size: 1 });
    return caught(() => told("some"));
  },

  async filters(V) {
    await filled(V);
    const found = async (filter) => idsOf(await V.query([1, 0, 0], { filter })).join();
    for (const [filter, wanted] of [
      [{ kind: "axis" }, "east,north"],
      [{ kind: { $eq: "between" } }, "slope"],
      [{ kind: { $ne: "axis" } }, "slope"],
      [{ size: { $lt: 2 } }, "east"],
      [{ size: { $lte: 2 } }, "east,north"],
      [{ size: { $gt: 2 } }, "slope"],
      [{ size: { $gte: 2, $lt: 3 } }, "north"],
      [{ kind: { $in: ["between", "else"] } }, "slope"],
      [{ size: { $nin: [1, 2] } }, "slope"],
      [{ "at.name": "north" }, "north"],
      [{ "at.degrees": { $gte: 0 }, kind: "axis", size: 1 }, "east"],
      [{ steep: true }, "slope"],
      [{ steep: null }, "east,north"],
    ]) {
      assert.equal(await found(filter), wanted, JSON.stringify(filter));
    }
    const within = { namespace: "hills", filter: { kind: "axis" } };
    assert.deepEqual(await V.query([1, 0, 0], within), { count: 0, matches: [] });
  },

  async by_id(V) {
    await filled(V);
    const nearest = await V.queryById("slope", { topK: 2, returnMetadata: "indexed" });
    assert.deepEqual(nearest, {
      count: 2,
      matches: [
        { id: "slope", score: 1, namespace: "hills", metadata: { kind: "between", size: 3 } },
        { id: "north", score: 0.8, metadata: { kind: "axis", size: 2 } },
      ],
    });
    assert.deepEqual(idsOf(await V.queryById("north", { filter: { kind: "axis" } })), ["north", "east"]);
  },

  /** Many at once, and large. */
  async many(V) {
    await V.deleteByIds(IDS);
    const ids = Array.from({ length: 1000 }, (_, at) => `many-${at}`);
    await V.upsert(ids.map((id, at) => ({ id, values: [1, at / 100, 0], metadata: { text: "x".repeat(500) } })));
    const found = await V.query([0, 1, 0], { topK: 100, namespace: undefined });
    assert.equal(found.count, 100);
    assert.equal(found.matches[0].id, "many-999");
    const whole = await V.query([0, 1, 0], { topK: 50, returnValues: true, returnMetadata: "all" });
    assert.equal(whole.matches[49].metadata.text.length, 500);
    assert.equal((await V.getByIds(ids.slice(0, 20))).length, 20);
    while (ids.length) await V.deleteByIds(ids.splice(0, 100));
  },

  /** By the case, the message of the error. */
  async errors(V) {
    await filled(V);
    const before = await V.describe();
    const insert = (...vectors) => V.insert(vectors);
    const upsert = (...vectors) => V.upsert(vectors);
    const query = (options, vector = [1, 0, 0]) => V.query(vector, options);
    const one = (more) => ({ id: "new", values: [1, 2, 3], ...more });
    const thrown = {};
    for (const [name, action] of Object.entries({
      query_dimensions: () => query({}, [1, 2]),
      query_empty: () => query({}, new Float32Array()),
      query_nan: () => query({}, [1, NaN, 0]),
      query_large: () => query({}, [1, 1e300, 0]),
      top_k: () => query({ topK: 101 }),
      top_k_with_values: () => query({ topK: 100, returnValues: true }),
      top_k_with_metadata: () => query({ topK: 51, returnMetadata: "all" }),
      top_k_zero: () => query({ topK: 0 }),
      top_k_half: () => query({ topK: 1.5 }),
      flag: () => query({ returnValues: "yes" }),
      namespace: () => query({ namespace: "n".repeat(65) }),
      filter_empty: () => query({ filter: {} }),
      filter_operator: () => query({ filter: { kind: { $like: "x" } } }),
      filter_mixed: () => query({ filter: { size: { $eq: 1, $lt: 2 } } }),
      filter_key: () => query({ filter: { $and: [] } }),
      filter_long: () => query({ filter: { kind: "x".repeat(2048) } }),
      by_id_unknown: () => V.queryById("nobody"),
      by_id_long: () => V.queryById("x".repeat(74)),
      insert_dimensions: () => insert(one({ values: [1, 2] })),
      upsert_empty_values: () => upsert(one({ values: new Float32Array() })),
      insert_nan: () => insert(one({ values: [1, NaN, 3] })),
      upsert_infinite: () => upsert(one({ values: [1, Infinity, 3] })),
      insert_twice: () => insert(one(), one()),
      insert_none: () => insert(),
      insert_too_many: () => insert(...Array.from({ length: 1001 }, (_, at) => one({ id: `${at}` }))),
      insert_id_long: () => insert(one({ id: "x".repeat(74) })),
      insert_id_empty: () => insert(one({ id: "" })),
      insert_id_number: () => insert(one({ id: 5 })),
      upsert_id_number: () => upsert(one({ id: 5 })),
      upsert_metadata: () => upsert(one({ metadata: "text" })),
      metadata_key: () => upsert(one({ metadata: { "a.b": 1 } })),
      metadata_long: () => upsert(one({ metadata: { text: "x".repeat(10_240) } })),
      insert_namespace: () => insert(one({ namespace: "n".repeat(65) })),
      get_too_many: () => V.getByIds(Array.from({ length: 21 }, (_, at) => `${at}`)),
      get_none: () => V.getByIds([]),
      get_number: () => V.getByIds([1]),
      delete_too_many: () => V.deleteByIds(Array.from({ length: 110 }, (_, at) => `${at}`)),
      delete_long: () => V.deleteByIds(["x".repeat(65)]),
      // Whole or not at all.
      insert_one_of_two: () => insert({ id: "other", values: [1, 2, 3] }, one({ values: [1] })),
    })) {
      thrown[name] = await caught(action);
    }
    assert.deepEqual(await V.describe(), before);
    assert.deepEqual(await V.getByIds(["new", "other"]), []);
    return thrown;
  },

  /** What is not the same by HTTP and by calls: an error's cause, and values that are neither a list nor a typed array. */
  async differences(V) {
    const cause = await V.query([1]).catch((e) => e.cause?.message ?? null);
    const set = () => V.upsert([{ id: "new", values: new Set([1, 2, 3]) }]);
    const stored = await set().then(() => null, (e) => e.message);
    await V.deleteByIds(["new"]);
    return [cause, stored];
  },

  /** The shapes of the service's first version. */
  async first(V, { OLD }) {
    await V.deleteByIds([...IDS, "new", "other"]);
    assert.deepEqual(await V.insert(vectors()), { ids: IDS, count: 3 });
    // What was there already is not among them.
    assert.deepEqual(await V.insert(vectors()), { ids: [], count: 0 });
    assert.deepEqual(await V.upsert(vectors().slice(1)), { ids: ["north", "slope"], count: 2 });
    assert.deepEqual(await V.describe(), {
      id: "VECTORIZE",
      name: "VECTORIZE",
      config: { dimensions: 3, metric: "cosine" },
      vectorsCount: 3,
    });
    const bare = { count: 1, matches: [{ id: "east", score: 1 }] };
    assert.deepEqual(await V.query([1, 0, 0], { topK: 1 }), bare);
    assert.deepEqual(await V.query([1, 0, 0], { topK: 1, returnMetadata: false }), bare);
    const whole = await V.query(new Float32Array([1, 0, 0]), { topK: 1, returnMetadata: true, returnValues: true });
    const match = { id: "east", score: 1, values: [1, 0, 0], metadata: east };
    assert.deepEqual(whole, { count: 1, matches: [match] });
    const old = await (await OLD.fetch("http://old/")).json();
    assert.deepEqual(old, { count: 1, matches: [{ id: "east", score: 1, metadata: east }] });
    assert.equal((await V.getByIds(["east"]))[0].id, "east");
    assert.deepEqual(await V.deleteByIds(["slope", "nobody"]), { ids: ["slope"], count: 1 });
    return [
      await caught(() => V.query([1, 0], {})),
      await caught(() => V.query([1, 0, 0], { topK: 21 })),
      await caught(() => V.upsert([{ id: "new", values: [1] }])),
      // workerd's own.
      await caught(() => V.queryById("east")),
    ];
  },

  /** One call of each, for its spans. */
  async one_of_each(V) {
    await V.describe();
    await V.insert(vectors());
    await V.upsert(vectors());
    const filter = { kind: "between", size: { $gte: 0, $lt: 9 }, steep: true };
    await V.query([1, 0, 0], { topK: 7, namespace: "hills", filter, returnValues: true, returnMetadata: "indexed" });
    await V.queryById("east", { filter: { steep: true } });
    await V.getByIds(["east", "nobody"]);
    await V.deleteByIds(["slope", "nobody"]);
    await caught(() => V.query([1, 2]));
    await caught(() => V.upsert([{ id: "secret", values: [1] }]));
  },
};

/** Sentences by subject. */
const SENTENCES = {
  eating: ["A man is eating food.", "A man is eating a piece of bread."],
  people: ["The girl is carrying a baby.", "A man is riding a horse.", "A woman is playing violin."],
  animals: ["A monkey is playing drums.", "A cheetah is running behind its prey."],
};
const MODEL = "@cf/baai/bge-small-en-v1.5";

/** Retrieval: sentences are embedded and inserted; then questions find them. */
const retrieval = {
  async remember(AI, V) {
    const all = Object.entries(SENTENCES).flatMap(([subject, texts]) => texts.map((text) => ({ subject, text })));
    const { data, shape } = await AI.run(MODEL, { text: all.map(({ text }) => text) });
    assert.deepEqual(shape, [all.length, 384]);
    const { mutationId } = await V.upsert(
      all.map((metadata, at) => ({ id: `sentence-${at}`, values: data[at], metadata })),
    );
    const { vectorCount, processedUpToMutation } = await V.describe();
    assert.equal(processedUpToMutation, mutationId);
    return vectorCount;
  },
  /** Sentences near to the text, and how near. */
  async recall(AI, V, text, options) {
    const { data } = await AI.run(MODEL, { text: [text] });
    const { matches } = await V.query(data[0], { returnMetadata: "all", ...options });
    return matches.map(({ score, metadata }) => [metadata.text, score]);
  },
  food: (AI, V) => retrieval.recall(AI, V, "A man is eating food.", { topK: 7 }),
  pasta: (AI, V) => retrieval.recall(AI, V, "Someone has pasta for lunch.", { topK: 2 }),
  animals: (AI, V) => retrieval.recall(AI, V, "A man is eating food.", { topK: 3, filter: { subject: "animals" } }),
  hunter: (AI, V) =>
    retrieval.recall(AI, V, "A wild cat hunts.", { topK: 1, filter: { subject: { $in: ["people", "animals"] } } }),
};

export default {
  async fetch(request, env) {
    const [, name, binding] = new URL(request.url).pathname.split("/");
    const V = env[binding];
    const AI = binding === "VECTORIZE" ? env.AI : env.AI_HTTP;
    try {
      const run = cases[name] ? cases[name](V, env) : retrieval[name](AI, V);
      return Response.json((await run) ?? null);
    } catch (e) {
      return new Response(`${e?.stack ?? e}`, { status: 500 });
    }
  },
};
