// Jaccard distances of sets that stand in ascending order, each element once.

// How many elements two sets share. Blocks of four meet in four rotations, then the block that ends lower moves on
// (B. Schlegel et al., Fast Sorted-Set Intersection using SIMD Instructions, ADMS 2011).
// @ts-ignore: decorator
@inline
function shared(a: usize, aEnd: usize, b: usize, bEnd: usize): u32 {
  let count: u32 = 0;
  while (a + 16 <= aEnd && b + 16 <= bEnd) {
    const x = v128.load(a);
    const y = v128.load(b);
    const equal = v128.or(
      v128.or(i32x4.eq(x, y), i32x4.eq(x, v128.shuffle<u32>(y, y, 1, 2, 3, 0))),
      v128.or(i32x4.eq(x, v128.shuffle<u32>(y, y, 2, 3, 0, 1)), i32x4.eq(x, v128.shuffle<u32>(y, y, 3, 0, 1, 2))),
    );
    count += popcnt<u32>(i32x4.bitmask(equal));
    const aLast = load<u32>(a, 12);
    const bLast = load<u32>(b, 12);
    a += (<usize>(aLast <= bLast)) << 4;
    b += (<usize>(bLast <= aLast)) << 4;
  }
  while (a < aEnd && b < bEnd) {
    const x = load<u32>(a);
    const y = load<u32>(b);
    count += <u32>(x == y);
    a += (<usize>(x <= y)) << 2;
    b += (<usize>(y <= x)) << 2;
  }
  return count;
}

/**
 * out[i] = (|A ∪ B| - |A ∩ B|) / |A ∪ B| of the query and the set ids[i], divided as f64; 0 where both are empty
 *
 * query     u32 × queryCount        read, ascending, each element once
 * features  u32 × all elements      read: the sets one behind the other, each as the query
 * offsets   u32 × (sets + 1)        read: set s is features[offsets[s]] … features[offsets[s + 1] - 1]
 * ids       u32 × count             read
 * out       f32 × count             written
 */
export function jaccardGathered(
  query: usize,
  queryCount: u32,
  features: usize,
  offsets: usize,
  ids: usize,
  count: u32,
  out: usize,
): void {
  const queryEnd = query + ((<usize>queryCount) << 2);
  for (const end = out + ((<usize>count) << 2); out < end; out += 4) {
    const offset = offsets + ((<usize>load<u32>(ids)) << 2);
    const set = features + ((<usize>load<u32>(offset)) << 2);
    const setEnd = features + ((<usize>load<u32>(offset, 4)) << 2);
    const both = shared(query, queryEnd, set, setEnd);
    const united = queryCount + <u32>((setEnd - set) >> 2) - both;
    store<f32>(out, united ? <f32>(<f64>(united - both) / <f64>united) : 0);
    ids += 4;
  }
}
