/**
 * Packed codes: rows of bits, compared by Hamming distance. Bit i of a code is bit i % 8 of its byte floor(i / 8), the
 * bit that weighs 2^(i % 8): NumPy's `packbits(…, axis=1, bitorder='little')`. A code of `bits` bits takes
 * ceil(bits / 8) bytes; spare bits of the last one are zeros.
 */

import { checkBytes, checkInteger, checkOptions, checkRows, rangeError } from './check.js';
import { drainHeap, makeBatch, type Neighbors, type NeighborsBatch, SCORE_IS_DISTANCE } from './neighbors.js';
import { type Workspace, withWorkspace } from './workspace.js';

/** The most bits of a code. */
export const MAX_CODE_BITS = 65536;
const MAX_K = 2 ** 32 - 1;
/** Bytes of codes that are in memory at a time: they stay in the second-level cache while queries pass over them. */
const CHUNK_BYTES = 2 ** 18;
/** Bytes of queries and their heaps that see a chunk of codes before the next is loaded. */
const GROUP_BYTES = 2 ** 25;

/** Words of 64 bits that a code takes in memory. */
export function wordsOf(bits: number): number {
  return Math.ceil(bits / 64);
}

/** Whole codes, their spare bits zeros; returns how many. */
export function checkCodes(subject: string, value: unknown, bits: number): number {
  const codes = checkBytes(subject, value);
  const bytes = Math.ceil(bits / 8);
  if (codes.length % bytes !== 0) {
    throw rangeError(
      'ERR_LENGTH',
      `${subject}: expected a multiple of ${bytes} bytes (one code of ${bits} bits each), got ${codes.length}`,
    );
  }
  checkSpareBits(subject, codes, bits, bytes);
  return codes.length / bytes;
}

/** One code, its spare bits zeros. */
export function checkCode(subject: string, value: unknown, bits: number): Uint8Array {
  const code = checkBytes(subject, value);
  const bytes = Math.ceil(bits / 8);
  if (code.length !== bytes) {
    throw rangeError('ERR_LENGTH', `${subject}: expected ${bytes} bytes (${bits} bits), got ${code.length}`);
  }
  checkSpareBits(subject, code, bits, bytes);
  return code;
}

function checkSpareBits(subject: string, codes: Uint8Array, bits: number, bytes: number): void {
  if (bits % 8 === 0) return;
  for (let last = bytes - 1; last < codes.length; last += bytes) {
    if (codes[last] >>> (bits % 8) === 0) continue;
    const row = (last + 1) / bytes - 1;
    throw rangeError(
      'ERR_ARGUMENT_RANGE',
      `${subject}: expected zeros behind bit ${bits - 1}, got a last byte of ${codes[last]} in row ${row}`,
    );
  }
}

/** Copies codes `first` … `first + count - 1` to `ptr`, each spread over whole words; `ptr` is a multiple of 8. */
export function loadCodes(
  { memory, kernels }: Workspace,
  codes: Uint8Array,
  bits: number,
  first: number,
  count: number,
  ptr: number,
): void {
  const bytes = Math.ceil(bits / 8);
  const words = wordsOf(bits);
  const { u8 } = memory;
  if (bytes === 8 * words) {
    u8.set(codes.subarray(first * bytes, (first + count) * bytes), ptr);
    return;
  }
  if (count === 1) {
    // A query: not worth the way through `packedCodes`.
    u8.fill(0, ptr, ptr + 8 * words);
    u8.set(codes.subarray(first * bytes, (first + 1) * bytes), ptr);
    return;
  }
  const rows = Math.min(count, Math.ceil(CHUNK_BYTES / bytes));
  const packed = memory.reserve('packedCodes', rows * bytes);
  for (let r = 0; r < count; r += rows) {
    const some = Math.min(rows, count - r);
    memory.u8.set(codes.subarray((first + r) * bytes, (first + r + some) * bytes), packed);
    kernels.padCodes(packed, some, bytes, words, ptr + 8 * words * r);
  }
}

