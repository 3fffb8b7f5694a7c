/**
 * Exact search: every row is compared. The truth that recall is measured against, and the whole answer for small data.
 *
 * The rows stay where they are. They pass through one hidden linear memory in chunks that fit the second-level cache, so
 * that a million rows need no second copy.
 */

import {
  checkFinite,
  checkFloats,
  checkInteger,
  checkNumber,
  checkOptions,
  checkRowCount,
  checkRows,
  MAX_VALUE,
  rangeError,
} from './check.js';
import type { LinearMemory } from './memory.js';
import {
  distanceOf,
  drainHeap,
  LEAST_SQUARED_LENGTH,
  type Metric,
  makeBatch,
  metricNumber,
  type Neighbors,
  type NeighborsBatch,
  zeroVector,
} from './neighbors.js';
import { type Workspace, withWorkspace } from './workspace.js';

const MAX_DIMENSIONS = 65536;
const MAX_K = 2 ** 32 - 1;
/** Bytes of rows that are in memory at a time. */
const CHUNK_BYTES = 2 ** 18;
/** Bytes of queries and their heaps that see a chunk of rows before the next is loaded. */
const GROUP_BYTES = 2 ** 25;
/** Queries that one kernel call ranks together (assembly/rank.ts, rankBlock). */
const BLOCK = 16;
/** Rows of the distance matrix that are mirrored together: one cache line of floats. */
const MIRRORED = 16;
/** Floats that rankBlock wants for itself. */
const BLOCK_SCRATCH = 16 + 16 * 64;
/** Room for the scores of a stretch of rows (assembly/rank.ts, rankRows). */
const SCRATCH_BYTES = 4 * 260;

/**
 * The k exact nearest neighbors of one query among `vectors`, nearest first; all rows if there are fewer than k.
 *
 * Reads every row once: 10,000 rows of 128 floats take about a quarter of a millisecond.
 *
 * @param vectors rows × dimensions floats, row-major; dimensions is the length of the query.
 * @param query 1 to 65,536 floats.
 * @param options.k 1 or more.
 * @param options.metric `euclidean` (default), `cosine` or `inner-product`.
 * @throws TypeError (ERR_ARGUMENT_TYPE, ERR_DETACHED) for another kind of argument; RangeError for k out of range,
 * a length that is no multiple of the query's (ERR_LENGTH), a number that is not finite or beyond 1e16
 * (ERR_NOT_FINITE, row and column named) or, under cosine, a vector without direction (ERR_ZERO_VECTOR).
 */
export function exactSearch(
  vectors: Float32Array,
  query: Float32Array,
  options: { k: number; metric?: Metric },
): Neighbors {
  checkOptions('options', options);
  const { k, metric: name = 'euclidean' } = options ?? {};
  const metric = metricNumber(name);
  const wanted = checkInteger('k', k, 1, MAX_K);
  const dimensions = checkFloats('query', query).length;
  if (dimensions < 1 || dimensions > MAX_DIMENSIONS) {
    throw rangeError('ERR_LENGTH', `query: expected 1 to ${MAX_DIMENSIONS} floats, got ${dimensions}`);
  }
  checkFinite('query', query, dimensions);
  const rowCount = checkRowCount('vectors', vectors, dimensions);
  const size = Math.min(wanted, rowCount);

  return withWorkspace((workspace) => {
    const { memory, kernels } = workspace;
    const rows = new RowLoader(workspace, vectors, dimensions, metric);
    memory.reserve('query', 4 * rows.stride);
    memory.reserve('queryScale', 4);
    memory.reserve('scratch', SCRATCH_BYTES);
    memory.reserve('heap', 8 * size);
    memory.reserve('out', 8 * size);
    const queryPtr = memory.ptr('query');
    writeRow(memory, queryPtr, query, rows.stride);
    const queryScale = metric === 1 ? inverseLength(workspace, queryPtr, rows.stride) : 0;
    let found = 0;
    for (let first = 0; first < rowCount; first += rows.chunkRows) {
      const count = rows.load(first, Math.min(rows.chunkRows, rowCount - first));
      found = kernels.rankRows(
        metric,
        queryPtr,
        queryScale,
        rows.ptr,
        rows.scalesPtr,
        first,
        count,
        rows.stride,
        size,
        memory.ptr('heap'),
        found,
        memory.ptr('scratch'),
      );
    }
    const ids = new Uint32Array(size);
    const distances = new Float32Array(size);
    drainHeap(memory, kernels, metric, memory.ptr('heap'), size, memory.ptr('out'), ids, distances);
    return { ids, distances };
  });
}

