import type { PairPage } from '../index.js';

/** Neighbors of several queries, those of query i at offsets[i] … offsets[i + 1] - 1. */
interface Ranges {
  offsets: Uint32Array;
  ids: Uint32Array;
  distances: Float32Array;
}

/** Answers to several parts of the queries, one behind the other. */
export function concatRanges(parts: readonly Ranges[]): Ranges {
  const queries = parts.reduce((sum, { offsets }) => sum + offsets.length - 1, 0);
  const places = parts.reduce((sum, { ids }) => sum + ids.length, 0);
  const all = {
    offsets: new Uint32Array(queries + 1),
    ids: new Uint32Array(places),
    distances: new Float32Array(places),
  };
  let query = 0;
  let place = 0;
  for (const { offsets, ids, distances } of parts) {
    for (const offset of offsets) all.offsets[query++] = place + offset;
    query--; // the end of one part is the start of the next
    all.ids.set(ids, place);
    all.distances.set(distances, place);
    place += ids.length;
  }
  return all;
}

/** Stretches of a number of rows, in order. */
export function* stretches(rows: number, each: number): Generator<readonly [first: number, end: number]> {
  for (let first = 0; first < rows; first += each) yield [first, Math.min(rows, first + each)];
}

/** Queries that come in arrays of any number of rows, as arrays of `each` rows; the last may have fewer. */
export async function* regroup(
  pages: Iterable<Float32Array> | AsyncIterable<Float32Array>,
  dimensions: number,
  each: number,
  check: (page: Float32Array, number: number) => void,
): AsyncGenerator<Float32Array> {
  let waiting: Float32Array[] = [];
  let floats = 0;
  let number = 0;
  const turn = (): Float32Array => {
    const group = new Float32Array(floats);
    let at = 0;
    for (const some of waiting) {
      group.set(some, at);
      at += some.length;
    }
    waiting = [];
    floats = 0;
    return group;
  };
  for await (const page of pages) {
    check(page, number++);
    const copy = page.slice(); // its owner may fill the same array again
    for (let at = 0; at < copy.length; ) {
      const some = copy.subarray(at, at + each * dimensions - floats);
      waiting.push(some);
      floats += some.length;
      at += some.length;
      if (floats === each * dimensions) yield turn();
    }
  }
  if (floats > 0) yield turn();
}

/**
 * What tasks give, in the order of the tasks, of which so many are under way at a time: for pages of queries, of which the
 * threads of a pool have the next ones while this one reads and writes. Ends early with the signal.
 */
export async function* inOrder<T>(
  tasks: Iterable<() => Promise<T>> | AsyncIterable<() => Promise<T>>,
  ahead: number,
  signal?: AbortSignal,
): AsyncGenerator<T, void, undefined> {
  const source = Symbol.asyncIterator in tasks ? tasks[Symbol.asyncIterator]() : tasks[Symbol.iterator]();
  const begun: Promise<T>[] = [];
  let isOver = false;
  try {
    for (;;) {
      while (!isOver && begun.length < ahead) {
        signal?.throwIfAborted();
        const next = await until(Promise.resolve(source.next()), signal);
        if (next.done) {
          isOver = true;
          break;
        }
        const one = next.value();
        one.catch(() => {}); // told when its turn comes, if it comes
        begun.push(one);
      }
      const first = begun.shift();
      if (first === undefined) return;
      yield await until(first, signal);
    }
  } finally {
    // Not waited for: it may stand at a page that never comes.
    if (!isOver) void Promise.resolve(source.return?.()).catch(() => {});
  }
}

/** What a promise gives, or the signal's reason as soon as it is given. */
function until<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    if (signal.aborted) return abort();
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

/** Pages of pairs with the small ones put together, of so many pairs at least but for the last. */
export async function* joinPages(
  lists: AsyncIterable<readonly PairPage[]>,
  least: number,
): AsyncGenerator<PairPage, void, undefined> {
  let waiting: PairPage[] = [];
  let pairs = 0;
  const turn = (): PairPage => {
    const page = { a: new Uint32Array(pairs), b: new Uint32Array(pairs), distances: new Float32Array(pairs) };
    let at = 0;
    for (const { a, b, distances } of waiting) {
      page.a.set(a, at);
      page.b.set(b, at);
      page.distances.set(distances, at);
      at += a.length;
    }
    waiting = [];
    pairs = 0;
    return page;
  };
  for await (const pages of lists) {
    for (const page of pages) {
      waiting.push(page);
      pairs += page.a.length;
      if (pairs >= least) yield turn();
    }
  }
  if (pairs > 0) yield turn();
}