/**
 * Small integers as unary code: `value` ones, then zeros, `maxValue` bits each. Hamming distance of two codes is then
 * the sum of absolute differences (L1 distance) of the values.
 *
 * Takes dimensions × maxValue bits a row: 1,024 for the 8 × 8 digits of ink 0 to 16.
 *
 * @param values rows × dimensions integers from 0 to maxValue, row-major.
 * @param maxValue 1 to 255.
 * @param options.dimensions values of a row; a row starts on a new byte. By default rows are not told apart: right for
 * one row, and for any number whose dimensions × maxValue is a multiple of 8.
 * @returns rows × ceil(dimensions × maxValue / 8) bytes. Bit v · maxValue + i of a row is 1 iff i < its value v.
 * @throws TypeError for another kind of argument; RangeError for a value above maxValue, or a length that is no multiple
 * of the dimensions (ERR_LENGTH).
 */
export function unaryCode(
  values: Uint8Array,
  maxValue: number,
  options: { dimensions?: number } = {},
): Uint8Array {
  checkBytes('values', values);
  checkInteger('maxValue', maxValue, 1, 255);
  checkOptions('options', options);
  const dimensions = checkInteger(
    'dimensions',
    options?.dimensions ?? Math.max(1, values.length),
    1,
    2 ** 32,
  );
  if (values.length % dimensions !== 0) {
    throw rangeError(
      'ERR_LENGTH',
      `values: expected a multiple of ${dimensions} values (one row each), got ${values.length}`,
    );
  }
  const bytes = Math.ceil((dimensions * maxValue) / 8);
  const codes = new Uint8Array((values.length / dimensions) * bytes);
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (value > maxValue) {
      throw rangeError(
        'ERR_ARGUMENT_RANGE',
        `values: expected integers from 0 to ${maxValue}, got ${value} in row ${Math.floor(i / dimensions)}, column ${i % dimensions}`,
      );
    }
    const from = 8 * bytes * Math.floor(i / dimensions) + maxValue * (i % dimensions);
    setBits(codes, from, from + value);
  }
  return codes;
}

/** Sets bits from … to - 1. */
function setBits(codes: Uint8Array, from: number, to: number): void {
  for (let bit = from; bit < to; ) {
    const within = bit % 8;
    const count = Math.min(8 - within, to - bit);
    codes[Math.floor(bit / 8)] |= ((1 << count) - 1) << within;
    bit += count;
  }
}

/**
 * Signs of floats: bit i of a row is 1 iff its value i is >= 0 (-0 is).
 *
 * Of vectors whose values scatter around 0, as embeddings do, the codes keep much of the angles at a bit a dimension: the
 * share of differing bits estimates the angle, roughly. Data that is all positive must be centered first.
 *
 * @param vectors rows × dimensions floats, row-major.
 * @param options.dimensions 1 to 65,536.
 * @returns rows × ceil(dimensions / 8) bytes.
 * @throws TypeError for another kind of argument; RangeError for a length that is no multiple of the dimensions
 * (ERR_LENGTH) or a number that is not finite (ERR_NOT_FINITE).
 */
export function signCode(vectors: Float32Array, options: { dimensions: number }): Uint8Array {
  checkOptions('options', options);
  const dimensions = checkInteger('dimensions', options?.dimensions, 1, MAX_CODE_BITS);
  const rows = checkRows('vectors', vectors, dimensions);
  const bytes = Math.ceil(dimensions / 8);
  const codes = new Uint8Array(rows * bytes);
  let i = 0;
  for (let start = 0; start < codes.length; start += bytes) {
    for (let j = 0; j < dimensions; j++, i++) {
      if (vectors[i] >= 0) codes[start + (j >>> 3)] |= 1 << (j & 7);
    }
  }
  return codes;
}

/**
 * The k exact nearest neighbors of one code among `codes` by Hamming distance, nearest first, equal distances by id; all
 * codes if there are fewer than k.
 *
 * Reads every code once: a million codes of 128 bits take about 1.3 milliseconds.
 *
 * @param codes rows × bytes, row-major; a code has as many bytes as the query.
 * @param query 1 to 8,192 bytes.
 * @param options.k 1 or more.
 * @throws TypeError for another kind of argument; RangeError for k out of range or a length that is no multiple of the
 * query's (ERR_LENGTH).
 */
