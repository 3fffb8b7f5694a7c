import { Cells, type CellsState, type RowPlaces } from './cells.js';
import { binBytes, Centres, candidatesOf } from './centres.js';
import type { GrowingMemory } from './kernels.js';
import { isOutOfMemory, type RegionEntry } from './memory.js';
import type { CappedBatch, Metric, Neighbors } from './neighbors.js';
import { CHUNK_ROWS, EnginePlan } from './plan.js';
import { finish, type Progress, under } from './progress.js';
import { RandomGenerator } from './random.js';
import { Records } from './records.js';
import { ascend, gather, Rows, type Storage } from './rows.js';
import {
  type Approach,
  type Counters,
  DEFAULT_K,
  keepFor,
  runOneByOne,
  type Settings,
  type Tunable,
} from './settings.js';
import { alone, type Job, type Share } from './share.js';
import { Space } from './space.js';
import { Undo } from './undo.js';

/** Rows that centres are trained on: a cell's worth of this many, within bounds. */
const SAMPLE_PER_CELL = 20;
const LEAST_SAMPLE_PER_CELL = 12;
const LEAST_SAMPLE = 10_000;
const MOST_SAMPLE = 100_000;
/** Rows of it that are drawn in one step. */
const DRAWN_IDS = 16_384;
/** Rows that the mean is taken over. */
const MEAN_ROWS = 4000;
/** Words of what one search did. */
const COUNTERS = 6;
/** Words of a bit for each cell. */
const changeWords = (cells: number): number => (cells + 31) >>> 5;
/** Survivors that wait for the next stage at most. */
const SURVIVORS = 1024;
/** Queries that cross into WebAssembly together. */
const BATCH = 256;
/**
 * Bytes of rows that all queries of a sample are compared with before the next are loaded, as many as the second-level
 * cache holds, where there are more than the last one holds; and the most stretches of them. (Eight queries over 188 MB:
 * 93 -> 43 ms; 120 over 5 MB: 13 -> 15 ms.)
 */
const EXACT_BYTES = 2 ** 19;
const FEW_EXACT_BYTES = 2 ** 24;
const MOST_STRETCHES = 256;
/**
 * Estimates that set the limit at least: the smallest few of many noisy ones are too small, and the limit of a search
 * for one neighbor would filter the nearest itself.
 */
const LEAST_ESTIMATES = 10;
/** Changes of rows so far, of all engines: no two states have the same number. */
let changes = 0;
/** Neighbors for which a search always has room, so that an index at its limit of memory still answers. */
const SURE_K = 128;
/** Regions that a build makes and an engine's answers depend on. */
const BUILT: readonly string[] = [
  'signs',
  'mean',
  'matrix',
  'rawMean',
  'centres',
  'centreBlocks',
  'groupCentres',
  'groupStarts',
  'directory',
  'blocks',
  'slots',
  'owners',
  'refine',
  'refineNorms',
];
/** What a build replaces. */
const REPLACED: readonly string[] = [...BUILT, 'wideRow', 'groupOrder'];
const REPLACED_FIELDS = ['Dims', 'Rounds', 'Cells', 'Groups', 'RefineStep'] as const;
/** Regions that an engine's answers depend on; all others are scratch. */
const LASTING: readonly string[] = [...BUILT, 'rows', 'labels', 'positions', 'lengths'];

type SearchJob = Extract<Job, { kind: 'search' }>;
type EncodeJob = Extract<Job, { kind: 'encode' }>;

/** Everything that an engine knows, for another thread to make one over the same memory. */
export interface EngineState {
  dimensions: number;
  metric: Metric;
  storage: Storage;
  seed: bigint;
  maxBytes: number;
  memory: GrowingMemory;
  regions: RegionEntry[];
  words: Uint32Array;
  idCount: number;
  squaredNorm: number;
  cells: CellsState;
  built: boolean;
}

/** Where one row stands in the search that ran last. */
export interface RowTrace {
  cell: number;
  /** Place of its cell among all cells by distance to the query, from 0; probed are the first `cellsProbed`. */
  cellRank: number;
  /** Squared distance in the engine's space as its code tells it, and the least that the error bound allows. */
  estimate: number;
  lowerBound: number;
  /** What a lower bound had to be under at the end of the scan. */
  limit: number;
  distance: number;
}

/**
 * Takes what a search found for the i-th of several rows: `count` ids from u32[ids] on and scores from f32[scores] on,
 * nearest first, those behind the last with id 2^32 - 1.
 */
export type StoredReader = (
  i: number,
  u32: Uint32Array,
  ids: number,
  f32: Float32Array,
  scores: number,
  count: number,
) => void;

/** What a snapshot tells of its contents before they are copied. */
export interface EngineShape {
  rows: number;
  /** Ids given out, those of removed rows included. */
  ids: number;
  /** Slots that each cell uses. */
  slots: Uint32Array;
  built: boolean;
  /** Whether rows came with lengths of their own (cosine). */
  lengths: boolean;
  squaredNorm: number;
  refined: boolean;
  refineStep: number;
}

/**
 * The engine behind VectorIndex: stored rows, coded space and cells over one memory, and the stages of a query.
 * Arguments have been checked; settings are the tuner's.
 */
export class Engine implements Tunable {
  readonly plan: EnginePlan;
  readonly rows: Rows;
  #space: Space;
  #centres: Centres;
  #cells: Cells;
  #records: Records;
  #seed: bigint;
  #built = false;
  /** The k and settings that the plan holds now. */
  #k = 0;
  #settings: Settings | null = null;
  /** Places between the ids and the scores in `results`. */
  #places = 0;
  #version = ++changes;

  /** How jobs of a build are done: on this thread, or by several. */
  share: Share = alone;

  /**
   * @param from `'shared'` for an empty engine over a memory that threads may share; or the state of another engine.
   * @param area addresses that scratch regions may take; then the memory's regions are only read.
   */
  constructor(
    dimensions: number,
    metric: Metric,
    storage: Storage,
    seed: bigint,
    maxBytes: number,
    from?: 'shared' | EngineState,
    area?: readonly [start: number, end: number],
  ) {
    this.#seed = seed;
    const state = typeof from === 'object' ? from : undefined;
    const place = state ? { memory: state.memory, regions: state.regions, area } : (from as 'shared');
    this.plan = new EnginePlan(maxBytes, place, state?.words);
    this.rows = new Rows(this.plan, dimensions, metric, storage);
    this.#space = new Space(this.plan);
    this.#records = new Records(this.plan, this.rows, this.#space);
    this.#reserveScratch();
    this.#centres = new Centres(this.plan);
    this.#cells = new Cells(this.plan, this.#centres);
    if (state) {
      this.rows.adopt(state.idCount, state.squaredNorm);
      this.#space.adoptOwn();
      this.#cells.adopt(state.cells);
      for (const [region, ptr] of state.regions) this.plan.enter(region, ptr);
      this.#built = state.built;
    } else {
      this.#space.draw(new RandomGenerator(seed));
      this.#cells.reset();
    }
    this.#reserveSearch(SURE_K, keepFor(SURE_K));
  }

