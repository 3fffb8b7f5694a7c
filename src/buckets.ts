import type { TableKernels } from './kernels.js';
import type { LinearMemory } from './memory.js';

/** Rows that may wait in chains before anything is sorted. */
const LEAST_TAIL = 256;
const LEAST_SLOTS = 16;
/** Marks from the epochs of queries; REMOVED marks a row that no query may see. */
const LAST_EPOCH = 254;
const REMOVED = 255;
const NO_CAP = 2 ** 32 - 1;
/** A table with up to this many keys is counted in one array, key by key. */
const COUNTED_BITS = 20;

/** How the rows of a table, or of all tables, are spread over buckets. Empty buckets do not count. */
export interface BucketStats {
  /** How many buckets hold a row. */
  buckets: number;
  /** Rows in a bucket, on average: the notebooks' `avg_bucket_size`. */
  average: number;
  /** Rows in the fullest bucket. */
  largest: number;
  /** histogram[i] buckets hold 2^i to 2^(i+1) - 1 rows. */
  histogram: number[];
  /**
   * Rows that a stored row meets in its bucket, itself included, per row of the average bucket: 1 when all buckets are
   * equal, and more the more a few of them hold.
   */
  skew: number;
}

/**
 * The rows of hash tables by key, all in linear memory: which rows share a bucket, and the union of buckets.
 *
 * Most rows stand sorted by key (assembly/buckets.ts). Rows added since hang in chains, found by every query at once,
 * until they are a quarter of all; then all rows are sorted anew. So a row costs a bounded share of sorting however rows
 * come, and a query looks in two places.
 *
 *     region      layout                              length
 *     keys        u32 × tables × rowCapacity          key of each row
 *     ids         u32 × tables × sortedCount          rows by slot
 *     offsets     u32 × tables × (slots + 2)          where a slot starts within ids
 *     heads       u32 × tables × tailSlots            first row of a chain
 *     links       u32 × tables × tailCapacity         next row of a chain
 *     marks       u8 × rowCapacity                    the last epoch (query) that saw a row; 255: removed
 *     candidates  u32 × (rowCapacity + 1)             what `gather` found
 *     caps        u32 × 3                             rows of a bucket, candidates in all; whether a row was left out
 *
 * Knows nothing of vectors or hashing: its owner writes keys.
 */
export class Buckets {
  readonly tables: number;
  readonly bits: number;
  readonly #memory: LinearMemory;
  readonly #kernels: TableKernels;
  #count = 0;
  #removed = 0;
  #rowCapacity = 0;
  #sortedCount = 0;
  #slots = 0;
  #shift = 0;
  #tailCapacity = 0;
  #tailSlots = 0;
  #tailShift = 0;
  #epoch = 0;

  constructor(memory: LinearMemory, kernels: TableKernels, tables: number, bits: number) {
    this.#memory = memory;
    this.#kernels = kernels;
    this.tables = tables;
    this.bits = bits;
    memory.reserve('caps', 12);
    this.#setCaps(NO_CAP, NO_CAP);
  }

  /** Rows that were added, removed ones included: the next row's id. */
  get count(): number {
    return this.#count;
  }

  /** Rows that were removed. */
  get removed(): number {
    return this.#removed;
  }

  /** Whether a row was added and not removed. */
  has(row: number): boolean {
    return row < this.#count && !this.#isRemoved(row);
  }

  /** Hides rows from every later query; returns how many were there to hide. Their keys and places stay. */
  remove(rows: ArrayLike<number>): number {
    const marks = this.#memory.ptr('marks');
    const { u8 } = this.#memory;
    const before = this.#removed;
    for (let i = 0; i < rows.length; i++) {
      if (u8[marks + rows[i]] === REMOVED) continue;
      u8[marks + rows[i]] = REMOVED;
      this.#removed++;
    }
    return this.#removed - before;
  }

  /** Words from one table's keys to the next one's, for who writes keys. */
  get keyStride(): number {
    return this.#rowCapacity;
  }

  /** Address of the key of row `row` in table 0. Asked again after every `reserve` of the memory. */
  keysPtr(row: number): number {
    return this.#memory.ptr('keys') + 4 * row;
  }

  /** Address of the ids that `gather` found. */
  get candidatesPtr(): number {
    return this.#memory.ptr('candidates');
  }

