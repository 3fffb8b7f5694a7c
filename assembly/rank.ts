// Bounded selection of the k nearest, and the exact rankings built on it.
//
//     heap: k records of 8 bytes, f32 score · u32 id, the farthest on top
//
// Order: by score, equal scores by id, so that an answer does not depend on the order in which rows were seen.
// A score grows with the distance: squared distance (metric 0), 1 - cosine (1), minus the inner product (2).

import { dot, dotGathered, squaredL2, squaredL2Gathered } from './distance';
import { addProduct, addSquare, sum } from './lanes';
import { margins } from './project';

const EUCLIDEAN: u32 = 0;
const COSINE: u32 = 1;

/** Rows that are scored before they are ranked: their scores stay in the first-level cache. */
const CHUNK: u32 = 256;

/** Rows whose products with a block of queries are made before they are looked at. */
const STRETCH: u32 = 64;

// @ts-ignore: decorator
@inline
export function isFarther(score: f32, id: u32, otherScore: f32, otherId: u32): bool {
  return score > otherScore || (score == otherScore && id > otherId);
}

/** Lets a record sink from the root of heap[0, size). */
export function sink(heap: usize, size: u32, score: f32, id: u32): void {
  const end = heap + ((<usize>size) << 3);
  let hole = heap;
  for (;;) {
    let child = heap + ((hole - heap) << 1) + 8;
    if (child >= end) break;
    if (child + 8 < end && isFarther(load<f32>(child, 8), load<u32>(child, 12), load<f32>(child), load<u32>(child, 4))) {
      child += 8;
    }
    if (!isFarther(load<f32>(child), load<u32>(child, 4), score, id)) break;
    store<u64>(hole, load<u64>(child));
    hole = child;
  }
  store<f32>(hole, score);
  store<u32>(hole, id, 4);
}

/** Offers a record to a heap of at most k >= 1; returns its new size. */
export function offer(heap: usize, size: u32, k: u32, score: f32, id: u32): u32 {
  if (size == k) {
    if (isFarther(load<f32>(heap), load<u32>(heap, 4), score, id)) sink(heap, size, score, id);
    return size;
  }
  let i: u32 = size;
  while (i) {
    const parent = (i - 1) >> 1;
    const p = heap + ((<usize>parent) << 3);
    if (!isFarther(score, id, load<f32>(p), load<u32>(p, 4))) break;
    store<u64>(heap + ((<usize>i) << 3), load<u64>(p));
    i = parent;
  }
  store<f32>(heap + ((<usize>i) << 3), score);
  store<u32>(heap + ((<usize>i) << 3), id, 4);
  return size + 1;
}

/**
 * Ranks scores that stand in memory; returns the heap's new size.
 *
 * scores  f32 × count    read; up to 12 more bytes behind them may be read
 * ids     u32 × count    read, or 0: then the ids are firstId, firstId + 1, …
 * heap    8 × k bytes    read and written, `size` records filled
 */
export function rank(scores: usize, ids: usize, firstId: u32, count: u32, k: u32, heap: usize, size: u32): u32 {
  if (!k) return 0;
  let i: u32 = 0;
  for (; i < count && size < k; i++) {
    const at = (<usize>i) << 2;
    size = offer(heap, size, k, load<f32>(scores + at), ids ? load<u32>(ids + at) : firstId + i);
  }
  let worst = load<f32>(heap);
  let limit = f32x4.splat(worst);
  while (i < count) {
    if (!v128.any_true(f32x4.le(v128.load(scores + ((<usize>i) << 2)), limit))) {
      i += 4;
      continue;
    }
    for (const end = min(i + 4, count); i < end; i++) {
      const at = (<usize>i) << 2;
      const score = load<f32>(scores + at);
      if (score > worst) continue;
      offer(heap, size, k, score, ids ? load<u32>(ids + at) : firstId + i);
      worst = load<f32>(heap);
    }
    limit = f32x4.splat(worst);
  }
  return size;
}

/**
 * Sorts a heap, nearest first, and takes it apart.
 *
 * heap    8 × size bytes  read, left in order
 * ids     u32 × size      written
 * scores  f32 × size      written
 */
export function drain(heap: usize, size: u32, ids: usize, scores: usize): void {
  for (let left = size; left > 1; ) {
    left--;
    const last = heap + ((<usize>left) << 3);
    const score = load<f32>(last);
    const id = load<u32>(last, 4);
    store<u64>(last, load<u64>(heap));
    sink(heap, left, score, id);
  }
  for (let i: u32 = 0; i < size; i++) {
    store<u32>(ids, load<u32>(heap, 4));
    store<f32>(scores, load<f32>(heap));
    heap += 8;
    ids += 4;
    scores += 4;
  }
}