/**
 * The k exact nearest neighbors of each query: `exactSearch` for many queries, bit for bit, and about five times as fast.
 *
 * Blocks of queries meet blocks of rows: register-blocked dot products rule nearly all rows out by a bound that accounts
 * for every rounding, and the rest are compared exactly. Data far from the origin is ruled out less well: centering it
 * changes no Euclidean distance and makes this faster.
 *
 * @param vectors rows × dimensions floats, row-major.
 * @param queries queries × dimensions floats, row-major.
 * @param options.dimensions 1 to 65,536.
 * @param options.k 1 or more; the results have k places for each query, `counts` says how many are filled.
 * @param options.metric `euclidean` (default), `cosine` or `inner-product`.
 * @throws as exactSearch; RangeError (ERR_TOO_LARGE) for more than 2^29 places in all.
 */
export function exactSearchBatch(
  vectors: Float32Array,
  queries: Float32Array,
  options: { dimensions: number; k: number; metric?: Metric },
): NeighborsBatch {
  checkOptions('options', options);
  const { k, metric: name = 'euclidean' } = options ?? {};
  const metric = metricNumber(name);
  const places = checkInteger('k', k, 1, MAX_K);
  const dimensions = checkInteger('dimensions', options?.dimensions, 1, MAX_DIMENSIONS);
  const queryCount = checkRows('queries', queries, dimensions);
  const rowCount = checkRowCount('vectors', vectors, dimensions);
  const size = Math.min(places, rowCount);
  const { ids, distances, counts } = makeBatch(queryCount, places, size);

  withWorkspace((workspace) => {
    const { memory, kernels } = workspace;
    const rows = new RowLoader(workspace, vectors, dimensions, metric);
    const { stride } = rows;
    const queryBytes = 8 * stride + 8 * size + 24;
    const fitting = Math.floor(GROUP_BYTES / queryBytes / BLOCK) * BLOCK;
    const groupSize = Math.max(BLOCK, Math.min(fitting, Math.ceil(queryCount / BLOCK) * BLOCK));
    const group = new QueryGroup(workspace, metric, stride, groupSize, size);
    const estimates = new RowEstimates(workspace, metric, rows);

    for (let start = 0; start < queryCount; start += groupSize) {
      group.load(queries, start, Math.min(groupSize, queryCount - start), dimensions);
      for (let first = 0; first < rowCount; first += rows.chunkRows) {
        const count = rows.load(first, Math.min(rows.chunkRows, rowCount - first));
        estimates.prepare(count, group, first === 0);
        for (let q = 0; q < group.count; q += BLOCK) {
          kernels.rankBlock(
            metric,
            rows.ptr,
            estimates.basesPtr,
            estimates.factorsPtr,
            rows.scalesPtr,
            first,
            count,
            stride,
            group.rowsPtr + 4 * q * stride,
            Math.min(BLOCK, group.count - q),
            group.packedPtr + 4 * q * stride,
            group.statePtr + 16 * q,
            group.scratchPtr,
            size,
            group.heapsPtr + 8 * q * size,
          );
        }
      }
      for (let q = 0; q < group.count; q++) {
        const at = (start + q) * places;
        const heap = group.heapsPtr + 8 * q * size;
        const to = at + size;
        drainHeap(
          memory,
          kernels,
          metric,
          heap,
          size,
          group.outPtr,
          ids.subarray(at, to),
          distances.subarray(at, to),
        );
      }
    }
    // Without queries or rows no loop has looked at the rows.
    if (queryCount === 0) rows.checkAll(rowCount);
  });
  return { ids, distances, counts };
}

/**
 * Distances of all rows to each other, n × n, row-major; each pair is computed once. Distances of a row to itself and
 * later rows are bit for bit those of `exactSearch`, and the rest mirrors them.
 *
 * The result takes 4 n² bytes, so it is refused beyond `maxBytes`: by default beyond 1 GiB, 16,384 rows.
 *
 * @param vectors n × dimensions floats, row-major.
 * @param options.dimensions 1 to 65,536.
 * @param options.metric `euclidean` (default), `cosine` or `inner-product`.
 * @param options.maxBytes the largest result to make.
 * @throws as exactSearch; RangeError (ERR_TOO_LARGE) with the bytes that the result would take.
 */
