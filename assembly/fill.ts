// Rows → slots of blocks and records of the second stage: transform, then encode.

import { encode, encodeLoose, FACTOR_BYTES, looseBytes, slotIn } from './encode';
import { addProduct, addSquare, sum } from './lanes';
import { get, getFloat, Plan } from './plan';
import { refineRows } from './refine';
import { transform } from './transform';

/**
 * What a row's squared distance in the coded space lacks.
 *
 * By inner product, rows are extended by a coordinate to one common norm, so that the nearest row is the one with the
 * largest inner product (Bachrach et al., RecSys 2014). A row that came later and is longer than that norm is not
 * extended; its surplus is taken off here. With a matrix, the energy outside its planes is added (the query's own share
 * is the same for all rows and left out; the product of the two is taken to be 0).
 */
function lacking(plan: usize, row: usize, rotated: usize): f32 {
  let offset: f32 = 0;
  const end = row + (get(plan, Plan.Stride) << 2);
  if (get(plan, Plan.Dot)) {
    let a = f32x4.splat(0);
    for (let p = row; p < end; p += 16) {
      const x = v128.load(p);
      a = addProduct(a, x, x);
    }
    offset = min<f32>(0, getFloat(plan, Plan.NormBound) - sum(a));
  }
  return offset + outside(plan, row, rotated);
}

/** The energy of a row outside the planes of the matrix; 0 without one. */
export function outside(plan: usize, row: usize, rotated: usize): f32 {
  if (get(plan, Plan.Rounds)) return 0;
  const end = row + (get(plan, Plan.Stride) << 2);
  let a = f32x4.splat(0);
  for (let p = row, m = get(plan, Plan.RawMean); p < end; p += 16, m += 16) a = addSquare(a, v128.load(p), v128.load(m));
  let b = f32x4.splat(0);
  for (let p = rotated, last = rotated + (get(plan, Plan.Dims) << 2); p < last; p += 16) {
    const x = v128.load(p);
    b = addProduct(b, x, x);
  }
  return max<f32>(0, sum(a) - sum(b));
}

/**
 * Encodes consecutive rows into consecutive slots of one cell's run; the slots must be empty.
 *
 * rows       f32 × count × Stride, the rows at positions position, position + 1, …   read
 * firstBlock address of the run; slot counts from there
 * scratch    f32 × 32 × Dims         overwritten
 */
export function fillSlots(
  plan: usize,
  rows: usize,
  position: u32,
  count: u32,
  centre: usize,
  firstBlock: usize,
  slot: u32,
  scratch: usize,
): void {
  const dims = <u32>get(plan, Plan.Dims);
  const rowBytes = get(plan, Plan.Stride) << 2;
  const bytes = (<usize>dims) << 2;
  const blockBytes = bytes + FACTOR_BYTES;
  for (let i: u32 = 0; i < count; i += 32) {
    const n = min<u32>(32, count - i);
    transform(plan, rows, n, scratch);
    for (let j: u32 = 0; j < n; j++, slot++) {
      const block = firstBlock + <usize>(slot >> 5) * blockBytes;
      const rotated = scratch + <usize>j * bytes;
      const offset = lacking(plan, rows + <usize>j * rowBytes, rotated);
      encode(rotated, centre, dims, block, slot & 31, 0, position + i + j, offset);
    }
    rows += rowBytes << 5;
  }
}

/**
 * Writes the codes of consecutive rows whose cells are known but not yet their slots, so that rows need not be
 * transformed a second time when they have been counted (a sixth of a build of 784 floats a row).
 *
 * rows     f32 × count × Stride   read
 * rotated  f32 × count × Dims     read
 * cells    u32 × count            read
 * loose    count × looseBytes        written
 */
export function encodeRows(plan: usize, rows: usize, rotated: usize, count: u32, cells: usize, loose: usize): void {
  const dims = <u32>get(plan, Plan.Dims);
  const rowBytes = get(plan, Plan.Stride) << 2;
  const bytes = (<usize>dims) << 2;
  const centres = get(plan, Plan.Centres);
  for (let i: u32 = 0; i < count; i++) {
    const centre = centres + <usize>load<u32>(cells) * bytes;
    encodeLoose(rotated, centre, dims, loose, lacking(plan, rows, rotated));
    rows += rowBytes;
    rotated += bytes;
    cells += 4;
    loose += looseBytes(dims);
  }
}

/**
 * Puts codes of encodeRows into consecutive slots of one cell's run; the slots must be empty.
 *
 * loose       codes of all rows, by the place they were encoded in   read
 * places      u32 × count, of the rows that are at positions position, position + 1, … now   read
 * firstBlock  address of the run; slot counts from there
 */
