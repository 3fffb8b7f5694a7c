// The script of a pool's worker.
import {
  attach,
  BuildHelper,
  BuildTeam,
  copyShared,
  enterIds,
  finishInSlices,
  idCountOf,
  idsOf,
  joinPart,
  type KnownIds,
  openFor,
  type SharedJob,
  stateOf,
  Turn,
  toShared,
  type UserIds,
  VectorIndex,
  windowBytes,
  withKind,
} from '../parallel.js';
import { readRows } from './file-rows.js';
import {
  type Batch,
  type Make,
  packError,
  type Request,
  type Response,
  unpackError,
  type Version,
} from './messages.js';
import { type Port, workerThreads } from './threads.js';

/** Milliseconds after which a thread that helps looks for other calls. */
const HELP_MS = 20;
/** Milliseconds that it looks for the next job before it sleeps: to be woken takes longer than most of what lies between. */
const WATCH_MS = 5;
/** Milliseconds after which the thread that builds looks for a signal, and for other calls. */
const SLICE_MS = 20;
/** Milliseconds between two reports of progress. */
const REPORT_MS = 50;
/** Queries of a part of a batch. */
const LEAST_PART = 8;
const MOST_PART = 256;
/** Neighbors that a fresh window has room for; more makes the pool give a larger one. */
const USUAL_K = 100;

const port = (workerThreads()?.parentPort ?? globalThis) as Port;
const aborts = new Map<number, AbortController>();
let index: VectorIndex | undefined;
/** What rows of files are read into. */
let room = new ArrayBuffer(0);
/** Why there is no index, where the last version could not be opened. */
let failed: unknown;

function answer(response: Response, transfer: readonly object[] = []): void {
  port.postMessage(response, transfer);
}

port.onmessage = ({ data }) => {
  const request = data as Request;
  if (request.kind === 'version') read(request.version, request.window);
  else if (request.kind === 'abort') aborts.get(request.id)?.abort(unpackError(request.reason));
  else if (request.kind === 'help') help(request.port, request.thread);
  else if (request.kind === 'make') void make(request);
  else {
    const { id } = request;
    try {
      if (failed !== undefined) throw failed;
      answer({ kind: 'result', id, result: resultOf(request) });
    } catch (error) {
      answer({ kind: 'error', id, error: packError(error) });
    }
  }
};
answer({ kind: 'ready' });

function read(version: Version, window?: [number, number]): void {
  failed = undefined;
  index = undefined; // before the next one is opened: there may be no room for both
  try {
    index = open(version, window);
  } catch (error) {
    failed = error;
  }
}

function open(version: Version, window?: [number, number]): VectorIndex {
  if (version.state) return attach(version.state, window);
  const { bytes, maxBytes } = version;
  return VectorIndex.load(bytes, maxBytes === undefined ? undefined : { maxBytes });
}

function resultOf(request: Extract<Request, { kind: 'call' | 'batch' | 'join' }>): unknown {
  if (request.kind === 'batch') return searchParts(request.batch);
  if (request.kind === 'call') return call(request);
  const { join, options, first, end } = request;
  return joinPart(index as VectorIndex, join, options, first, end);
}

function call({ method, args, known }: Extract<Request, { kind: 'call' }>): unknown {
  const run = (): unknown =>
    (index as unknown as Record<string, (...args: unknown[]) => unknown>)[method](...args);
  if (known === undefined) return run();
  if (index?.parts.userIds === undefined) index = withKind(index as VectorIndex, known.kind);
  const names = index.parts.userIds as UserIds;
  enterIds(names, known);
  try {
    return run();
  } finally {
    names.remove(known.rows);
  }
}

function searchParts({
  queries,
  dimensions,
  options,
  k,
  threads,
  next,
  ids,
  distances,
  counts,
  capped,
}: Batch): void {
  for (;;) {
    const first = Atomics.load(next, 0);
    const left = counts.length - first;
    if (left === 0) return;
    // Large parts first, small ones last: few calls, and all threads end together.
    const end = first + Math.min(left, Math.max(LEAST_PART, Math.min(MOST_PART, left / (3 * threads)) | 0));
    if (Atomics.compareExchange(next, 0, first, end) !== first) continue;
    let some: Float32Array;
    if (queries instanceof Float32Array) {
      some = queries.subarray(first * dimensions, end * dimensions);
    } else {
      const read = readRows(queries, dimensions, first, end - first, room);
      room = read.buffer;
      some = read;
    }
    const found = (index as VectorIndex).searchBatch(some, options);
    ids.set(found.ids, first * k);
    distances.set(found.distances, first * k);
    counts.set(found.counts, first);
    if (found.capped) capped.set(found.capped, first);
  }
}