export function distanceMatrix(
  vectors: Float32Array,
  options: { dimensions: number; metric?: Metric; maxBytes?: number },
): Float32Array {
  checkOptions('options', options);
  const { metric: name = 'euclidean', maxBytes = 2 ** 30 } = options ?? {};
  const metric = metricNumber(name);
  const dimensions = checkInteger('dimensions', options?.dimensions, 1, MAX_DIMENSIONS);
  checkNumber('maxBytes', maxBytes, 0, Number.MAX_SAFE_INTEGER);
  const n = checkRowCount('vectors', vectors, dimensions);
  const bytes = 4 * n * n;
  if (bytes > maxBytes) {
    throw rangeError(
      'ERR_TOO_LARGE',
      `distanceMatrix: expected at most ${maxBytes} bytes, got ${bytes} for ${n} rows; raise maxBytes to allow it`,
    );
  }
  return withWorkspace((workspace) => {
    const { memory, kernels } = workspace;
    const rows = new RowLoader(workspace, vectors, dimensions, metric);
    const { stride, chunkRows } = rows;
    memory.reserve('queries', 4 * MIRRORED * stride);
    memory.reserve('scratch', 4 * chunkRows);
    const matrix = allocate(bytes);
    const scales = new Float32Array(metric === 1 ? n : 0);
    for (let first = 0; first < n; first += chunkRows) {
      const count = rows.load(first, Math.min(chunkRows, n - first));
      if (metric === 1) {
        const at = rows.scalesPtr >>> 2;
        scales.set(memory.f32.subarray(at, at + count), first);
      }
      for (let top = 0; top < first + count; top += MIRRORED) {
        const bottom = Math.min(top + MIRRORED, first + count);
        for (let i = top; i < bottom; i++) {
          const query = memory.ptr('queries') + 4 * (i - top) * stride;
          const row = vectors.subarray(i * dimensions, (i + 1) * dimensions);
          writeRow(memory, query, row, stride);
          const from = Math.max(first, i);
          const to = memory.ptr('scratch');
          const some = first + count - from;
          const rowsFrom = rows.ptr + 4 * (from - first) * stride;
          (metric === 0 ? kernels.squaredL2 : kernels.dot)(query, rowsFrom, some, stride, to);
          const values = memory.f32.subarray(to >>> 2, (to >>> 2) + some);
          if (metric === 1) cosinesOf(values, scales.subarray(from), scales[i]);
          const at = i * n + from;
          for (let j = 0; j < some; j++) {
            matrix[at + j] = metric === 2 ? 0 - values[j] : distanceOf(metric, values[j]);
          }
        }
        for (let j = Math.max(first, top + 1); j < first + count; j++) {
          const end = Math.min(bottom, j);
          for (let i = top; i < end; i++) matrix[j * n + i] = matrix[i * n + j];
        }
      }
    }
    return matrix;
  });
}

/** Rows of the caller's array, a chunk at a time in linear memory: padded, checked, and with scales under cosine. */
class RowLoader {
  readonly stride: number;
  readonly chunkRows: number;
  readonly ptr: number;
  /** 1 / |row|, under cosine. */
  readonly scalesPtr: number;
  readonly #workspace: Workspace;
  readonly #vectors: Float32Array;
  readonly #dimensions: number;
  readonly #metric: number;

  constructor(workspace: Workspace, vectors: Float32Array, dimensions: number, metric: number) {
    const { memory } = workspace;
    this.#workspace = workspace;
    this.#vectors = vectors;
    this.#dimensions = dimensions;
    this.#metric = metric;
    this.stride = (dimensions + 3) & ~3;
    this.chunkRows = Math.max(4, Math.floor(CHUNK_BYTES / 4 / this.stride) & ~3);
    if (this.stride !== dimensions) memory.reserve('packedRows', 4 * this.chunkRows * dimensions);
    this.ptr = memory.reserve('rows', 4 * this.chunkRows * this.stride);
    this.scalesPtr = memory.reserve('scales', 4 * this.chunkRows);
  }

