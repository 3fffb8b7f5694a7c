import type { EngineKernels } from './kernels.js';
import type { EnginePlan } from './plan.js';
import { type Progress, StepClock, under } from './progress.js';
import { alone, type Job, type Share } from './share.js';

/** Draws numbers from [0, 1). */
export interface RandomNumbers {
  uniform(): number;
}

/** Bytes behind the codes of a block: add, mul, row (assembly/encode.ts). */
export const FACTOR_BYTES = 384;
export const SLOTS = 32;
/** More than the length of any rotated row. */
const LARGEST_CENTRE = 1e19;
/** Rows that are added to the sums of their cells in one step. */
const SUMMED_ROWS = 1024;
/** Steps of Lloyd's algorithm. More than four move recall by less than a different seed does. */
const ITERATIONS = 4;
/** Share of the cells that may be moved to where rows lie far from every centre, after each step but the last. */
const RESEED_SHARE = 0.1;
/** Spare candidates when a row is assigned: each costs 0.2 µs a row, and fewer poison all that follows. */
const ASSIGN_SPARE = 6;
const ASSIGN_GROUP_SPARE = 8;
/** Rows that are assigned both ways before centres are ranked through groups, and how much farther cells may be then. */
const GROUP_TRIALS = 200;
const GROUP_LOSS = 1.005;

type GroupJob = Extract<Job, { kind: 'group' }>;

/**
 * The centres of cells, in the regions `centres`, `centreBlocks`, `groupCentres` and `groupStarts` (layouts: assembly/plan.ts
 * and encode.ts): how they are trained, and how queries and rows find the nearest, by codes of the centres, in one run or by
 * groups.
 */
export class Centres {
  #plan: EnginePlan;

  constructor(plan: EnginePlan) {
    this.#plan = plan;
  }

  get count(): number {
    return this.#plan.get('Cells');
  }

  get dims(): number {
    return this.#plan.get('Dims');
  }

  /** Puts so many centres on the origin of the coded space. */
  openAtOrigin(cells: number): void {
    const plan = this.#plan;
    for (const region of ['centres', 'centreBlocks', 'groupCentres', 'groupStarts', 'groupOrder'])
      plan.release(region);
    this.open(cells);
    const centres = plan.ptr('centres') >>> 2;
    plan.memory.f32.fill(0, centres, centres + cells * this.dims);
  }

  /** Whether all of them lie on the origin. */
  get areAtOrigin(): boolean {
    const centres = this.#plan.ptr('centres') >>> 2;
    return this.#plan.memory.f32.subarray(centres, centres + this.count * this.dims).every((x) => x === 0);
  }

  /** Room for so many centres and for ranking them in one run, those that are there kept. */
  open(cells: number): void {
    const plan = this.#plan;
    plan.reserve('centres', cells * this.dims * 4);
    this.#reserveScratch(cells);
    plan.set('Cells', cells);
    plan.set('Groups', 0);
  }

  /** Makes room for queries, for centres that are there already. */
  adopt(): void {
    this.#reserveScratch(this.count);
    this.#plan.reserve('groupOrder', Math.max(1, this.#plan.get('Groups')) * 8);
  }

  /**
   * Parts rotated rows by steps of 2-means; the side of each, or null where they are all equal. `add` takes the two centres
   * over.
   */
  part(rotated: number, rows: number): Uint32Array | null {
    const plan = this.#plan;
    const { dims } = this;
    const bytes = dims * 4;
    // The two centres, the sums of their rows, how many those are, scratch, and of each row a distance, then its side.
    const pair = plan.reserve('split centres', 4 * bytes + 32 + rows * 4);
    const sums = pair + 2 * bytes;
    const counts = sums + 2 * bytes;
    const sides = counts + 32;
    const { memory, kernels } = plan;
    // From the centre's nearest row outwards would be slower and no better: the first row, and the one farthest from it.
    kernels.squaredL2(rotated, rotated, rows, dims, sides);
    const distances = memory.f32.subarray(sides >>> 2, (sides >>> 2) + rows);
    let far = 0;
    for (let i = 1; i < rows; i++) if (distances[i] > distances[far]) far = i;
    if (!(distances[far] > 0)) return null;
    memory.u8.copyWithin(pair, rotated, rotated + bytes);
    memory.u8.copyWithin(pair + bytes, rotated + far * bytes, rotated + (far + 1) * bytes);
    for (let step = 0; ; step++) {
      kernels.assignExactly(rotated, rows, dims, pair, 2, counts + 16, sides);
      if (step === 2) return memory.u32.slice(sides >>> 2, (sides >>> 2) + rows);
      memory.u8.fill(0, sums, sides);
      kernels.accumulate(rotated, rows, dims, sides, sums, counts);
      kernels.moveCentres(sums, counts, 2, dims, pair);
    }
  }

