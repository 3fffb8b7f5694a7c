import { CHUNK_ROWS, type EnginePlan } from './plan.js';
import type { Progress } from './progress.js';

/** Draws random bits and numbers. */
export interface RandomSource {
  nextUint32(): number;
  normal(): number;
}

/** Dimensions that principal components keep; rows of more floats than LEAST_PRINCIPAL may be coded by them. */
const PRINCIPAL = 192;
export const LEAST_PRINCIPAL = 256;
/** Rows that the components are found on, and steps of subspace iteration: more change the energy caught by under 1 %. */
const PRINCIPAL_ROWS = 2000;
const PRINCIPAL_STEPS = 2;
/** Planes that are drawn in one step. */
const DRAWN_PLANES = 16;
/** More than the length of any row. */
const LARGEST_MEAN = 1e18;
const STEP: Progress = { phase: 'train', done: 0, total: PRINCIPAL_ROWS };
/** Length of a plane in 16-bit integers (assembly/transform.ts). */
const PLANE_LENGTH = 8192;

/**
 * The coded space: a random rotation around the mean of the rows (assembly/rotate.ts), or, for long rows, a rotation of
 * their first principal components. Signs of rotated residuals carry the same share of the distance in every coordinate,
 * whatever the data, which is what the codes' error bound rests on.
 */
export class Space {
  #plan: EnginePlan;

  constructor(plan: EnginePlan) {
    this.#plan = plan;
  }

  /** Draws the rotation of whole rows; the mean is left at 0. */
  draw(random: RandomSource): void {
    const plan = this.#plan;
    const dims = plan.get('Stride');
    plan.release('matrix');
    plan.release('rawMean');
    this.#drawSigns(dims, random);
    this.#reserveScratch(dims);
    this.setMean(new Float64Array(dims));
  }

  setMean(mean: Float64Array): void {
    const plan = this.#plan;
    const at = plan.reserve('mean', mean.length * 4) >>> 2;
    plan.memory.f32.set(mean, at);
  }

  /**
   * Finds the first principal components of rows and makes their rotation the coded space (subspace iteration: Halko,
   * Martinsson and Tropp, 2011).
   *
   * @param rows how many rows there are; `floats` gives the address of the i-th.
   */
  *learn(
    rows: number,
    floats: (i: number) => number,
    mean: Float64Array,
    random: RandomSource,
  ): Generator<Progress> {
    const plan = this.#plan;
    const stride = plan.get('Stride');
    const count = Math.min(rows, PRINCIPAL_ROWS);
    const dims = PRINCIPAL;
    // Centred rows, and the same transposed: both products of an iteration are margins of rows against planes.
    const wide = Math.ceil(count / 4) * 4;
    const centred = plan.reserve('centred rows', count * stride * 4);
    const turned = plan.reserve('turned rows', stride * wide * 4);
    for (let i = 0; i < count; i++) {
      const row = floats(Math.floor((i * rows) / count)) >>> 2;
      centre(plan.memory.f32, row, mean, (centred >>> 2) + i * stride);
      if (i % 16 === 15 || i === count - 1) {
        // A few rows at a time, whose values lie on one cache line when they are turned.
        const first = i - (i % 16);
        const { f32 } = plan.memory;
        const rows = f32.subarray((centred >>> 2) + first * stride, (centred >>> 2) + (i + 1) * stride);
        transpose(rows, i + 1 - first, stride, f32.subarray((turned >>> 2) + first), wide);
      }
      if (i % 256 === 0) yield STEP;
    }
    for (let j = 0; j < stride; j++) {
      plan.memory.f32.fill(0, (turned >>> 2) + j * wide + count, (turned >>> 2) + (j + 1) * wide);
    }
    let planes = new Float64Array(dims * stride);
    for (let p = 0; p < dims; p += DRAWN_PLANES) {
      draw(planes.subarray(p * stride, (p + DRAWN_PLANES) * stride), random);
      yield STEP;
    }
    for (let step = 0; step < PRINCIPAL_STEPS; step++) {
      const along = yield* this.#margins(centred, count, stride, planes, dims);
      const back = new Float64Array(dims * wide);
      transpose(along, count, dims, back, wide);
      yield STEP;
      const product = yield* this.#margins(turned, stride, wide, back, dims);
      planes = new Float64Array(dims * stride);
      transpose(product, stride, dims, planes, stride);
      yield* orthonormalize(planes, dims, stride, random, step + 1 < PRINCIPAL_STEPS ? 1 : 2);
    }
    plan.release('centred rows');
    plan.release('turned rows');

    // Rotate the components among themselves: a row of the transposed planes is a vector of the coded space.
    this.#drawSigns(dims, random);
    plan.reserve('mean', dims * 4);
    plan.memory.f32.fill(0, plan.ptr('mean') >>> 2, (plan.ptr('mean') >>> 2) + dims);
    const columns = plan.reserve('columns', stride * dims * 4);
    const rotated = plan.reserve('rotated columns', stride * dims * 4);
    const table = (at: number): Float32Array => plan.memory.f32.subarray(at >>> 2).subarray(0, stride * dims);
    transpose(planes, dims, stride, table(columns), dims);
    yield STEP;
    const { kernels } = plan;
    kernels.rotate(
      columns,
      stride,
      dims,
      plan.ptr('mean'),
      plan.ptr('signs'),
      plan.get('Rounds'),
      dims,
      rotated,
    );
    yield STEP;
    transpose(table(rotated), stride, dims, table(columns), stride);
    plan.release('rotated columns');
    yield STEP;
    const planeWords = Math.ceil(stride / 8) * 8;
    const matrix = plan.reserve('matrix', dims * planeWords * 2);
    plan.reserve('wideRow', planeWords * 4);
    const planesOut = new Int16Array(plan.memory.memory.buffer, matrix, dims * planeWords).fill(0);
    round(table(columns), stride, planesOut, planeWords);
    plan.release('columns');
    plan.release('signs');
    plan.set('Rounds', 0);
    this.#reserveScratch(dims);
    const raw = plan.reserve('rawMean', stride * 4);
    plan.memory.f32.set(mean, raw >>> 2);
    // The mean is still 0 here: where the rows' mean lands is what is taken off from now on.
    this.transform(raw, 1, plan.ptr('rotated'));
    plan.memory.u8.copyWithin(plan.ptr('mean'), plan.ptr('rotated'), plan.ptr('rotated') + dims * 4);
  }

