import { checkInteger, checkNumber, checkOptions } from './check.js';

/**
 * Probability that two rows share a bucket in at least one table: 1 - (1 - p^bits)^tables, the S-curve of every family.
 *
 * @param agreement p, the probability that one hash bit (or min-hash) of them agrees: 1 - r / b at Hamming distance r of b
 * bits, 1 - angle / π for hyperplanes, the Jaccard similarity for min-hashes (there `bits` are the rows of a band, and
 * `tables` the bands). 0 to 1.
 * @param options.bits bits of a key, 1 to 65,536.
 * @param options.tables 1 or more; default 1, which gives p^bits.
 * @throws TypeError or RangeError for a number of another kind or out of range.
 */
export function candidateProbability(agreement: number, options: { bits: number; tables?: number }): number {
  checkNumber('agreement', agreement, 0, 1);
  checkOptions('options', options);
  const bits = checkInteger('bits', options?.bits, 1, 65536);
  const tables = checkInteger('tables', options?.tables ?? 1, 1, Number.MAX_SAFE_INTEGER);
  const inOneTable = agreement ** bits;
  // By logarithms: 1 - p loses all digits of a small p.
  return tables === 1 ? inOneTable : -Math.expm1(tables * Math.log1p(-inOneTable));
}

/**
 * Probability that bit sampling puts two codes at a given Hamming distance r into one bucket: (1 - r / b)^k for one table
 * of k sampled bits, 1 - (1 - (1 - r / b)^k)^m for at least one of m tables.
 *
 * @param options.bits b, bits of a code, 1 to 65,536.
 * @param options.distance r, 0 to bits; need not be an integer.
 * @param options.sampledBits k, 1 to 65,536.
 * @param options.tables m, default 1.
 * @throws TypeError or RangeError for a number of another kind or out of range.
 */
export function collisionProbability(options: {
  bits: number;
  distance: number;
  sampledBits: number;
  tables?: number;
}): number {
  checkOptions('options', options);
  const bits = checkInteger('bits', options?.bits, 1, 65536);
  const distance = checkNumber('distance', options?.distance, 0, bits);
  const sampledBits = checkInteger('sampledBits', options?.sampledBits, 1, 65536);
  return candidateProbability(1 - distance / bits, { bits: sampledBits, tables: options.tables });
}
