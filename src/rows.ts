import { checkFinite, MAX_VALUE, rangeError } from './check.js';
import { LEAST_SQUARED_LENGTH, type Metric, zeroVector } from './neighbors.js';
import { CHUNK_ROWS, type EnginePlan } from './plan.js';
import { type Progress, StepClock } from './progress.js';

/** How rows are kept: as given, or as 8-bit integers with a scale a row. */
export type Storage = 'f32' | 'int8';

/** The least stride: the rotation works on 16 floats or more. */
const LEAST_STRIDE = 16;
/** More than the length of any row: 4,096 numbers of 1e16. */
const LARGEST_LENGTH = 1e18;
/** Lengths that differ from 1 by less are not kept beside unit rows. */
const UNIT_TOLERANCE = 1e-6;
/** Bytes, and rows, that are moved at a time. */
const COPY_BYTES = 2 ** 19;
const MOVED_ROWS = 2048;
/** Rows that are named in one step. */
const NAMED_ROWS = 65536;
/** The label of a removed row's position, and the position of a removed row's id. */
const NONE = 0xffffffff;
/** Ids, and rows, that are proven in one step. */
const PROVED_IDS = 2 ** 16;
const PROVED_ROWS = 1024;

/** A proof in short steps: at its end what is expected and does not hold, or nothing. */
type Proof = Generator<unknown, string | undefined>;

/**
 * The stored rows: regions `rows`, `labels` (id of a position) and `positions` (position of an id), and `lengths` where
 * cosine rows did not come with length 1. A removed row keeps its position until `compact`, and its id for ever.
 *
 * The engine ranks by squared Euclidean distance, so rows are stored in the shape that makes this the right order: as
 * given (euclidean), scaled to length 1 (cosine: |x - y|² = 2 (1 - cos)), or extended by one coordinate to a common norm
 * (inner product: Bachrach et al., RecSys 2014).
 */
export class Rows {
  readonly dimensions: number;
  readonly metric: Metric;
  readonly storage: Storage;
  /** Floats of a row in the engine's hands, padding and extension included. */
  readonly stride: number;
  #plan: EnginePlan;
  /** Inner product: the squared norm that rows are extended to. */
  #squaredNorm = 0;
  /** Ids given out so far. */
  #idCount = 0;

  constructor(plan: EnginePlan, dimensions: number, metric: Metric, storage: Storage) {
    this.#plan = plan;
    this.dimensions = dimensions;
    this.metric = metric;
    this.storage = storage;
    const extended = metric === 'inner-product' ? dimensions + 1 : dimensions;
    this.stride = Math.max(LEAST_STRIDE, Math.ceil(extended / 4) * 4);
    plan.set('Stride', this.stride);
    plan.set('RowBytes', storage === 'int8' ? Math.ceil(this.stride / 16) * 16 + 16 : this.stride * 4);
    plan.set('Int8', storage === 'int8' ? 1 : 0);
    plan.set('Dot', metric === 'inner-product' ? 1 : 0);
    if (storage === 'int8') plan.reserve('coming rows', CHUNK_ROWS * this.stride * 4);
    plan.reserve('scales', CHUNK_ROWS * 4);
    plan.reserve('query', this.stride * 4);
    plan.memory.f32.fill(0, plan.ptr('query') >>> 2, (plan.ptr('query') >>> 2) + this.stride);
  }

  /** Positions: live rows and removed ones. */
  get count(): number {
    return this.#plan.get('RowCount');
  }

  /** Removed rows that still have a position. */
  get dead(): number {
    return this.#plan.get('DeadCount');
  }

  /** Ids given out so far: the next row's. */
  get idCount(): number {
    return this.#idCount;
  }

  /** Squared norm that rows are extended to. */
  get squaredNorm(): number {
    return this.#squaredNorm;
  }

  /** Takes over what is known of rows that are there already. */
  adopt(idCount: number, squaredNorm: number): void {
    this.#idCount = idCount;
    this.#setNorm(squaredNorm);
  }

