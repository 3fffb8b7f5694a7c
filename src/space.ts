import type { EnginePlan } from './plan.js';

/** Draws a word of 32 random bits. */
export interface RandomBits {
  nextUint32(): number;
}

/**
 * The coded space: a random rotation around the mean of the rows (assembly/rotate.ts). Signs of rotated residuals carry
 * the same share of the distance in every coordinate, whatever the data, which is what the codes' error bound rests on.
 */
export class Space {
  #plan: EnginePlan;

  constructor(plan: EnginePlan) {
    this.#plan = plan;
  }

  /** Draws the rotation; the mean is left at 0. */
  draw(random: RandomBits): void {
    const plan = this.#plan;
    const dims = plan.get('Stride');
    const width = 2 ** (31 - Math.clz32(dims));
    // Where the window covers all coordinates three rounds mix well; else two windows take turns.
    const rounds = width === dims ? 3 : 6;
    const scale = 1 / Math.sqrt(width);
    plan.set('Dims', dims);
    plan.set('Rounds', rounds);
    const signs = plan.reserve('signs', rounds * dims * 4) >>> 2;
    const { f32 } = plan.memory;
    for (let round = 0; round < rounds; round++) {
      const first = round % 2 === 1 ? dims - width : 0;
      for (let i = 0; i < dims; i++) {
        const size = i >= first && i < first + width ? scale : 1;
        f32[signs + round * dims + i] = random.nextUint32() & 1 ? size : -size;
      }
    }
    this.setMean(new Float64Array(dims));
    plan.reserve('rotated', dims * 4);
    plan.reserve('lut', dims * 4);
    plan.reserve('wide', Math.ceil(dims / 128) * 256);
    plan.reserve('wideQuery', Math.ceil(dims / 16) * 32);
  }

  setMean(mean: Float64Array): void {
    const at = this.#plan.reserve('mean', mean.length * 4) >>> 2;
    this.#plan.memory.f32.set(mean, at);
  }

  /** Takes rows of floats into the coded space. */
  transform(rows: number, count: number, rotated: number): void {
    this.#plan.kernels.transform(this.#plan.address, rows, count, rotated);
  }
}
