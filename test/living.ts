/** Random sequences of calls on an index, beside a plain Map. For vector-index.living.test.ts and soak.ts. */
import type { Metric, Neighbors } from '../src/neighbors.js';
import type { IdKind } from '../src/user-ids.js';
import { VectorIndex } from '../src/vector-index.js';
import { uniform } from './arena.js';

type Id = string | number | bigint;
type Index = VectorIndex<'string'>;
const KINDS: readonly IdKind[] = ['row', 'string', 'number', 'bigint'];

/** A plain Map of what an index should hold, and searches that compare with each of its vectors. */
class Model {
  readonly rows: Map<Id, Float32Array> = new Map();
  readonly metric: Metric;

  constructor(metric: Metric) {
    this.metric = metric;
  }

  distance(id: Id, query: Float32Array): number {
    const row = this.rows.get(id);
    if (!row) throw new Error(`expected an id of a row, got ${id}`);
    let [dot, squared, own, other] = [0, 0, 0, 0];
    for (let i = 0; i < query.length; i++) {
      dot += row[i] * query[i];
      squared += (row[i] - query[i]) ** 2;
      own += row[i] ** 2;
      other += query[i] ** 2;
    }
    if (this.metric === 'euclidean') return Math.sqrt(squared);
    return this.metric === 'cosine' ? 1 - dot / Math.sqrt(own * other) : -dot;
  }

  /** Those that pass, by distance. */
  nearest(query: Float32Array, passes: (id: Id) => boolean): number[] {
    return [...this.rows.keys()]
      .filter(passes)
      .map((id) => this.distance(id, query))
      .sort((a, b) => a - b);
  }
}

function fail(what: string): never {
  throw new Error(what);
}

const isNear = (a: number, b: number): boolean => Math.abs(a - b) <= 2e-3 + 1e-4 * Math.abs(b);

/** Neighbors must be rows that are there and pass, each once, in order, and as far away as is said. */
function checkSound(
  found: Neighbors,
  index: Index,
  model: Model,
  query: Float32Array,
  passes: (id: Id) => boolean,
): void {
  const seen = new Set<Id>();
  found.ids.forEach((row, i) => {
    const id = index.idOf(row) ?? fail(`row ${row} has no id`);
    if (seen.has(id)) fail(`${id} came twice`);
    seen.add(id);
    if (!model.rows.has(id)) fail(`${id} was removed`);
    if (!passes(id)) fail(`${id} does not pass`);
    const distance = found.distances[i];
    if (!isNear(distance, model.distance(id, query)))
      fail(`${id} is ${model.distance(id, query)} away, not ${distance}`);
    if (i > 0 && distance < found.distances[i - 1]) fail(`place ${i} is nearer than the one before`);
  });
  const { userIds } = found as { userIds?: Id[] };
  if (
    (index.idKind as IdKind) === 'row'
      ? userIds !== undefined
      : !userIds || userIds.length !== found.ids.length
  )
    fail(`userIds are ${userIds}`);
  userIds?.forEach((id, i) => {
    if (index.idOf(found.ids[i]) !== id) fail(`place ${i} is of ${id}`);
  });
}

function checkExact(found: Neighbors, expected: number[]): void {
  if (found.ids.length !== expected.length) fail(`${found.ids.length} neighbors, not ${expected.length}`);
  found.distances.forEach((distance, i) => {
    if (!isNear(distance, expected[i])) fail(`neighbor ${i} at ${distance}, not ${expected[i]}`);
  });
}

/**
 * One sequence of calls, drawn from a seed; throws where index and model part. Gives the number of steps, each of which
 * changes, builds, packs or reloads the index and then searches it in several ways; by default 3 to 14.
 */