  /** Makes room for one more. Where there is none it throws; then nothing has changed. */
  reserveOne(): void {
    const plan = this.#plan;
    const centres = this.count + 1;
    plan.reserve('centreBlocks', (Math.ceil(centres / SLOTS) + 1) * (this.dims * 8 + FACTOR_BYTES));
    plan.reserve('groupStarts', (centres + 1) * 4);
    this.#reserveScratch(centres);
    plan.reserve('centres', centres * this.dims * 4);
  }

  /** Gives a cell the first of the two centres that `part` found, and the second to a new one. `code` must follow. */
  add(cell: number): void {
    const plan = this.#plan;
    const bytes = this.dims * 4;
    const centres = plan.ptr('centres');
    const pair = plan.ptr('split centres');
    plan.memory.u8.copyWithin(centres + cell * bytes, pair, pair + bytes);
    plan.memory.u8.copyWithin(centres + this.count * bytes, pair + bytes, pair + 2 * bytes);
    plan.set('Cells', this.count + 1);
  }

  /** Whether all can be computed with. */
  get areFit(): boolean {
    const floats = this.count * this.dims;
    return this.#plan.kernels.firstUnfit(this.#plan.ptr('centres'), floats, LARGEST_CENTRE) >>> 0 === floats;
  }

  /** Squared distance of a centre to the rotated query in the plan, and how many are nearer. */
  standing(cell: number): { squared: number; rank: number } {
    const { dims, count } = this;
    const { f32 } = this.#plan.memory;
    const rotated = this.#plan.ptr('rotated') >>> 2;
    const distances = Array.from({ length: count }, (_, i) => {
      const centre = (this.#plan.ptr('centres') >>> 2) + i * dims;
      let sum = 0;
      for (let j = 0; j < dims; j++)
        sum += (f32[rotated + j] - f32[centre + j]) * (f32[rotated + j] - f32[centre + j]);
      return sum;
    });
    const squared = distances[cell];
    return { squared, rank: distances.filter((distance) => distance < squared).length };
  }

  /**
   * Trains centres on the rotated rows of the region `sample`.
   *
   * k-means by Lloyd's steps from random rows, with reseeding: random seeds leave whole clumps of the data without a
   * centre, and no number of further steps repairs that.
   */
  *train(
    cells: number,
    sampleRows: number,
    random: RandomNumbers,
    iterations: number = ITERATIONS,
    share: Share = alone,
  ): Generator<Progress> {
    const plan = this.#plan;
    const bytes = this.dims * 4;
    this.open(cells);
    // The sample is in random order already: its first rows are random rows.
    const sample = plan.ptr('sample');
    plan.memory.u8.copyWithin(plan.ptr('centres'), sample, sample + cells * bytes);
    yield* this.#codeCentres(sampleRows, share);

    const nearest = plan.reserve('nearest cells', sampleRows * 4);
    const distances = plan.reserve('cell distances', sampleRows * 4);
    const total = iterations * sampleRows;
    for (let iteration = 0; iteration < iterations; iteration++) {
      const job: Job = { kind: 'train', sample, nearest, distances };
      yield* share(job, sampleRows, (first, end) => {
        this.assignSample(sample, nearest, distances, first, end);
        return { phase: 'train', done: iteration * sampleRows + end, total };
      });
      const done: Progress = { phase: 'train', done: (iteration + 1) * sampleRows, total };
      const counts = yield* this.#move(plan.ptr('centres'), cells, sample, sampleRows, nearest, done);
      if (iteration < iterations - 1) this.#reseed(sampleRows, counts, random);
      yield* under(done, this.#codeCentres(sampleRows, share));
    }
    for (const region of ['sums', 'nearest cells', 'cell distances']) plan.release(region);
  }

  /**
   * Moves centres to the means of the rows that are nearest to them; returns the address of how many those are. On one
   * thread, in the order of the rows: sums of floats depend on it.
   */
  *#move(
    centres: number,
    count: number,
    rows: number,
    rowCount: number,
    nearest: number,
    done: Progress,
  ): Generator<Progress, number> {
    const plan = this.#plan;
    const { dims } = this;
    const sums = plan.reserve('sums', count * (dims * 4 + 4));
    const counts = sums + count * dims * 4;
    plan.memory.u8.fill(0, sums, counts + count * 4);
    const clock = new StepClock();
    for (let row = 0; row < rowCount; row += SUMMED_ROWS) {
      const some = Math.min(SUMMED_ROWS, rowCount - row);
      plan.kernels.accumulate(rows + row * dims * 4, some, dims, nearest + row * 4, sums, counts);
      if (clock.isDue()) yield done;
    }
    plan.kernels.moveCentres(sums, counts, count, dims, centres);
    return counts;
  }

  /** The nearest cells of some rows of the sample. */
  assignSample(sample: number, nearest: number, distances: number, first: number, end: number): void {
    this.assign(sample + first * this.dims * 4, end - first, nearest + first * 4, distances + first * 4);
  }

  /** The nearest cell of each of `rows` rotated rows, and its squared distance: u32 and f32 at the given addresses. */
  assign(rotated: number, rows: number, cells: number, distances: number): void {
    this.#plan.kernels.assign(
      this.#plan.address,
      rotated,
      rows,
      ASSIGN_SPARE,
      ASSIGN_GROUP_SPARE,
      cells,
      distances,
    );
  }

