// Rows → the coded space, by rotation or by a matrix.

import { get, Plan } from './plan';
import { margins } from './project';
import { rotate } from './rotate';

/**
 * Takes rows into the coded space.
 *
 * rows     f32 × count × Stride   read
 * rotated  f32 × count × Dims     written
 */
export function transform(plan: usize, rows: usize, count: u32, rotated: usize): void {
  const dims = <u32>get(plan, Plan.Dims);
  const stride = <u32>get(plan, Plan.Stride);
  const mean = get(plan, Plan.Mean);
  const rounds = <u32>get(plan, Plan.Rounds);
  if (rounds) {
    rotate(rows, count, stride, mean, get(plan, Plan.Signs), rounds, dims, rotated);
    return;
  }
  margins(rows, count, stride, stride, get(plan, Plan.Matrix), dims, rotated);
  const bytes = (<usize>dims) << 2;
  for (let r: u32 = 0; r < count; r++) {
    for (let i: usize = 0; i < bytes; i += 16) {
      v128.store(rotated + i, f32x4.sub(v128.load(rotated + i), v128.load(mean + i)));
    }
    rotated += bytes;
  }
}
