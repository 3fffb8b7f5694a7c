import { CHUNK_ROWS, type EnginePlan } from './plan.js';
import type { Progress } from './progress.js';
import type { Rows } from './rows.js';
import type { Share } from './share.js';
import type { Space } from './space.js';

/** Step of the 4-bit levels, in units of the coordinates' standard deviation: best for 16 levels of a Gaussian. */
const REFINE_STEP = 0.3352;
/** Rows that this deviation is taken over. */
const SPREAD_ROWS = 2000;
const LARGEST_FLOAT = 3.4028234e38;

/**
 * What the second stage looks up: of every position a 4-bit record of the rotated row and its norm, in the regions `refine`
 * and `refineNorms` (assembly/refine.ts). An index has them for all of its rows, or none.
 */
export class Records {
  #plan: EnginePlan;
  #rows: Rows;
  #space: Space;

  constructor(plan: EnginePlan, rows: Rows, space: Space) {
    this.#plan = plan;
    this.#rows = rows;
    this.#space = space;
  }

  get exist(): boolean {
    return this.#plan.ptr('refine') !== 0;
  }

  /** Bytes of one, in each of the regions. */
  get regions(): [region: string, bytes: number][] {
    return [
      ['refine', Math.ceil(this.#plan.get('Dims') / 32) * 16],
      ['refineNorms', 4],
    ];
  }

  /** Makes room for those of so many rows, with steps of this size, which are copied in. */
  open(rows: number, step: number): void {
    for (const [region, bytes] of this.regions) this.#plan.reserve(region, rows * bytes);
    this.#plan.setFloat('RefineStep', step);
  }

  /** Whether those of so many rows can be computed with; so can none. */
  areFit(rows: number): boolean {
    const norms = this.#plan.ptr('refineNorms');
    return !norms || this.#plan.kernels.firstUnfit(norms, rows, LARGEST_FLOAT) >>> 0 === rows;
  }

  /** Gives them up. */
  drop(): void {
    for (const [region] of this.regions) this.#plan.release(region);
  }

  /** Makes those of the rows at all positions. `chunk` must be open. */
  *make(rows: number, share: Share): Generator<Progress> {
    const plan = this.#plan;
    const dims = plan.get('Dims');
    const count = Math.min(rows, SPREAD_ROWS);
    let squares = 0;
    for (let i = 0; i < count; i++) {
      this.#space.transform(this.#rows.floats(Math.floor((i * rows) / count), 1), 1, plan.ptr('chunk'));
      squares += squaresOf(plan.memory.f32, plan.ptr('chunk') >>> 2, dims);
    }
    this.open(rows, REFINE_STEP * Math.sqrt(squares / count / dims));
    yield* share({ kind: 'refine' }, rows, (first, end) => {
      this.fill(first, end);
      return { phase: 'refine', done: end, total: rows };
    });
  }

  /** Where there are any: makes those of rows that came or changed, too. */
  extend(first: number, end: number): void {
    if (!this.exist) return;
    for (const [region, bytes] of this.regions) this.#plan.reserve(region, end * bytes);
    this.fill(first, end);
  }

  /** Writes those of the rows at some positions. */
  fill(first: number, end: number): void {
    const plan = this.#plan;
    const [[, bytes]] = this.regions;
    for (let position = first; position < end; position += CHUNK_ROWS) {
      const count = Math.min(CHUNK_ROWS, end - position);
      plan.kernels.fillRecords(
        plan.address,
        this.#rows.floats(position, count),
        count,
        plan.ptr('refine') + position * bytes,
        plan.ptr('refineNorms') + position * 4,
        plan.ptr('chunk'),
      );
    }
  }
}

function squaresOf(floats: Float32Array, first: number, count: number): number {
  let squares = 0;
  for (let j = first; j < first + count; j++) squares += floats[j] * floats[j];
  return squares;
}
