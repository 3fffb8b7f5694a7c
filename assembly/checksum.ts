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
    // Byte i by table 15 - i, which is 1,024 bytes long. What does not depend on the step before comes first; its bytes are
    // loaded one by one, which takes a shift and a mask less than cutting them out of words.
    const ahead =
      load<u32>(table + ((<usize>load<u8>(bytes, 4)) << 2), 11264) ^
      load<u32>(table + ((<usize>load<u8>(bytes, 5)) << 2), 10240) ^
      (load<u32>(table + ((<usize>load<u8>(bytes, 6)) << 2), 9216) ^
        load<u32>(table + ((<usize>load<u8>(bytes, 7)) << 2), 8192)) ^
      (load<u32>(table + ((<usize>load<u8>(bytes, 8)) << 2), 7168) ^
        load<u32>(table + ((<usize>load<u8>(bytes, 9)) << 2), 6144)) ^
      (load<u32>(table + ((<usize>load<u8>(bytes, 10)) << 2), 5120) ^
        load<u32>(table + ((<usize>load<u8>(bytes, 11)) << 2), 4096)) ^
      (load<u32>(table + ((<usize>load<u8>(bytes, 12)) << 2), 3072) ^
        load<u32>(table + ((<usize>load<u8>(bytes, 13)) << 2), 2048)) ^
      (load<u32>(table + ((<usize>load<u8>(bytes, 14)) << 2), 1024) ^
        load<u32>(table + ((<usize>load<u8>(bytes, 15)) << 2)));
    const first = state ^ load<u32>(bytes, 0, 1);
    state =
      ahead ^
      (load<u32>(table + ((<usize>(first & 255)) << 2), 15360) ^
        load<u32>(table + ((<usize>((first >>> 8) & 255)) << 2), 14336)) ^
      (load<u32>(table + ((<usize>((first >>> 16) & 255)) << 2), 13312) ^
        load<u32>(table + ((<usize>(first >>> 24)) << 2), 12288));
  }
  for (; bytes < end; bytes++) {
    state = (state >>> 8) ^ load<u32>(table + ((<usize>((state ^ <u32>load<u8>(bytes)) & 255)) << 2));
  }
  return ~state;
}
