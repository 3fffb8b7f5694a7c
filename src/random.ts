/**
 * NumPy's random numbers: `new RandomGenerator(seed)` draws what `numpy.random.default_rng(seed)` draws.
 *
 * SeedSequence mixes the seed, PCG64 (XSL-RR 128/64) makes 64-bit words, a ziggurat of 256 strips turns them
 * into normals. One seed then gives one set of hyperplanes in a Python service and in a web page.
 *
 * Every step is integer arithmetic or one of + - * / and the square root, which IEEE 754 rounds in one way
 * only. `Math.exp` and `Math.log` differ from engine to engine; `exponential` and `logarithm` below stand in.
 *
 * Sources: M. E. O'Neill, PCG (HMC-CS-2014-0905), sections 6.3 and 6.4; M. E. O'Neill, "Developing a seed_seq
 * alternative" (2015); G. Marsaglia and W. W. Tsang, The Ziggurat Method (J. Stat. Software 5(8), 2000);
 * D. Lemire, Fast Random Integer Generation in an Interval (ACM TOMACS 29(1), 2019).
 */

import { checkFloats, checkInteger, describe, rangeError, typeError } from './check.js';

const TWO_32 = 2 ** 32;

/** One stream of random numbers, the stream of NumPy's `default_rng(seed)`. */
export class RandomGenerator {
  /** The 128-bit state, four 32-bit limbs, lowest first. Floats, because the products below are floats. */
  readonly #state: Float64Array;
  /** The odd 128-bit increment, limbs as in the state. */
  readonly #increment: Float64Array;
  /** The last 64-bit word: low half, high half. */
  readonly #word = new Int32Array(2);
  /** The high half of a word whose low half `nextUint32` has given out, or -1. */
  #spare = -1;