  /** Room for a chunk of rows, for as long as rows are appended, sorted or encoded. */
  openChunk(): void {
    this.#plan.reserve('chunk', this.chunkBytes);
  }

  /** Gives that room back: on small indexes it is a tenth of what a row takes beyond itself. */
  closeChunk(): void {
    this.#plan.release('chunk');
  }

  /** Appends rows; their ids follow. They are checked whole before anything is kept. */
  *append(vectors: Float32Array, rows: number): Generator<Progress> {
    const plan = this.#plan;
    const first = this.count;
    const rowBytes = plan.get('RowBytes');
    const firstId = this.#idCount;
    this.#reserve(first + rows, rowBytes);
    plan.reserve('positions', (firstId + rows) * 4);
    if (this.metric === 'inner-product' && first === 0) this.#raiseNorm(vectors, rows);
    const clock = new StepClock();
    for (let row = 0; row < rows; row += CHUNK_ROWS) {
      const count = Math.min(CHUNK_ROWS, rows - row);
      // Whole rows of floats are written where they stay; int8 records are made from a chunk.
      const target =
        this.storage === 'int8' ? plan.ptr('coming rows') : plan.ptr('rows') + (first + row) * rowBytes;
      this.#copy(vectors, row, count, target);
      this.#shape(target, count, row);
      if (this.metric === 'cosine' && this.#reserveLengths(count)) this.#keepLengths(count, first + row);
      if (this.storage === 'int8') {
        plan.kernels.quantizeRows(
          target,
          count,
          this.stride,
          this.dimensions,
          plan.ptr('rows') + (first + row) * rowBytes,
        );
      }
      if (clock.isDue()) yield { phase: 'load', done: row + count, total: rows };
    }
    const { u32 } = plan.memory;
    const labels = plan.ptr('labels') >>> 2;
    const positions = plan.ptr('positions') >>> 2;
    ascend(u32, labels + first, rows, firstId);
    ascend(u32, positions + firstId, rows, first);
    plan.set('RowCount', first + rows);
    this.#idCount = firstId + rows;
  }

  /** Takes over the live rows and all ids of another index of the same shape; this one is still empty. */
  *copy(other: Rows): Generator<Progress> {
    const plan = this.#plan;
    const from = other.#plan;
    const { count, idCount } = other;
    const total = count - other.dead;
    const rowBytes = plan.get('RowBytes');
    const regions = ['rows', ...(from.ptr('lengths') ? ['lengths'] : [])].map(
      (region) => [region, region === 'rows' ? rowBytes : 4] as const,
    );
    for (const [region, bytes] of regions) plan.reserve(region, total * bytes);
    const labels = plan.reserve('labels', total * 4) >>> 2;
    const positions = plan.reserve('positions', idCount * 4) >>> 2;
    const { u32, u8 } = plan.memory;
    u32.fill(NONE, positions, positions + idCount);
    const most = Math.ceil(COPY_BYTES / rowBytes);
    let live = 0;
    for (let position = 0; position < count; ) {
      // Asked for again in every step: the other index may have grown for a search.
      const old = from.memory.u32;
      const oldLabels = from.ptr('labels') >>> 2;
      const first = position;
      const target = live;
      for (; position < count && position < first + most; position++, live++) {
        const id = old[oldLabels + position];
        if (id === NONE) break;
        u32[labels + live] = id;
        u32[positions + id] = live;
      }
      for (const [region, bytes] of regions) {
        const at = from.ptr(region);
        u8.set(
          from.memory.u8.subarray(at + first * bytes, at + position * bytes),
          plan.ptr(region) + target * bytes,
        );
      }
      while (position < count && old[oldLabels + position] === NONE) position++;
      yield { phase: 'load', done: live, total };
    }
    plan.set('RowCount', total);
    this.#idCount = idCount;
    this.#setNorm(other.squaredNorm);
  }

  /** Forgets the last rows, which nothing else refers to yet, and their ids. */
  takeBack(rows: number): void {
    this.#plan.set('RowCount', this.count - rows);
    this.#idCount -= rows;
  }

  /** Whether an id is that of a live row. */
  has(id: number): boolean {
    return id < this.#idCount && this.position(id) !== NONE;
  }

  /** The ids of the live rows, ascending. */
  ids(): Uint32Array {
    const { u32 } = this.#plan.memory;
    const positions = this.#plan.ptr('positions') >>> 2;
    const ids = new Uint32Array(this.count - this.dead);
    let live = 0;
    for (let id = 0; id < this.#idCount; id++) if (u32[positions + id] !== NONE) ids[live++] = id;
    return ids;
  }

  /** The same in the order in which the rows lie. */
  idsInPlace(): Uint32Array {
    const labels = this.#plan.ptr('labels') >>> 2;
    const all = this.#plan.memory.u32.subarray(labels, labels + this.count);
    return this.dead === 0 ? all.slice() : all.filter((id) => id !== NONE);
  }

  /** What is kept of a row, as words: a view of the memory. */
  words(id: number): Uint32Array {
    const bytes = this.#plan.get('RowBytes');
    const at = (this.#plan.ptr('rows') + this.position(id) * bytes) >>> 2;
    return this.#plan.memory.u32.subarray(at, at + bytes / 4);
  }

  /** Takes the names from live rows: they are no answers any more. Returns their positions, where they stay. */
  remove(ids: ArrayLike<number>): Uint32Array {
    const plan = this.#plan;
    const { u32 } = plan.memory;
    const labels = plan.ptr('labels') >>> 2;
    const places = plan.ptr('positions') >>> 2;
    const removed = new Uint32Array(ids.length);
    let count = 0;
    for (let i = 0; i < ids.length; i++) {
      const position = u32[places + ids[i]];
      if (position === NONE) continue;
      u32[labels + position] = NONE;
      u32[places + ids[i]] = NONE;
      removed[count++] = position;
    }
    plan.set('DeadCount', this.dead + count);
    return removed.subarray(0, count);
  }

  /**
   * Checks a vector and brings it into the shape of the rows; returns its address, in `coming row`, for `replace`. `subject`
   * and `row` are for the message of a refusal.
   */
  stage(vector: Float32Array, subject: string = 'vector', row: number = 0): number {
    const plan = this.#plan;
    const at = plan.reserve('coming row', this.stride * 4);
    this.#copy(vector, 0, 1, at);
    this.#shape(at, 1, row, subject);
    if (this.metric === 'cosine') this.#reserveLengths(1);
    return at;
  }

  /** Writes what was staged last over the row at a position. Cannot fail. */
  replace(position: number): void {
    const plan = this.#plan;
    const at = plan.ptr('coming row');
    const target = plan.ptr('rows') + position * plan.get('RowBytes');
    if (this.storage === 'int8') plan.kernels.quantizeRows(at, 1, this.stride, this.dimensions, target);
    else plan.memory.u8.copyWithin(target, at, at + this.stride * 4);
    if (this.metric === 'cosine') this.#keepLengths(1, position);
  }

  /**
   * Moves the live rows together, in their order, with what is kept beside them: `beside` are regions with so many bytes
   * a position. Returns the new position of each old one; those of removed rows mean nothing.
   */
  compact(beside: readonly [string, number][]): Uint32Array {
    const plan = this.#plan;
    const { u32, u8 } = plan.memory;
    const count = this.count;
    const labels = plan.ptr('labels') >>> 2;
    const positions = plan.ptr('positions') >>> 2;
    const moved = new Uint32Array(count);
    const regions = [['rows', plan.get('RowBytes')] as const, ['lengths', 4] as const, ...beside]
      .map(([region, bytes]) => [plan.ptr(region), bytes] as const)
      .filter(([ptr]) => ptr !== 0);
    let live = 0;
    for (let position = 0; position < count; ) {
      if (u32[labels + position] === NONE) {
        position++;
        continue;
      }
      // Whole stretches of live rows move at once.
      const first = position;
      const target = live;
      for (; position < count && u32[labels + position] !== NONE; position++, live++) {
        const id = u32[labels + position];
        moved[position] = live;
        u32[labels + live] = id;
        u32[positions + id] = live;
      }
      if (first === target) continue;
      for (const [ptr, bytes] of regions)
        u8.copyWithin(ptr + target * bytes, ptr + first * bytes, ptr + position * bytes);
    }
    plan.set('RowCount', live);
    plan.set('DeadCount', 0);
    for (const [region, bytes] of [
      ['rows', plan.get('RowBytes')],
      ['labels', 4],
      ['lengths', 4],
      ...beside,
    ] as const)
      plan.memory.trim(region, live * bytes);
    return moved;
  }

  /** Address of consecutive rows as floats: where they lie, or up to CHUNK_ROWS of them restored. */
  floats(position: number, count: number): number {
    const plan = this.#plan;
    const at = plan.ptr('rows') + position * plan.get('RowBytes');
    if (this.storage === 'f32') return at;
    plan.kernels.restoreRows(at, count, this.stride, this.dimensions, plan.ptr('coming rows'));
    return plan.ptr('coming rows');
  }

  /** Position of an id. */
  position(id: number): number {
    return this.#plan.memory.u32[(this.#plan.ptr('positions') >>> 2) + id];
  }

  /** The row of an id as it was given; rounded to 8 bits, and to float32 where it was scaled. */
  vector(id: number): Float32Array {
    const position = this.position(id);
    const at = this.floats(position, 1) >>> 2;
    const vector = this.#plan.memory.f32.slice(at, at + this.dimensions);
    const lengths = this.#plan.ptr('lengths');
    if (lengths) {
      const length = this.#plan.memory.f32[(lengths >>> 2) + position];
      for (let i = 0; i < vector.length; i++) vector[i] *= length;
    }
    // Rounding may have taken it out of what a vector may hold.
    if (lengths || this.storage !== 'f32') {
      for (let i = 0; i < vector.length; i++)
        vector[i] = Math.max(-MAX_VALUE, Math.min(MAX_VALUE, vector[i]));
    }
    return vector;
  }

  /** Brings a query into the shape of the rows, in the region `query`. It has been checked, but for its direction. */
  setQuery(query: Float32Array): void {
    const plan = this.#plan;
    const at = plan.ptr('query');
    plan.memory.f32.set(query, at >>> 2);
    // By a kernel: at 784 floats a loop in JavaScript takes 0.4 us, a fiftieth of a search.
    if (plan.kernels.firstUnfit(at, this.stride, MAX_VALUE) >>> 0 < this.stride) {
      checkFinite('query', query, this.dimensions);
    }
    if (this.metric === 'cosine') this.#scale(at, 1, 'query', 0);
  }

  /** The same for rows first … first + count - 1 of many queries, one behind the other at an address. */
  setQueries(queries: Float32Array, first: number, count: number, target: number): void {
    this.openChunk();
    for (let row = 0; row < count; row += CHUNK_ROWS) {
      const rows = Math.min(CHUNK_ROWS, count - row);
      const at = target + row * this.stride * 4;
      this.#copy(queries, first + row, rows, at);
      if (this.metric === 'cosine') this.#scale(at, rows, 'queries', first + row);
    }
    this.closeChunk();
  }

  /**
   * Address of up to CHUNK_ROWS stored rows in the shape of queries: where they lie, or made from them at `target`, which
   * has room for as many rows of floats.
   */
  asQueries(position: number, count: number, target: number): number {
    const floats = this.floats(position, count);
    if (this.metric !== 'inner-product') return floats;
    const { u8, f32 } = this.#plan.memory;
    u8.copyWithin(target, floats, floats + count * this.stride * 4);
    // The coordinate that extends a row is none of a query's.
    for (let i = 0; i < count; i++) f32[(target >>> 2) + i * this.stride + this.dimensions] = 0;
    return target;
  }

  /** Takes a stored row as the query. */
  asQuery(position: number): void {
    const query = this.#plan.ptr('query');
    const row = this.asQueries(position, 1, query);
    this.#plan.memory.u8.copyWithin(query, row, row + this.stride * 4);
  }

  /** Scales rows to length 1; their inverse lengths are left in `scales`. */
  #scale(rows: number, count: number, subject: string, firstRow: number): void {
    const { kernels } = this.#plan;
    const scales = this.#plan.ptr('scales');
    const zero = kernels.inverseLengths(rows, count, this.stride, LEAST_SQUARED_LENGTH, scales) >>> 0;
    if (zero < count) throw zeroVector(subject, firstRow + zero);
    kernels.scaleRows(rows, scales, count, this.stride);
  }

  /** The distance that a kernel's score stands for. */
  distance(score: number): number {
    if (this.metric === 'euclidean') return Math.sqrt(score);
    return this.metric === 'cosine' ? score / 2 : score + 0; // no -0
  }

  /** Ids in the order of positions, of rows of which none is removed. */
  order(): Uint32Array {
    const labels = this.#plan.ptr('labels') >>> 2;
    return this.#plan.memory.u32.slice(labels, labels + this.count);
  }

  /** Bytes that `openChunk` takes. */
  get chunkBytes(): number {
    return (CHUNK_ROWS + 1) * this.stride * 4;
  }

  /** The squared distance in the shape of the rows that a distance from a query stands for. */
  squared(distance: number, query: Float32Array): number {
    if (this.metric === 'euclidean') return distance * distance;
    if (this.metric === 'cosine') return 2 * distance;
    let norm = this.#squaredNorm;
    for (let i = 0; i < query.length; i++) norm += query[i] * query[i];
    return norm + 2 * distance;
  }

  /** Inner product: extends all rows anew, to the largest norm among them. */
  *extend(): Generator<Progress> {
    const plan = this.#plan;
    if (this.metric !== 'inner-product') return;
    let most = 0;
    for (let position = 0; position < this.count; position += CHUNK_ROWS) {
      const count = Math.min(CHUNK_ROWS, this.count - position);
      const rows = this.#unextended(position, count);
      plan.kernels.squaredNorms(rows, count, this.stride, plan.ptr('scales'));
      const at = plan.ptr('scales') >>> 2;
      for (let i = 0; i < count; i++) most = Math.max(most, plan.memory.f32[at + i]);
      yield { phase: 'train', done: 0, total: this.count };
    }
    yield* this.extendTo(most);
  }

  /** Inner product: extends all rows anew, to a squared norm. */
  *extendTo(most: number): Generator<Progress> {
    const plan = this.#plan;
    if (this.metric !== 'inner-product') return;
    this.#setNorm(most);
    for (let position = 0; position < this.count; position += CHUNK_ROWS) {
      const count = Math.min(CHUNK_ROWS, this.count - position);
      const rows = this.#unextended(position, count);
      plan.kernels.extendRows(rows, count, this.stride, this.dimensions, most);
      const at = plan.ptr('rows') + position * plan.get('RowBytes');
      if (this.storage === 'int8') plan.kernels.quantizeRows(rows, count, this.stride, this.dimensions, at);
      yield { phase: 'train', done: 0, total: this.count };
    }
  }

  /** Room for `reorder`, for as long as it must not fail. */
  openOrder(): void {
    this.#plan.reserve('source', this.count * 4 + 8);
  }

  /** Gives that room back. */
  closeOrder(): void {
    this.#plan.release('source');
  }

  /** Puts rows, labels and positions into a new order: the ids at positions 0, 1, 2, … */
  *reorder(ids: Uint32Array): Generator<Progress> {
    const plan = this.#plan;
    const count = ids.length;
    const isOpen = plan.ptr('source') !== 0;
    const source = plan.reserve('source', count * 4 + 8);
    const { u32 } = plan.memory;
    const positions = plan.ptr('positions') >>> 2;
    const step = { phase: 'encode', done: 0, total: count } as const;
    const rowBytes = plan.get('RowBytes');
    for (const [region, bytes] of [['rows', rowBytes] as const, ['lengths', 4] as const]) {
      if (!plan.ptr(region)) continue;
      gather(u32, positions, ids, source >>> 2);
      yield step;
      const state = source + count * 4;
      u32.fill(0, state >>> 2, (state >>> 2) + 2);
      while (u32[state >>> 2] < count) {
        plan.kernels.permuteRows(
          plan.ptr(region),
          bytes,
          count,
          source,
          plan.ptr('chunk'),
          state,
          MOVED_ROWS,
        );
        yield step;
      }
    }
    if (!isOpen) plan.release('source');
    const labels = plan.ptr('labels') >>> 2;
    for (let position = 0; position < count; position += NAMED_ROWS) {
      name(u32, labels, positions, ids, position, Math.min(count, position + NAMED_ROWS));
      yield step;
    }
  }

  /** Room for the rows of a snapshot, which are copied into `rows`, `labels` and, if they have any, `lengths`. */
  open(rows: number, ids: number, lengths: boolean, squaredNorm: number): void {
    const plan = this.#plan;
    if (lengths) plan.reserve('lengths', rows * 4);
    this.#reserve(rows, plan.get('RowBytes'));
    plan.reserve('positions', ids * 4);
    plan.set('RowCount', rows);
    this.#idCount = ids;
    if (this.metric === 'inner-product') this.#setNorm(squaredNorm);
  }

  /**
   * Proves rows that were copied in, and fills `positions`. `removed` has a bit for each id, set where its row is gone;
   * without it no id's is. Returns what is expected and does not hold, or nothing. Each step is short.
   */
  *settle(removed?: Uint8Array): Proof {
    const plan = this.#plan;
    const { u32 } = plan.memory;
    const rows = this.count;
    const labels = plan.ptr('labels') >>> 2;
    const positions = plan.ptr('positions') >>> 2;
    const ids = this.#idCount;
    u32.fill(NONE, positions, positions + ids);
    for (let position = 0; position < rows; position++) {
      if (position % PROVED_IDS === 0) yield;
      const id = u32[labels + position];
      if (id >= ids || u32[positions + id] !== NONE) return 'every id once';
      u32[positions + id] = position;
    }
    // With as many bits set as ids are left over, every id is a row's or a removed one.
    for (let id = 0; removed && id < ids; id++) {
      if (id % PROVED_IDS === 0) yield;
      if ((removed[id >>> 3] >>> (id & 7)) & 1 && u32[positions + id] !== NONE)
        return 'no row of a removed id';
    }
    const lengths = plan.ptr('lengths');
    if (lengths && plan.kernels.firstUnfit(lengths, rows, LARGEST_LENGTH) >>> 0 < rows)
      return 'finite lengths';
    const prove = this.storage === 'int8' ? this.#settleRecords : this.#settleFloats;
    for (let position = 0; position < rows; position += CHUNK_ROWS) {
      const count = Math.min(CHUNK_ROWS, rows - position);
      const wrong =
        prove.call(this, position, count) ??
        (this.metric === 'cosine' ? this.#settleDirections(position, count) : undefined);
      if (wrong !== undefined) return wrong;
      if (position % PROVED_ROWS === 0) yield;
    }
    return undefined;
  }

  /** Cosine: a row without direction could be no query of `tune` or `searchById`. */
  #settleDirections(position: number, count: number): string | undefined {
    const { kernels, memory } = this.#plan;
    const squares = this.#plan.ptr('scales');
    const lengths = this.#plan.ptr('lengths');
    kernels.squaredNorms(this.floats(position, count), count, this.stride, squares);
    const { f32 } = memory;
    for (let i = 0; i < count; i++) {
      // Of 8-bit rows the length is anywhere near 1.
      if (!(Math.abs(f32[(squares >>> 2) + i] - 1) <= 0.5)) return 'rows of length 1 under cosine';
      const length = lengths ? f32[(lengths >>> 2) + position + i] : 1;
      // Rounded twice since it was let in.
      if (!(length * length >= 0.9999 * LEAST_SQUARED_LENGTH)) return 'lengths that leave rows a direction';
    }
    return undefined;
  }

  #settleFloats(position: number, count: number): string | undefined {
    const { kernels, memory } = this.#plan;
    const { dimensions, stride } = this;
    const rows = this.#plan.ptr('rows') + 4 * position * stride;
    // The coordinate that extends a row may be larger than the numbers of one.
    const extended = this.metric === 'inner-product';
    const unfit = kernels.firstUnfit(rows, count * stride, extended ? LARGEST_LENGTH : MAX_VALUE) >>> 0;
    if (unfit < count * stride) return 'finite numbers of at most 1e16 in every row';
    const first = dimensions + (extended ? 1 : 0);
    if (first === stride) return undefined;
    const { f32 } = memory;
    for (let end = (rows >>> 2) + stride; end <= (rows >>> 2) + count * stride; end += stride) {
      for (let at = end - stride + first; at < end; at++) if (f32[at] !== 0) return 'zeros behind every row';
    }
    return undefined;
  }

  /** Records of assembly/quantize.ts. */
  #settleRecords(position: number, count: number): string | undefined {
    const { f32, u8 } = this.#plan.memory;
    const bytes = this.#plan.get('RowBytes');
    const rows = this.#plan.ptr('rows') + position * bytes;
    for (let record = rows; record < rows + count * bytes; record += bytes) {
      const tail = record + bytes - 16;
      for (let at = record + this.dimensions; at < tail; at++)
        if (u8[at] !== 0) return 'zeros behind every row';
      const scale = f32[tail >>> 2];
      const norm = f32[(tail >>> 2) + 1];
      const extension = f32[(tail >>> 2) + 2];
      if (!(scale >= 0 && scale * 127 <= 1.0001 * MAX_VALUE)) return 'a finite scale of every row';
      if (!(norm >= 0 && norm <= LARGEST_LENGTH * LARGEST_LENGTH)) return 'a finite norm of every row';
      if (!(Math.abs(extension) <= LARGEST_LENGTH)) return 'a finite extension of every row';
    }
    return undefined;
  }