// Turns dot products into scores: 1 - dot · scale · queryScale, or -dot.
// @ts-ignore: decorator
@inline
function scoresOfDots(metric: u32, queryScale: f32, scales: usize, count: u32, scores: usize): void {
  if (metric == COSINE) {
    for (let i: u32 = 0; i < count; i++) {
      const at = (<usize>i) << 2;
      store<f32>(scores + at, cosineScore(load<f32>(scores + at), load<f32>(scales + at), queryScale));
    }
  } else {
    for (let i: u32 = 0; i < count; i++) {
      const at = (<usize>i) << 2;
      store<f32>(scores + at, -load<f32>(scores + at));
    }
  }
}

// @ts-ignore: decorator
@inline
function cosineScore(dotProduct: f32, scale: f32, queryScale: f32): f32 {
  // Rounding can push the cosine of parallel vectors past 1: a distance is never negative.
  return max<f32>(0, <f32>1 - dotProduct * scale * queryScale);
}

/**
 * Ranks contiguous rows by exact score; returns the heap's new size.
 *
 * query   f32 × stride           read
 * rows    f32 × count × stride   read
 * scales  f32 × count            read for metric 1 only: 1 / |row|; queryScale: 1 / |query|
 * heap    8 × k bytes            read and written
 * scratch f32 × 260              overwritten
 */
export function rankRows(
  metric: u32,
  query: usize,
  queryScale: f32,
  rows: usize,
  scales: usize,
  firstId: u32,
  count: u32,
  stride: u32,
  k: u32,
  heap: usize,
  size: u32,
  scratch: usize,
): u32 {
  for (let i: u32 = 0; i < count; i += CHUNK) {
    const n = min(CHUNK, count - i);
    const first = rows + ((<usize>i * stride) << 2);
    if (metric == EUCLIDEAN) {
      squaredL2(query, first, n, stride, scratch);
    } else {
      dot(query, first, n, stride, scratch);
      scoresOfDots(metric, queryScale, scales + ((<usize>i) << 2), n, scratch);
    }
    size = rank(scratch, 0, firstId + i, n, k, heap, size);
  }
  return size;
}

/**
 * Ranks the rows of the listed ids by exact score; returns the heap's new size.
 *
 * ids     u32 × count   read, in any order; each id at most once
 * scales  f32 × rows    read for metric 1 only, at the listed ids
 * other regions as in rankRows
 */
export function rankGathered(
  metric: u32,
  query: usize,
  queryScale: f32,
  rows: usize,
  scales: usize,
  ids: usize,
  count: u32,
  stride: u32,
  k: u32,
  heap: usize,
  size: u32,
  scratch: usize,
): u32 {
  for (let i: u32 = 0; i < count; i += CHUNK) {
    const n = min(CHUNK, count - i);
    const list = ids + ((<usize>i) << 2);
    if (metric == EUCLIDEAN) {
      squaredL2Gathered(query, rows, list, n, stride, scratch);
    } else {
      dotGathered(query, rows, list, n, stride, scratch);
      for (let j: usize = 0; j < ((<usize>n) << 2); j += 4) {
        const value = load<f32>(scratch + j);
        const scale: f32 = metric == COSINE ? load<f32>(scales + ((<usize>load<u32>(list + j)) << 2)) : 0;
        store<f32>(scratch + j, metric == COSINE ? cosineScore(value, scale, queryScale) : -value);
      }
    }
    size = rank(scratch, list, 0, n, k, heap, size);
  }
  return size;
}

/** One row's exact score, with the bits that rankRows gives it. */
function scoreOf(metric: u32, query: usize, queryScale: f32, row: usize, scale: f32, stride: u32): f32 {
  let a = f32x4.splat(0);
  const end = query + ((<usize>stride) << 2);
  if (metric == EUCLIDEAN) {
    for (; query < end; query += 16, row += 16) a = addSquare(a, v128.load(row), v128.load(query));
    return sum(a);
  }
  for (; query < end; query += 16, row += 16) a = addProduct(a, v128.load(row), v128.load(query));
  return metric == COSINE ? cosineScore(sum(a), scale, queryScale) : -sum(a);
}

/**
 * Ranks contiguous rows for a block of up to sixteen queries at once, exactly.
 *
 * Dot products by register blocks (2 rows × 16 queries, project.ts) give estimates base - factor · dot. They are
 * off by rounding, so `base` is lowered by that error's bound: an estimate above the query's worst kept score proves
 * that the row is not among the k nearest. The few that pass are scored exactly, with the bits that rankRows gives.
 *
 * rows     f32 × count × stride       read
 * bases    f32 × count                read; metric 0: |row|² less the error bound, else 0 less it
 * factors  f32 × count                read; 2, 1 / |row| or 1
 * scales   f32 × count                read for metric 1 only
 * queries  f32 × queryCount × stride  read
 * packed   f32 × 2 × stride × 8       read: the queries interleaved, as packPlanes does it
 * state    16 records of 16 bytes:    f32 slack · u32 size · f32 queryScale · u32 unused, read and written
 * scratch  f32 × (16 + 16 × 64)       overwritten: worst kept scores + slack (infinity while the heap is not full, NaN where
 *                                     there is no query), then dot products
 * heaps    queryCount × k × 8 bytes   read and written
 *
 * slack turns an exact score into the scale of the estimates: metric 0: -|query|² + error bound; metric 1: -1 + error
 * bound, as the estimate leaves out the 1 of 1 - cosine, and packed queries are scaled to unit length; else the bound.
 *
 * Error bound, of a vector v: 2 (stride + 16) 2^-24 (|v|² + 2^-120), where |v| is 1 for metric 1. A row's and a query's
 * together cover, in units of 2^-24 (|x|² + |q|²): the running dot product, doubled, stride; the exact score
 * stride / 2 + 8; two norms stride / 4 + 3; four more roundings 4. The 2^-120 covers products that underflow. Metric 1
 * needs |row|² and |query|² >= 2^-126, else underflow spoils more than that.
 */