  /** An engine over the memory of another: it reads the same rows and cells, and has scratch regions of its own. */
  static over(state: EngineState, area?: readonly [start: number, end: number]): Engine {
    const { dimensions, metric, storage, seed, maxBytes } = state;
    return new Engine(dimensions, metric, storage, seed, maxBytes, state, area);
  }

  /** Everything that there is to know about this engine. */
  get state(): EngineState {
    const { metric, dimensions, storage, idCount, squaredNorm } = this.rows;
    const { memory } = this.plan;
    return {
      ...{ dimensions, metric, storage, idCount, squaredNorm },
      seed: this.#seed,
      maxBytes: memory.maxBytes,
      memory: memory.memory,
      regions: memory.entries.filter(([name]) => LASTING.includes(name)),
      words: this.plan.words,
      cells: this.#cells.state,
      built: this.#built,
    };
  }

  /** Bytes of all scratch regions that a search for k neighbors needs, for a while. */
  scratchBytes(k: number): number {
    const { stride } = this;
    const candidates = candidatesOf(Math.max(this.cells, 64));
    const rows = (2 * CHUNK_ROWS + 4 + BATCH) * stride * 4;
    return 2 * (rows + candidates * 26 + 128 * stride + BATCH * k * 8 + 60 * k + 2 ** 16);
  }

  /** Live rows. */
  get size(): number {
    return this.rows.count - this.rows.dead;
  }

  /** Another number after every change of the rows or of where they lie. */
  get version(): number {
    return this.#version;
  }

  get cells(): number {
    return this.#centres.count;
  }

  get dims(): number {
    return this.plan.get('Dims');
  }

  get stride(): number {
    return this.rows.stride;
  }

  get isBuilt(): boolean {
    return this.#built;
  }

  /** Whether its cells are shells around the mean. */
  get isShelled(): boolean {
    return this.#cells.isShelled;
  }

  get isRefined(): boolean {
    return this.#records.exist;
  }

  /** Rows in each cell. */
  cellSizes(): Uint32Array {
    return this.#cells.sizes();
  }

  vector(id: number): Float32Array {
    return this.rows.vector(id);
  }

  /** Squared distances between rows, by id: from × to; in the space that the engine searches. */
  distancesBetween(from: readonly number[], to: readonly number[]): Float32Array {
    const { plan, stride } = this;
    const distances = new Float32Array(from.length * to.length);
    const targets = plan.reserve('distance targets', to.length * stride * 4);
    const out = plan.reserve('distances out', to.length * 4 + 16);
    to.forEach((id, i) => {
      const floats = this.rows.floats(this.rows.position(id), 1);
      plan.memory.u8.copyWithin(targets + i * stride * 4, floats, floats + stride * 4);
    });
    from.forEach((id, i) => {
      const floats = this.rows.floats(this.rows.position(id), 1);
      plan.kernels.squaredL2(floats, targets, to.length, stride, out);
      distances.set(plan.memory.f32.subarray(out >>> 2, (out >>> 2) + to.length), i * to.length);
    });
    for (const region of ['distance targets', 'distances out']) plan.release(region);
    return distances;
  }

  /** Appends rows and, unless a build follows at once, encodes them into their cells. */
  append(vectors: Float32Array, rows: number, encode: boolean): void {
    const first = this.rows.count;
    if (rows > 0) this.#version = ++changes;
    this.rows.openChunk();
    try {
      this.#append(vectors, rows, encode, first);
    } finally {
      this.rows.closeChunk();
    }
  }

  /** Takes in the first rows of an index, which a build follows. */
  *take(vectors: Float32Array, rows: number): Generator<Progress> {
    this.rows.openChunk();
    yield* this.rows.append(vectors, rows);
    this.rows.closeChunk();
  }