  /**
   * @param seed a safe integer from 0, or a bigint from 0 of any size; equal values give equal streams.
   * @throws TypeError for anything but a number or bigint, RangeError for a negative, fractional or unsafe one.
   */
  constructor(seed: number | bigint) {
    const words = seedWords(seed);
    // NumPy reads the eight words as four of 64 bits, low half first, and pairs these high word first.
    const start = Float64Array.of(words[2], words[3], words[0], words[1]);
    const stream = [words[6], words[7], words[4], words[5]];
    this.#increment = Float64Array.from(stream, (limb, i) =>
      i === 0 ? ((limb << 1) | 1) >>> 0 : ((limb << 1) | (stream[i - 1] >>> 31)) >>> 0,
    );
    // PCG's seeding: step from 0, which leaves the increment; add the seed; step.
    this.#state = this.#increment.slice();
    let carry = 0;
    for (let i = 0; i < 4; i++) {
      const sum = this.#state[i] + start[i] + carry;
      this.#state[i] = sum >>> 0;
      carry = sum >= TWO_32 ? 1 : 0;
    }
    this.#step();
  }

  /** 32 random bits, as NumPy's `next_uint32`: the low half of a 64-bit word, then its high half. */
  nextUint32(): number {
    if (this.#spare >= 0) {
      const high = this.#spare;
      this.#spare = -1;
      return high;
    }
    this.#step();
    this.#spare = this.#word[1] >>> 0;
    return this.#word[0] >>> 0;
  }

  /** 64 random bits as [high, low], each an unsigned 32-bit integer; NumPy's `random_raw()`. */
  nextUint64Parts(): [high: number, low: number] {
    this.#step();
    return [this.#word[1] >>> 0, this.#word[0] >>> 0];
  }

  /** A float64 in [0, 1), a multiple of 2^-53; NumPy's `random()`. */
  uniform(): number {
    this.#step();
    return ((this.#word[1] >>> 0) * 0x200000 + (this.#word[0] >>> 11)) * 2 ** -53;
  }

  /**
   * An integer in [0, bound), each equally likely; NumPy's `integers(bound)`.
   *
   * The high half of bits · bound, drawn again where the low half says that this result has one preimage more
   * than others (Lemire's method).
   *
   * @param bound an integer from 1 to 2^32; 1 gives 0 and draws nothing.
   * @throws TypeError or RangeError for another bound.
   */
  integer(bound: number): number {
    checkInteger('bound', bound, 1, TWO_32);
    if (bound === 1) return 0;
    if (bound === TWO_32) return this.nextUint32();
    let bits = this.nextUint32();
    let low = Math.imul(bits, bound) >>> 0;
    if (low < bound) {
      const unfair = (TWO_32 - bound) % bound;
      while (low < unfair) {
        bits = this.nextUint32();
        low = Math.imul(bits, bound) >>> 0;
      }
    }
    // bits · bound has up to 64 bits: the upper and lower 16 of `bits` keep each product exact.
    const carry = Math.floor(((bits & 0xffff) * bound) / 0x10000);
    return Math.floor(((bits >>> 16) * bound + carry) / 0x10000);
  }

  /**
   * A standard normal number as float64; NumPy's `normal()`.
   *
   * Bit for bit NumPy's, but for the last bit of some numbers in the tail: logarithms are rounded correctly here,
   * and nearly so by the C library below NumPy. Of 20 million numbers 29 differ so, and none as float32.
   */
  normal(): number {
    const { limits, widths, heights } = zigguratTables();
    for (;;) {
      this.#step();
      // One word, from its lowest bit: 8 bits of strip, 1 of sign, 52 of magnitude; 3 are left over.
      const low = this.#word[0];
      const strip = low & 0xff;
      const magnitude = (this.#word[1] & 0x1fffffff) * 0x800000 + (low >>> 9);
      const x = magnitude * widths[strip];
      // 0 - x, not -x: NumPy adds its mean of 0, which turns -0 into 0.
      if (magnitude < limits[strip]) return low & 0x100 ? 0 - x : x;
      if (strip === 0) {
        // The sign of the tail is bit 8 of the magnitude, as in NumPy, not the sign bit.
        const tail = this.#tail();
        return low & 0x20000 ? -tail : tail;
      }
      const height = (heights[strip - 1] - heights[strip]) * this.uniform() + heights[strip];
      if (height < exponential(-0.5 * x * x)) return low & 0x100 ? 0 - x : x;
    }
  }

  /** Fills `out` with standard normals, rounded to float32; NumPy's `normal(size=n).astype('float32')`. */
  normals(out: Float32Array): void {
    checkFloats('out', out);
    for (let i = 0; i < out.length; i++) out[i] = this.normal();
  }

  /** A normal beyond R, by Marsaglia's method. */
  #tail(): number {
    for (;;) {
      // NumPy writes log1p(-u). 1 - u is exact, since u is a multiple of 2^-53, so the plain logarithm will do.
      const beyond = -R_INVERSE * logarithm(1 - this.uniform());
      const y = -logarithm(1 - this.uniform());
      if (y + y > beyond * beyond) return R + beyond;
    }
  }

  /**
   * state = state · multiplier + increment (mod 2^128), then the 64-bit word of the new state:
   * its halves xor-ed, rotated right by its top 6 bits.
   *
   * A limb of 32 bits times a 16-bit piece of the multiplier has 48 bits, so a float64 holds the sum of a
   * column of products exactly. Columns are 16 bits apart and taken in pairs, one pair per limb.
   * BigInt for each draw costs ten times as much.
   */
  #step(): void {
    const state = this.#state;
    const increment = this.#increment;
    const s0 = state[0];
    const s1 = state[1];
    const s2 = state[2];
    const s3 = state[3];

    let odd = s0 * M1;
    let sum = s0 * M0 + (odd & 0xffff) * 0x10000 + increment[0];
    const limb0 = sum >>> 0;
    let carry = Math.floor(odd / 0x10000) + Math.floor(sum / TWO_32);

    odd = s0 * M3 + s1 * M1;
    sum = s0 * M2 + s1 * M0 + (odd & 0xffff) * 0x10000 + increment[1] + carry;
    const limb1 = sum >>> 0;
    carry = Math.floor(odd / 0x10000) + Math.floor(sum / TWO_32);

    odd = s0 * M5 + s1 * M3 + s2 * M1;
    sum = s0 * M4 + s1 * M2 + s2 * M0 + (odd & 0xffff) * 0x10000 + increment[2] + carry;
    const limb2 = sum >>> 0;
    carry = Math.floor(odd / 0x10000) + Math.floor(sum / TWO_32);

    odd = s0 * M7 + s1 * M5 + s2 * M3 + s3 * M1;
    sum = s0 * M6 + s1 * M4 + s2 * M2 + s3 * M0 + (odd & 0xffff) * 0x10000 + increment[3] + carry;
    const limb3 = sum >>> 0;

    state[0] = limb0;
    state[1] = limb1;
    state[2] = limb2;
    state[3] = limb3;

    const rotation = limb3 >>> 26;
    const high = limb3 ^ limb1;
    const low = limb2 ^ limb0;
    const near = rotation & 32 ? high : low;
    const far = rotation & 32 ? low : high;
    // Shift counts work modulo 32, and (x << 1) << (31 - n) is x << (32 - n) that also holds for n = 0.
    const left = 31 - (rotation & 31);
    this.#word[0] = (near >>> rotation) | ((far << 1) << left);
    this.#word[1] = (far >>> rotation) | ((near << 1) << left);
  }
}

/** PCG's 128-bit multiplier 0x2360ed051fc65da44385df649fccf645, in 16-bit pieces, lowest first. */
const M0 = 0xf645;
const M1 = 0x9fcc;
const M2 = 0xdf64;
const M3 = 0x4385;
const M4 = 0x5da4;
const M5 = 0x1fc6;
const M6 = 0xed05;
const M7 = 0x2360;

/**
 * The eight 32-bit words that NumPy's `SeedSequence(seed).generate_state(8)` gives.
 *
 * The seed's 32-bit digits, lowest first, are hashed into a pool of four words; each word of the pool is mixed
 * into each other; digits beyond the fourth are mixed into all four; the pool is hashed out twice over.
 */
function seedWords(seed: number | bigint): Uint32Array {
  const digits = seedDigits(seed);
  const pool = new Uint32Array(4);
  let multiplier = 0x43b0d7e5;
  const hash = (value: number): number => {
    const mixed = value ^ multiplier;
    multiplier = Math.imul(multiplier, 0x931e8875);
    const product = Math.imul(mixed, multiplier);
    return product ^ (product >>> 16);
  };
  const mix = (to: number, value: number): void => {
    const difference = Math.imul(0xca01f9dd, pool[to]) - Math.imul(0x4973f715, value);
    pool[to] = difference ^ (difference >>> 16);
  };

  for (let i = 0; i < 4; i++) pool[i] = hash(digits[i] ?? 0);
  for (let from = 0; from < 4; from++) {
    for (let to = 0; to < 4; to++) if (to !== from) mix(to, hash(pool[from]));
  }
  for (let i = 4; i < digits.length; i++) {
    for (let to = 0; to < 4; to++) mix(to, hash(digits[i]));
  }

  let outMultiplier = 0x8b51f9dd;
  return Uint32Array.from({ length: 8 }, (_, i) => {
    const mixed = pool[i % 4] ^ outMultiplier;
    outMultiplier = Math.imul(outMultiplier, 0x58f38ded);
    const product = Math.imul(mixed, outMultiplier);
    return product ^ (product >>> 16);
  });
}

/** The seed in base 2^32, lowest digit first, or an error that says what a seed is. */
function seedDigits(seed: unknown): number[] {
  const expected = 'seed: expected a safe integer from 0 or a bigint from 0';
  if (typeof seed !== 'number' && typeof seed !== 'bigint') {
    throw typeError('ERR_ARGUMENT_TYPE', `${expected}, got ${describe(seed)}`);
  }
  if (seed < 0 || (typeof seed === 'number' && !Number.isSafeInteger(seed))) {
    throw rangeError('ERR_ARGUMENT_RANGE', `${expected}, got ${seed}`);
  }
  // By hexadecimal text: shifting a bigint once per digit is quadratic in its length.
  const text = seed.toString(16);
  const digits: number[] = [];
  for (let end = text.length; end > 0; end -= 8) {
    digits.push(Number.parseInt(text.slice(Math.max(0, end - 8), end), 16));
  }
  return digits;
}

/** Where the tail begins: the right edge of the bottom strip. */
const R = 3.654152885361009;
const R_INVERSE = 0.27366123732975828;
/** The area of each strip, the bottom one with the tail: R f(R) + ∫ f beyond R, to within 4 units, as NumPy has it. */
const STRIP_AREA = 0.0049286732339746519;

/** The 256 strips under f(x) = exp(-x²/2). Strip 0 is the bottom one, then from the top, 1, down to 255. */
export interface ZigguratTables {
  /** A magnitude below this lies under the curve for certain; integers up to 2^52. NumPy's `ki_double`. */
  readonly limits: Float64Array;
  /** A strip's width per unit of magnitude. NumPy's `wi_double`. */
  readonly widths: Float64Array;
  /** f at a strip's right edge. NumPy's `fi_double`. */
  readonly heights: Float64Array;
}

let tables: ZigguratTables | undefined;

/** The tables of the ziggurat, equal to NumPy's in every bit; computed once, by the first call. */
export function zigguratTables(): ZigguratTables {
  tables ??= computeTables();
  return tables;
}

function computeTables(): ZigguratTables {
  const limits = new Float64Array(256);
  const widths = new Float64Array(256);
  const heights = new Float64Array(256);
  const scale = 2 ** 52;
  let edge = R;
  for (let i = 255; i > 0; i--) {
    heights[i] = exponential(-0.5 * edge * edge);
    // NumPy's tables were made with a C library whose exp was 0.502 units off here, on the other side of a tie.
    // This is the only one of its 765 values that correct rounding does not give; later strips build on it.
    if (i === 38) heights[i] += 2 ** -53;
    widths[i] = edge / scale;
    // Strips have equal areas: edge · (f(next) - f(edge)) = STRIP_AREA.
    const next = i > 1 ? Math.sqrt(-2 * logarithm(heights[i] + STRIP_AREA / edge)) : 0;
    limits[i] = roundHalfEven((next / edge) * scale);
    edge = next;
  }
  limits[0] = roundHalfEven(((R * heights[255]) / STRIP_AREA) * scale);
  widths[0] = STRIP_AREA / heights[255] / scale;
  heights[0] = 1;
  return { limits, widths, heights };
}

/** The nearest integer to x in [0, 2^52]: adding 2^52 leaves no bits for a fraction. */
function roundHalfEven(x: number): number {
  return x + 2 ** 52 - 2 ** 52;
}

/**
 * A number as an unevaluated sum of two: high, and a low part of at most half a unit in its last place.
 * T. J. Dekker, A floating-point technique for extending the available precision (Numer. Math. 18, 1971).
 */
type Pair = readonly [high: number, low: number];

/** ln 2 in two parts. The high one ends in zero bits, so that its products with integers are exact. */
const LN2: Pair = [0.6931471803691238, 1.9082149292705877e-10];

/**
 * e^x, rounded correctly but for ties closer than about 2^-25 of a unit in the last place; |x| up to 700.
 *
 * x = k · ln 2 + 256 · s; the Taylor series of e^s - 1, squared eight times over.
 */
export function exponential(x: number): number {
  const k = Math.round(x / (LN2[0] + LN2[1]));
  const rest = add(twoSum(x - k * LN2[0], 0), twoProduct(-k, LN2[1]));
  const s: Pair = [rest[0] / 256, rest[1] / 256];
  // s + s²/2! + … + s⁹/9!: |s| < 0.0014, so the next term is below 2^-100 of the first, and those from the fifth
  // on, 2^-45 of it, need no second part.
  let small = 0;
  for (let n = 9; n > 4; n--) small = (s[0] / n) * (1 + small);
  let series: Pair = [small, 0];
  for (let n = 4; n > 0; n--) series = divide(multiply(s, add([1, 0], series)), [n, 0]);
  // (1 + q)² - 1 = 2q + q²
  for (let i = 0; i < 8; i++) series = add([2 * series[0], 2 * series[1]], multiply(series, series));
  let power = add([1, 0], series)[0];
  const factor = k < 0 ? 0.5 : 2;
  for (let i = Math.abs(k); i > 0; i--) power *= factor;
  return power;
}

/**
 * ln a for a positive normal number, rounded correctly but for ties closer than about 2^-25 of a unit.
 *
 * a = 2^e · m with m in [√½, √2); ln m = 2 artanh((m - 1) / (m + 1)).
 */
export function logarithm(a: number): number {
  let m = a;
  let e = 0;
  for (; m < Math.SQRT1_2; e--) m *= 2;
  for (; m >= Math.SQRT2; e++) m /= 2;
  const s = divide([m - 1, 0], twoSum(m, 1));
  const square = multiply(s, s);
  // 1 + s²/3 + s⁴/5 + … + s⁴⁰/41: s² < 0.0295, so the next term is below 2^-110, and those from s¹⁴/15 on, below
  // 2^-39, need no second part.
  let small = 0;
  for (let n = 41; n > 13; n -= 2) small = 1 / n + square[0] * small;
  let series: Pair = [small, 0];
  for (let n = 13; n > 0; n -= 2) series = add(divide([1, 0], [n, 0]), multiply(square, series));
  const ofM = multiply([2 * s[0], 2 * s[1]], series);
  return add(add([e * LN2[0], 0], twoProduct(e, LN2[1])), ofM)[0];
}

function add(a: Pair, b: Pair): Pair {
  const [high, low] = twoSum(a[0], b[0]);
  const [lowHigh, lowLow] = twoSum(a[1], b[1]);
  const [sum, rest] = quickSum(high, low + lowHigh);
  return quickSum(sum, rest + lowLow);
}

function multiply(a: Pair, b: Pair): Pair {
  const [high, low] = twoProduct(a[0], b[0]);
  return quickSum(high, low + (a[0] * b[1] + a[1] * b[0]));
}

function divide(a: Pair, b: Pair): Pair {
  const quotient = a[0] / b[0];
  const rest = add(a, multiply([-quotient, 0], b));
  return quickSum(quotient, rest[0] / b[0]);
}

/** a + b exactly. */
function twoSum(a: number, b: number): Pair {
  const sum = a + b;
  const part = sum - a;
  return [sum, a - (sum - part) + (b - part)];
}

/** a + b exactly, where |a| is not below |b|. */
function quickSum(a: number, b: number): Pair {
  const sum = a + b;
  return [sum, b - (sum - a)];
}

/** a · b exactly: each factor in halves of 26 bits, whose products are exact. */
function twoProduct(a: number, b: number): Pair {
  const product = a * b;
  const aHigh = a * 0x8000001 - (a * 0x8000001 - a);
  const aLow = a - aHigh;
  const bHigh = b * 0x8000001 - (b * 0x8000001 - b);
  const bLow = b - bHigh;
  return [product, aHigh * bHigh - product + aHigh * bLow + aLow * bHigh + aLow * bLow];
}

/** A seed of 128 bits that nobody can guess, from the platform's cryptographic source. */
function drawSeed(): bigint {
  let seed = 0n;
  for (const word of crypto.getRandomValues(new Uint32Array(4))) seed = (seed << 32n) | BigInt(word);
  return seed;
}

/**
 * The seed that the option `seed` of an index stands for: itself, default 0, or a fresh one for `'random'`.
 *
 * Throws what RangeError or TypeError the generator throws.
 */
export function seedOf(seed: number | bigint | 'random' | undefined): bigint {
  if (seed === 'random') return drawSeed();
  new RandomGenerator(seed ?? 0); // refuses a wrong one
  return BigInt(seed ?? 0);
}
