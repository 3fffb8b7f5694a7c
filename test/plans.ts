import type { Kernels } from '../src/kernels.js';
import { Arena, uniform } from './arena.js';
import { normals } from './data.js';
import * as reference from './reference.js';

/** Bytes behind the codes of a block: add, mul, row. */
export const FACTOR_BYTES = 384;
export const NO_ROW = 0xffffffff;

/** An arena with an engine's plan (assembly/plan.ts) in it: regions are entered into the plan under their field. */
export class PlanArena {
  readonly arena: Arena;
  #fields: Map<string, number> = new Map();
  #plan = 0;

  constructor(pages = 64) {
    this.arena = new Arena(pages);
    const globals = this.arena.kernels as unknown as Record<string, WebAssembly.Global>;
    for (const [name, value] of Object.entries(globals)) {
      if (name.startsWith('Plan.')) this.#fields.set(name.slice(5), value.value as number);
    }
    this.reset();
  }

  /** Forgets all regions; every field is 0. */
  reset(): void {
    this.arena.reset();
    const bytes = 4 * this.#word('Bytes');
    this.#plan = this.arena.output(bytes, new Uint8Array(bytes));
  }

  get(field: string): number {
    return this.arena.words(this.#plan + 4 * this.#word(field), 1)[0];
  }

  getFloat(field: string): number {
    return this.arena.floats(this.#plan + 4 * this.#word(field), 1)[0];
  }

  set(field: string, value: number): void {
    new Uint32Array(this.arena.memory.buffer, this.#plan, this.#word(field) + 1)[this.#word(field)] = value;
  }

  setFloat(field: string, value: number): void {
    new Float32Array(this.arena.memory.buffer, this.#plan, this.#word(field) + 1)[this.#word(field)] = value;
  }

  /** A region that kernels only read. */
  input(field: string, data: Float32Array | Uint32Array | Uint8Array): number {
    const ptr = this.arena.input(data);
    this.set(field, ptr);
    return ptr;
  }

  /** A region that kernels may write. */
  output(field: string, bytes: number, data?: Float32Array | Uint32Array | Uint8Array): number {
    const ptr = this.arena.output(bytes, data);
    this.set(field, ptr);
    return ptr;
  }

  /** Calls a kernel with the plan, and fails if it changed a byte outside the regions that it may write. */
  run<Result>(call: (kernels: Kernels, plan: number) => Result): Result {
    return this.arena.run((kernels) => call(kernels, this.#plan));
  }

  /** Lets kernels write inputs, with writes of JavaScript between them: without the checks of `run`. */
  layOut(call: (kernels: Kernels) => void): void {
    call(this.arena.kernels);
  }

  /** Copies of floats and words of a region. */
  floats(field: string, count: number): Float32Array {
    return this.arena.floats(this.get(field), count);
  }

  words(field: string, count: number): Uint32Array {
    return this.arena.words(this.get(field), count);
  }

  #word(field: string): number {
    const word = this.#fields.get(field);
    if (word === undefined) throw new Error(`plan: expected a field of assembly/plan.ts, got ${field}`);
    return word;
  }
}

/** Random signs of every round, each times width^-1/2 where the round's window covers it. */
export function rotationSigns(dimensions: number, rounds: number, seed: number): Float32Array {
  const next = uniform(seed);
  const width = 2 ** Math.floor(Math.log2(dimensions));
  return Float32Array.from({ length: rounds * dimensions }, (_, i) => {
    const start = Math.floor(i / dimensions) % 2 === 0 ? 0 : dimensions - width;
    const at = i % dimensions;
    const scale = at >= start && at < start + width ? width ** -0.5 : 1;
    return next() < 0.5 ? -scale : scale;
  });
}

/** Enters a space: rows of `dims` floats, rotated in three rounds around a mean. */
export function layOutSpace(
  plan: PlanArena,
  dims: number,
  seed = 1,
): { mean: Float32Array; signs: Float32Array } {
  const mean = normals(dims, seed).map((x) => x / 4);
  const signs = rotationSigns(dims, 3, seed + 1);
  plan.set('Stride', dims);
  plan.set('RowBytes', 4 * dims);
  plan.set('Dims', dims);
  plan.set('Rounds', 3);
  plan.input('Mean', mean);
  plan.input('Signs', signs);
  return { mean, signs };
}

/** What a query needs: itself, its table, and the scratch of the stages, each just as large as plan.ts says. */
export function layOutQuery(plan: PlanArena, query: Float32Array): void {
  const dims = plan.get('Dims');
  plan.output('Query', query.byteLength, query);
  plan.output('Rotated', 4 * dims);
  plan.output('Lut', 4 * dims);
  const constants = new Uint8Array(32).fill(15);
  for (let i = 17; i < 32; i += 2) constants[i] = 0;
  plan.input('Constants', constants);
  plan.output('Waiting', 144 * 16 + 4 * 516);
  plan.output('Wide', 2 * 128 * Math.ceil(dims / 128));
  plan.output('WideQuery', 2 * 16 * Math.ceil(plan.get('Stride') / 16));
  plan.output('Scores', 4 * 260);
}

/** Centres, all in one run of codes, and the scratch that ranking them takes. */
export function layOutCentres(plan: PlanArena, centres: Float32Array): void {
  const dims = plan.get('Dims');
  const cells = centres.length / dims;
  const candidates = 3 * cells + 640;
  plan.set('Cells', cells);
  plan.set('Groups', 0);
  plan.input('Centres', centres);
  plan.input('GroupCentres', new Float32Array(dims));
  const blockBytes = 8 * dims + FACTOR_BYTES;
  const blocks = Math.ceil(cells / 32);
  const region = plan.output('CentreBlocks', blocks * blockBytes);
  plan.layOut((kernels) => {
    for (let block = 0; block < blocks; block++) kernels.clearBlock(region + block * blockBytes, 8 * dims);
    for (let cell = 0; cell < cells; cell++) {
      kernels.encode(
        plan.get('Centres') + 4 * dims * cell,
        plan.get('GroupCentres'),
        dims,
        region + Math.floor(cell / 32) * blockBytes,
        cell % 32,
        1,
        cell,
        0,
      );
    }
  });
  plan.output('CandidateKeys', 4 * candidates);
  plan.output('Candidates', 4 * candidates);
  layOutBins(plan, candidates);
}

/** Scratch for arranging lists of up to `count`. */
export function layOutBins(plan: PlanArena, count: number): void {
  plan.output('Bins', 4 * 256 + 9 * count + 16);
}

/** Rows of one cell in the coded space, and how many blocks its run holds. */
export interface CellRows {
  rotated: Float32Array;
  /** Positions of the rows. */
  positions: Uint32Array;
  blocks?: number;
}

/** Cells with their runs of blocks, in order; `Centres` must stand. */
export function layOutCells(plan: PlanArena, cells: readonly CellRows[]): void {
  const dims = plan.get('Dims');
  const blockBytes = 4 * dims + FACTOR_BYTES;
  const held = cells.map((cell) => cell.blocks ?? Math.ceil(cell.positions.length / 32));
  const directory = new Uint32Array(4 * cells.length);
  let first = 0;
  cells.forEach((cell, i) => {
    directory.set([first, cell.positions.length, held[i], cell.positions.length], 4 * i);
    first += held[i];
  });
  plan.input('Directory', directory);
  const region = plan.output('Blocks', first * blockBytes);
  const rotated = plan.arena.output(4 * dims);
  plan.layOut((kernels) => {
    for (let block = 0; block < first; block++) kernels.clearBlock(region + block * blockBytes, 4 * dims);
    cells.forEach((cell, i) => {
      cell.positions.forEach((position, slot) => {
        new Float32Array(plan.arena.memory.buffer, rotated).set(reference.rowOf(cell.rotated, slot, dims));
        const block = region + (directory[4 * i] + Math.floor(slot / 32)) * blockBytes;
        kernels.encode(rotated, plan.get('Centres') + 4 * dims * i, dims, block, slot % 32, 0, position, 0);
      });
    });
  });
}

/** Settings of a search; those not given are none, or as few as may be. */
export interface SearchSettings {
  k: number;
  probes: number;
  epsilon: number;
  patience?: number;
  keep?: number;
  capacity?: number;
  /** Estimates that set the limit; k by default. */
  estimates?: number;
}

/** The settings and lists of a search. */
export function layOutSearch(plan: PlanArena, settings: SearchSettings): void {
  const { k, probes, epsilon, patience = 0, keep = 40, capacity = 1024, estimates = k } = settings;
  plan.set('K', k);
  plan.set('EstimateCount', estimates);
  plan.set('Probes', probes);
  plan.setFloat('Epsilon', epsilon);
  plan.set('Patience', patience);
  plan.set('Keep', keep);
  plan.set('SurvivorCapacity', capacity);
  plan.output('SurvivorKeys', 4 * (capacity + 8));
  plan.output('SurvivorRows', 4 * (capacity + 8));
  plan.output('Estimates', 4 * estimates);
  plan.output('Heap', 8 * k);
}

/** What encode.ts says of a row, in doubles: its two factors and the bits of its code. */
export function encodePlainly(
  rotated: ArrayLike<number>,
  centre: ArrayLike<number>,
): { add: number; mul: number; bits: boolean[]; size: number } {
  const bits: boolean[] = [];
  let squared = 0;
  let length = 0;
  let along = 0;
  let centreLength = 0;
  for (let i = 0; i < rotated.length; i++) {
    const r = Math.fround(rotated[i] - centre[i]);
    bits.push(r >= 0);
    squared += r * r;
    length += Math.abs(r);
    along += r >= 0 ? centre[i] : -centre[i];
    centreLength += Math.abs(centre[i]);
  }
  const ratio = length > 0 ? squared / length : 0;
  // `size` is what rounding errors of the factors are a share of.
  return {
    add: squared + 2 * ratio * along,
    mul: -4 * ratio,
    bits,
    size: squared + 2 * ratio * centreLength,
  };
}

/** The squared distance that a code stands for, less the error bound's margin: the formula of encode.ts. */
export function estimatePlainly(
  code: { add: number; mul: number; bits: boolean[] },
  query: ArrayLike<number>,
  g: number,
  margin: number,
): number {
  let sum = margin;
  for (let i = 0; i < query.length; i++) sum += code.bits[i] ? query[i] / 2 : -query[i] / 2;
  return code.add + g + code.mul * sum;
}