  /**
   * Makes room for the keys of so many more rows, so that `add` cannot fail.
   *
   * Throws a RangeError (ERR_OUT_OF_MEMORY); then nothing has changed.
   */
  reserve(rows: number): void {
    const { tables } = this;
    const memory = this.#memory;
    const count = this.#count + rows;
    if (count > this.#rowCapacity) {
      // Room to spare once rows come in parts, so that moving the tables apart is paid for.
      const capacity =
        this.#count === 0 ? count : Math.max(count, Math.ceil(this.#count * 1.25) + LEAST_TAIL);
      memory.reserve('keys', 4 * tables * capacity);
      memory.reserve('candidates', 4 * (capacity + 1));
      const hadMarks = memory.capacity('marks');
      const marks = memory.reserve('marks', capacity);
      memory.u8.fill(0, marks + hadMarks, marks + memory.capacity('marks'));
      this.#spreadKeys(capacity);
    }
    if (this.#fitsTail(count)) {
      if (this.#tailCapacity === 0) this.#startTail();
      return;
    }
    const slots = this.#slotsFor(count);
    memory.reserve('offsets', 4 * tables * (slots + 2));
    memory.reserve('ids', 4 * tables * count);
  }

  /** Takes in the next `rows` rows. `reserve` was called for them, and their keys have been written. */
  add(rows: number): void {
    for (const _ of this.addInSteps(rows));
  }

  /** The same, a table sorted in each step. Nothing may be asked before the end. */
  *addInSteps(rows: number): Generator<void> {
    const first = this.#count;
    const count = first + rows;
    this.#count = count;
    if (!this.#fitsTail(count)) {
      yield* this.#sort();
      return;
    }
    this.#kernels.chainKeys(
      this.keysPtr(0),
      this.#rowCapacity,
      first,
      rows,
      this.tables,
      this.#tailShift,
      this.#tailSlots,
      this.#memory.ptr('heads'),
      this.#memory.ptr('links'),
      this.#tailCapacity,
      this.#sortedCount,
    );
  }

  /**
   * Starts a query: no row counts as seen. It looks at so many rows of a bucket (of those sorted, and of those added
   * since), and lists so many candidates.
   */
  startQuery(maxBucket: number = NO_CAP, maxCandidates: number = NO_CAP): void {
    this.#setCaps(maxBucket, maxCandidates);
    if (this.#epoch === LAST_EPOCH) {
      const marks = this.#memory.ptr('marks');
      const { u8 } = this.#memory;
      if (this.#removed === 0) u8.fill(0, marks, marks + this.#count);
      else for (let i = marks; i < marks + this.#count; i++) if (u8[i] !== REMOVED) u8[i] = 0;
      this.#epoch = 0;
    }
    this.#epoch++;
  }

  /**
   * Adds the rows of buckets to those that this query has found, each row once; returns how many there are now. Their ids
   * stand at `candidatesPtr`, in no order.
   *
   * wanted  u32 × tables × wantedStride: `probes` different keys of each table, from `firstTable` on
   * found   what the query's last `gather` returned, 0 at first
   */
  gather(
    wanted: number,
    wantedStride: number,
    probes: number,
    found: number,
    firstTable: number = 0,
    tables: number = this.tables,
  ): number {
    const memory = this.#memory;
    const keys = this.keysPtr(firstTable * this.#rowCapacity);
    const marks = memory.ptr('marks');
    const out = this.candidatesPtr;
    if (this.#sortedCount > 0) {
      found = this.#kernels.gatherSorted(
        wanted,
        wantedStride,
        probes,
        tables,
        keys,
        this.#rowCapacity,
        this.#shift,
        this.#slots,
        memory.ptr('offsets') + 4 * firstTable * (this.#slots + 2),
        memory.ptr('ids') + 4 * firstTable * this.#sortedCount,
        this.#sortedCount,
        marks,
        this.#epoch,
        out,
        found,
        memory.ptr('caps'),
      );
    }
    if (this.#count > this.#sortedCount) {
      found = this.#kernels.gatherChained(
        wanted,
        wantedStride,
        probes,
        tables,
        keys,
        this.#rowCapacity,
        this.#tailShift,
        this.#tailSlots,
        memory.ptr('heads') + 4 * firstTable * this.#tailSlots,
        memory.ptr('links') + 4 * firstTable * this.#tailCapacity,
        this.#tailCapacity,
        this.#sortedCount,
        marks,
        this.#epoch,
        out,
        found,
        memory.ptr('caps'),
      );
    }
    return found >>> 0;
  }

  /** Whether this query has left out rows of its buckets. */
  get capped(): boolean {
    return this.#memory.u32[(this.#memory.ptr('caps') >>> 2) + 2] !== 0;
  }

  /** A copy of what `gather` found, ascending. */
  candidates(found: number): Uint32Array {
    const start = this.candidatesPtr >>> 2;
    return this.#memory.u32.slice(start, start + found).sort();
  }

  /** Sizes of the buckets that hold a row, in no order: of one table, or of all. */
  sizes(table: number): Uint32Array {
    const start = this.keysPtr(table * this.#rowCapacity) >>> 2;
    const all = this.#memory.u32.subarray(start, start + this.#count);
    const keys = this.#removed === 0 ? all : all.filter((_, row) => !this.#isRemoved(row));
    if (this.bits <= COUNTED_BITS) {
      const counts = new Uint32Array(2 ** this.bits);
      for (let i = 0; i < keys.length; i++) counts[keys[i]]++;
      return counts.filter((size) => size > 0);
    }
    const sorted = keys.slice().sort();
    const sizes: number[] = [];
    for (let i = 0; i < sorted.length; i++) {
      if (i > 0 && sorted[i] === sorted[i - 1]) sizes[sizes.length - 1]++;
      else sizes.push(1);
    }
    return Uint32Array.from(sizes);
  }

  /** How the rows of each table are spread over its buckets. Looks at every row. */
  stats(): BucketStats[] {
    return Array.from({ length: this.tables }, (_, table) => statsOf(this.sizes(table)));
  }

  #setCaps(maxBucket: number, maxCandidates: number): void {
    const { u32 } = this.#memory;
    const caps = this.#memory.ptr('caps') >>> 2;
    u32[caps] = maxBucket;
    u32[caps + 1] = maxCandidates;
    u32[caps + 2] = 0;
  }

  #isRemoved(row: number): boolean {
    return this.#memory.u8[this.#memory.ptr('marks') + row] === REMOVED;
  }

  #fitsTail(count: number): boolean {
    return count - this.#sortedCount <= (this.#tailCapacity || this.#tailLimit());
  }

