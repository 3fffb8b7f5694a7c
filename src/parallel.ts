import { checkRows, type ErrorCode, rangeError, typeError } from './check.js';
import { Engine, type EngineState } from './engine.js';
import { type GroupPage, Groups } from './groups.js';
import { IdSet } from './id-set.js';
import {
  checkJoin,
  checkK,
  checkRadius,
  joinGroups,
  joinNeighbors,
  joinPairs,
  PAGE_PLACES,
  pageRowsOf,
} from './joins.js';
import type { GrowingMemory } from './kernels.js';
import { LinearMemory } from './memory.js';
import { type AsyncOptions, checkAsync, finishInSlices, type Progress, StepClock, Turn } from './progress.js';
import type { Reach } from './reach.js';
import { type Job, PART_ITEMS, type Piece } from './share.js';
import type { TunedSetting } from './tuning.js';
import { checkIdsOption, type IdKind, type UserId, UserIds } from './user-ids.js';
import {
  type BuildOptions,
  VectorIndex,
  type VectorIndexOptions,
  type VectorJoinOptions,
  type VectorSearchOptions,
} from './vector-index.js';

/**
 * What threads need to work on one index over one memory: the seam between the core and orthant/workers, which may
 * import this file and no other of the core's inside.
 *
 * An index that is shared never changes: whoever changes it works on a copy over a memory of its own and hands the copy's
 * state out. So no reader ever sees a half-done write, and a thread that ends in the middle of one leaves nothing behind.
 *
 * @internal
 */
export interface IndexState {
  engine: EngineState;
  tuned: ReadonlyMap<number, readonly TunedSetting[]>;
  /** What searches with a filter and within a radius go by, where that was measured. */
  reach: Reach | undefined;
}

/** Whether threads can share a memory here. */
export function canShare(): boolean {
  if (typeof SharedArrayBuffer !== 'function') return false;
  // Node has no such word; a page has, and may not send memory to its workers unless it says true.
  if ((globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated === false) return false;
  try {
    return (
      new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }).buffer instanceof SharedArrayBuffer
    );
  } catch {
    return false;
  }
}

/** What another thread needs to read an index. */
export function stateOf(index: VectorIndex): IndexState {
  const { engine, tuner, passing } = index.parts;
  return { engine: engine.state, tuned: tuner.tuned, reach: passing.saved };
}

/** Hands on what tuning has measured. */
function restoreMeasured(index: VectorIndex, { tuned, reach }: IndexState): VectorIndex {
  const { tuner, passing } = index.parts;
  tuner.restore(new Map(Array.from(tuned, ([k, settings]) => [k, [...settings]])));
  passing.restore(reach);
  return index;
}

/** An index that reads the memory of a state; what it writes on its way stays in the area. */
export function attach(state: IndexState, area?: readonly [number, number]): VectorIndex {
  const { engine } = state;
  return restoreMeasured(new VectorIndex(engine, Engine.over(engine, area)), state);
}

/** Bytes of a copy that one thread makes at a time. */
const COPY_BYTES = 2 ** 20;

/** A copy over a memory of its own, to be changed; `team` copies it together. */
export function* copyShared(
  { engine, tuned, reach }: IndexState,
  team: BuildTeam = new BuildTeam(),
): Generator<Progress, VectorIndex> {
  const from = new LinearMemory(engine.maxBytes, { memory: engine.memory, regions: engine.regions });
  const to = new LinearMemory(engine.maxBytes, 'shared');
  const pieces: Piece[] = [];
  for (const [name, ptr, bytes] of engine.regions) {
    const target = to.reserve(name, bytes);
    for (let at = 0; at < bytes; at += COPY_BYTES)
      pieces.push([ptr + at, target + at, Math.min(COPY_BYTES, bytes - at)]);
  }
  const job: CopyJob = { kind: 'copy', pieces };
  const total = pieces.length;
  yield* team.share({ memory: to.memory }, job, total, (first, end) => {
    copyPieces(job, from, to, first, end);
    return { phase: 'load', done: end, total };
  });
  return attach({ engine: { ...engine, memory: to.memory, regions: to.entries }, tuned, reach });
}

function copyPieces(
  { pieces }: CopyJob,
  from: LinearMemory,
  to: LinearMemory,
  first: number,
  end: number,
): void {
  for (const [source, target, bytes] of pieces.slice(first, end))
    to.u8.set(from.u8.subarray(source, source + bytes), target);
}