/** Takes parts of the jobs of another thread's build, with calls to this one in between. */
function help(from: MessagePort, thread: number): void {
  const waiting: SharedJob[] = [];
  const helper = new BuildHelper(thread, index);
  let isBusy = false;
  let isOver = false;
  const work = async (): Promise<void> => {
    isBusy = true;
    const turn = new Turn();
    let until = performance.now() + WATCH_MS;
    try {
      for (; !isOver && performance.now() < until; await turn.pass()) {
        for (let job = waiting.shift(); job; job = waiting.shift()) {
          let end = performance.now() + HELP_MS;
          for (const _ of helper.take(job)) {
            if (performance.now() < end) continue;
            await turn.pass();
            end = performance.now() + HELP_MS;
          }
          until = performance.now() + WATCH_MS;
        }
      }
    } finally {
      turn.close();
      isBusy = false;
    }
  };
  const start = (): void => {
    if (!isBusy) work().catch(() => {}); // the thread that builds has been told by the job's counters
  };
  from.onmessage = ({ data }) => {
    if (data === null) {
      isOver = true;
      from.close();
      return;
    }
    waiting.push(data as SharedJob);
    start();
  };
  start();
}

async function make(request: Extract<Request, { kind: 'make' }>): Promise<void> {
  const { id, shared, from, helpers } = request;
  const controller = new AbortController();
  aborts.set(id, controller);
  let reported = 0;
  const options = {
    signal: controller.signal,
    sliceMs: SLICE_MS,
    onProgress(progress: { done: number; total: number }): void {
      const now = performance.now();
      if (progress.done < progress.total && now < reported + REPORT_MS) return;
      reported = now;
      answer({ kind: 'progress', id, progress });
    },
  };
  try {
    const { made, result, named } = await next(request.make, shared, from, options, helpers);
    const { size, dimensions, metric, storage, cells } = made;
    const version: Version = shared ? { state: stateOf(made) } : { bytes: withKind(made, undefined).save() };
    answer(
      {
        ...{ kind: 'made', id, result, named, version },
        about: { size, ids: idCountOf(made), dimensions, metric, storage, cells },
        windowBytes: windowBytes(made, USUAL_K),
      },
      version.bytes ? [version.bytes.buffer] : [],
    );
  } catch (error) {
    answer({ kind: 'error', id, error: packError(error) });
  } finally {
    aborts.delete(id);
    for (const helper of helpers) {
      helper.postMessage(null);
      helper.close();
    }
  }
}

/** The next version of an index: a new one, or a copy of the present one with a change. */
async function next(
  make: Make,
  shared: boolean,
  from: Version | null,
  options: {
    signal: AbortSignal;
    sliceMs: number;
    onProgress(progress: { done: number; total: number }): void;
  },
  helpers: MessagePort[],
): Promise<{ made: VectorIndex; result: unknown; named?: KnownIds | Float64Array }> {
  const team = new BuildTeam(helpers.length, (job) => {
    for (const helper of helpers) helper.postMessage(job);
  });
  if (make.how === 'from') {
    const { made, ids } = openFor(make.options, shared);
    if (shared) team.lead(made);
    await finishInSlices(made.take(make.vectors, make.options, ids), options);
    return { made, result: undefined, named: idsOf(made) };
  }
  if (make.how === 'load') {
    const loaded: VectorIndex = VectorIndex.load(make.bytes, make.limits);
    const made = shared ? await finishInSlices(toShared(loaded), options) : loaded;
    return { made, result: undefined, named: idsOf(loaded) };
  }
  const version = from as Version;
  const made = version.state ? await finishInSlices(copyShared(version.state, team), options) : open(version);
  if (make.how === 'build') {
    if (shared) team.lead(made);
    await finishInSlices(made.rebuild(make.options), options);
    return { made, result: undefined };
  }
  const run = (on: VectorIndex): unknown =>
    (on as unknown as Record<string, (...args: unknown[]) => unknown>)[make.how](...make.args);
  if (!('given' in make) || make.known === undefined) return { made, result: run(made) };
  const changed = withKind(made, make.known.kind);
  const names = changed.parts.userIds as UserIds;
  enterIds(names, make.known);
  const result = run(changed);
  return { made: changed, result, named: names.rowsOf('ids', make.given) };
}