  #tailLimit(): number {
    return Math.max(LEAST_TAIL, this.#sortedCount >>> 2);
  }

  #startTail(): void {
    const { tables } = this;
    const memory = this.#memory;
    const capacity = this.#tailLimit();
    const slots = Math.min(2 ** this.bits, powerOfTwoFrom(capacity));
    memory.reserve('heads', 4 * tables * slots);
    memory.reserve('links', 4 * tables * capacity);
    this.#tailCapacity = capacity;
    this.#tailSlots = slots;
    this.#tailShift = this.#shiftFor(slots);
    this.#clearHeads();
  }

  #clearHeads(): void {
    const heads = this.#memory.ptr('heads') >>> 2;
    this.#memory.u32.fill(0, heads, heads + this.tables * this.#tailSlots);
  }

  /** Sorts all rows by key and empties the chains. */
  *#sort(): Generator<void> {
    const memory = this.#memory;
    const count = this.#count;
    const slots = this.#slotsFor(count);
    this.#sortedCount = count;
    this.#slots = slots;
    this.#shift = this.#shiftFor(slots);
    for (let t = 0; t < this.tables; t++) {
      this.#kernels.sortKeys(
        this.keysPtr(t * this.#rowCapacity),
        this.#rowCapacity,
        count,
        1,
        this.#shift,
        slots,
        memory.ptr('offsets') + 4 * t * (slots + 2),
        memory.ptr('ids') + 4 * t * count,
      );
      yield;
    }
    // The next tail may be longer: it is laid out when the first row comes.
    this.#tailCapacity = 0;
  }

  /** As many slots as keys, but not many more than rows. */
  #slotsFor(count: number): number {
    return Math.min(2 ** this.bits, powerOfTwoFrom(2 * count));
  }

  /** How slotOf finds a key's slot: 0 when each key has its own. */
  #shiftFor(slots: number): number {
    return slots === 2 ** this.bits ? 0 : 32 - Math.log2(slots);
  }

  /** Moves each table's keys to its place at a new stride, the last table first. */
  #spreadKeys(capacity: number): void {
    const base = this.keysPtr(0) >>> 2;
    const { u32 } = this.#memory;
    for (let t = this.tables - 1; t > 0; t--) {
      const from = base + t * this.#rowCapacity;
      u32.copyWithin(base + t * capacity, from, from + this.#count);
    }
    this.#rowCapacity = capacity;
  }
}

/** The statistics of all tables together, from those of each; `skew` is their mean. */
export function joinStats(tables: BucketStats[], rows: number): BucketStats {
  const sum = (of: (table: BucketStats) => number): number =>
    tables.reduce((total, table) => total + of(table), 0);
  const buckets = sum((table) => table.buckets);
  const places = Math.max(...tables.map((table) => table.histogram.length));
  return {
    buckets,
    average: buckets === 0 ? 0 : (rows * tables.length) / buckets,
    largest: Math.max(...tables.map((table) => table.largest)),
    histogram: Array.from({ length: places }, (_, i) => sum((table) => table.histogram[i] ?? 0)),
    skew: sum((table) => table.skew) / tables.length,
  };
}

function statsOf(sizes: Uint32Array): BucketStats {
  let rows = 0;
  let squares = 0;
  let largest = 0;
  const histogram: number[] = [];
  for (const size of sizes) {
    rows += size;
    squares += size * size;
    largest = Math.max(largest, size);
    const place = 31 - Math.clz32(size);
    while (histogram.length <= place) histogram.push(0);
    histogram[place]++;
  }
  const buckets = sizes.length;
  return {
    buckets,
    average: buckets === 0 ? 0 : rows / buckets,
    largest,
    histogram,
    skew: rows === 0 ? 0 : (squares * buckets) / (rows * rows),
  };
}

/** The least power of two that is at least `value` and LEAST_SLOTS. */
function powerOfTwoFrom(value: number): number {
  let power = LEAST_SLOTS;
  while (power < value) power *= 2;
  return power;
}