export function rankBlock(
  metric: u32,
  rows: usize,
  bases: usize,
  factors: usize,
  scales: usize,
  firstId: u32,
  count: u32,
  stride: u32,
  queries: usize,
  queryCount: u32,
  packed: usize,
  state: usize,
  scratch: usize,
  k: u32,
  heaps: usize,
): void {
  if (!k) return;
  const bytes = (<usize>stride) << 2;
  const heapBytes = (<usize>k) << 3;
  for (let q: u32 = 0; q < 16; q++) {
    const s = state + ((<usize>q) << 4);
    const full = q < queryCount && load<u32>(s, 4) == k;
    // Nothing is <= NaN, not even an estimate of -Infinity: a missing query never passes.
    const limit: f32 =
      q >= queryCount ? NaN : full ? load<f32>(heaps + <usize>q * heapBytes) + load<f32>(s) : Infinity;
    store<f32>(scratch + ((<usize>q) << 2), limit);
  }
  const dots = scratch + 64;
  for (let first: u32 = 0; first < count; first += STRETCH) {
    const n = min(STRETCH, count - first);
    // The products leave through memory: filtering them in the loop that makes them costs it registers (34 against
    // 49 GFLOP/s).
    margins(rows + <usize>first * bytes, n, stride, stride, packed, 16, dots);
    let limit0 = v128.load(scratch);
    let limit1 = v128.load(scratch, 16);
    let limit2 = v128.load(scratch, 32);
    let limit3 = v128.load(scratch, 48);
    for (let i: u32 = 0; i < n; i++) {
      const row = first + i;
      const at = (<usize>row) << 2;
      const dot = dots + ((<usize>i) << 6);
      const base = v128.load_splat<f32>(bases + at);
      const factor = v128.load_splat<f32>(factors + at);
      const pass0 = f32x4.le(f32x4.sub(base, f32x4.mul(factor, v128.load(dot))), limit0);
      const pass1 = f32x4.le(f32x4.sub(base, f32x4.mul(factor, v128.load(dot, 16))), limit1);
      const pass2 = f32x4.le(f32x4.sub(base, f32x4.mul(factor, v128.load(dot, 32))), limit2);
      const pass3 = f32x4.le(f32x4.sub(base, f32x4.mul(factor, v128.load(dot, 48))), limit3);
      const low = i16x8.narrow_i32x4_s(pass0, pass1);
      const high = i16x8.narrow_i32x4_s(pass2, pass3);
      let mask: u32 = i8x16.bitmask(i8x16.narrow_i16x8_s(low, high));
      if (!mask) continue;
      const scale: f32 = metric == COSINE ? load<f32>(scales + at) : 0;
      do {
        const q = ctz(mask);
        mask &= mask - 1;
        const s = state + ((<usize>q) << 4);
        const score = scoreOf(metric, queries + <usize>q * bytes, load<f32>(s, 8), rows + <usize>row * bytes, scale, stride);
        const heap = heaps + <usize>q * heapBytes;
        const size = offer(heap, load<u32>(s, 4), k, score, firstId + row);
        store<u32>(s, size, 4);
        if (size == k) store<f32>(scratch + ((<usize>q) << 2), load<f32>(heap) + load<f32>(s));
      } while (mask);
      limit0 = v128.load(scratch);
      limit1 = v128.load(scratch, 16);
      limit2 = v128.load(scratch, 32);
      limit3 = v128.load(scratch, 48);
    }
  }
}

/** Makes a heap of k records that any row beats: score infinity, id 2^32 - 1. */
export function fillHeap(heap: usize, k: u32): void {
  for (const end = heap + ((<usize>k) << 3); heap < end; heap += 8) {
    store<f32>(heap, Infinity);
    store<u32>(heap, 0xffffffff, 4);
  }
}

/** Puts a record into a full heap in place of its farthest, which the caller knows to be farther. */
// @ts-ignore: decorator
@inline
export function offerBounded(heap: usize, k: u32, score: f32, id: u32): void {
  sink(heap, k, score, id);
}