  /**
   * Drops the cells that no row fell into, which would only be probed in vain. Returns the new number of each old cell;
   * those of dropped cells mean nothing.
   */
  *dropEmpty(sizes: Uint32Array, share: Share = alone): Generator<Progress, Uint32Array> {
    const plan = this.#plan;
    const bytes = this.dims * 4;
    const numbers = new Uint32Array(sizes.length);
    const centres = plan.ptr('centres');
    let kept = 0;
    for (let cell = 0; cell < sizes.length; cell++) {
      numbers[cell] = kept;
      if (sizes[cell] === 0) continue;
      plan.memory.u8.copyWithin(centres + kept * bytes, centres + cell * bytes, centres + (cell + 1) * bytes);
      kept++;
    }
    if (kept === sizes.length) return numbers;
    plan.set('Cells', kept);
    yield* this.code(plan.get('Groups') > 0, share);
    return numbers;
  }

  /** Codes them as they are, in one run or by groups. */
  *code(grouped: boolean, share: Share = alone): Generator<Progress> {
    yield* this.#codeRun(grouped ? yield* this.#groupCentres(share) : null);
  }

  /** Moves the emptiest cells to sample rows, drawn in proportion to how much farther than the mean they lie. */
  #reseed(sampleRows: number, countsPtr: number, random: RandomNumbers): void {
    const plan = this.#plan;
    const { u32, f32 } = plan.memory;
    const cells = this.count;
    const counts = u32.subarray(countsPtr >>> 2, (countsPtr >>> 2) + cells);
    const distances = f32.subarray(plan.ptr('cell distances') >>> 2).subarray(0, sampleRows);
    const cumulative = sumsAboveMean(distances);
    const total = cumulative[sampleRows - 1];
    if (!(total > 0)) return;
    const emptiest = Uint32Array.from({ length: cells }, (_, cell) => cell).sort(
      (a, b) => counts[a] - counts[b] || a - b,
    );
    const moves = Math.floor(cells * RESEED_SHARE);
    const few = (0.6 * sampleRows) / cells;
    for (let i = 0; i < moves && counts[emptiest[i]] < few; i++) {
      const row = firstAbove(cumulative, random.uniform() * total);
      const from = plan.ptr('sample') + row * this.dims * 4;
      plan.memory.u8.copyWithin(
        plan.ptr('centres') + emptiest[i] * this.dims * 4,
        from,
        from + this.dims * 4,
      );
    }
  }

  /** Codes the centres: in one run, or by groups where groups are shown to find the same cells. */
  *#codeCentres(sampleRows: number, share: Share): Generator<Progress> {
    const plan = this.#plan;
    const cells = this.count;
    yield* this.code(false);
    if (cells < 512 || sampleRows === 0) return;
    const trials = Math.min(GROUP_TRIALS, sampleRows);
    const nearest = plan.reserve('trial cells', trials * 8);
    const distances = nearest + trials * 4;
    const sample = plan.ptr('sample');
    const tryOut = (): Generator<Progress> =>
      share({ kind: 'train', sample, nearest, distances }, trials, (first, end) => {
        this.assignSample(sample, nearest, distances, first, end);
        return { phase: 'train', done: 0, total: cells };
      });
    const sum = (): number =>
      plan.memory.f32.subarray(distances >>> 2, (distances >>> 2) + trials).reduce((a, b) => a + b, 0);
    yield* tryOut();
    const inOneRun = sum();
    yield* this.code(true, share);
    yield* tryOut();
    const grouped = sum();
    plan.release('trial cells');
    if (grouped > inOneRun * GROUP_LOSS) yield* this.code(false);
  }

  /** The nearest group of some of the centres. */
  assignCentres({ centres, groups, table, nearest }: GroupJob, first: number, end: number): void {
    const { dims } = this;
    const plan = this.#plan;
    const scratch = plan.reserve('group distances', groups * 4);
    plan.kernels.assignExactly(
      centres + first * dims * 4,
      end - first,
      dims,
      table,
      groups,
      scratch,
      nearest + first * 4,
    );
  }

  /** A few Lloyd's steps over the centres themselves; returns each centre's group. */
  *#groupCentres(share: Share): Generator<Progress, Uint32Array> {
    const plan = this.#plan;
    const { memory } = plan;
    const cells = this.count;
    const bytes = this.dims * 4;
    const groups = groupsOf(cells);
    const table = plan.reserve('groupCentres', (groups + 1) * bytes);
    for (let group = 0; group < groups; group++) {
      const from = plan.ptr('centres') + Math.floor((group * cells) / groups) * bytes;
      memory.u8.copyWithin(table + group * bytes, from, from + bytes);
    }
    const nearest = plan.reserve('nearest groups', cells * 4);
    const done: Progress = { phase: 'train', done: 0, total: cells };
    for (let iteration = 0; ; iteration++) {
      const job: Job = { kind: 'group', centres: plan.ptr('centres'), groups, table, nearest };
      yield* share(job, cells, (first, end) => {
        this.assignCentres(job, first, end);
        return done;
      });
      if (iteration === 3) break;
      yield* this.#move(table, groups, plan.ptr('centres'), cells, nearest, done);
    }
    const groupOf = memory.u32.slice(nearest >>> 2, (nearest >>> 2) + cells);
    for (const region of ['sums', 'nearest groups', 'group distances']) plan.release(region);
    return groupOf;
  }

  /** Writes the centre blocks, all in one run coded against the origin, or a run a group coded against its centre. */
  *#codeRun(groupOf: Uint32Array | null): Generator<Progress> {
    const plan = this.#plan;
    const { kernels } = plan;
    const cells = this.count;
    const dims = this.dims;
    const groups = groupOf ? groupsOf(cells) : 1;
    const lists = listsOf(groupOf ?? new Uint32Array(cells), groups);
    let blocks = 0;
    for (const list of lists) blocks += Math.ceil(list.length / SLOTS);
    const codeBytes = dims * 8;
    const blockBytes = codeBytes + FACTOR_BYTES;
    const region = plan.reserve('centreBlocks', blocks * blockBytes);
    plan.reserve('groupOrder', groups * 8);
    const starts = plan.reserve('groupStarts', (groups + 1) * 4) >>> 2;
    if (!groupOf) plan.reserve('groupCentres', dims * 4);
    const table = plan.ptr('groupCentres');
    if (!groupOf) plan.memory.f32.fill(0, table >>> 2, (table >>> 2) + dims);
    const centres = plan.ptr('centres');
    const clock = new StepClock();
    let block = 0;
    for (let group = 0; group < groups; group++) {
      plan.memory.u32[starts + group] = block;
      const list = lists[group];
      for (let first = 0; first < list.length; first += SLOTS, block++) {
        const into = region + block * blockBytes;
        kernels.clearBlock(into, codeBytes);
        codeBlock(kernels, centres, list.slice(first, first + SLOTS), dims, table + group * dims * 4, into);
        if (clock.isDue()) yield { phase: 'train', done: 0, total: cells };
      }
    }
    plan.memory.u32[starts + groups] = block;
    plan.set('Groups', groupOf ? groups : 0);
  }

  /** Gives the room back that ranking more centres took. */
  trimScratch(): void {
    for (const region of ['candidateKeys', 'candidates'])
      this.#plan.memory.trim(region, candidatesOf(this.count) * 4);
  }

  #reserveScratch(cells: number): void {
    const candidates = candidatesOf(cells);
    this.#plan.reserve('candidateKeys', candidates * 4);
    this.#plan.reserve('candidates', candidates * 4);
    this.#plan.reserve('bins', binBytes(candidates));
  }
}