export function run(seed: number, metric: Metric, asked?: number): number {
  const next = uniform(seed);
  const pick = (n: number): number => Math.floor(next() * n);
  const kind = KINDS[pick(4)];
  const dimensions = 1 + pick(9);
  const ids = kind === 'row' ? undefined : (kind as 'string');
  let index: Index = new VectorIndex({ dimensions, metric, seed, ids }) as Index;
  const model = new Model(metric);
  let lastRow = 0;
  const removed: Id[] = [];

  // Few values, so that many rows are equal; never 0 in the first place, so that each has a direction.
  const draw = (rows: number): Float32Array =>
    Float32Array.from({ length: rows * dimensions }, (_, i) =>
      i % dimensions === 0 ? 1 + pick(3) : pick(9) / 2 - 2,
    );
  const rowOf = (vectors: Float32Array, i: number): Float32Array =>
    vectors.slice(i * dimensions, (i + 1) * dimensions);
  const freshId = (): Id => {
    const number = pick(1e6);
    return kind === 'string'
      ? `é${number}`
      : kind === 'bigint'
        ? BigInt(number) * 10n ** 13n - 1n
        : number * 0.25;
  };
  const freshIds = (count: number): Id[] => {
    const all = new Set<Id>();
    while (all.size < count) {
      // One that was removed may come again.
      const id = removed.length > 0 && pick(3) === 0 ? removed[pick(removed.length)] : freshId();
      if (!model.rows.has(id)) all.add(id);
    }
    return [...all];
  };
  const anyId = (): Id => [...model.rows.keys()][pick(model.rows.size)];
  const drop = (id: Id): boolean => {
    if (model.rows.has(id)) removed.push(id);
    return model.rows.delete(id);
  };
  const add = (count: number): void => {
    const vectors = draw(count);
    const names: Id[] =
      kind === 'row' ? Array.from({ length: count }, (_, i) => lastRow + i) : freshIds(count);
    const first = index.add(vectors, kind === 'row' ? undefined : (names as string[]));
    if (first !== lastRow) fail(`first row ${first}, not ${lastRow}`);
    names.forEach((id, i) => void model.rows.set(id, rowOf(vectors, i)));
    lastRow += count;
  };

  const steps = asked ?? 3 + pick(12);
  for (let step = steps; step > 0; step--) {
    const action = model.rows.size === 0 ? 0 : pick(11);
    if (action <= 1) {
      add(pick(12) === 0 ? 100 + pick(400) : 1 + pick(12));
    } else if (action === 2) {
      const isNew = kind !== 'row' && pick(2) === 0;
      const id = isNew ? freshIds(1)[0] : anyId();
      const vector = draw(1);
      const row = index.set(id as string, vector);
      if (isNew && row !== lastRow++) fail(`a new id in row ${row}`);
      model.rows.set(id, vector);
    } else if (action === 3) {
      const old = Array.from({ length: pick(6) }, anyId);
      const fresh = kind === 'row' ? [] : freshIds(pick(6));
      const all = [...new Set([...old, ...fresh])];
      const vectors = draw(all.length);
      index.setMany(all as string[], vectors);
      all.forEach((id, i) => void model.rows.set(id, rowOf(vectors, i)));
      lastRow += fresh.length;
    } else if (action === 4) {
      const id = pick(3) === 0 && removed.length > 0 ? removed[pick(removed.length)] : anyId();
      if (index.delete(id as string) !== drop(id)) fail(`delete of ${id} said otherwise`);
    } else if (action === 5) {
      const some = Array.from({ length: 1 + pick(pick(4) === 0 ? model.rows.size : 5) }, anyId);
      if (removed.length > 0) some.push(removed[pick(removed.length)]);
      const count = new Set(some.filter((id) => model.rows.has(id))).size;
      const got = index.remove(some as string[]);
      if (got !== count) fail(`removed ${got}, not ${count}`);
      some.forEach(drop);
    } else if (action === 6) {
      const id = anyId();
      const vector = draw(1);
      index.update(id as string, vector);
      model.rows.set(id, vector);
    } else if (action === 7) {
      index.build({
        cells: [undefined, 1, 1 + pick(12)][pick(3)],
        refine: pick(2) === 0,
        tune: pick(16) === 0,
        training: pick(2) === 0 ? 'lloyd' : 'none',
      });
    } else if (action === 8) {
      index.compact();
      if (index.stats().removed !== 0) fail('rows are still removed');
    } else if (action === 9) {
      const bytes = index.save();
      index.dispose();
      index = VectorIndex.load(bytes);
    }

    if (index.size !== model.rows.size) fail(`${index.size} rows, not ${model.rows.size}`);
    const query = draw(1);
    const half = (id: Id): boolean => Number(String(id).at(-1)?.charCodeAt(0)) % 2 === 0;
    const every = (): boolean => true;
    const passes = pick(2) === 0 ? half : every;
    const filter = passes === half ? half : undefined;
    const truth = model.nearest(query, passes);
    const k = 1 + pick(pick(3) === 0 ? model.rows.size + 3 : 8);
    const exactly = index.search(query, { k, exact: true, filter });
    checkSound(exactly, index, model, query, passes);
    checkExact(exactly, truth.slice(0, k));
    // Now and then only: the first one after a build measures how far out neighbors lie.
    const some = filter && pick(8) > 0 ? undefined : filter;
    const found = index.search(query, { k, recall: [0.5, 0.95][pick(2)], filter: some });
    checkSound(found, index, model, query, some ? passes : every);
    if (some && found.ids.length !== Math.min(k, truth.length)) fail(`only ${found.ids.length} pass`);
    if (pick(3) === 0 && truth.length > 0) {
      // Between two distances, so that rounding decides nothing.
      const place = pick(truth.length);
      const after = truth.findIndex((distance) => distance > truth[place] + 0.02);
      const radius = after < 0 ? truth[truth.length - 1] + 1 : (truth[after - 1] + truth[after]) / 2;
      const within = index.searchRadius(query, radius, { exact: true, filter });
      checkSound(within, index, model, query, passes);
      checkExact(
        within,
        truth.filter((distance) => distance <= radius),
      );
      if (pick(8) === 0)
        checkSound(index.searchRadius(query, radius, { filter }), index, model, query, passes);
    }
    if (model.rows.size > 0) {
      const id = anyId();
      const others = index.searchById(id as string, { k: 3, exact: true });
      if (others.ids.includes(index.rowOf(id as string) as number)) fail(`${id} is its own neighbor`);
      checkSound(others, index, model, model.rows.get(id) as Float32Array, every);
    }
    for (const id of removed.slice(-5))
      if (!model.rows.has(id) && (index.has(id as string) || index.get(id as string))) fail(`${id} is back`);
  }
  const held = new Map<Id, Float32Array>(index);
  if (held.size !== model.rows.size) fail(`${held.size} rows in all, not ${model.rows.size}`);
  for (const [id, vector] of model.rows) {
    const row = held.get(id) ?? fail(`${id} is missing`);
    if (row.some((x, i) => Math.abs(x - vector[i]) > 1e-5)) fail(`${id} is ${row}, not ${vector}`);
  }
  index.dispose();
  return steps;
}
