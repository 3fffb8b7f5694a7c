// CRC-32C (Castagnoli's polynomial, reflected: 0x82f63b78), the checksum of snapshots: 16 bytes a step by 16 tables
// ("slicing": Kounavis and Berry, IEEE ToC 57(11), 2008). WebAssembly has neither a CRC nor a carry-less product.

/**
 * Writes the tables: T_k[b] is the checksum state of byte b followed by k zero bytes.
 *
 * table  u32 × 16 × 256   written
 */
export function fillChecksumTable(table: usize): void {
  for (let b: u32 = 0; b < 256; b++) {
    let state = b;
    for (let bit = 0; bit < 8; bit++) state = (state >>> 1) ^ (0x82f63b78 & (0 - (state & 1)));
    store<u32>(table + ((<usize>b) << 2), state);
  }
  for (let i: usize = 256; i < 4096; i++) {
    const before = load<u32>(table + ((i - 256) << 2));
    store<u32>(table + (i << 2), (before >>> 8) ^ load<u32>(table + ((<usize>(before & 255)) << 2)));
  }
}

// Four bytes, each by a table of its own; the table of the last one is `last` bytes behind the first.
// @ts-ignore: decorator
@inline
function four(table: usize, x: u32, last: usize): u32 {
  return (
    load<u32>(table + last + 3072 + ((<usize>(x & 255)) << 2)) ^
    load<u32>(table + last + 2048 + ((<usize>((x >>> 8) & 255)) << 2)) ^
    (load<u32>(table + last + 1024 + ((<usize>((x >>> 16) & 255)) << 2)) ^
      load<u32>(table + last + ((<usize>(x >>> 24)) << 2)))
  );
}

/**
 * The CRC-32C of bytes, or of bytes behind others whose checksum is `before` (0: none).
 *
 * table  as fillChecksumTable wrote it   read
 * bytes  u8 × count, at any address      read
 */
export function checksum(table: usize, before: u32, bytes: usize, count: usize): u32 {
  let state = ~before;
  const end = bytes + count;
  for (const stop = bytes + (count & ~15); bytes < stop; bytes += 16) {
    // What does not depend on the step before comes first.
    const ahead = four(table, load<u32>(bytes, 8, 1), 4096) ^ four(table, load<u32>(bytes, 12, 1), 0);
    state = ahead ^ four(table, load<u32>(bytes, 4, 1), 8192) ^ four(table, load<u32>(bytes, 0, 1) ^ state, 12288);
  }
  for (; bytes < end; bytes++) {
    state = (state >>> 8) ^ load<u32>(table + ((<usize>((state ^ <u32>load<u8>(bytes)) & 255)) << 2));
  }
  return ~state;
}
