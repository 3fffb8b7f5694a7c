import { rangeError } from './check.js';
import type { Engine } from './engine.js';
import { testOf } from './filter.js';
import { type Filter, IdSet } from './id-set.js';
import { cutAt, MAX_PLACES, type Neighbors } from './neighbors.js';
import { finish, type Progress } from './progress.js';
import { RandomGenerator } from './random.js';
import { cellsFor, epsilonFor, measureReach, type Reach, slopesFor } from './reach.js';
import { runOneByOne, type Tunable } from './settings.js';

/** How a search among passing rows is done. */
export interface PassingSettings {
  /** Cells that are ranked first, and at most. */
  probes: number;
  mostProbes: number;
  epsilon: number;
  /** Whether cells out of reach are left out. */
  reach: boolean;
  recall: number;
}

/** Found ends with room for this many rows at first. */
const FOUND_ROWS = 4096;
const RECORD_BYTES = 8;
/** Rows that the exact way takes at a time (assembly/passing.ts), and codes where nothing is bounded: beyond any doubt. */
const LIST_ROWS = 256;
const WIDEST_EPSILON = 1000;
const NONE = 0xffffffff;
/** A region that a large answer needed is given back when it is larger. */
const KEPT_BYTES = 2 ** 22;

/** Searches of an engine among the rows that pass a filter, and for all rows within a distance. */
export class Passing {
  readonly #engine: Engine;
  #reach: Reach | undefined;
  #isSaved = false;
  /** What the region `filter` holds. */
  #set: IdSet | undefined;
  #version = 0;
  #bytes = 0;
  #count = 0;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** What a snapshot keeps: what tuning measured, not what a search had to. So searching changes no byte of a snapshot. */
  get saved(): Reach | undefined {
    return this.#isSaved ? this.#reach : undefined;
  }

  /** Takes what was measured before on the same index. */
  restore(reach: Reach | undefined): void {
    this.#reach = reach;
    this.#isSaved = reach !== undefined;
  }

  /** How far out cells hold neighbors; measured when it is first needed. */
  get reach(): Reach {
    return this.#reach ?? finish(this.measure());
  }

  /** Measures that now, in steps, if nobody has yet. */
  *measure(): Generator<Progress, Reach> {
    this.#reach ??= yield* measureReach(this.#engine, new RandomGenerator(this.#engine.seed + 3n));
    return this.#reach;
  }

