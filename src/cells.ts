import { type Centres, FACTOR_BYTES, SLOTS } from './centres.js';
import { isOutOfMemory } from './memory.js';
import type { EnginePlan } from './plan.js';
import { finish, type Progress, StepClock } from './progress.js';

/** Where the codes of rows are, by id: the cell, and the slot among those of all cells. */
export interface RowPlaces {
  cells: Uint32Array;
  slots: Uint32Array;
}

/** The row number of an empty slot. */
const NO_ROW = 0xffffffff;
/** Blocks that are proven in one step, and that are cleared in one. */
const PROVED_BLOCKS = 512;
const CLEARED_BLOCKS = 2048;
/** A cell splits when it holds this many times the mean, and at least so many rows. */
const SPLIT_FACTOR = 4;
const LEAST_SPLIT = 256;
/** Rows of a shell, whole blocks, and shells at most: as few as are ranked without codes of their centres. */
const SHELL_ROWS = 512;
const MOST_SHELLS = 48;
/** Rows that are sorted to tell shells apart. */
const SORTED_ROWS = 2 ** 16;
/** Cells at most. */
export const MAX_CELLS = 16384;
/** What a Cells knows beside its regions. */
export interface CellsState {
  blocks: number;
  unsplit: Map<number, number>;
}

/**
 * The Voronoi hash: around centres the cell directory and the blocks of codes, in the regions `directory` and `blocks`
 * (layouts: assembly/plan.ts and encode.ts).
 *
 * Once a row is removed, `slots` tells the slot of every position (assembly/remove.ts) and `owners` the cell of every
 * block, so that the next is found at once; both are kept up to date from then on, until the next layout.
 *
 * A cell is one contiguous run of blocks. A run that is full moves to the end with half as much room again, so a probe
 * stays one sequential scan and no chain has to be followed; the room it leaves is given back by `compact` and the next build.
 */
export class Cells {
  #plan: EnginePlan;
  #centres: Centres;
  /** Blocks in use at the front of the region `blocks`. */
  #blocks = 0;
  /** Sizes at which cells could not be split. */
  #unsplit: Map<number, number> = new Map();
  /** The largest `add` of each shell; null of other cells, undefined where nobody has asked. */
  #shells: Float32Array | null | undefined;

  constructor(plan: EnginePlan, centres: Centres) {
    this.#plan = plan;
    this.#centres = centres;
  }