export function exactHamming(codes: Uint8Array, query: Uint8Array, options: { k: number }): Neighbors {
  checkOptions('options', options);
  const k = checkInteger('k', options?.k, 1, MAX_K);
  const bytes = checkBytes('query', query).length;
  if (bytes < 1 || bytes > MAX_CODE_BITS / 8) {
    throw rangeError('ERR_LENGTH', `query: expected 1 to ${MAX_CODE_BITS / 8} bytes, got ${bytes}`);
  }
  const size = Math.min(k, checkCodes('codes', codes, 8 * bytes));
  const neighbors = { ids: new Uint32Array(size), distances: new Float32Array(size) };
  scan(codes, query, 8 * bytes, 1, size, size, neighbors);
  return neighbors;
}

/**
 * `exactHamming` for each of many codes; queries pass together over stretches of codes.
 *
 * @param codes rows × ceil(bits / 8) bytes, row-major.
 * @param queries queries × ceil(bits / 8) bytes, row-major.
 * @param options.bits 1 to 65,536.
 * @param options.k 1 or more; the results have k places for each query, `counts` says how many are filled.
 * @throws as exactHamming; RangeError (ERR_TOO_LARGE) for more than 2^29 places in all.
 */
export function exactHammingBatch(
  codes: Uint8Array,
  queries: Uint8Array,
  options: { bits: number; k: number },
): NeighborsBatch {
  checkOptions('options', options);
  const k = checkInteger('k', options?.k, 1, MAX_K);
  const bits = checkInteger('bits', options?.bits, 1, MAX_CODE_BITS);
  const queryCount = checkCodes('queries', queries, bits);
  const size = Math.min(k, checkCodes('codes', codes, bits));
  const batch = makeBatch(queryCount, k, size);
  scan(codes, queries, bits, queryCount, size, k, batch);
  return batch;
}

/** Writes the `size` nearest codes of each query, `places` from query to query. */
function scan(
  codes: Uint8Array,
  queries: Uint8Array,
  bits: number,
  queryCount: number,
  size: number,
  places: number,
  { ids, distances }: Neighbors,
): void {
  if (size === 0) return;
  const rowCount = codes.length / Math.ceil(bits / 8);
  const words = wordsOf(bits);
  const chunkRows = Math.max(1, Math.floor(CHUNK_BYTES / (8 * words)));
  const groupSize = Math.max(1, Math.min(queryCount, Math.floor(GROUP_BYTES / (8 * words + 8 * size))));
  withWorkspace((workspace) => {
    const { memory, kernels } = workspace;
    // Rows of words: the region that float rows have in other calls.
    memory.reserve('rows', 8 * words * chunkRows);
    memory.reserve('queries', 8 * words * groupSize);
    memory.reserve('scores', 4 * (chunkRows + 3));
    memory.reserve('heaps', 8 * size * groupSize);
    memory.reserve('out', 8 * size);
    for (let start = 0; start < queryCount; start += groupSize) {
      const group = Math.min(groupSize, queryCount - start);
      loadCodes(workspace, queries, bits, start, group, memory.ptr('queries'));
      for (let first = 0; first < rowCount; first += chunkRows) {
        const count = Math.min(chunkRows, rowCount - first);
        loadCodes(workspace, codes, bits, first, count, memory.ptr('rows'));
        const rows = memory.ptr('rows');
        const scores = memory.ptr('scores');
        const filled = Math.min(first, size);
        for (let q = 0; q < group; q++) {
          kernels.hamming(memory.ptr('queries') + 8 * words * q, rows, count, words, scores);
          kernels.rank(scores, 0, first, count, size, memory.ptr('heaps') + 8 * size * q, filled);
        }
      }
      for (let q = 0; q < group; q++) {
        const at = (start + q) * places;
        const heap = memory.ptr('heaps') + 8 * size * q;
        const [to, out] = [at + size, memory.ptr('out')];
        const own = { ids: ids.subarray(at, to), distances: distances.subarray(at, to) };
        drainHeap(memory, kernels, SCORE_IS_DISTANCE, heap, size, out, own.ids, own.distances);
      }
    }
  });
}