  /** The same for a snapshot to keep: of the rows of now, whatever searches have measured when. */
  *measureToSave(): Generator<Progress, void> {
    if (!this.#isSaved) this.#reach = undefined;
    yield* this.measure();
    this.#isSaved = true;
  }

  /** Forgets what was measured, for an index that is built anew. */
  forget(): void {
    this.#reach = undefined;
    this.#isSaved = false;
  }

  /**
   * Takes a filter in for the searches that follow; returns how many ids pass, those of removed rows perhaps included.
   * `nameOf` gives what a function is called with for a row.
   */
  take(filter: Filter<never>, nameOf: (id: number) => unknown = (id) => id): number {
    const { plan, rows } = this.#engine;
    const isSet = filter instanceof IdSet;
    let bits: Uint8Array;
    const test = testOf(filter, nameOf);
    if (isSet) bits = filter.bytes;
    else if (filter instanceof Uint8Array) bits = filter;
    else bits = this.#ask(test);
    const { idCount } = rows;
    const bytes = Math.ceil(idCount / 32) * 4;
    const held = plan.ptr('filter');
    if (isSet && held && this.#set === filter && this.#version === filter.version && this.#bytes === bytes) {
      this.#enter(held, bytes);
      return this.#count;
    }
    this.#set = undefined;
    const at = plan.reserve('filter', Math.max(4, bytes));
    const { u8 } = plan.memory;
    const given = Math.min(bits.length, Math.ceil(idCount / 8));
    u8.set(given === bits.length ? bits : bits.subarray(0, given), at);
    u8.fill(0, at + given, at + bytes);
    // Bits behind the last id are no rows.
    if (given * 8 > idCount) u8[at + given - 1] &= 2 ** (idCount & 7) - 1;
    this.#enter(at, bytes);
    this.#count = plan.kernels.countPassing(plan.address) >>> 0;
    if (isSet) {
      this.#set = filter;
      this.#version = filter.version;
      this.#bytes = bytes;
    }
    return this.#count;
  }

  /** The rows that pass a filter now, whatever becomes of it. */
  setOf(filter: Filter<never>, nameOf?: (id: number) => unknown): IdSet {
    return IdSet.own(this.#ask(testOf(filter, nameOf)));
  }

  /** Lets every row pass again. */
  takeNone(): number {
    this.#engine.plan.enter('filter', 0);
    return this.#engine.size;
  }

  /** Whether a row passes the filter taken in last. */
  passes(id: number): boolean {
    const { plan } = this.#engine;
    return ((plan.memory.u8[plan.ptr('filter') + (id >>> 3)] >> (id & 7)) & 1) === 1;
  }

  /** Settings of a search for k neighbors at a recall, where `count` rows pass. */
  settings(k: number, recall: number, count: number): PassingSettings {
    const { cells, size } = this.#engine;
    const among = Math.min(size, (k * size) / Math.max(1, count));
    const probes = cellsFor(this.reach, recall, among, cells);
    return { probes, mostProbes: cells, epsilon: epsilonFor(recall), reach: true, recall };
  }

  /**
   * The k nearest of the `count` rows that pass, for `read`; null settings are an exact search. The query may be the row of
   * an id, as it is stored. Returns how many, and whether they came through the cells or by comparing all rows that pass, whichever is modeled to cost less.
   */
  search(
    query: Float32Array | number,
    k: number,
    settings: PassingSettings | null,
    count: number,
  ): { found: number; way: 'cells' | 'rows' } {
    const engine = this.#engine;
    const { plan } = engine;
    const wanted = Math.min(k, count, engine.size);
    if (wanted === 0) return { found: 0, way: 'rows' };
    const costs = this.#costs();
    const rowsCost = count * costs.row;
    const epsilon = settings ? Math.min(settings.epsilon, WIDEST_EPSILON) : 0;
    engine.configure(wanted, { probes: settings?.probes ?? 1, epsilon, patience: 0, keep: 0 });
    // No cap on the rows ranked: what they cost is bounded by that of the exact way.
    plan.set('MostRanked', 0);
    plan.set('Capped', 0);
    if (typeof query === 'number') engine.rows.asQuery(engine.rows.position(query));
    else engine.rows.setQuery(query);
    if (settings && (!settings.reach || this.#cellsCost(settings, wanted, count) < rowsCost)) {
      this.#enterSettings(settings, settings.reach ? rowsCost : Infinity);
      const done = plan.kernels.searchPassing(plan.address);
      if (done) {
        const found = engine.drain(wanted);
        if (found === wanted || !settings.reach) return { found, way: 'cells' };
      }
    }
    plan.kernels.rankPassing(plan.address);
    return { found: engine.drain(wanted), way: 'rows' };
  }

  /** The engine as the tuner sees it when only the `count` rows that pass the filter taken in last are there. */
  view(settings: PassingSettings | null, count: number): Tunable {
    const engine = this.#engine;
    const ids = engine.ids().filter((id) => this.passes(id));
    const view: Tunable = {
      size: ids.length,
      dims: engine.dims,
      stride: engine.stride,
      cells: engine.cells,
      isShelled: engine.isShelled,
      isRefined: engine.isRefined,
      run: (query, k) => this.search(query, k, settings, count).found,
      runExact: (query, k) => this.search(query, k, null, count).found,
      read: (found, into, at) => engine.read(found, into, at),
      vector: (id) => engine.vector(id),
      ids: () => ids,
      version: engine.version,
      distancesBetween: (from, to) => engine.distancesBetween(from, to),
      isRemoved: (id) => engine.isRemoved(id) || !this.passes(id),
      cellSizes: () => engine.cellSizes(),
      placesOfRows: () => engine.placesOfRows(),
      approach: (query, cells, slots) => engine.approach(query, cells, slots),
      counters: () => engine.counters(),
      runEach: (queries, k, how, step) => runOneByOne(view, queries, k, how, step),
    };
    return view;
  }

  /** Whether the last search that went through the cells has scanned a cell. */
  visited(cell: number): boolean {
    const { plan } = this.#engine;
    return plan.memory.u8[plan.ptr('visited') + cell] === 1;
  }

  /**
   * All of the `count` rows that pass within a distance, nearest first; null recall: every row is compared. `id`: the query is
   * the row of this id, and the row as it is stored takes its place.
   */
  within(query: Float32Array, radius: number, recall: number | null, count: number, id?: number): Neighbors {
    const engine = this.#engine;
    const { plan } = engine;
    const { kernels, address } = plan;
    if (count === 0) return { ids: new Uint32Array(0), distances: new Float32Array(0) };
    const codes = recall !== null && engine.cells > 0;
    if (codes) this.reach; // measured by searches of its own: before the query is in place
    engine.configure(1, { probes: 1, epsilon: codes ? epsilonFor(recall) : 0, patience: 0 });
    plan.set('EstimateCount', 0);
    engine.forgetSettings();
    if (id === undefined) engine.rows.setQuery(query);
    else engine.rows.asQuery(engine.rows.position(id));
    const squared = Math.max(0, engine.squaredOf(radius, query));
    plan.setFloat('Limit', squared * 1.00001 + 1e-30);
    const score = engine.rows.metric === 'inner-product' ? radius : squared;
    plan.setFloat('LimitScore', score + Math.abs(score) * 1e-6 + 1e-37);
    plan.reserve('found', FOUND_ROWS * RECORD_BYTES);
    this.#room(FOUND_ROWS);
    let throughCells = false;
    if (codes) {
      this.#enterSettings(
        { probes: engine.cells, mostProbes: engine.cells, epsilon: 0, reach: true, recall },
        Infinity,
      );
      const cells = kernels.startWithin(address) >>> 0;
      const costs = this.#costs();
      throughCells = plan.get('Reached') * costs.code < count * costs.row;
      for (let from = 0; throughCells && from < cells; ) {
        const next = kernels.scanWithin(address, from, cells) >>> 0;
        if (next < cells) this.#grow(this.#slotsOf(next));
        from = next;
      }
    }
    if (!throughCells) {
      for (let from = 0; ; ) {
        from = kernels.collectPassing(address, from) >>> 0;
        if (from === NONE) break;
        this.#grow(LIST_ROWS);
      }
    }
    return this.#takeFound(radius);
  }

  /** Calls a function for every row, before anything is changed: it may do what it likes with the index. */
  #ask(test: (id: number) => boolean): Uint8Array {
    const { rows } = this.#engine;
    const ids = rows.ids();
    const bits = new Uint8Array(Math.ceil(rows.idCount / 8));
    for (const id of ids) if (rows.has(id) && test(id)) bits[id >>> 3] |= 1 << (id & 7);
    return bits;
  }

  #enter(ptr: number, bytes: number): void {
    this.#engine.plan.enter('filter', ptr);
    this.#engine.plan.set('FilterBytes', bytes);
  }