/** Up to so many centres all are measured, and no codes of them are scanned (FEW of assembly/assign.ts). */
const FEW = 48;

/** Places of the lists that centres are ranked in. */
export function candidatesOf(cells: number): number {
  return cells <= FEW ? FEW + 16 : 3 * cells + 640;
}

/** Bytes that arranging a list of so many takes (assembly/select.ts). */
export function binBytes(places: number): number {
  return 1024 + 9 * places + 16;
}

/** Groups that this many centres are ranked through where they are grouped. */
export function groupsOf(cells: number): number {
  return Math.max(8, Math.floor(Math.sqrt(cells)));
}

// Loops over rows, as functions of their own: inside of a generator they take three times as long.

/** How far numbers are above their mean, summed up to each. */
function sumsAboveMean(numbers: Float32Array): Float64Array {
  let mean = 0;
  for (let i = 0; i < numbers.length; i++) mean += numbers[i] / numbers.length;
  const sums = new Float64Array(numbers.length);
  let sum = 0;
  for (let i = 0; i < numbers.length; i++) {
    sum += Math.max(0, numbers[i] - mean);
    sums[i] = sum;
  }
  return sums;
}

/** The first of ascending numbers that is above one; the last where none is. */
function firstAbove(numbers: Float64Array, one: number): number {
  let low = 0;
  let high = numbers.length - 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (numbers[middle] <= one) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The cells of each group, ascending. */
function listsOf(groupOf: Uint32Array, groups: number): number[][] {
  const lists: number[][] = Array.from({ length: groups }, () => []);
  for (let cell = 0; cell < groupOf.length; cell++) lists[groupOf[cell]].push(cell);
  return lists;
}

/** Codes the centres of some cells against a point, into the slots of a block. */
function codeBlock(
  kernels: EngineKernels,
  centres: number,
  cells: readonly number[],
  dims: number,
  against: number,
  block: number,
): void {
  for (let i = 0; i < cells.length; i++)
    kernels.encode(centres + cells[i] * dims * 4, against, dims, block, i, 1, cells[i], 0);
}