  /** Brings `count` rows from row `first` on into memory; returns `count`. */
  load(first: number, count: number): number {
    const { memory, kernels } = this.#workspace;
    const floats = this.#vectors.subarray(first * this.#dimensions, (first + count) * this.#dimensions);
    if (this.stride === this.#dimensions) {
      memory.f32.set(floats, this.ptr >>> 2);
    } else {
      const packed = memory.ptr('packedRows');
      memory.f32.set(floats, packed >>> 2);
      kernels.padRows(packed, count, this.#dimensions, this.stride, this.ptr);
    }
    const loaded = count * this.stride;
    if (kernels.firstUnfit(this.ptr, loaded, MAX_VALUE) >>> 0 !== loaded) {
      checkFinite('vectors', this.#vectors, this.#dimensions);
    }
    if (this.#metric === 1) {
      const short =
        kernels.inverseLengths(this.ptr, count, this.stride, LEAST_SQUARED_LENGTH, this.scalesPtr) >>> 0;
      if (short !== count) throw zeroVector('vectors', first + short);
    }
    return count;
  }

  checkAll(rowCount: number): void {
    for (let first = 0; first < rowCount; first += this.chunkRows) {
      this.load(first, Math.min(this.chunkRows, rowCount - first));
    }
  }
}

/** A row's or a query's share of an estimate's error bound (assembly/rank.ts, rankBlock). */
function errorBound(stride: number, squaredLength: number): number {
  return 2 * (stride + 16) * 2 ** -24 * (squaredLength + 2 ** -120);
}

/** A group of queries in memory, as rankBlock reads them. */
class QueryGroup {
  readonly rowsPtr: number;
  readonly packedPtr: number;
  readonly statePtr: number;
  readonly scratchPtr: number;
  readonly heapsPtr: number;
  readonly outPtr: number;
  count = 0;
  /** Sum of |query|². */
  squaredSum = 0;
  readonly #workspace: Workspace;
  readonly #metric: number;
  readonly #stride: number;
  readonly #norms: Float32Array;

  constructor(workspace: Workspace, metric: number, stride: number, capacity: number, k: number) {
    const { memory } = workspace;
    this.#workspace = workspace;
    this.#metric = metric;
    this.#stride = stride;
    this.#norms = new Float32Array(capacity);
    this.rowsPtr = memory.reserve('queries', 4 * capacity * stride);
    this.packedPtr = memory.reserve('packedQueries', 4 * capacity * stride);
    this.statePtr = memory.reserve('queryState', 16 * capacity);
    this.scratchPtr = memory.reserve('blockScratch', 4 * Math.max(BLOCK_SCRATCH, capacity));
    this.heapsPtr = memory.reserve('heaps', 8 * capacity * k);
    this.outPtr = memory.reserve('out', 8 * k);
  }

  load(queries: Float32Array, first: number, count: number, dimensions: number): void {
    const { memory, kernels } = this.#workspace;
    const stride = this.#stride;
    this.count = count;
    for (let q = 0; q < count; q++) {
      const row = queries.subarray((first + q) * dimensions, (first + q + 1) * dimensions);
      writeRow(memory, this.rowsPtr + 4 * q * stride, row, stride);
    }
    const { f32, u32 } = memory;
    kernels.squaredNorms(this.rowsPtr, count, stride, this.scratchPtr);
    this.#norms.set(f32.subarray(this.scratchPtr >>> 2, (this.scratchPtr >>> 2) + count));
    if (this.#metric === 1) {
      const short =
        kernels.inverseLengths(this.rowsPtr, count, stride, LEAST_SQUARED_LENGTH, this.scratchPtr) >>> 0;
      if (short !== count) throw zeroVector('queries', first + short);
    }
    this.squaredSum = 0;
    for (let q = 0; q < count; q++) {
      this.squaredSum += this.#norms[q];
      const state = (this.statePtr + 16 * q) >>> 2;
      u32[state + 1] = 0;
      f32[state + 2] = f32[(this.scratchPtr >>> 2) + q];
    }
    this.#pack();
    this.setSlack(1);
  }

  /** Interleaves the queries; under cosine at unit length. */
  #pack(): void {
    const { memory, kernels } = this.#workspace;
    const stride = this.#stride;
    if (this.#metric !== 1) {
      kernels.packPlanes(this.rowsPtr, this.count, stride, stride, this.packedPtr);
      return;
    }
    const unit = memory.reserve('unitQueries', 4 * BLOCK * stride);
    const { f32 } = memory;
    for (let q = 0; q < this.count; q += BLOCK) {
      const some = Math.min(BLOCK, this.count - q);
      for (let i = 0; i < some * stride; i++) {
        const scale = f32[((this.statePtr + 16 * (q + Math.floor(i / stride))) >>> 2) + 2];
        f32[(unit >>> 2) + i] = f32[((this.rowsPtr + 4 * q * stride) >>> 2) + i] * scale;
      }
      kernels.packPlanes(unit, some, stride, stride, this.packedPtr + 4 * q * stride);
    }
  }

  /** Writes each query's share of the error bound; `ratio` as in RowEstimates. */
  setSlack(ratio: number): void {
    const { f32 } = this.#workspace.memory;
    for (let q = 0; q < this.count; q++) {
      const norm = this.#norms[q];
      let slack: number;
      if (this.#metric === 0) slack = errorBound(this.#stride, norm) - norm;
      else if (this.#metric === 2) slack = errorBound(this.#stride, norm / ratio) / 2;
      else slack = errorBound(this.#stride, 1) - 1;
      f32[(this.statePtr + 16 * q) >>> 2] = slack;
    }
  }
}

/** What rankBlock reads of a chunk of rows beside the rows: bases and factors of the estimates. */
class RowEstimates {
  readonly basesPtr: number;
  readonly factorsPtr: number;
  readonly #workspace: Workspace;
  readonly #metric: number;
  readonly #rows: RowLoader;
  /**
   * An error of |row| |query| is split by |x| |y| <= (r |x|² + |y|² / r) / 2, which is tight where r is |y| / |x|. Any r
   * is right, so the first chunk's typical one serves for all.
   */
  #ratio = 1;

  constructor(workspace: Workspace, metric: number, rows: RowLoader) {
    this.#workspace = workspace;
    this.#metric = metric;
    this.#rows = rows;
    this.basesPtr = workspace.memory.reserve('bases', 4 * rows.chunkRows);
    this.factorsPtr = workspace.memory.reserve('factors', 4 * rows.chunkRows);
  }

  prepare(count: number, group: QueryGroup, isFirst: boolean): void {
    const { memory, kernels } = this.#workspace;
    const { stride } = this.#rows;
    kernels.squaredNorms(this.#rows.ptr, count, stride, this.basesPtr);
    const { f32 } = memory;
    const bases = this.basesPtr >>> 2;
    const factors = this.factorsPtr >>> 2;
    if (this.#metric === 2 && isFirst) {
      let sum = 0;
      for (let i = 0; i < count; i++) sum += f32[bases + i];
      const ratio = Math.sqrt(group.squaredSum / group.count / (sum / count));
      this.#ratio = ratio > 0 && ratio < Infinity ? ratio : 1;
      group.setSlack(this.#ratio);
    }
    if (this.#metric === 0) {
      for (let i = 0; i < count; i++) {
        const norm = f32[bases + i];
        f32[bases + i] = norm - errorBound(stride, norm);
        f32[factors + i] = 2;
      }
    } else if (this.#metric === 2) {
      for (let i = 0; i < count; i++) {
        f32[bases + i] = -errorBound(stride, this.#ratio * f32[bases + i]) / 2;
        f32[factors + i] = 1;
      }
    } else {
      const scales = this.#rows.scalesPtr >>> 2;
      for (let i = 0; i < count; i++) {
        f32[bases + i] = -errorBound(stride, 1);
        f32[factors + i] = f32[scales + i];
      }
    }
  }
}

/** Writes one vector and the zeros that fill it up to `stride`. */
function writeRow(memory: LinearMemory, ptr: number, vector: Float32Array, stride: number): void {
  const { f32 } = memory;
  f32.set(vector, ptr >>> 2);
  f32.fill(0, (ptr >>> 2) + vector.length, (ptr >>> 2) + stride);
}

function inverseLength({ memory, kernels }: Workspace, ptr: number, stride: number): number {
  const out = memory.ptr('queryScale');
  if (kernels.inverseLengths(ptr, 1, stride, LEAST_SQUARED_LENGTH, out) !== 1) throw zeroVector('query', 0);
  return memory.f32[out >>> 2];
}

/** 1 - cosine from dot products, with the roundings of the kernels. */
function cosinesOf(dots: Float32Array, scales: Float32Array, scale: number): void {
  const round = Math.fround;
  for (let j = 0; j < dots.length; j++) {
    dots[j] = Math.max(0, round(1 - round(round(dots[j] * scales[j]) * scale)));
  }
}

function allocate(bytes: number): Float32Array {
  try {
    return new Float32Array(bytes / 4);
  } catch {
    throw rangeError(
      'ERR_OUT_OF_MEMORY',
      `distanceMatrix: expected room for ${bytes} bytes, got refused by the engine; compare fewer rows at a time`,
    );
  }
}
