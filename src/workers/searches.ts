import type { CappedBatch, RadiusBatch, VectorSearchOptions } from '../index.js';
import { checkFileRows, type FileRows, readRows } from './file-rows.js';
import type { Member } from './members.js';
import type { Batch } from './messages.js';
import { concatRanges, inOrder, stretches } from './pages.js';
import type { Versions } from './versions.js';

/** Queries that one thread takes of a batch at a time, and from how many on several threads share it. */
const PART = 16;
const LEAST_SHARED = 2 * PART;
/** Parts that are under way for each thread. */
const AHEAD = 2;
/** Places of a batch's results that the threads share; the index itself refuses more than 2^29. */
const MOST_PLACES = 2 ** 29;

/** A batch of searches by all threads: each takes a few queries at a time until there are no more. */
export async function searchBatch(
  versions: Versions,
  queries: Float32Array,
  given: VectorSearchOptions,
): Promise<CappedBatch> {
  const { dimensions } = versions.known;
  const options = versions.packed(given);
  const k = options?.k ?? 10;
  const count = queries instanceof Float32Array ? queries.length / dimensions : 0;
  const isPlain = Number.isInteger(count) && Number.isInteger(k) && k > 0 && count * k <= MOST_PLACES;
  const whole = (): Promise<CappedBatch> => versions.call<CappedBatch>('searchBatch', [queries, options]);
  // Anything out of the ordinary goes to the index itself, which has the right word for it.
  if (!isPlain || count < LEAST_SHARED || versions.members.all.length === 1) return whole();
  try {
    if (versions.isShared) return await searchTogether(versions, queries, options, count, k);
    return await versions.held(() => searchParts(versions, queries, options, count, k));
  } catch (error) {
    if ((error as { code?: string }).code === 'ERR_WORKER') throw error;
    return whole(); // the rows that an error names are then those of the whole batch
  }
}

/** The same of rows that lie in a file: each thread reads those that it takes. */
export async function searchFile(
  versions: Versions,
  file: FileRows,
  given: VectorSearchOptions,
): Promise<CappedBatch> {
  checkFileRows(file);
  const { rows } = file;
  const options = versions.packed(given);
  const k = options?.k ?? 10;
  const isPlain = Number.isInteger(k) && k > 0 && rows * k <= MOST_PLACES;
  try {
    if (isPlain) return await searchTogether(versions, file, options, rows, k);
  } catch (error) {
    if ((error as { code?: string }).code === 'ERR_WORKER') throw error;
  }
  // What is wrong is told where all rows are at hand.
  return searchBatch(versions, readRows(file, versions.known.dimensions, 0, rows), given);
}

/** Over one memory: threads claim queries and write neighbors where all see them. */
async function searchTogether(
  versions: Versions,
  queries: Float32Array | FileRows,
  options: VectorSearchOptions,
  count: number,
  k: number,
): Promise<CappedBatch> {
  const { members } = versions;
  const threads = [...members.all];
  const batch: Batch = {
    queries:
      queries instanceof Float32Array && !(queries.buffer instanceof SharedArrayBuffer)
        ? copyOf(queries, true)
        : queries,
    dimensions: versions.known.dimensions,
    ...{ options, k, threads: threads.length },
    next: new Int32Array(new SharedArrayBuffer(4)),
    ids: new Uint32Array(new SharedArrayBuffer(count * k * 4)),
    distances: new Float32Array(new SharedArrayBuffer(count * k * 4)),
    counts: new Uint32Array(new SharedArrayBuffer(count * 4)),
    capped: new Uint8Array(new SharedArrayBuffer(count)),
  };
  try {
    await Promise.all(threads.map((member) => members.post(member, (id) => ({ kind: 'batch', id, batch }))));
  } catch (error) {
    // The part that found no room is lost with what it had taken: all of the batch again.
    if (!members.all.map((member) => versions.widen(member, error)).includes(true)) throw error;
    return searchTogether(versions, queries, options, count, k);
  }
  const { ids, distances, counts, capped } = batch;
  const found: CappedBatch = { ids: ids.slice(), distances: distances.slice(), counts: counts.slice() };
  if (capped.includes(1)) found.capped = capped.slice();
  return found;
}

/** With a copy of the index in each thread: queries and neighbors are sent. */
async function searchParts(
  versions: Versions,
  queries: Float32Array,
  options: VectorSearchOptions,
  count: number,
  k: number,
): Promise<CappedBatch> {
  const { dimensions } = versions.known;
  const threads = versions.members.all;
  const found: CappedBatch = {
    ids: new Uint32Array(count * k),
    distances: new Float32Array(count * k),
    counts: new Uint32Array(count),
  };
  const part = Math.max(PART, Math.ceil(count / (8 * threads.length)));
  let next = 0;
  const take = async (member: Member): Promise<void> => {
    while (next < count) {
      const first = next;
      const end = Math.min(count, first + part);
      next = end;
      const args = [queries.slice(first * dimensions, end * dimensions), options];
      const some = (await versions.ask(member, (id) => ({ kind: 'call', id, method: 'searchBatch', args })))
        .result as CappedBatch;
      found.ids.set(some.ids, first * k);
      found.distances.set(some.distances, first * k);
      found.counts.set(some.counts, first);
      if (some.capped) {
        found.capped ??= new Uint8Array(count);
        found.capped.set(some.capped, first);
      }
    }
  };
  // Two parts ahead for each thread, so that none waits for this one.
  await Promise.all(threads.flatMap((member) => [take(member), take(member)]));
  return found;
}

/** A batch of searches within a radius by all threads. */
export async function searchRadiusBatch(
  versions: Versions,
  queries: Float32Array,
  radius: number,
  options: object | undefined,
): Promise<RadiusBatch> {
  const packed = versions.packed(options);
  const { dimensions } = versions.known;
  const threads = versions.members.all.length;
  const count = queries instanceof Float32Array ? queries.length / dimensions : 0;
  const search = (some: Float32Array): Promise<RadiusBatch> =>
    versions.call<RadiusBatch>('searchRadiusBatch', [some, radius, packed]);
  if (!Number.isInteger(count) || count < LEAST_SHARED || threads === 1) return search(queries);
  const each = Math.max(PART, Math.ceil(count / (8 * threads)));
  const tasks = Array.from(stretches(count, each), ([first, end]) => {
    const some = queries.slice(first * dimensions, end * dimensions);
    return () => search(some);
  });
  const version = versions.present;
  const parts: RadiusBatch[] = [];
  try {
    for await (const part of inOrder(tasks, AHEAD * threads)) parts.push(part);
  } catch (error) {
    if ((error as { code?: string }).code === 'ERR_WORKER') throw error;
    return search(queries); // the rows that an error names are then those of the whole batch
  }
  // All answers are those of one version.
  return version === versions.present ? concatRanges(parts) : search(queries);
}

/** A copy on a buffer of its own: what is sent is the whole buffer, however little of it a view shows. */
export function copyOf(vectors: Float32Array, isShared: boolean): Float32Array {
  if (!(vectors instanceof Float32Array)) return vectors; // the index says what is wrong with it
  if (!isShared) return vectors.slice();
  const copy = new Float32Array(new SharedArrayBuffer(vectors.byteLength));
  copy.set(vectors);
  return copy;
}