  /** An engine of the live rows of this one, over a memory of its own; a build follows. */
  *copy(): Generator<Progress, Engine> {
    const { metric, dimensions, storage } = this.rows;
    const copy = new Engine(dimensions, metric, storage, this.#seed, this.plan.memory.maxBytes);
    yield* copy.rows.copy(this.rows);
    return copy;
  }

  #append(vectors: Float32Array, rows: number, encode: boolean, first: number): void {
    finish(this.rows.append(vectors, rows));
    if (!encode || rows === 0) return;
    if (first === 0 && !this.#built) this.#space.setMean(finish(this.#mean()));
    const before = this.#cells.snapshot();
    try {
      this.#encode(first, rows);
    } catch (error) {
      // Out of memory half-way: as if nothing had come.
      this.#cells.restore(before);
      this.rows.takeBack(rows);
      throw error;
    }
    if (this.#built) this.#split();
  }

  /* ---- removing ---- */

  /** Whether an id was given out and its row removed. */
  isRemoved(id: number): boolean {
    return id < this.rows.idCount && !this.rows.has(id);
  }

  /** The ids of the live rows, ascending. */
  ids(): Uint32Array {
    return this.rows.ids();
  }

  /** Removes rows by id; returns how many of them there were. */
  remove(ids: ArrayLike<number>): number {
    let isLive = false;
    for (let i = 0; i < ids.length && !isLive; i++) isLive = this.rows.has(ids[i]);
    if (!isLive) return 0;
    this.#version = ++changes;
    this.#cells.locate(this.rows.count);
    const positions = this.rows.remove(ids);
    this.#cells.remove(positions);
    return positions.length;
  }

  /** Gives a live row another vector. */
  update(id: number, vector: Float32Array): void {
    this.#version = ++changes;
    this.rows.openChunk();
    try {
      this.#update(id, vector);
    } finally {
      this.rows.closeChunk();
    }
  }

  /** Fails as `update` would for these rows of `vectors`, without changing anything. */
  checkUpdates(vectors: Float32Array, places: readonly number[]): void {
    const { dimensions } = this.rows;
    this.rows.openChunk();
    try {
      for (const i of places)
        this.rows.stage(vectors.subarray(i * dimensions, (i + 1) * dimensions), 'vectors', i);
    } finally {
      this.rows.closeChunk();
    }
  }

  #update(id: number, vector: Float32Array): void {
    const { plan } = this;
    const position = this.rows.position(id);
    const staged = this.rows.stage(vector);
    let cell = 0;
    if (this.#built) {
      const nearest = plan.reserve('nearest cells', CHUNK_ROWS * 8);
      this.#space.transform(staged, 1, plan.ptr('chunk'));
      this.#centres.assign(plan.ptr('chunk'), 1, nearest, nearest + 4);
      cell = plan.memory.u32[nearest >>> 2];
      plan.release('nearest cells');
    }
    // All room first: nothing has changed yet when there is none.
    this.#cells.locate(this.rows.count);
    this.#cells.reserve(cell);
    this.#cells.remove([position]);
    this.rows.replace(position);
    this.#cells.append(cell, this.rows.floats(position, 1), position, 1);
    this.#records.extend(position, position + 1);
    if (this.#built && this.#cells.isLarge(cell, this.size)) this.#split();
  }

  /** Gives the room of removed rows back; returns how many there were, and the bytes that are free now. */
  compact(): { rows: number; bytes: number } {
    const { plan } = this;
    const rows = this.rows.dead;
    if (rows > 0) this.#version = ++changes;
    const before = plan.memory.reserved;
    const moved = this.rows.compact(this.#records.regions);
    this.#cells.compact(moved);
    return { rows, bytes: before - plan.memory.reserved };
  }

  #split(): void {
    this.#cells.splitLarge((position, count) => this.rows.floats(position, count));
  }

  /* ---- snapshots: engine-snapshot.ts ---- */

  get seed(): bigint {
    return this.#seed;
  }

  /** Slots in use of each cell. */
  usedSlots(): Uint32Array {
    return this.#cells.usedSlots();
  }

  /** The blocks in use. */
  runs(): { ptr: number; bytes: number }[] {
    return this.#cells.runs();
  }

  /** Bytes that regions need for contents of this shape; the coded space must be open. */
  bytesOf(rows: number, slots: Uint32Array): { matrix: number; blocks: number; refine: number } {
    return {
      matrix: this.#space.matrixBytes,
      blocks: this.#cells.runBytes(slots),
      refine: rows * this.#records.regions[0][1],
    };
  }

  /** Gives an index that is still empty the coded space's shape of a snapshot. */
  openSpace(dims: number, principal: boolean): void {
    this.#space.open(dims, principal);
  }

  /** Makes room for the rows, cells and records of a snapshot. */
  open(shape: EngineShape): void {
    const { rows, slots } = shape;
    this.rows.open(rows, shape.ids, shape.lengths, shape.squaredNorm);
    this.#cells.open(slots);
    if (shape.refined) this.#records.open(rows, shape.refineStep);
    this.#built = shape.built;
    this.#settings = null;
  }

  /**
   * Proves and completes what was copied into the regions; `removed` are the ids of removed rows (Rows.settle). Returns
   * what is expected and does not hold, or nothing. Each step is short.
   */
  *settle(grouped: boolean, removed?: Uint8Array): Generator<unknown, string | undefined> {
    const { size } = this;
    if (!this.#records.areFit(size)) return 'finite norms of records';
    return (
      (yield* this.rows.settle(removed)) ?? this.#space.settle() ?? (yield* this.#cells.settle(size, grouped))
    );
  }

  /* ---- building ---- */

  /** Forgets what a build made, and the removed rows, so that the next one depends on the live rows alone. */
  *start(principal: boolean): Generator<Progress> {
    this.#version = ++changes;
    if (this.rows.dead > 0) this.compact();
    this.dropRecords();
    yield* this.rows.extend();
    const random = new RandomGenerator(this.#seed);
    const mean = yield* this.#mean();
    this.#space.draw(random);
    if (principal) {
      const ids = this.ids();
      const floats = (i: number): number => this.rows.floats(this.rows.position(ids[i]), 1);
      yield* this.#space.learn(this.size, floats, mean, random);
    } else {
      this.#space.setMean(mean);
    }
    this.#settings = null;
  }

  /**
   * Puts what a build replaces aside. Returns how to end: keep the build, or take it back, which leaves every answer as it
   * was and needs no memory. Removed rows are dropped in either case.
   */
  begin(): { keep: () => void; takeBack: () => void } {
    if (this.rows.dead > 0) this.compact();
    const { plan, rows } = this;
    const built = this.#built;
    const { squaredNorm } = rows;
    const order = rows.order();
    const cells = this.#cells.keep();
    rows.openOrder();
    let undo: Undo;
    try {
      undo = new Undo(plan, REPLACED, REPLACED_FIELDS, [['chunk', rows.chunkBytes]]);
    } catch (error) {
      rows.closeOrder();
      throw error;
    }
    this.#settings = null;
    return {
      keep: () => {
        undo.forget();
        rows.closeOrder();
      },
      takeBack: () => {
        undo.takeBack();
        cells();
        finish(rows.reorder(order));
        finish(rows.extendTo(squaredNorm));
        rows.closeChunk();
        rows.closeOrder();
        this.#built = built;
        this.#settings = null;
      },
    };
  }

  /** A small engine of some of the rows in the same coded space, or in that of the whole rotation, to try things on. */
  *trial(ids: Uint32Array, principal: boolean): Generator<Progress, Engine> {
    const { metric, dimensions } = this.rows;
    // What it takes counts as this one's.
    const { maxBytes, reserved } = this.plan.memory;
    const trial = new Engine(dimensions, metric, 'f32', this.#seed, Math.max(1, maxBytes - reserved));
    const vectors = new Float32Array(ids.length * dimensions);
    for (const [i, id] of ids.entries()) {
      vectors.set(this.vector(id), i * dimensions);
      if (i % CHUNK_ROWS === 0) yield { phase: 'train', done: 0, total: ids.length };
    }
    yield* trial.take(vectors, ids.length);
    yield* trial.start(false);
    if (principal) trial.#space.adopt(this.#space);
    return trial;
  }

  /** Trains `cells` centres and sorts rows and codes into their cells; `shells`: into shells instead of one cell. */
  *sort(cells: number, train: boolean, shells: boolean): Generator<Progress> {
    const rows = this.size;
    const { plan } = this;
    this.rows.openChunk();
    // Another generator than the rotation's.
    const random = new RandomGenerator(this.#seed + 1n);
    const dims = plan.get('Dims');
    const ids = this.ids();
    const assigned = new Uint32Array(this.rows.idCount); // by id
    // The codes of rows in the order in which they were assigned, and where each row is among them.
    let loose = 0;
    if (cells === 1) {
      this.#cells.reset();
    } else {
      // Some of the ids in random order.
      const shuffled = ids.slice();
      const sample = shuffled.subarray(0, sampleSize(rows, cells));
      for (let i = 0; i < sample.length; i += DRAWN_IDS) {
        yield { phase: 'train', done: 0, total: sample.length };
        shuffle(shuffled, i, Math.min(sample.length, i + DRAWN_IDS), random);
      }
      const region = plan.reserve('sample', sample.length * dims * 4);
      const list = plan.reserve('sampled ids', sample.length * 4);
      plan.memory.u32.set(sample, list >>> 2);
      yield* this.share({ kind: 'sample', ids: list, sample: region }, sample.length, (first, end) => {
        this.#transformSample(list, region, first, end);
        return { phase: 'train', done: 0, total: sample.length };
      });
      plan.release('sampled ids');
      yield* this.#centres.train(cells, sample.length, random, train ? undefined : 0, this.share);
      plan.release('sample');
    }
    if (cells > 1 || shells) {
      const nearest = plan.reserve('nearest cells', rows * 4);
      plan.reserve('cell distances', CHUNK_ROWS * 4);
      loose = this.#reserveLoose(rows);
      yield* this.share({ kind: 'assign', nearest, loose }, rows, (first, end) => {
        this.#assign(nearest, loose, first, end);
        return { phase: 'assign', done: end, total: rows };
      });
      if (shells && loose) cells = this.#cells.sortIntoShells(loose, nearest, rows);
      scatter(plan.memory.u32, nearest >>> 2, plan.ptr('labels') >>> 2, rows, assigned);
      plan.release('nearest cells');
      plan.release('cell distances');
      yield { phase: 'assign', done: rows, total: rows };
    }

    // Counting sort by cell, ids ascending inside a cell: the order depends on the rows alone, not on how they came.
    let sizes = sizesOf(assigned, ids, cells);
    if (sizes.includes(0)) {
      const numbers = yield* under(
        { phase: 'assign', done: rows, total: rows },
        this.#centres.dropEmpty(sizes, this.share),
      );
      renumber(assigned, ids, numbers);
      sizes = sizes.filter((size) => size > 0);
    }
    cells = sizes.length;
    yield { phase: 'encode', done: 0, total: rows };
    const starts = startsOf(sizes);
    const order = orderOf(assigned, ids, starts.slice());
    yield { phase: 'encode', done: 0, total: rows };
    const places = loose ? plan.reserve('places', rows * 4) : 0;
    if (loose) gather(plan.memory.u32, plan.ptr('positions') >>> 2, order, places >>> 2);
    yield { phase: 'encode', done: 0, total: rows };
    this.#built = true;
    this.#settings = null;
    const step: Progress = { phase: 'encode', done: 0, total: rows };
    try {
      yield* under(step, this.#cells.layOut(sizes));
    } catch (error) {
      if (!loose || !isOutOfMemory(error)) throw error;
      // Rather encoded from floats than not at all.
      plan.release('loose codes');
      loose = 0;
      yield* under(step, this.#cells.layOut(sizes));
    }
    // Codes that are there already do not need the rows, which can be put in order at the same time.
    const isCoded = loose !== 0 && cells > 1;
    if (!isCoded) yield* this.rows.reorder(order);
    if (cells === 1) {
      yield* this.#fill(0, 0, rows);
    } else {
      const table = plan.reserve('cells to fill', cells * 8);
      plan.memory.u32.set(starts, table >>> 2);
      plan.memory.u32.set(sizes, (table >>> 2) + cells);
      const job: EncodeJob = { kind: 'encode', starts: table, sizes: table + cells * 4, loose, places };
      const part = (first: number, end: number): Progress => {
        this.#fillCells(job, first, end);
        return { phase: 'encode', done: starts[end - 1] + sizes[end - 1], total: rows };
      };
      yield* this.share(job, cells, part, isCoded ? this.rows.reorder(order) : undefined);
      plan.release('cells to fill');
    }
    for (const region of ['loose codes', 'places']) plan.release(region);
    this.rows.closeChunk();
  }

  /** Makes one cell of the shells that a sort made. */
  joinShells(): void {
    this.#cells.joinShells();
    this.#settings = null;
  }

  /** Does a part of a job that another engine over the same memory began. */
  work(job: Job, first: number, end: number): void {
    this.rows.openChunk();
    if (job.kind === 'sample') this.#transformSample(job.ids, job.sample, first, end);
    else if (job.kind === 'train')
      this.#centres.assignSample(job.sample, job.nearest, job.distances, first, end);
    else if (job.kind === 'group') this.#centres.assignCentres(job, first, end);
    else if (job.kind === 'assign') this.#assign(job.nearest, job.loose, first, end);
    else if (job.kind === 'encode') this.#fillCells(job, first, end);
    else if (job.kind === 'refine') this.#records.fill(first, end);
    else if (job.kind === 'search') for (let i = first; i < end; i++) this.#runOne(job, i);
  }

  /** Writes some rows of the sample, whose ids stand at an address, as the cells see them. */
  #transformSample(ids: number, sample: number, first: number, end: number): void {
    const bytes = this.plan.get('Dims') * 4;
    const { u32 } = this.plan.memory;
    for (let i = first; i < end; i++) {
      const floats = this.rows.floats(this.rows.position(u32[(ids >>> 2) + i]), 1);
      this.#space.transform(floats, 1, sample + i * bytes);
    }
  }

  /** Room for the codes of rows that have no slot yet; 0 where there is none: they are encoded later, from their floats. */
  #reserveLoose(rows: number): number {
    try {
      return this.plan.reserve('loose codes', rows * this.#cells.looseBytes);
    } catch (error) {
      if (!isOutOfMemory(error)) throw error;
      return 0;
    }
  }

  /** Writes the nearest cell of the rows at some positions, u32 by position, and their codes, if there is room for them. */
  #assign(nearest: number, loose: number, first: number, end: number): void {
    const { plan } = this;
    const distances = plan.reserve('cell distances', CHUNK_ROWS * 4);
    for (let position = first; position < end; position += CHUNK_ROWS) {
      const count = Math.min(CHUNK_ROWS, end - position);
      const floats = this.rows.floats(position, count);
      const rotated = plan.ptr('chunk');
      this.#space.transform(floats, count, rotated);
      const cells = nearest + position * 4;
      this.#centres.assign(rotated, count, cells, distances);
      if (loose) this.#cells.encode(floats, rotated, count, cells, loose + position * this.#cells.looseBytes);
    }
  }

  /** Fills cells, whose first positions and sizes stand at two addresses, with their rows' codes. */
  #fillCells({ starts, sizes, loose, places }: EncodeJob, first: number, end: number): void {
    const { u32 } = this.plan.memory;
    for (let cell = first; cell < end; cell++) {
      const position = u32[(starts >>> 2) + cell];
      const size = u32[(sizes >>> 2) + cell];
      if (loose) this.#cells.place(cell, loose, places + position * 4, position, size);
      else finish(this.#fill(cell, position, size));
    }
  }

  /** The mean of evenly spaced rows. */
  *#mean(): Generator<Progress, Float64Array> {
    const ids = this.ids();
    const rows = ids.length;
    const count = Math.min(rows, MEAN_ROWS);
    const { stride } = this;
    const mean = new Float64Array(stride);
    for (let i = 0; i < count; i++) {
      const at = this.rows.floats(this.rows.position(ids[Math.floor((i * rows) / count)]), 1) >>> 2;
      addTo(mean, this.plan.memory.f32, at);
      if (i % 256 === 0) yield { phase: 'train', done: 0, total: count };
    }
    for (let j = 0; j < stride; j++) mean[j] /= count;
    return mean;
  }

  /** Encodes consecutive rows into the end of one cell. */
  *#fill(cell: number, position: number, rows: number): Generator<Progress> {
    for (let i = 0; i < rows; i += CHUNK_ROWS) {
      const count = Math.min(CHUNK_ROWS, rows - i);
      this.#cells.append(cell, this.rows.floats(position + i, count), position + i, count);
      yield { phase: 'encode', done: position + i + count, total: this.size };
    }
  }

  /** Encodes rows that were appended into their cells, one by one, and splits cells that have grown too large. */
  #encode(first: number, rows: number): void {
    if (!this.#built) {
      finish(this.#fill(0, first, rows));
      return;
    }
    const { plan } = this;
    const { isShelled, looseBytes } = this.#cells;
    const nearest = plan.reserve('nearest cells', CHUNK_ROWS * (8 + looseBytes));
    const places = nearest + CHUNK_ROWS * 4; // first the distances of the cells
    const loose = nearest + CHUNK_ROWS * 8;
    try {
      for (let i = 0; i < rows; i += CHUNK_ROWS) {
        const count = Math.min(CHUNK_ROWS, rows - i);
        const floats = this.rows.floats(first + i, count);
        this.#space.transform(floats, count, plan.ptr('chunk'));
        this.#centres.assign(plan.ptr('chunk'), count, nearest, places);
        this.#cells.encode(floats, plan.ptr('chunk'), count, nearest, loose);
        if (isShelled) this.#cells.chooseShells(loose, nearest, count);
        const { u32 } = plan.memory;
        const cells = u32.slice(nearest >>> 2, (nearest >>> 2) + count);
        ascend(u32, places >>> 2, count, 0);
        cells.forEach((cell, j) => {
          this.#cells.place(cell, loose, places + j * 4, first + i + j, 1);
        });
        this.#records.extend(first + i, first + i + count);
      }
    } finally {
      plan.release('nearest cells');
    }
  }

  /** Gives the second stage up. */
  dropRecords(): void {
    this.#records.drop();
    this.#settings = null;
  }

  /** Makes the records of the second stage. */
  *refine(): Generator<Progress> {
    this.rows.openChunk();
    yield* this.#records.make(this.size, this.share);
    this.rows.closeChunk();
    this.#settings = null;
  }

  /* ---- searching ---- */

  /**
   * Runs one search; `read` gives its neighbors. Returns how many. At most so many rows are ranked (0: any number);
   * `capped` tells whether that left any out.
   */
  run(query: Float32Array, k: number, settings: Settings, mostRanked: number = 0): number {
    this.#cap(mostRanked);
    const { size } = this;
    this.rows.setQuery(query);
    if (size === 0) return 0;
    const wanted = Math.min(k, size);
    this.configure(wanted, settings);
    this.plan.kernels.search(this.plan.address);
    return this.drain(wanted);
  }

  /** Runs a search for each query and tells what each found and did; settings null: exact. */
  *runEach(
    queries: readonly Float32Array[],
    k: number,
    settings: Settings | null,
    step: () => Progress,
  ): Generator<Progress, { ids: Uint32Array; counters: Counters[] }> {
    const { plan } = this;
    const { dimensions } = this.rows;
    const count = queries.length;
    const bytes = this.rows.count * plan.get('RowBytes');
    const stretches =
      settings || bytes <= FEW_EXACT_BYTES ? 1 : Math.min(MOST_STRETCHES, Math.ceil(bytes / EXACT_BYTES));
    const items = count * stretches;
    const counterWords = COUNTERS + (settings ? changeWords(Math.min(settings.probes, this.cells)) : 0);
    const release = (): void => {
      for (const region of ['queries', 'ids', 'counters']) plan.release(`sample ${region}`);
    };
    let given = 0;
    let ids = 0;
    let counters = 0;
    try {
      given = plan.reserve('sample queries', count * dimensions * 4);
      ids = plan.reserve('sample ids', items * k * 8);
      counters = plan.reserve('sample counters', items * counterWords * 4);
    } catch (error) {
      release();
      if (!isOutOfMemory(error)) throw error;
      // A full index can be tuned all the same: what threads would share, this one keeps elsewhere.
      return yield* runOneByOne(this, queries, k, settings, step);
    }
    try {
      queries.forEach((query, i) => {
        plan.memory.f32.set(query, (given >>> 2) + i * dimensions);
      });
      const scores = ids + items * k * 4;
      const job: SearchJob = {
        kind: 'search',
        queries: given,
        count,
        k,
        settings,
        stretches,
        ids,
        scores,
        counters,
        counterWords,
      };
      let progress: Progress | undefined;
      yield* this.share(job, items, (first, end) => {
        for (let i = first; i < end; i++) this.#runOne(job, i);
        if (progress === undefined || end % stretches === 0) progress = step();
        return progress;
      });
      const { u32, f32 } = plan.memory;
      return {
        ids: nearestOf(
          u32.slice(ids >>> 2, (ids >>> 2) + items * k),
          f32.slice(scores >>> 2, (scores >>> 2) + items * k),
          stretches,
          k,
        ),
        counters: queries.map((_, i) => {
          const at = (counters >>> 2) + i * stretches * counterWords;
          const [cells, codes, survivors, refined, ranked] = u32.subarray(at, at + COUNTERS);
          const changes = u32.slice(at + COUNTERS, at + COUNTERS + changeWords(cells));
          return { cells, codes, survivors, refined, ranked, limit: f32[at + COUNTERS - 1], changes };
        }),
      };
    } finally {
      release();
    }
  }

  /** Runs the item of a query, all queries in one stretch of the rows before the next; results by query, then stretch. */
  #runOne(job: SearchJob, item: number): void {
    const { queries, k, settings, stretches, ids, scores, counters, counterWords } = job;
    const { dimensions, count } = this.rows;
    const at = (queries >>> 2) + (item % job.count) * dimensions;
    const query = this.plan.memory.f32.slice(at, at + dimensions);
    const stretch = Math.floor(item / job.count);
    const rows = Math.ceil(count / stretches);
    const first = Math.min(count, stretch * rows);
    const found = settings
      ? this.run(query, k, settings)
      : this.runExact(query, k, first, Math.min(count, first + rows));
    const { u32 } = this.plan.memory;
    const results = this.plan.ptr('results') >>> 2;
    const i = (item % job.count) * stretches + stretch;
    const place = (ids >>> 2) + i * k;
    u32.copyWithin(place, results, results + found);
    u32.fill(0xffffffff, place + found, place + k);
    u32.copyWithin((scores >>> 2) + i * k, results + this.#places, results + this.#places + found);
    const { cells, codes, survivors, refined, ranked, limit, changes } = this.counters();
    const own = (counters >>> 2) + i * counterWords;
    u32.set([cells, codes, survivors, refined, ranked], own);
    this.plan.memory.f32[own + COUNTERS - 1] = limit;
    u32.set(changes, own + COUNTERS);
  }

  /** Runs many searches with the same settings. Returns nothing: neighbors, distances and counts are written. */
  runMany(
    queries: Float32Array,
    k: number,
    settings: Settings,
    into: CappedBatch,
    mostRanked: number = 0,
  ): void {
    const { plan } = this;
    this.#cap(mostRanked);
    const count = into.counts.length;
    const wanted = Math.min(k, this.size);
    if (wanted === 0) return;
    this.configure(wanted, settings);
    let first = 0;
    try {
      for (; first < count; first += BATCH) {
        const rows = Math.min(BATCH, count - first);
        const batch = plan.reserve('batch', rows * (this.stride + 2 * wanted) * 4);
        this.rows.setQueries(queries, first, rows, batch);
        const ids = batch + rows * this.stride * 4;
        const scores = ids + rows * wanted * 4;
        plan.kernels.searchMany(plan.address, batch, rows, ids, scores);
        if (this.capped) break; // who of them?
        const { u32, f32 } = plan.memory;
        for (let i = 0; i < rows; i++) {
          let found = 0;
          for (let at = i * wanted; found < wanted && u32[(ids >>> 2) + at] !== 0xffffffff; found++, at++) {
            into.ids[(first + i) * k + found] = u32[(ids >>> 2) + at];
            into.distances[(first + i) * k + found] = this.rows.distance(f32[(scores >>> 2) + at]);
          }
          into.counts[first + i] = found;
        }
      }
    } catch (error) {
      if (!isOutOfMemory(error)) throw error;
    } finally {
      plan.release('batch');
      this.rows.closeChunk();
    }
    // Without room for many at a time, or where some are capped: one by one.
    const { dimensions } = this.rows;
    for (; first < count; first++) {
      const found = this.run(
        queries.subarray(first * dimensions, (first + 1) * dimensions),
        k,
        settings,
        mostRanked,
      );
      this.read(found, into, first * k);
      into.counts[first] = found;
      if (!this.capped) continue;
      into.capped ??= new Uint8Array(count);
      into.capped[first] = 1;
    }
  }

  /** Runs searches (settings null: exact ones) for stored rows; hands each row's neighbors on, itself among them. */
  runStored(ids: Uint32Array, k: number, settings: Settings | null, read: StoredReader): void {
    this.#cap(0);
    try {
      for (let first = 0, count: number; first < ids.length; first += count) {
        // Rows that lie one behind the other are searched for together.
        const position = this.rows.position(ids[first]);
        const most = settings ? Math.min(CHUNK_ROWS, ids.length - first) : 1;
        for (count = 1; count < most; count++)
          if (this.rows.position(ids[first + count]) !== position + count) break;
        const reader: StoredReader = (i, ...found) => read(first + i, ...found);
        if (settings) this.#runTogether(position, count, Math.min(k, this.size), settings, reader);
        else this.#runStoredExact(position, Math.min(k, this.size), reader);
      }
    } finally {
      this.plan.release('batch');
    }
  }

  #runTogether(position: number, count: number, k: number, settings: Settings, read: StoredReader): void {
    const { plan } = this;
    this.configure(k, settings);
    const batch = plan.reserve('batch', count * (this.stride + 2 * k) * 4);
    const ids = batch + count * this.stride * 4;
    const scores = ids + count * k * 4;
    plan.kernels.searchMany(plan.address, this.rows.asQueries(position, count, batch), count, ids, scores);
    const { u32, f32 } = plan.memory;
    for (let i = 0; i < count; i++) read(i, u32, (ids >>> 2) + i * k, f32, (scores >>> 2) + i * k, k);
  }

  #runStoredExact(position: number, k: number, read: StoredReader): void {
    const { plan } = this;
    this.rows.asQuery(position);
    this.#rankRows(k, 0, this.rows.count);
    const results = plan.ptr('results') >>> 2;
    read(0, plan.memory.u32, results, plan.memory.f32, results + k, k);
  }

  /** As run, stage by stage: calls `lap` after each. */
  runInStages(
    query: Float32Array,
    k: number,
    settings: Settings,
    lap: () => void,
    mostRanked: number,
  ): number {
    this.#cap(mostRanked);
    const { kernels, address } = this.plan;
    const wanted = Math.min(k, this.size);
    this.configure(wanted, settings);
    this.rows.setQuery(query);
    kernels.prepare(address);
    lap();
    const probes = kernels.chooseCells(address);
    lap();
    kernels.scanCells(address, probes);
    lap();
    kernels.rankFound(address);
    const found = this.drain(wanted);
    lap();
    return found;
  }

  /** Compares every row, or those at some positions. */
  runExact(query: Float32Array, k: number, first: number = 0, end: number = this.rows.count): number {
    this.#cap(0);
    this.rows.setQuery(query);
    return this.size === 0 ? 0 : this.#rankRows(Math.min(k, this.size), first, end);
  }

  #rankRows(k: number, first: number, end: number): number {
    const { plan } = this;
    this.reserveResults(k);
    plan.set('K', k);
    this.#settings = null;
    plan.kernels.searchExact(plan.address, first, end);
    plan.set('RowsRanked', this.size);
    plan.set('CellsProbed', 0);
    return this.drain(k);
  }

  /** Whether the last search left rows out for having ranked as many as it might. */
  get capped(): boolean {
    return this.plan.get('Capped') !== 0;
  }

  #cap(mostRanked: number): void {
    this.plan.set('MostRanked', mostRanked);
    this.plan.set('Capped', 0);
  }

