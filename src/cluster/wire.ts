/**
 * What crosses the network for a block of queries, in bytes rather than JSON. Little-endian, as typed arrays are on every
 * machine that Node runs on.
 *
 * A request: f64 × 9 (kind, queries, dimensions, k, recall, radius, exact, ids, next), then f64 × ids, then f32 queries.
 * A worker's answer: f64 × 3 (queries, neighbors in all, segments), f64 × segments that answered, as places in the job's list,
 * f64 × neighbors global ids, u32 × queries counts, f32 × neighbors distances.
 */

export interface Request {
  kind: 'nearest' | 'radius';
  dimensions: number;
  k: number;
  recall: number;
  radius: number;
  exact: boolean;
  /** queries × dimensions */
  queries: Float32Array;
  /** Global ids of the queries, where they are rows of the cluster; else empty. */
  ids: Float64Array;
  /** Where rows of a segment go on behind these, as a local id; null at its end, and where they are no rows of it. */
  next: number | null;
}

/** Neighbors of a block of queries: those of query i stand behind those of query i - 1, counts[i] of them, nearest first. */
export interface Lists {
  counts: Uint32Array;
  ids: Float64Array;
  distances: Float32Array;
}

const FIELDS = 9;

export function writeRequest(request: Request): Buffer {
  const { kind, dimensions, k, recall, radius, exact, queries, ids, next } = request;
  const count = queries.length / dimensions;
  const isRadius = kind === 'radius' ? 1 : 0;
  const head = [isRadius, count, dimensions, k, recall, radius, exact ? 1 : 0, ids.length, next ?? -1];
  return Buffer.concat([rawBytes(Float64Array.from(head)), rawBytes(ids), rawBytes(queries)]);
}

export function readRequest(bytes: Uint8Array): Request {
  const aligned = new Uint8Array(bytes); // a Buffer may start anywhere, and its slice() is no copy
  const head = new Float64Array(aligned.buffer, 0, FIELDS);
  const [kind, count, dimensions, k, recall, radius, exact, idCount, next] = head;
  const at = 8 * FIELDS;
  return {
    kind: kind === 1 ? 'radius' : 'nearest',
    dimensions,
    k,
    recall,
    radius,
    exact: exact === 1,
    next: next < 0 ? null : next,
    ids: new Float64Array(aligned.buffer, at, idCount),
    queries: new Float32Array(aligned.buffer, at + 8 * idCount, count * dimensions),
  };
}

/** Bytes of a request before its queries, of so many ids. */
export function requestHeadBytes(ids: number): number {
  return 8 * (FIELDS + ids);
}

/** The ids and what follows them, from the first `requestHeadBytes` bytes. */
export function readRequestHead(bytes: Uint8Array): Pick<Request, 'ids' | 'next'> {
  const aligned = new Uint8Array(bytes);
  const [ids, next] = new Float64Array(aligned.buffer, 8 * (FIELDS - 2), 2);
  return { ids: new Float64Array(aligned.buffer, 8 * FIELDS, ids), next: next < 0 ? null : next };
}

/** What a worker found in the segments at places `segments` of a job's list. */
export function writeAnswer(segments: readonly number[], { counts, ids, distances }: Lists): Buffer {
  const head = Float64Array.of(counts.length, ids.length, segments.length, ...segments);
  return Buffer.concat([rawBytes(head), rawBytes(ids), rawBytes(counts), rawBytes(distances)]);
}

export function readAnswer(bytes: Uint8Array): { segments: Float64Array; lists: Lists } {
  const { buffer } = new Uint8Array(bytes);
  const [queries, total, segments] = new Float64Array(buffer, 0, 3);
  const at = 24 + 8 * segments;
  return {
    segments: new Float64Array(buffer, 24, segments),
    lists: {
      ids: new Float64Array(buffer, at, total),
      counts: new Uint32Array(buffer, at + 8 * total, queries),
      distances: new Float32Array(buffer, at + 8 * total + 4 * queries, total),
    },
  };
}

/**
 * The lists of several segments as one: by distance, equal distances by id, at most `k` a query (Infinity: all). In which
 * order the segments come does not matter.
 */
export function mergeLists(lists: readonly Lists[], queries: number, k: number): Lists {
  if (lists.length === 1) return lists[0]; // it is no longer than k, and in order
  const at = lists.map(() => 0);
  const ends = lists.map(() => 0);
  const counts = new Uint32Array(queries);
  for (let query = 0; query < queries; query++) {
    let all = 0;
    for (const list of lists) all += list.counts[query];
    counts[query] = Math.min(k, all);
  }
  const total = counts.reduce((sum, count) => sum + count, 0);
  const ids = new Float64Array(total);
  const distances = new Float32Array(total);
  let to = 0;
  for (let query = 0; query < queries; query++) {
    for (let i = 0; i < lists.length; i++) ends[i] = at[i] + lists[i].counts[query];
    for (const end = to + counts[query]; to < end; to++) {
      let best = -1;
      for (let i = 0; i < lists.length; i++) {
        if (at[i] === ends[i]) continue;
        if (best < 0 || isNearer(lists[i], at[i], lists[best], at[best])) best = i;
      }
      ids[to] = lists[best].ids[at[best]];
      distances[to] = lists[best].distances[at[best]];
      at[best]++;
    }
    for (let i = 0; i < lists.length; i++) at[i] = ends[i];
  }
  return { counts, ids, distances };
}

function isNearer(a: Lists, i: number, b: Lists, j: number): boolean {
  return a.distances[i] < b.distances[j] || (a.distances[i] === b.distances[j] && a.ids[i] < b.ids[j]);
}

function rawBytes(array: Float64Array | Float32Array | Uint32Array): Buffer {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength);
}

/** Arrays, one behind the other. */
export function concat<Kind extends Uint32Array | Float32Array>(
  arrays: readonly Kind[],
  Made: new (length: number) => Kind,
): Kind {
  const joined = new Made(arrays.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const array of arrays) {
    joined.set(array, at);
    at += array.length;
  }
  return joined;
}