/** The same over a memory that threads may share, of an index over one of its own. */
export function toShared(index: VectorIndex): Generator<Progress, VectorIndex> {
  return copyShared(stateOf(index));
}

/** Bytes of an area for a thread that searches for up to k neighbors. */
export function windowBytes(index: VectorIndex, k: number): number {
  return index.parts.engine.scratchBytes(k);
}

/** Windows in the memory of an index, which its own limit does not count. */
export class Windows {
  readonly #memory: LinearMemory;

  constructor({ engine }: IndexState) {
    this.#memory = new LinearMemory(undefined, { memory: engine.memory, regions: engine.regions });
  }

  /** An area for one thread by its number. Throws a RangeError (ERR_OUT_OF_MEMORY) where there is no room for it. */
  reserve(thread: number, bytes: number): [start: number, end: number] {
    const name = `area ${thread}`;
    if (this.#memory.capacity(name) < bytes) this.#memory.release(name);
    const start = this.#memory.reserve(name, bytes);
    return [start, start + this.#memory.capacity(name)];
  }
}

type CopyJob = Extract<Job, { kind: 'copy' }>;

const PHASES: Readonly<Record<Job['kind'], Progress['phase']>> = {
  copy: 'load',
  sample: 'train',
  train: 'train',
  group: 'train',
  assign: 'assign',
  encode: 'encode',
  refine: 'refine',
  search: 'tune',
};

/** A job of a build, for other threads to take parts of. */
export interface SharedJob {
  job: Job;
  total: number;
  /** Parts taken, parts done, whether one failed, and threads that are at it: 4 words, by Atomics. */
  counters: Int32Array;
  /** The memory of the build comes with the first job only, since an engine is soon made over a known one. */
  memory: GrowingMemory | undefined;
  /** What there is to read in it; nothing where bytes are copied. */
  engine: Omit<EngineState, 'memory'> | undefined;
  /** Areas by thread. */
  windows: (readonly [number, number])[];
}

/**
 * Milliseconds that the thread that builds looks for the end of the others' parts before it sleeps. Parts take one, and
 * to be woken takes a tenth, a hundred times a build.
 */
const WATCH_MS = 1;

/** The threads at a build, seen by the one that leads it: `threads` others, who are told by `tell`, take parts of its jobs. */
export class BuildTeam {
  readonly #threads: number;
  readonly #tell: (job: SharedJob) => void;
  #isMemoryTold = false;

  constructor(threads: number = 0, tell: (job: SharedJob) => void = () => {}) {
    this.#threads = threads;
    this.#tell = tell;
  }

  /** Does the jobs of the builds of an index from now on. */
  lead(index: VectorIndex): void {
    const { engine } = index.parts;
    engine.share = (job, total, part, before) => {
      const bytes = engine.scratchBytes(job.kind === 'search' ? job.k : 1);
      const windows = Array.from({ length: this.#threads }, (_, i) => {
        const start = engine.plan.reserve(`area ${i}`, bytes);
        return [start, start + engine.plan.memory.capacity(`area ${i}`)] as const;
      });
      const { memory, ...state } = engine.state;
      return this.share({ memory, engine: state, windows }, job, total, part, before);
    };
  }

  /** Does a job in a memory. */
  *share(
    place: { memory: GrowingMemory } & Partial<Pick<SharedJob, 'engine' | 'windows'>>,
    job: Job,
    total: number,
    part: (first: number, end: number) => Progress,
    before?: Generator<Progress>,
  ): Generator<Progress> {
    const items = PART_ITEMS[job.kind];
    const parts = Math.ceil(total / items);
    let progress: Progress = { phase: PHASES[job.kind], done: 0, total };
    const counters = new Int32Array(new SharedArrayBuffer(16));
    if (parts > 1 && this.#threads > 0) {
      const { engine, windows = [] } = place;
      const memory = this.#isMemoryTold ? undefined : place.memory;
      this.#tell({ job, total, counters, engine, memory, windows });
      this.#isMemoryTold = true;
    }
    if (before) yield* before;
    const clock = new StepClock();
    for (;;) {
      const next = Atomics.add(counters, 0, 1);
      if (next >= parts) break;
      progress = part(next * items, Math.min(total, (next + 1) * items));
      Atomics.add(counters, 1, 1);
      if (clock.isDue()) yield progress;
    }
    // A thread that is still at it may write to its area: then no room may be given to anything else.
    const until = performance.now() + WATCH_MS;
    for (;;) {
      const done = Atomics.load(counters, 1);
      if (done === parts && Atomics.load(counters, 3) === 0) return;
      if (Atomics.load(counters, 2) !== 0)
        throw new Error('build: expected all threads to do their parts, one failed');
      if (performance.now() < until) continue;
      Atomics.wait(counters, 1, done, 1);
      yield progress;
    }
  }
}

/** A thread's hand in the build of another. */
export class BuildHelper {
  readonly #thread: number;
  readonly #source: IndexState | undefined;
  #memory: GrowingMemory | undefined;

  /** @param thread its number among those that help; `source`: the index that is copied. */
  constructor(thread: number, source: VectorIndex | undefined) {
    this.#thread = thread;
    this.#source = source && stateOf(source);
  }

  /** Takes parts of a job until there are no more; others may run after each. The jobs in the order they are told. */
  *take({ job, total, counters, engine, memory, windows }: SharedJob): Generator<void> {
    this.#memory ??= memory as GrowingMemory;
    const items = PART_ITEMS[job.kind];
    const parts = Math.ceil(total / items);
    const isOver = (): boolean => Atomics.load(counters, 0) >= parts;
    Atomics.add(counters, 3, 1);
    let isFailed = true;
    try {
      // Of a job that is over already the windows may be gone; and there may have been no room for what is copied.
      if (!isOver() && (job.kind !== 'copy' || this.#source !== undefined)) {
        const work = this.#worker(job, engine, windows);
        for (let next = Atomics.add(counters, 0, 1); next < parts; next = Atomics.add(counters, 0, 1)) {
          work(next * items, Math.min(total, (next + 1) * items));
          Atomics.add(counters, 1, 1);
          if (isOver()) break; // nobody waits for what runs in between
          yield;
        }
      }
      isFailed = false;
    } finally {
      if (isFailed) Atomics.store(counters, 2, 1);
      Atomics.sub(counters, 3, 1);
      Atomics.notify(counters, 1);
    }
  }

  #worker(
    job: Job,
    engine: SharedJob['engine'],
    windows: SharedJob['windows'],
  ): (first: number, end: number) => void {
    const memory = this.#memory as GrowingMemory;
    if (job.kind === 'copy') {
      const { engine: source } = this.#source as IndexState;
      const from = new LinearMemory(undefined, { memory: source.memory, regions: [] });
      const to = new LinearMemory(undefined, { memory, regions: [] });
      return (first, end) => copyPieces(job, from, to, first, end);
    }
    const own = Engine.over({ ...(engine as Omit<EngineState, 'memory'>), memory }, windows[this.#thread]);
    return (first, end) => own.work(job, first, end);
  }
}

/** Number of ids that an index has given out. */
export function idCountOf(index: VectorIndex): number {
  return index.parts.engine.rows.idCount;
}

/** Options as they can be sent: with the filter as a bitmap. `ids`: how many rows a function is asked about, by `idOf`. */
export function packOptions<Options extends object | undefined>(
  options: Options,
  ids: number,
  idOf?: (row: number) => UserId | undefined,
): Options {
  const { filter } = (options ?? {}) as VectorSearchOptions;
  let bytes: Uint8Array;
  if (typeof filter === 'function') {
    const passes = filter as (id: UserId) => boolean;
    const isIn = (row: number): boolean => {
      const id = idOf === undefined ? row : idOf(row);
      return id !== undefined && passes(id);
    };
    bytes = IdSet.where(ids, isIn).bytes;
  } else if (filter instanceof IdSet) bytes = filter.bytes;
  else return options;
  return { ...options, filter: bytes.slice() };
}

/* ---- ids of the user ---- */

// Threads know rows by their numbers. Whoever asks them has the user's ids, and sends those that a call is about along.

/** Some ids of the user's own, and the numbers of their rows. */
export interface KnownIds {
  kind: UserIds['kind'];
  ids: readonly UserId[];
  rows: readonly number[] | Uint32Array;
}

/** An index over the rows of another, which are called by their numbers or by ids of a kind; it has none of those yet. */
export function withKind(index: VectorIndex, kind: UserIds['kind'] | undefined): VectorIndex {
  const state = stateOf(index);
  const options = { ...state.engine, ids: kind } as VectorIndexOptions;
  return restoreMeasured(new VectorIndex(options, index.parts.engine), state);
}

/** Makes ids known, whose rows ascend where many are new. */
export function enterIds(names: UserIds, { ids, rows }: Omit<KnownIds, 'kind'>): void {
  for (let first = 0, end: number; first < ids.length; first = end) {
    for (end = first + 1; end < ids.length && rows[end] === rows[end - 1] + 1; end++);
    names.add('ids', ids.slice(first, end), rows[first]);
  }
}

/** All ids of an index and their rows. */
export function idsOf(index: VectorIndex): KnownIds | undefined {
  const { engine, userIds } = index.parts;
  if (userIds === undefined) return undefined;
  const rows = engine.ids();
  return { kind: userIds.kind, ids: userIds.of(rows) as UserId[], rows };
}

/** An empty index for given vectors, over a memory that threads may share or not, and the ids given with them. */
export function openFor(options: VectorIndexOptions, shared: boolean): { made: VectorIndex; ids: unknown } {
  const given = checkIdsOption(options.ids);
  const own = { ...options, ids: given?.kind } as VectorIndexOptions;
  return { made: new VectorIndex(own, shared ? 'shared' : undefined), ids: given?.ids };
}

/** A join that one thread does for a stretch of the rows: all of its pages. Groups are of what that stretch shows. */
export function joinPart(
  index: VectorIndex,
  kind: 'neighborGraph' | 'selfJoin' | 'duplicates',
  options: VectorJoinOptions & { k?: number; radius?: number },
  first: number,
  end: number,
): unknown[] {
  const joins = index.parts.joins(options).part(first, end);
  const { k = 0, radius = 0 } = options;
  const isSigned = index.metric === 'inner-product';
  if (kind === 'neighborGraph') return [...joinNeighbors(joins, k, options)];
  if (kind === 'selfJoin') return [...joinPairs(joins, radius, options)];
  return [...joinGroups(joins, radius, !isSigned, options)];
}

/** Unites the groups that stretches show; `ids`: how many there are. */
export class UnitedGroups {
  readonly #groups: Groups;
  readonly #ids: number;

  constructor(ids: number) {
    this.#groups = new Groups(ids);
    this.#ids = ids;
  }

  add({ offsets, ids }: GroupPage): void {
    for (let group = 0; group + 1 < offsets.length; group++)
      for (let i = offsets[group] + 1; i < offsets[group + 1]; i++)
        this.#groups.unite(ids[offsets[group]], ids[i]);
  }

  /** Pages of about so many ids. Nothing instead of a page lets others run in between. */
  pages(pageIds: number): Generator<GroupPage | undefined> {
    const all = new Uint32Array(this.#ids).map((_, id) => id);
    return this.#groups.pages(all, pageIds);
  }
}

/** Ids and vectors of an index in the order of its joins, `each` rows at a time. */
export function* rowsOf(
  index: VectorIndex<IdKind>,
  each: number,
): Generator<{ rows: Uint32Array; queries: Float32Array }> {
  const joins = index.parts.joins({});
  const order = joins.order(false);
  const { version } = joins;
  for (let first = 0; first < order.length; first += each) {
    if (joins.version !== version) throw failure('ERR_CHANGED', CHANGED);
    const rows = order.slice(first, first + each);
    const queries = new Float32Array(rows.length * joins.dimensions);
    rows.forEach((id, i) => {
      queries.set(joins.vector(id), i * joins.dimensions);
    });
    yield { rows, queries };
  }
}

/** What a join says whose rows change while it is under way. */
export const CHANGED =
  'index: expected the rows that the join began with, got a change while it was under way; start it anew';

export type { AsyncOptions, BuildOptions, UserId, VectorIndexOptions };
export {
  checkAsync,
  checkJoin,
  checkK,
  checkRadius,
  checkRows,
  finishInSlices,
  PAGE_PLACES,
  pageRowsOf,
  Turn,
  UserIds,
  VectorIndex,
};

/** An error of this package, for the adapter. */
export function failure(code: ErrorCode, message: string): Error {
  return (code === 'ERR_ARGUMENT_RANGE' ? rangeError : typeError)(code, message);
}
