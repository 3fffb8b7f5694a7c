// Query-directed probing sequences (Lv, Josephson, Wang, Charikar, Li: Multi-Probe LSH, VLDB 2007, section 4.3-4.4):
// the buckets next to the query's own, by the sum of the squared margins of the bits in which they differ.
//
// Bits are put in order of their margins' size, smallest first. A set of flipped bits is a mask over this order, and
// every set follows from {0} in one way by shift (the last place moves one up) and expand (one place is added behind
// the last). Both cost more or equal and give a greater mask, so a heap yields the sets in order.
//
// record, 24 bytes: f64 cost · f64 cost without the last place · u32 mask over places · u32 mask over bits

const RECORD: usize = 24;

// @ts-ignore: decorator
@inline
function isCheaper(a: usize, cost: f64, mask: u32): bool {
  const other = load<f64>(a);
  return other < cost || (other == cost && load<u32>(a, 16) < mask);
}

/** Adds a record to a heap of `size`, the cheapest on top. */
function push(heap: usize, size: u32, cost: f64, rest: f64, mask: u32, flips: u32): void {
  let i = size;
  while (i) {
    const parent = (i - 1) >> 1;
    const p = heap + <usize>parent * RECORD;
    if (isCheaper(p, cost, mask)) break;
    memory.copy(heap + <usize>i * RECORD, p, RECORD);
    i = parent;
  }
  const at = heap + <usize>i * RECORD;
  store<f64>(at, cost);
  store<f64>(at, rest, 8);
  store<u32>(at, mask, 16);
  store<u32>(at, flips, 20);
}

/** Takes the top off a heap of `size`. */
function pop(heap: usize, size: u32): void {
  const left = size - 1;
  const last = heap + <usize>left * RECORD;
  const cost = load<f64>(last);
  const mask = load<u32>(last, 16);
  let i: u32 = 0;
  for (;;) {
    let child: u32 = 2 * i + 1;
    if (child >= left) break;
    let c = heap + <usize>child * RECORD;
    if (child + 1 < left && isCheaper(c + RECORD, load<f64>(c), load<u32>(c, 16))) {
      child++;
      c += RECORD;
    }
    if (!isCheaper(c, cost, mask)) break;
    memory.copy(heap + <usize>i * RECORD, c, RECORD);
    i = child;
  }
  memory.copy(heap + <usize>i * RECORD, last, RECORD);
}

/**
 * out[t][p] = key of the p-th bucket to visit in table t: the query's own, then by ascending cost
 *
 *     cost of a bucket = sum of margin² over the bits that differ from the query's, added up from the smallest on (f64)
 *
 * Bits with equal margins: the lower first. Buckets of equal cost: the lower mask over places first.
 *
 * margins  f32 × tables × bits            read
 * scratch  384 + 24 × (probes + 1) bytes  overwritten
 * out      u32 × tables × probes          written
 *
 * 1 <= bits <= 32, 1 <= probes <= 2^bits.
 */
export function probeKeys(margins: usize, tables: u32, bits: u32, probes: u32, scratch: usize, out: usize): void {
  // scratch: f64 × 32 squared margins in order · u32 × 32 their bits · heap
  const order = scratch + 256;
  const heap = scratch + 384;
  for (let t: u32 = 0; t < tables; t++) {
    let key: u32 = 0;
    for (let b: u32 = 0; b < bits; b++) {
      const margin = load<f32>(margins);
      if (margin >= 0) key |= 1 << b;
      const square = <f64>margin * <f64>margin;
      let i = b;
      for (; i && load<f64>(scratch + ((<usize>(i - 1)) << 3)) > square; i--) {
        store<f64>(scratch + ((<usize>i) << 3), load<f64>(scratch + ((<usize>(i - 1)) << 3)));
        store<u32>(order + ((<usize>i) << 2), load<u32>(order + ((<usize>(i - 1)) << 2)));
      }
      store<f64>(scratch + ((<usize>i) << 3), square);
      store<u32>(order + ((<usize>i) << 2), b);
      margins += 4;
    }
    store<u32>(out, key);
    out += 4;
    push(heap, 0, load<f64>(scratch), 0, 1, 1 << load<u32>(order));
    let size: u32 = 1;
    for (let p: u32 = 1; p < probes; p++) {
      const cost = load<f64>(heap);
      const rest = load<f64>(heap, 8);
      const mask = load<u32>(heap, 16);
      const flips = load<u32>(heap, 20);
      pop(heap, size);
      size--;
      store<u32>(out, key ^ flips);
      out += 4;
      const place: u32 = 31 - clz(mask);
      if (place + 1 < bits) {
        const next = place + 1;
        const square = load<f64>(scratch + ((<usize>next) << 3));
        const flip: u32 = 1 << load<u32>(order + ((<usize>next) << 2));
        const last: u32 = 1 << load<u32>(order + ((<usize>place) << 2));
        push(heap, size, rest + square, rest, mask ^ (3 << place), flips ^ last ^ flip);
        push(heap, size + 1, cost + square, cost, mask | (1 << next), flips | flip);
        size += 2;
      }
    }
  }
}