  /** A way back to the present state, once its regions are there again (undo.ts). */
  keep(): () => void {
    const blocks = this.#blocks;
    const unsplit = new Map(this.#unsplit);
    return () => {
      this.#blocks = blocks;
      this.#unsplit = unsplit;
      this.#shells = undefined;
    };
  }

  get count(): number {
    return this.#centres.count;
  }

  get dims(): number {
    return this.#centres.dims;
  }

  get codeBytes(): number {
    return this.dims * 4;
  }

  get blockBytes(): number {
    return this.codeBytes + FACTOR_BYTES;
  }

  /** One cell around the origin of the coded space: what an index has before it is built. */
  reset(): void {
    this.#openAtOrigin(1);
    finish(this.layOut(new Uint32Array(1)));
  }

  /**
   * Shells: cells that are all centred on the origin, each with the rows that are a little farther from it than those of the
   * one before. They serve data without clumps. Its cells say nothing, but its short rows are everybody's neighbors (hubs:
   * Radovanović et al., JMLR 2010): of 10,000 Gaussian rows of 128 floats the half nearest to the mean holds 96 % of all
   * neighbors. Centres at equal distances are visited in their order, inner shells first.
   *
   * Writes the shell of each row, whose code of `encode` against the origin stands at its place, and returns their number.
   */
  sortIntoShells(loose: number, nearest: number, rows: number): number {
    const adds = this.#addsOf(loose, rows);
    const every = Math.ceil(rows / SORTED_ROWS);
    const sorted = Float32Array.from({ length: Math.ceil(rows / every) }, (_, i) => adds[i * every]).sort();
    const size = Math.max(SHELL_ROWS, Math.ceil(rows / MOST_SHELLS / SLOTS) * SLOTS);
    const limits = Float32Array.from({ length: Math.ceil(rows / size) }, (_, i) => {
      const last = Math.min(rows, (i + 1) * size) - 1;
      return sorted[Math.floor(last / every)];
    });
    const shells = limits.length;
    shellsOf(adds, limits, this.#plan.memory.u32.subarray(nearest >>> 2, (nearest >>> 2) + rows));
    this.#openAtOrigin(shells);
    return shells;
  }

  /** Makes one cell of all shells, as they were laid out, where their order says too little. */
  joinShells(): void {
    const plan = this.#plan;
    const { u32 } = plan.memory;
    const last = (plan.ptr('directory') >>> 2) + (this.count - 1) * 4;
    const used = u32[last] * SLOTS + u32[last + 1];
    const live = this.sizes().reduce((sum, size) => sum + size, 0);
    this.#openAtOrigin(1);
    plan.memory.u32.set([0, used, this.#blocks, live], plan.reserve('directory', 16) >>> 2);
  }

  /** Whether cells are shells. */
  get isShelled(): boolean {
    return this.#limits() !== null;
  }

  /** Gives each row, whose code of `encode` against the origin stands at an address, the shell that it belongs to. */
  chooseShells(loose: number, nearest: number, rows: number): void {
    const adds = this.#addsOf(loose, rows);
    const into = this.#plan.memory.u32.subarray(nearest >>> 2, (nearest >>> 2) + rows);
    shellsOf(adds, this.#limits() as Float32Array, into);
  }

  /** The `add` of each code that `encode` wrote at an address. */
  #addsOf(loose: number, rows: number): Float32Array {
    const step = this.looseBytes / 4;
    return everyOf(this.#plan.memory.f32, loose / 4 + step - 2, step, rows);
  }

  #limits(): Float32Array | null {
    if (this.#shells !== undefined) return this.#shells;
    this.#shells = null;
    const { f32, u32 } = this.#plan.memory;
    if (this.count === 1 || !this.#centres.areAtOrigin) return null;
    const limits = new Float32Array(this.count).fill(-Infinity);
    for (let shell = 0; shell < limits.length; shell++) {
      this.#slots(shell, (row) => {
        if (u32[row] !== NO_ROW && f32[row - 64] > limits[shell]) limits[shell] = f32[row - 64];
      });
    }
    this.#shells = limits;
    return limits;
  }

  #openAtOrigin(cells: number): void {
    this.#plan.release('directory');
    this.#centres.openAtOrigin(cells);
    this.#shells = undefined;
  }

  /** What is known of the cells beside the regions. */
  get state(): CellsState {
    return { blocks: this.#blocks, unsplit: new Map(this.#unsplit) };
  }

  /** Takes over cells that are there already, and makes room for queries. */
  adopt({ blocks, unsplit }: CellsState): void {
    this.#blocks = blocks;
    this.#unsplit = new Map(unsplit);
    this.#centres.adopt();
  }

  /** Lays out empty runs of blocks for cells of the given sizes, in order of cells. */
  *layOut(sizes: Uint32Array): Generator<Progress> {
    this.#layRuns(sizes);
    for (let block = 0; block < this.#blocks; block += CLEARED_BLOCKS) {
      yield { phase: 'encode', done: 0, total: this.#blocks };
      this.#clear(block, Math.min(this.#blocks, block + CLEARED_BLOCKS));
    }
  }

  /** Empties blocks from a number up to another. */
  #clear(first: number, end: number): void {
    const { blockBytes, codeBytes } = this;
    const blocks = this.#plan.ptr('blocks');
    for (let block = first; block < end; block++)
      this.#plan.kernels.clearBlock(blocks + block * blockBytes, codeBytes);
  }

  /** Index of a cell's entry in the directory, in the memory seen as words: first block, slots used, blocks held, rows. */
  #entry(cell: number): number {
    return (this.#plan.ptr('directory') >>> 2) + cell * 4;
  }

  /** Lays out runs of blocks that may hold anything. */
  #layRuns(sizes: Uint32Array): void {
    const plan = this.#plan;
    this.#unsplit.clear();
    this.#shells = undefined;
    const { memory } = plan;
    const directory = plan.reserve('directory', sizes.length * 16) >>> 2;
    let blocks = 0;
    for (const size of sizes) blocks += Math.ceil(size / SLOTS);
    for (const name of ['blocks', 'slots', 'owners']) plan.release(name);
    plan.reserve('blocks', Math.max(1, blocks) * this.blockBytes);
    this.#blocks = blocks;
    let first = 0;
    for (let cell = 0; cell < sizes.length; cell++) {
      const held = Math.ceil(sizes[cell] / SLOTS);
      memory.u32.set([first, 0, held, 0], directory + cell * 4);
      first += held;
    }
  }

  /** Encodes consecutive rows (floats at an address), the first at `position`, behind the rows that a cell has. */
  append(cell: number, floats: number, position: number, rows: number): void {
    const plan = this.#plan;
    this.#extend(cell, position, rows, (run, used) => {
      const centre = plan.ptr('centres') + cell * this.dims * 4;
      plan.kernels.fillSlots(plan.address, floats, position, rows, centre, run, used, plan.ptr('chunk'));
    });
  }

  /** Bytes of the code of a row that has no slot yet. */
  get looseBytes(): number {
    return Math.ceil(this.dims / 16) * 4 + 8;
  }

  /** Writes the codes of rows whose cells stand at an address, for `place`. */
  encode(floats: number, rotated: number, rows: number, cells: number, loose: number): void {
    this.#plan.kernels.encodeRows(this.#plan.address, floats, rotated, rows, cells, loose);
  }

  /** Puts codes that `encode` wrote behind the rows that a cell has; `places` are the rows' places among them. */
  place(cell: number, loose: number, places: number, position: number, rows: number): void {
    const plan = this.#plan;
    this.#extend(cell, position, rows, (run, used) => {
      plan.kernels.fillEncoded(plan.address, loose, places, position, rows, run, used);
    });
  }

  /** Lets `write` fill so many slots behind those that a cell uses, for the rows from a position on. */
  #extend(cell: number, position: number, rows: number, write: (run: number, used: number) => void): void {
    const plan = this.#plan;
    if (plan.ptr('slots')) plan.reserve('slots', (position + rows) * 4);
    let entry = this.#entry(cell);
    const used = plan.memory.u32[entry + 1];
    this.#makeRoom(cell, used + rows);
    const { u32 } = plan.memory;
    entry = this.#entry(cell);
    write(plan.ptr('blocks') + u32[entry] * this.blockBytes, used);
    u32[entry + 1] = used + rows;
    u32[entry + 3] += rows;
    this.#note(cell, used);
  }

  /** Makes sure that `remove` can find every row. Throws where there is no memory for it; then nothing has changed. */
  locate(positions: number): void {
    const plan = this.#plan;
    if (plan.ptr('slots')) return;
    plan.reserve('owners', this.#blocks * 4);
    try {
      plan.reserve('slots', positions * 4);
    } catch (error) {
      plan.release('owners');
      throw error;
    }
    for (let cell = 0; cell < this.count; cell++) this.#note(cell, 0);
  }

  /** Empties the slots of the rows at these positions; packs a cell's run when more than a quarter of its slots are empty. */
  remove(positions: ArrayLike<number>): void {
    const plan = this.#plan;
    const { kernels } = plan;
    const { u32 } = plan.memory;
    const slots = plan.ptr('slots') >>> 2;
    const owners = plan.ptr('owners') >>> 2;
    const blocks = plan.ptr('blocks');
    const directory = plan.ptr('directory') >>> 2;
    const { blockBytes, codeBytes } = this;
    for (let i = 0; i < positions.length; i++) {
      const slot = u32[slots + positions[i]];
      const block = Math.floor(slot / SLOTS);
      kernels.clearSlot(blocks + block * blockBytes, codeBytes, slot % SLOTS);
      const cell = u32[owners + block];
      const entry = directory + cell * 4;
      u32[entry + 3]--;
      const used = u32[entry + 1];
      if ((used - u32[entry + 3]) * 4 > used) this.#pack(cell);
    }
  }

  /** Makes sure that one more row can be appended to a cell, as `append` will have it. */
  reserve(cell: number): void {
    this.#makeRoom(cell, this.#plan.memory.u32[this.#entry(cell) + 1] + 1);
  }

  /**
   * Leaves out empty slots and the room between runs, after rows have moved: `moved` gives the new position of each old
   * one.
   */
  compact(moved: Uint32Array): void {
    const plan = this.#plan;
    const { u32, u8 } = plan.memory;
    const directory = plan.ptr('directory') >>> 2;
    const region = plan.ptr('blocks');
    for (const name of ['slots', 'owners']) plan.release(name);
    const order = Uint32Array.from({ length: this.count }, (_, cell) => cell).sort(
      (a, b) => u32[directory + a * 4] - u32[directory + b * 4],
    );
    let blocks = 0;
    for (const cell of order) {
      this.#pack(cell);
      const entry = directory + cell * 4;
      const held = Math.ceil(u32[entry + 1] / SLOTS);
      const from = region + u32[entry] * this.blockBytes;
      u8.copyWithin(region + blocks * this.blockBytes, from, from + held * this.blockBytes);
      u32[entry] = blocks;
      u32[entry + 2] = held;
      blocks += held;
      this.#slots(cell, (row) => {
        u32[row] = moved[u32[row]];
      });
    }
    this.#blocks = blocks;
    plan.memory.trim('blocks', blocks * this.blockBytes);
  }

  /** Moves rows from the end of a cell's run to its empty slots. */
  #pack(cell: number): void {
    const plan = this.#plan;
    const { u32 } = plan.memory;
    const entry = this.#entry(cell);
    if (u32[entry + 1] === u32[entry + 3]) return;
    const run = plan.ptr('blocks') + u32[entry] * this.blockBytes;
    const slots = plan.ptr('slots');
    u32[entry + 1] =
      plan.kernels.packRun(run, this.codeBytes, u32[entry + 1], slots, u32[entry] * SLOTS) >>> 0;
  }

  /** Brings `slots` and `owners` up to date for a cell's run, from a slot on. */
  #note(cell: number, from: number): void {
    const plan = this.#plan;
    const slots = plan.ptr('slots');
    if (!slots) return;
    const { u32 } = plan.memory;
    const [first, used, held] = u32.subarray(this.#entry(cell));
    const run = plan.ptr('blocks') + first * this.blockBytes;
    plan.kernels.noteSlots(run, this.codeBytes, from, used, slots, first * SLOTS);
    const owners = plan.ptr('owners') >>> 2;
    if (from === 0) u32.fill(cell, owners + first, owners + first + held);
  }

  /** The directory as it is, for `restore`. */
  snapshot(): Uint32Array {
    const at = this.#plan.ptr('directory') >>> 2;
    return this.#plan.memory.u32.slice(at, at + this.count * 4);
  }

  /** Takes back what was appended since the snapshot. Runs that have moved stay where they are. */
  restore(before: Uint32Array): void {
    const plan = this.#plan;
    const { u32 } = plan.memory;
    const at = plan.ptr('directory') >>> 2;
    for (let cell = 0; cell < this.count; cell++) {
      const entry = at + cell * 4;
      const used = before[cell * 4 + 1];
      for (let slot = used; slot < u32[entry + 1]; slot++) {
        const block = plan.ptr('blocks') + (u32[entry] + Math.floor(slot / SLOTS)) * this.blockBytes;
        plan.kernels.clearSlot(block, this.codeBytes, slot % SLOTS);
      }
      u32[entry + 1] = used;
      u32[entry + 3] = before[cell * 4 + 3];
    }
  }

  /** Slots in use of each cell, those of rows that are gone included. */
  usedSlots(): Uint32Array {
    return this.#column(1);
  }

  /** The blocks in use, a stretch for each cell. */
  runs(): { ptr: number; bytes: number }[] {
    const plan = this.#plan;
    const entry = plan.ptr('directory') >>> 2;
    return Array.from(this.usedSlots(), (used, cell) => ({
      ptr: plan.ptr('blocks') + plan.memory.u32[entry + cell * 4] * this.blockBytes,
      bytes: Math.ceil(used / SLOTS) * this.blockBytes,
    }));
  }

  /** Bytes of blocks for cells that use so many slots. */
  runBytes(slots: Uint32Array): number {
    let blocks = 0;
    for (const used of slots) blocks += Math.ceil(used / SLOTS);
    return blocks * this.blockBytes;
  }

  /** Room for the cells of a snapshot by the slots they use, which are copied into `centres` and `blocks`. */
  open(slots: Uint32Array): void {
    const plan = this.#plan;
    this.reset();
    this.#centres.open(slots.length);
    this.#layRuns(slots);
    const entry = plan.ptr('directory') >>> 2;
    slots.forEach((used, cell) => {
      plan.memory.u32[entry + cell * 4 + 1] = used;
    });
  }

  /**
   * Proves cells that were copied in (a row number reaches memory unchecked when a code survives), clears the slots that
   * they do not use, and codes the centres. Returns what is expected and does not hold, or nothing. Each step is short.
   */
  *settle(rows: number, grouped: boolean): Generator<unknown, string | undefined> {
    const plan = this.#plan;
    const { kernels } = plan;
    const { u32, f32 } = plan.memory;
    if (!this.#centres.areFit) return 'finite centres';
    const seen = new Uint8Array(rows);
    let found = 0;
    for (let cell = 0; cell < this.count; cell++) {
      const entry = this.#entry(cell);
      const used = u32[entry + 1];
      const before = found;
      for (let slot = 0; slot < used; slot += SLOTS) {
        if ((u32[entry] + slot / SLOTS) % PROVED_BLOCKS === 0) yield;
        const block = plan.ptr('blocks') + (u32[entry] + slot / SLOTS) * this.blockBytes;
        const add = (block + this.codeBytes) >>> 2;
        const last = Math.min(SLOTS, used - slot);
        for (let at = add; at < add + last; at++) {
          const row = u32[at + 64];
          if (row === NO_ROW) {
            if (f32[at] !== Infinity || f32[at + 32] !== 0) return 'nothing in an empty slot';
            continue;
          }
          if (row >= rows || seen[row] === 1) return 'every row in one slot';
          if (!Number.isFinite(f32[at]) || !Number.isFinite(f32[at + 32]))
            return 'finite factors of every code';
          seen[row] = 1;
          found++;
        }
        for (let i = last; i < SLOTS; i++) kernels.clearSlot(block, this.codeBytes, i);
      }
      u32[entry + 3] = found - before;
    }
    if (found < rows) return 'every row in one slot';
    if (this.count > 1 || grouped) yield* this.#centres.code(grouped);
    return undefined;
  }

  /** Rows that live in each cell. */
  sizes(): Uint32Array {
    return this.#column(3);
  }

  #column(place: number): Uint32Array {
    const at = (this.#plan.ptr('directory') >>> 2) + place;
    return Uint32Array.from({ length: this.count }, (_, cell) => this.#plan.memory.u32[at + cell * 4]);
  }

  /** Where the code of every live row is, by the id at its position; of removed ids 0. */
  *placesOf(ids: number): Generator<Progress, RowPlaces> {
    const places = { cells: new Uint32Array(ids), slots: new Uint32Array(ids) };
    const clock = new StepClock();
    for (let cell = 0; cell < this.count; cell++) {
      this.#mark(cell, places);
      if (clock.isDue()) yield { phase: 'tune', done: 0, total: this.count };
    }
    return places;
  }

  /**
   * What the code in a slot says of the rotated query in the plan, `g` from the centre of its cell: the estimate, and by how
   * much epsilon = 1 puts the lower bound under it.
   */
  codeOf(slot: number, g: number): { estimate: number; width: number } {
    const plan = this.#plan;
    const { f32, u8 } = plan.memory;
    const { dims } = this;
    const block = plan.ptr('blocks') + Math.floor(slot / SLOTS) * this.blockBytes;
    const rotated = plan.ptr('rotated') >>> 2;
    const at = slot % SLOTS;
    const byte = block + (at & 7) * 2 + ((at >> 3) & 1);
    const shift = at < 16 ? 0 : 4;
    let sum = 0;
    for (let j = 0; j < dims; j++) {
      const bit = (u8[byte + (j >> 2) * 16] >> (shift + (j & 3))) & 1;
      sum += bit ? f32[rotated + j] / 2 : -f32[rotated + j] / 2;
    }
    // Factors are rows of 32 words: what to add, and by what to multiply.
    const add = ((block + this.codeBytes) >>> 2) + at;
    const mul = f32[add + SLOTS];
    return { estimate: f32[add] + g + mul * sum, width: -0.3 * mul * Math.sqrt(g) };
  }

  /** Writes a cell's number and slots at the ids of its rows. */
  #mark(cell: number, { cells, slots }: RowPlaces): void {
    const plan = this.#plan;
    const { codeBytes, blockBytes } = this;
    const { u32 } = plan.memory;
    const labels = plan.ptr('labels') >>> 2;
    const entry = this.#entry(cell);
    const used = u32[entry + 1];
    let row = (plan.ptr('blocks') + u32[entry] * blockBytes + codeBytes) / 4 + 64;
    for (let slot = 0; slot < used; slot++) {
      if (u32[row] !== NO_ROW) {
        const id = u32[labels + u32[row]];
        cells[id] = cell;
        slots[id] = u32[entry] * SLOTS + slot;
      }
      row += slot % SLOTS === SLOTS - 1 ? blockBytes / 4 - SLOTS + 1 : 1;
    }
  }

  /** Where the row at a position stands for the rotated query in the plan: its cell, and what its code says. */
  trace(
    position: number,
    epsilon: number,
  ): { cell: number; cellRank: number; estimate: number; lowerBound: number } {
    const plan = this.#plan;
    const { u32 } = plan.memory;
    let cell = 0;
    let found = -1;
    for (let i = 0; i < this.count && found < 0; i++) {
      this.#slots(i, (row) => {
        if (u32[row] !== position) return;
        cell = i;
        found = row;
      });
    }
    const { squared, rank } = this.#centres.standing(cell);
    const bytes = found * 4 - plan.ptr('blocks');
    const block = Math.floor(bytes / this.blockBytes);
    const slot = (bytes - block * this.blockBytes - this.codeBytes) / 4 - 2 * SLOTS;
    const { estimate, width } = this.codeOf(block * SLOTS + slot, squared);
    const lowerBound = epsilon < Infinity ? estimate - epsilon * width : -Infinity;
    return { cell, cellRank: rank, estimate, lowerBound };
  }

  /** Calls back with the index (as a word of the memory) of each used slot's row number. */
  #slots(cell: number, visit: (row: number) => void): void {
    const plan = this.#plan;
    const [first, used] = plan.memory.u32.subarray(this.#entry(cell));
    for (let slot = 0; slot < used; slot++) {
      const block = plan.ptr('blocks') + (first + Math.floor(slot / SLOTS)) * this.blockBytes;
      visit(((block + this.codeBytes) >>> 2) + 64 + (slot % SLOTS));
    }
  }

  /** Whether a cell has outgrown the others, where there are so many rows in all. */
  isLarge(cell: number, rows: number): boolean {
    const size = this.#plan.memory.u32[this.#entry(cell) + 3];
    return size > Math.max(LEAST_SPLIT, (SPLIT_FACTOR * rows) / this.count);
  }

  /** Splits cells that have outgrown the others, by two steps of 2-means; `floats` gives the address of a row. */
  splitLarge(floats: (position: number, count: number) => number): void {
    if (this.count < 2 || this.count >= MAX_CELLS || this.isShelled) return;
    const sizes = this.sizes();
    let total = 0;
    for (const size of sizes) total += size;
    const limit = Math.max(LEAST_SPLIT, (SPLIT_FACTOR * total) / this.count);
    let split = false;
    for (let cell = 0; cell < sizes.length; cell++) {
      // A cell of equal rows cannot be split: look again when it has doubled.
      if (sizes[cell] <= limit || sizes[cell] < 2 * (this.#unsplit.get(cell) ?? 0)) continue;
      try {
        if (this.#split(cell, floats)) split = true;
        else this.#unsplit.set(cell, sizes[cell]);
      } catch (error) {
        // Without memory for it the cell stays as it is: slower, not wrong.
        if (!isOutOfMemory(error)) throw error;
        this.#unsplit.set(cell, sizes[cell]);
      } finally {
        for (const region of ['split rows', 'split centres']) this.#plan.release(region);
      }
    }
    if (split) finish(this.#centres.code(false));
  }

  /** Moves the farther part of a cell's rows to a new cell; false where its rows cannot be told apart. */
  #split(cell: number, floats: (position: number, count: number) => number): boolean {
    const plan = this.#plan;
    const bytes = this.dims * 4;
    const positions: number[] = [];
    this.#slots(cell, (row) => {
      const position = plan.memory.u32[row];
      if (position !== NO_ROW) positions.push(position);
    });
    const rows = positions.length;
    const rotated = plan.reserve('split rows', rows * bytes);
    positions.forEach((position, i) => {
      plan.kernels.transform(plan.address, floats(position, 1), 1, rotated + i * bytes);
    });
    const sides = this.#centres.part(rotated, rows);
    if (!sides) return false;
    const added = this.count;
    // All room first: nothing has moved yet when there is none.
    this.#centres.reserveOne();
    const blocks = this.#blocks + 2 * Math.ceil(rows / SLOTS) + 2;
    plan.reserve('blocks', blocks * this.blockBytes);
    if (plan.ptr('owners')) plan.reserve('owners', blocks * 4);
    const directory = plan.reserve('directory', (added + 1) * 16) >>> 2;
    this.#centres.add(cell);
    const { memory } = plan;
    memory.u32.set([0, 0, 0, 0], directory + added * 4);
    // The old run is written anew in place; clear it first.
    const entry = directory + cell * 4;
    const [first, , held] = memory.u32.subarray(entry, entry + 4);
    this.#clear(first, first + held);
    memory.u32[entry + 1] = 0;
    memory.u32[entry + 3] = 0;
    positions.forEach((position, i) => {
      this.append(sides[i] === 0 ? cell : added, floats(position, 1), position, 1);
    });
    return true;
  }

  /** Makes a cell's run hold `slots`, moving it to the end of the blocks when it must grow. */
  #makeRoom(cell: number, slots: number): void {
    const plan = this.#plan;
    const entry = this.#entry(cell);
    const held = plan.memory.u32[entry + 2];
    const needed = Math.ceil(slots / SLOTS);
    if (needed <= held) return;
    const room = Math.max(needed, held + (held >>> 1), 1);
    const last = plan.memory.u32[entry] + held === this.#blocks;
    const first = last ? plan.memory.u32[entry] : this.#blocks;
    if (plan.ptr('owners')) plan.reserve('owners', (first + room) * 4);
    const region = plan.reserve('blocks', (first + room) * this.blockBytes);
    const { memory } = plan;
    const words = this.#entry(cell);
    if (!last) {
      const from = region + memory.u32[words] * this.blockBytes;
      memory.u8.copyWithin(region + first * this.blockBytes, from, from + held * this.blockBytes);
    }
    this.#clear(first + held, first + room);
    memory.u32[words] = first;
    memory.u32[words + 2] = room;
    this.#blocks = first + room;
    this.#note(cell, 0);
  }
}

/** Every `step`-th float from `at` on. */
function everyOf(floats: Float32Array, at: number, step: number, count: number): Float32Array {
  const taken = new Float32Array(count);
  for (let i = 0; i < count; i++) taken[i] = floats[at + i * step];
  return taken;
}

/** The first shell whose limit is not below each of some numbers; the last shell for what is beyond all. */
function shellsOf(adds: Float32Array, limits: Float32Array, into: Uint32Array): void {
  for (let i = 0; i < adds.length; i++) {
    let low = 0;
    let high = limits.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (limits[middle] >= adds[i]) high = middle;
      else low = middle + 1;
    }
    into[i] = low;
  }
}