  #enterSettings(settings: PassingSettings, budget: number): void {
    const { plan } = this.#engine;
    const slopes = settings.reach ? slopesFor(this.reach, settings.recall) : new Float32Array(0);
    const at = plan.reserve('reach', Math.max(8, slopes.byteLength));
    plan.memory.f32.set(slopes, at >>> 2);
    plan.set('ReachCount', slopes.length / 2);
    plan.reserve('visited', this.#engine.cells);
    plan.set('MostProbes', settings.mostProbes);
    const costs = this.#costs();
    plan.setFloat('Budget', budget);
    plan.setFloat('CodeCost', costs.code);
    plan.setFloat('LookCost', costs.look);
    plan.setFloat('RowCost', this.#engine.isRefined ? costs.look : costs.row);
  }

  /** Modeled microseconds, as settings.ts has them: of a code scanned, of a survivor looked up, of a row ranked. */
  #costs(): { code: number; look: number; row: number } {
    const { dims, stride, size } = this.#engine;
    const rowBytes = stride * 4;
    const far = size * rowBytes > 1 << 24 ? 0.06 : 0;
    return { code: 0.0003 + 0.0000072 * dims, look: 0.01, row: far + 0.004 + rowBytes * 4e-5 };
  }

  /** Modeled microseconds of going through the cells. */
  #cellsCost(settings: PassingSettings, k: number, count: number): number {
    const { size, cells, stride } = this.#engine;
    const costs = this.#costs();
    const codes = (size / cells) * settings.probes;
    const looks = (3 * k * size) / Math.max(1, count);
    return (
      1 +
      0.003 * stride +
      0.0007 * cells +
      0.06 * settings.probes +
      codes * costs.code +
      looks * costs.look +
      3 * k * costs.row
    );
  }

  /** Slots of the cell at a place of the candidates. */
  #slotsOf(place: number): number {
    const { plan } = this.#engine;
    const cell = plan.memory.u32[(plan.ptr('candidates') >>> 2) + place];
    return plan.memory.u32[(plan.ptr('directory') >>> 2) + cell * 4 + 1];
  }

  #grow(rows: number): void {
    const { plan } = this.#engine;
    const wanted = plan.get('FoundCount') + rows;
    if (plan.get('FoundCount') > MAX_PLACES) {
      throw rangeError('ERR_TOO_LARGE', `radius: expected at most ${MAX_PLACES} rows within it, got more`);
    }
    plan.reserve('found', Math.max(wanted, 2 * plan.get('FoundCapacity')) * RECORD_BYTES);
    this.#room(wanted);
  }

  #room(least: number): void {
    const { plan } = this.#engine;
    plan.set('FoundCapacity', Math.max(least, Math.floor(plan.memory.capacity('found') / RECORD_BYTES)));
  }

  /** Sorts what was found and copies it out. */
  #takeFound(radius: number): Neighbors {
    const { plan, rows } = this.#engine;
    const count = plan.get('FoundCount');
    const at = plan.reserve('foundRows', Math.max(1, count) * RECORD_BYTES);
    const scores = at + count * 4;
    plan.kernels.sortFound(plan.address, at, scores);
    const { u32, f32 } = plan.memory;
    const distances = new Float32Array(count);
    for (let i = 0; i < count; i++) distances[i] = rows.distance(f32[(scores >>> 2) + i]);
    const ids = u32.slice(at >>> 2, (at >>> 2) + count);
    for (const region of ['found', 'foundRows'])
      if (plan.memory.capacity(region) > KEPT_BYTES) plan.release(region);
    // The kernel's limit is a little wide, so that nothing at the radius itself is lost to rounding.
    return cutAt({ ids, distances }, radius);
  }
}
