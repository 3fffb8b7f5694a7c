// Slots whose rows are gone: where a row's slot is, and runs without their dead slots.
//
//     slots   u32, one a position: 32 · block + slot, counted from the first block of all

import { clearSlot, FACTOR_BYTES } from './encode';

/**
 * Notes where rows are: slots[row] for the used slots from, …, to - 1 of a run. Empty slots are passed over.
 *
 * run        blocks from the run's first on   read
 * firstSlot  number of the run's first slot
 * slots      u32 × positions                  written at the rows found
 */
export function noteSlots(run: usize, codeBytes: u32, from: u32, to: u32, slots: usize, firstSlot: u32): void {
  const blockBytes = <usize>codeBytes + FACTOR_BYTES;
  for (let i = from; i < to; i++) {
    const row = load<u32>(run + <usize>(i >> 5) * blockBytes + codeBytes + ((<usize>(i & 31)) << 2), 256);
    if (row != 0xffffffff) store<u32>(slots + ((<usize>row) << 2), firstSlot + i);
  }
}

/** Moves a row's code and factors to an empty slot, and leaves its own empty. */
function moveSlot(from: usize, slot: u32, to: usize, target: u32, codeBytes: u32): void {
  const source = from + <usize>((slot & 7) * 2 + ((slot >> 3) & 1));
  const goal = to + <usize>((target & 7) * 2 + ((target >> 3) & 1));
  const right: u32 = slot < 16 ? 0 : 4;
  const left: u32 = target < 16 ? 0 : 4;
  for (let i: usize = 0; i < codeBytes; i += 16) {
    const nibble = ((<u32>load<u8>(source + i)) >> right) & 15;
    store<u8>(goal + i, <u8>(<u32>load<u8>(goal + i) | (nibble << left)));
  }
  const a = from + codeBytes + ((<usize>slot) << 2);
  const b = to + codeBytes + ((<usize>target) << 2);
  store<u32>(b, load<u32>(a));
  store<u32>(b, load<u32>(a, 128), 128);
  store<u32>(b, load<u32>(a, 256), 256);
  clearSlot(from, codeBytes, slot);
}

/**
 * Fills the empty slots of a run with rows from its end; returns how many slots are used then, all by live rows.
 *
 * run    blocks of a run    read and written
 * used   slots up to the last that may hold a row
 * slots  as in noteSlots    written at the rows that move; 0: not at all
 */
export function packRun(run: usize, codeBytes: u32, used: u32, slots: usize, firstSlot: u32): u32 {
  const blockBytes = <usize>codeBytes + FACTOR_BYTES;
  let end = used;
  for (let i: u32 = 0; i < end; i++) {
    const block = run + <usize>(i >> 5) * blockBytes;
    if (load<u32>(block + codeBytes + ((<usize>(i & 31)) << 2), 256) != 0xffffffff) continue;
    let row: u32 = 0xffffffff;
    let last = run;
    while (end > i + 1 && row == 0xffffffff) {
      end--;
      last = run + <usize>(end >> 5) * blockBytes;
      row = load<u32>(last + codeBytes + ((<usize>(end & 31)) << 2), 256);
    }
    if (row == 0xffffffff) return i;
    moveSlot(last, end & 31, block, i & 31, codeBytes);
    if (slots) store<u32>(slots + ((<usize>row) << 2), firstSlot + i);
  }
  return end;
}