  /** Takes over the coded space of another index of the same shape. */
  adopt(other: Space): void {
    const plan = this.#plan;
    const from = other.#plan;
    for (const field of ['Dims', 'Rounds'] as const) plan.set(field, from.get(field));
    for (const region of ['signs', 'mean', 'matrix', 'rawMean', 'wideRow']) {
      const bytes = from.memory.capacity(region);
      plan.release(region);
      if (bytes === 0) continue;
      const at = plan.reserve(region, bytes);
      plan.memory.u8.set(from.memory.u8.subarray(from.ptr(region), from.ptr(region) + bytes), at);
    }
    this.#reserveScratch(plan.get('Dims'));
  }

  /** Room for queries in a coded space that is there already. */
  adoptOwn(): void {
    const plan = this.#plan;
    if (plan.ptr('matrix')) plan.reserve('wideRow', Math.ceil(plan.get('Stride') / 8) * 32);
    this.#reserveScratch(plan.get('Dims'));
  }

  /** Room for the coded space of a snapshot, which is copied into `mean` and `signs`, or `mean`, `matrix` and `rawMean`. */
  open(dims: number, principal: boolean): void {
    const plan = this.#plan;
    plan.reserve('mean', dims * 4);
    if (!principal) return; // the rotation that was drawn at first has the same shape
    plan.release('signs');
    plan.set('Rounds', 0);
    plan.set('Dims', dims);
    plan.reserve('matrix', this.matrixBytes);
    plan.reserve('wideRow', Math.ceil(plan.get('Stride') / 8) * 32);
    plan.reserve('rawMean', plan.get('Stride') * 4);
    this.#reserveScratch(dims);
  }

  /** Proves what was copied in. Returns what is expected and does not hold, or nothing. */
  settle(): string | undefined {
    const plan = this.#plan;
    const isFit = (region: string, count: number, limit: number): boolean =>
      plan.kernels.firstUnfit(plan.ptr(region), count, limit) >>> 0 === count;
    if (!isFit('mean', plan.get('Dims'), LARGEST_MEAN)) return 'a finite mean';
    const rounds = plan.get('Rounds');
    if (rounds > 0) return isFit('signs', rounds * plan.get('Dims'), 1) ? undefined : 'signs of at most 1';
    return isFit('rawMean', plan.get('Stride'), LARGEST_MEAN) ? undefined : 'a finite mean of the rows';
  }

  /** Bytes of the matrix of a coded space of principal components. */
  get matrixBytes(): number {
    return this.#plan.get('Dims') * Math.ceil(this.#plan.get('Stride') / 8) * 16;
  }

  /** Takes rows of floats into the coded space, at most CHUNK_ROWS of them. */
  transform(rows: number, count: number, rotated: number): void {
    this.#plan.kernels.transform(this.#plan.address, rows, count, rotated);
  }