  /** Bytes of the rows themselves. */
  get bytes(): number {
    return this.count * this.#plan.get('RowBytes');
  }

  #reserve(rows: number, rowBytes: number): void {
    this.#plan.reserve('rows', rows * rowBytes);
    this.#plan.reserve('labels', rows * 4);
    if (this.#plan.ptr('lengths')) this.#plan.reserve('lengths', rows * 4);
  }

  #copy(vectors: Float32Array, row: number, count: number, target: number): void {
    const { f32 } = this.#plan.memory;
    const { dimensions, stride } = this;
    const from = row * dimensions;
    const to = target >>> 2;
    if (stride === dimensions) {
      f32.set(vectors.subarray(from, from + count * dimensions), to);
      return;
    }
    // Packed at the end of a chunk's room, then spread by a kernel that moves forward only.
    const packed = this.#plan.ptr('chunk');
    f32.set(vectors.subarray(from, from + count * dimensions), packed >>> 2);
    this.#plan.kernels.padRows(packed, count, dimensions, stride, target);
  }

  /** Checks a chunk of rows and gives it the metric's shape. */
  #shape(rows: number, count: number, firstRow: number, subject = 'vectors'): void {
    const plan = this.#plan;
    const { kernels, memory } = plan;
    const floats = count * this.stride;
    const bad = kernels.firstUnfit(rows, floats, MAX_VALUE) >>> 0;
    if (bad < floats) {
      const row = Math.floor(bad / this.stride);
      throw rangeError(
        'ERR_NOT_FINITE',
        `${subject}: expected finite numbers of at most 1e16, got ${memory.f32[(rows >>> 2) + bad]} in row ${firstRow + row}, column ${bad % this.stride}`,
      );
    }
    if (this.metric === 'inner-product') {
      kernels.extendRows(rows, count, this.stride, this.dimensions, this.#squaredNorm);
      return;
    }
    if (this.metric === 'cosine') this.#scale(rows, count, subject, firstRow);
  }

  /** Makes room for lengths if rows just scaled need it; whether there is any now. */
  #reserveLengths(count: number): boolean {
    const plan = this.#plan;
    const { memory } = plan;
    if (plan.ptr('lengths')) return true;
    const at = plan.ptr('scales') >>> 2;
    let unit = true;
    for (let i = 0; i < count && unit; i++) unit = Math.abs(memory.f32[at + i] - 1) <= UNIT_TOLERANCE;
    if (unit) return false;
    const capacity = memory.capacity('labels');
    const lengths = plan.reserve('lengths', capacity) >>> 2;
    memory.f32.fill(1, lengths, lengths + capacity / 4);
    return true;
  }

  /** Keeps the lengths of rows just scaled, where lengths are kept. */
  #keepLengths(count: number, position: number): void {
    const plan = this.#plan;
    const { memory } = plan;
    if (!plan.ptr('lengths')) return;
    const at = plan.ptr('scales') >>> 2;
    const lengths = plan.ptr('lengths') >>> 2;
    for (let i = 0; i < count; i++) {
      const scale = memory.f32[at + i];
      // Exactly 1 for unit rows, whatever rows came along in their chunk.
      memory.f32[lengths + position + i] = Math.abs(scale - 1) <= UNIT_TOLERANCE ? 1 : 1 / scale;
    }
  }

  /** Rows as floats with the extending coordinate at 0. */
  #unextended(position: number, count: number): number {
    const rows = this.floats(position, count);
    const { f32 } = this.#plan.memory;
    for (let i = 0; i < count; i++) f32[(rows >>> 2) + i * this.stride + this.dimensions] = 0;
    return rows;
  }

  #raiseNorm(vectors: Float32Array, rows: number): void {
    let most = 0;
    for (let row = 0; row < rows; row++) {
      let norm = 0;
      for (let i = row * this.dimensions; i < (row + 1) * this.dimensions; i++)
        norm += vectors[i] * vectors[i];
      if (norm > most && norm < Infinity) most = norm;
    }
    this.#setNorm(most);
  }

  #setNorm(squaredNorm: number): void {
    this.#squaredNorm = Math.fround(squaredNorm);
    this.#plan.setFloat('NormBound', squaredNorm);
  }
}

// Loops over rows, as functions of their own: inside of a generator they take three times as long.

/** words[into + i] = first + i */
export function ascend(words: Uint32Array, into: number, count: number, first: number): void {
  for (let i = 0; i < count; i++) words[into + i] = first + i;
}

/** words[into + i] = words[from + keys[i]] */
export function gather(words: Uint32Array, from: number, keys: Uint32Array, into: number): void {
  for (let i = 0; i < keys.length; i++) words[into + i] = words[from + keys[i]];
}

/** Enters ids, by position, as the labels of their positions and these as theirs. */
function name(
  u32: Uint32Array,
  labels: number,
  positions: number,
  ids: Uint32Array,
  first: number,
  end: number,
): void {
  for (let position = first; position < end; position++) {
    u32[labels + position] = ids[position];
    u32[positions + ids[position]] = position;
  }
}