  /** Copies the `found` neighbors of the last search out. */
  read(found: number, into: Neighbors, at: number): void {
    const { u32, f32 } = this.plan.memory;
    const results = this.plan.ptr('results') >>> 2;
    for (let i = 0; i < found; i++) {
      into.ids[at + i] = u32[results + i];
      into.distances[at + i] = this.rows.distance(f32[results + this.#places + i]);
    }
  }

  counters(): Counters {
    const { plan } = this;
    return {
      cells: plan.get('CellsProbed'),
      codes: plan.get('CodesScanned'),
      survivors: plan.get('SurvivorCount'),
      refined: plan.get('RowsRefined'),
      ranked: plan.get('RowsRanked'),
      limit: plan.memory.f32[plan.word('Worst')],
      changes: this.#changes(),
    };
  }

  /** Of each cell that the last search probed a bit: whether it changed the best estimates (scanCells). */
  #changes(): Uint32Array {
    const { plan } = this;
    const { u32 } = plan.memory;
    const keys = plan.ptr('candidateKeys') >>> 2;
    const probed = plan.get('CellsProbed');
    const changes = new Uint32Array(changeWords(probed));
    for (let i = 0; i < probed; i++) changes[i >>> 5] |= (u32[keys + i] >>> 31) << (i & 31);
    return changes;
  }

  /** The cells that the last search probed, in its order. */
  probedCells(): Uint32Array {
    const at = this.plan.ptr('candidates') >>> 2;
    return this.plan.memory.u32.slice(at, at + this.plan.get('CellsProbed'));
  }

  /** Where the code of every row is, by its id. */
  placesOfRows(): Generator<Progress, RowPlaces> {
    return this.#cells.placesOf(this.rows.idCount);
  }

  /** All cells, those nearest to a query first. */
  cellOrder(query: Float32Array): Uint32Array {
    const { plan } = this;
    this.#settings = null;
    plan.set('Probes', this.cells);
    this.rows.setQuery(query);
    plan.kernels.prepare(plan.address);
    const count = plan.kernels.chooseCells(plan.address);
    const at = plan.ptr('candidates') >>> 2;
    return plan.memory.u32.slice(at, at + count);
  }

  /** As cellOrder, with the squared distances of the cells' centres. */
  cellDistances(query: Float32Array): { cells: Uint32Array; squared: Float32Array } {
    const cells = this.cellOrder(query);
    const at = this.plan.ptr('candidateKeys') >>> 2;
    return { cells, squared: this.plan.memory.f32.slice(at, at + cells.length) };
  }

  /** How a search for a query comes by rows at these places: by the cells in its order, and by what their codes say. */
  approach(query: Float32Array, cells: Uint32Array, slots: Uint32Array): Approach {
    const { cells: order, squared } = this.cellDistances(query);
    const place = new Uint32Array(this.cells);
    for (let rank = 0; rank < order.length; rank++) place[order[rank]] = rank;
    const ranks = cells.map((cell) => place[cell]);
    const codes = Array.from(slots, (slot, i) => this.#cells.codeOf(slot, squared[ranks[i]]));
    return {
      order,
      ranks,
      estimates: Float64Array.from(codes, ({ estimate }) => estimate),
      widths: Float64Array.from(codes, ({ width }) => width),
    };
  }

  /** Squared distance in the engine's space that a distance from a query stands for. */
  squaredOf(distance: number, query: Float32Array): number {
    return this.rows.squared(distance, query);
  }

  /** Squared distance of a query and a row in the engine's space. */
  squaredTo(query: Float32Array, id: number): number {
    const row = this.vector(id);
    let dot = 0;
    let squares = 0;
    let own = 0;
    let other = 0;
    for (let i = 0; i < row.length; i++) {
      dot += row[i] * query[i];
      squares += (row[i] - query[i]) * (row[i] - query[i]);
      own += row[i] * row[i];
      other += query[i] * query[i];
    }
    const { metric } = this.rows;
    if (metric === 'euclidean') return squares;
    return this.squaredOf(metric === 'cosine' ? 1 - dot / Math.sqrt(own * other) : -dot, query);
  }

  /** Makes the next search enter its settings anew, after the plan was used for something else. */
  forgetSettings(): void {
    this.#settings = null;
  }

  /** Where a row stands in the search that ran last with these settings (null: exact). */
  trace(query: Float32Array, id: number, settings: Settings | null): RowTrace {
    const { plan } = this;
    const limit = settings ? plan.memory.f32[plan.word('Worst')] : Number.POSITIVE_INFINITY;
    const position = this.rows.position(id);
    this.rows.setQuery(query);
    plan.kernels.prepare(plan.address);
    const row = this.rows.floats(position, 1);
    const scores = plan.get('Scores');
    const byDot = this.rows.metric === 'inner-product';
    if (byDot) plan.kernels.dot(plan.ptr('query'), row, 1, this.stride, scores);
    else plan.kernels.squaredL2(plan.ptr('query'), row, 1, this.stride, scores);
    const score = plan.memory.f32[scores >>> 2];
    return {
      ...this.#cells.trace(position, settings?.epsilon ?? 0),
      limit,
      distance: this.rows.distance(byDot ? -score : score),
    };
  }

  /** Sorts the neighbors that stand in the heap for `read`; returns how many there are. */
  drain(k: number): number {
    const { plan } = this;
    const results = plan.ptr('results');
    plan.kernels.drain(plan.ptr('heap'), k, results, results + k * 4);
    this.#places = k;
    const { u32 } = plan.memory;
    let found = k;
    while (found > 0 && u32[(results >>> 2) + found - 1] === 0xffffffff) found--;
    return found;
  }

  /** Enters k and settings into the plan, with room for all that a search with them needs. */
  configure(k: number, settings: Settings): void {
    const set = this.#settings;
    if (
      set !== null &&
      k === this.#k &&
      (set === settings ||
        (set.probes === settings.probes &&
          set.epsilon === settings.epsilon &&
          set.patience === settings.patience &&
          set.keep === settings.keep))
    ) {
      return;
    }
    const { plan } = this;
    const keep = settings.keep ?? keepFor(k);
    this.#settings = null; // until all of it is there
    this.#reserveSearch(k, keep);
    plan.enter('refine', settings.keep === 0 ? 0 : plan.ptr('refine'));
    plan.set('EstimateCount', Math.max(k, LEAST_ESTIMATES));
    plan.set('SurvivorCapacity', SURVIVORS + keep);
    plan.set('K', k);
    plan.set('Keep', keep);
    plan.set('Probes', Math.min(settings.probes, this.cells));
    plan.setFloat('Epsilon', settings.epsilon);
    plan.set('Patience', settings.patience);
    this.#k = k;
    this.#settings = settings;
  }

  /** Gives back what searches with other settings than a first one's took, as those of a tuning do. */
  trimScratch(): void {
    this.#settings = null;
    for (const [region, bytes] of this.#searchScratch(DEFAULT_K, keepFor(DEFAULT_K)))
      this.plan.memory.trim(region, bytes);
    this.#centres.trimScratch();
  }

  #reserveSearch(k: number, keep: number): void {
    for (const [region, bytes] of this.#searchScratch(k, keep)) this.plan.reserve(region, bytes);
  }

  /** Regions of a search, and the bytes that it needs there. */
  #searchScratch(k: number, keep: number): [region: string, bytes: number][] {
    const survivors = SURVIVORS + keep + 8;
    return [
      ['heap', k * 8],
      ['results', k * 8],
      ['estimates', Math.max(k, LEAST_ESTIMATES) * 4],
      ['survivorKeys', survivors * 4],
      ['survivorRows', survivors * 4],
      ['bins', binBytes(Math.max(candidatesOf(this.cells), survivors))],
    ];
  }

  /** Room for k neighbors. */
  reserveResults(k: number): void {
    this.plan.reserve('heap', k * 8);
    this.plan.reserve('results', k * 8);
  }

  #reserveScratch(): void {
    const { plan } = this;
    const constants = plan.reserve('constants', 32);
    plan.memory.u8.fill(15, constants, constants + 16);
    for (let i = 16; i < 32; i += 2) plan.memory.u8.set([15, 0], constants + i);
    // Rows are scored when no block waits any more.
    plan.enter('scores', plan.reserve('waiting', 144 * 16 + 516 * 4));
  }
}

// Loops over rows, as functions of their own: inside of a generator they take three times as long.

/** into[words[keys + i]] = words[values + i] */
function scatter(words: Uint32Array, values: number, keys: number, count: number, into: Uint32Array): void {
  for (let i = 0; i < count; i++) into[words[keys + i]] = words[values + i];
}

/** Of neighbors that were searched in several stretches of the rows for each query, k a stretch, the k nearest. */
function nearestOf(ids: Uint32Array, scores: Float32Array, stretches: number, k: number): Uint32Array {
  if (stretches === 1) return ids;
  const nearest = new Uint32Array(ids.length / stretches).fill(0xffffffff);
  const kept = new Uint32Array(k); // places, nearest first
  const isNearer = (a: number, b: number): boolean =>
    scores[a] < scores[b] || (scores[a] === scores[b] && ids[a] < ids[b]);
  for (let query = 0; query < nearest.length / k; query++) {
    let size = 0;
    for (let stretch = 0; stretch < stretches; stretch++) {
      const first = (query * stretches + stretch) * k;
      // The neighbors of a stretch are in order: the first that is too far ends it.
      for (let at = first; at < first + k && ids[at] !== 0xffffffff; at++) {
        if (size === k && !isNearer(at, kept[k - 1])) break;
        let hole = Math.min(size, k - 1);
        for (; hole > 0 && isNearer(at, kept[hole - 1]); hole--) kept[hole] = kept[hole - 1];
        kept[hole] = at;
        size = Math.min(size + 1, k);
      }
    }
    for (let i = 0; i < size; i++) nearest[query * k + i] = ids[kept[i]];
  }
  return nearest;
}

/** How many of the ids are in each cell. */
function sizesOf(cellOf: Uint32Array, ids: Uint32Array, cells: number): Uint32Array<ArrayBuffer> {
  const sizes = new Uint32Array(cells);
  for (let i = 0; i < ids.length; i++) sizes[cellOf[ids[i]]]++;
  return sizes;
}

/** How many rows training wants. */
function sampleSize(rows: number, cells: number): number {
  const wanted = Math.max(
    LEAST_SAMPLE,
    LEAST_SAMPLE_PER_CELL * cells,
    Math.min(SAMPLE_PER_CELL * cells, MOST_SAMPLE),
  );
  return Math.max(cells, Math.min(rows, wanted));
}

/** Draws the ids at places from `first` up to `end` from all that come after those before. */
function shuffle(ids: Uint32Array, first: number, end: number, random: RandomGenerator): void {
  for (let i = first; i < end; i++) {
    const j = i + random.integer(ids.length - i);
    const id = ids[i];
    ids[i] = ids[j];
    ids[j] = id;
  }
}

/** words[keys[i]] = values[words[keys[i]]] */
function renumber(words: Uint32Array, keys: Uint32Array, values: Uint32Array): void {
  for (let i = 0; i < keys.length; i++) words[keys[i]] = values[words[keys[i]]];
}

/** The sum of all sizes before each. */
function startsOf(sizes: Uint32Array): Uint32Array<ArrayBuffer> {
  const starts = new Uint32Array(sizes.length);
  for (let i = 1; i < sizes.length; i++) starts[i] = starts[i - 1] + sizes[i - 1];
  return starts;
}

/** The ids by cell; `next` is where each cell begins, and where it ends afterwards. */
function orderOf(cellOf: Uint32Array, ids: Uint32Array, next: Uint32Array): Uint32Array {
  const order = new Uint32Array(ids.length);
  for (let i = 0; i < ids.length; i++) order[next[cellOf[ids[i]]]++] = ids[i];
  return order;
}

function addTo(sums: Float64Array, floats: Float32Array, first: number): void {
  for (let j = 0; j < sums.length; j++) sums[j] += floats[first + j];
}