  #drawSigns(dims: number, random: RandomSource): void {
    const plan = this.#plan;
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
  }

  #reserveScratch(dims: number): void {
    const plan = this.#plan;
    plan.reserve('rotated', dims * 4);
    plan.reserve('lut', dims * 4);
    plan.reserve('wide', Math.ceil(dims / 128) * 256);
    if (plan.get('Int8')) plan.reserve('wideQuery', Math.ceil(plan.get('Stride') / 16) * 32);
  }

  /** rows · planes, count × dims, by the kernel. */
  *#margins(
    rows: number,
    count: number,
    stride: number,
    planes: Float64Array,
    dims: number,
  ): Generator<Progress, Float32Array> {
    const plan = this.#plan;
    const plain = plan.reserve('planes', dims * stride * 4);
    plan.memory.f32.set(planes, plain >>> 2);
    const packed = plan.reserve('packed planes', dims * stride * 4);
    plan.kernels.packPlanes(plan.ptr('planes'), dims, stride, stride, packed);
    yield STEP;
    const out = new Float32Array(count * dims);
    const chunk = plan.reserve('margins', CHUNK_ROWS * dims * 4);
    for (let row = 0; row < count; row += CHUNK_ROWS) {
      const n = Math.min(CHUNK_ROWS, count - row);
      plan.kernels.margins(rows + row * stride * 4, n, stride, stride, packed, dims, chunk);
      out.set(plan.memory.f32.subarray(chunk >>> 2, (chunk >>> 2) + n * dims), row * dims);
      yield STEP;
    }
    for (const region of ['planes', 'packed planes', 'margins']) plan.release(region);
    return out;
  }
}

// Loops over numbers, as functions of their own: inside of a generator they take three times as long.

/** Fills with normally distributed numbers. */
function draw(into: Float64Array, random: RandomSource): void {
  for (let i = 0; i < into.length; i++) into[i] = random.normal();
}

type Floats = Float32Array | Float64Array;

/** into[j, i] = from[i, j]; the rows of `into` are `wide` apart. */
function transpose(from: Floats, rows: number, columns: number, into: Floats, wide: number): void {
  for (let j = 0; j < columns; j++) for (let i = 0; i < rows; i++) into[j * wide + i] = from[i * columns + j];
}

/** Rows of numbers as integers; the rows of `into` are `wide` apart. */
function round(from: Float32Array, stride: number, into: Int16Array, wide: number): void {
  for (let at = 0, row = 0; at < from.length; at += stride, row += wide)
    for (let j = 0; j < stride; j++) into[row + j] = Math.round(from[at + j] * PLANE_LENGTH);
}

/** words[to …] = words[from …] - mean */
function centre(words: Float32Array, from: number, mean: Float64Array, to: number): void {
  for (let j = 0; j < mean.length; j++) words[to + j] = words[from + j] - mean[j];
}

/**
 * Gram-Schmidt, in `passes` passes over each vector: two make them orthogonal to the last digit (Giraud et al., 2005),
 * one keeps an iteration from collapsing. A vector without anything of its own is drawn anew.
 */
function* orthonormalize(
  planes: Float64Array,
  count: number,
  stride: number,
  random: RandomSource,
  passes: number,
): Generator<Progress> {
  for (let p = 0; p < count; p++) {
    if (p % 16 === 0) yield STEP;
    const plane = planes.subarray(p * stride, (p + 1) * stride);
    for (;;) {
      const before = Math.sqrt(dot(plane, plane));
      for (let pass = 0; pass < passes; pass++) {
        // Four others at a time: the vector is read and written once for them.
        let o = 0;
        for (; o + 4 <= p; o += 4) takeOff4(plane, planes, o * stride, stride);
        for (; o < p; o++) {
          const other = planes.subarray(o * stride, (o + 1) * stride);
          const share = dot(plane, other);
          for (let j = 0; j < stride; j++) plane[j] -= share * other[j];
        }
      }
      const length = Math.sqrt(dot(plane, plane));
      if (length > 1e-10 * before && length > 0) {
        for (let j = 0; j < stride; j++) plane[j] /= length;
        break;
      }
      for (let j = 0; j < stride; j++) plane[j] = random.normal();
    }
  }
}

/** Takes a vector's projections on four orthonormal ones off it; they begin at `at`. */
function takeOff4(plane: Float64Array, others: Float64Array, at: number, stride: number): void {
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  for (let j = 0, i = at; j < stride; j++, i++) {
    const x = plane[j];
    a += x * others[i];
    b += x * others[i + stride];
    c += x * others[i + 2 * stride];
    d += x * others[i + 3 * stride];
  }
  for (let j = 0, i = at; j < stride; j++, i++) {
    plane[j] -=
      a * others[i] + b * others[i + stride] + c * others[i + 2 * stride] + d * others[i + 3 * stride];
  }
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum0 = 0;
  let sum1 = 0;
  for (let i = 0; i + 1 < a.length; i += 2) {
    sum0 += a[i] * b[i];
    sum1 += a[i + 1] * b[i + 1];
  }
  return sum0 + sum1;
}