export function fillEncoded(
  plan: usize,
  loose: usize,
  places: usize,
  position: u32,
  count: u32,
  firstBlock: usize,
  slot: u32,
): void {
  const dims = <u32>get(plan, Plan.Dims);
  const blockBytes = ((<usize>dims) << 2) + FACTOR_BYTES;
  for (let i: u32 = 0; i < count; i++, slot++, places += 4) {
    const block = firstBlock + <usize>(slot >> 5) * blockBytes;
    slotIn(loose + <usize>load<u32>(places) * looseBytes(dims), dims, block, slot & 31, position + i);
  }
}

/**
 * Writes the second stage's records of consecutive rows.
 *
 * rows     f32 × count × Stride   read
 * records  count × 16 ceil(Dims / 32)   written
 * norms    f32 × count            written
 * scratch  f32 × 32 × (Dims + 1)  overwritten
 */
export function fillRecords(
  plan: usize,
  rows: usize,
  count: u32,
  records: usize,
  norms: usize,
  scratch: usize,
): void {
  const dims = <u32>get(plan, Plan.Dims);
  const rowBytes = get(plan, Plan.Stride) << 2;
  const recordBytes = ((dims + 31) >> 5) << 4;
  const offsets = scratch + (<usize>dims << 7);
  for (let i: u32 = 0; i < count; i += 32) {
    const n = min<u32>(32, count - i);
    transform(plan, rows, n, scratch);
    for (let j: u32 = 0; j < n; j++) {
      const rotated = scratch + (<usize>(j * dims) << 2);
      store<f32>(offsets + ((<usize>j) << 2), lacking(plan, rows + <usize>j * rowBytes, rotated));
    }
    refineRows(scratch, n, dims, getFloat(plan, Plan.RefineStep), offsets, records, norms);
    rows += rowBytes << 5;
    records += (<usize>recordBytes) << 5;
    norms += 128;
  }
}

/**
 * Puts rows into a new order, in place: new[p] = old[source[p]]. Stops after so many moves, to go on with the next call.
 *
 * rows     rowBytes × count   read and written
 * source   u32 × count        read, a permutation; left as the identity
 * scratch  rowBytes           the row that is out of its place; kept from call to call
 * state    u32 × 2            first position of the cycle that is open, and where it stands; 0, 0 at first, count at last
 */
export function permuteRows(
  rows: usize,
  rowBytes: u32,
  count: u32,
  source: usize,
  scratch: usize,
  state: usize,
  moves: u32,
): void {
  let p = load<u32>(state);
  let to = load<u32>(state, 4);
  while (p < count) {
    let from = load<u32>(source + ((<usize>to) << 2));
    if (from != p) {
      // Follow the cycle that starts here; each row moves once.
      if (to == p) memory.copy(scratch, rows + <usize>p * rowBytes, rowBytes);
      do {
        if (moves-- == 0) {
          store<u32>(state, p);
          store<u32>(state, to, 4);
          return;
        }
        memory.copy(rows + <usize>to * rowBytes, rows + <usize>from * rowBytes, rowBytes);
        store<u32>(source + ((<usize>to) << 2), to);
        to = from;
        from = load<u32>(source + ((<usize>to) << 2));
      } while (from != p);
    }
    if (to != p) {
      memory.copy(rows + <usize>to * rowBytes, scratch, rowBytes);
      store<u32>(source + ((<usize>to) << 2), to);
    }
    to = ++p;
  }
  store<u32>(state, p);
}

/**
 * rows[r] = rows[r] · scales[r], in place.
 *
 * rows    f32 × count × stride   read and written
 * scales  f32 × count            read
 */
export function scaleRows(rows: usize, scales: usize, count: u32, stride: u32): void {
  const bytes = (<usize>stride) << 2;
  for (let r: u32 = 0; r < count; r++) {
    const scale = v128.load_splat<f32>(scales + ((<usize>r) << 2));
    for (const end = rows + bytes; rows < end; rows += 16) v128.store(rows, f32x4.mul(v128.load(rows), scale));
  }
}

/**
 * Extends rows by a coordinate that brings them to one squared norm, or by 0 where they are longer.
 *
 * rows  f32 × count × stride   read, coordinate `at` written; it must be 0 on the way in
 */
export function extendRows(rows: usize, count: u32, stride: u32, at: u32, squaredNorm: f32): void {
  const bytes = (<usize>stride) << 2;
  for (let r: u32 = 0; r < count; r++) {
    let a = f32x4.splat(0);
    for (let i: usize = 0; i < bytes; i += 16) {
      const x = v128.load(rows + i);
      a = addProduct(a, x, x);
    }
    store<f32>(rows + ((<usize>at) << 2), sqrt<f32>(max<f32>(0, squaredNorm - sum(a))));
    rows += bytes;
  }
}
