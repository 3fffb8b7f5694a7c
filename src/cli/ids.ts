/**
 * Ids of the user's own for the rows of an index: a section of the snapshot that readers who do not know it skip
 * (docs/snapshot-format.md). So index and ids are one file, and are replaced as one.
 */

/** "ids" and a zero, as the word that it is in the file. */
export const IDS_TAG = 0x00736469;
const OPTIONAL = 1;
const HEADER_BYTES = 64;
const ENTRY_BYTES = 32;

/** A snapshot with ids: the id of row i is ids[i], empty where there is none. */
export function withIds(snapshot: Uint8Array, ids: readonly string[]): Uint8Array {
  const old = viewOf(snapshot);
  const sections = old.getUint32(32, true);
  const oldHeader = old.getUint32(36, true);
  const header = roundUp(HEADER_BYTES + ENTRY_BYTES * (sections + 1));
  const text = new TextEncoder().encode(JSON.stringify(ids));
  const offset = roundUp(snapshot.length + header - oldHeader);
  const bytes = new Uint8Array(offset + text.length);
  bytes.set(snapshot.subarray(0, HEADER_BYTES + ENTRY_BYTES * sections));
  bytes.set(snapshot.subarray(oldHeader), header);
  bytes.set(text, offset);
  const view = viewOf(bytes);
  for (let i = 0; i < sections; i++) {
    const at = HEADER_BYTES + ENTRY_BYTES * i + 8;
    view.setBigUint64(at, view.getBigUint64(at, true) + BigInt(header - oldHeader), true);
  }
  const entry = HEADER_BYTES + ENTRY_BYTES * sections;
  view.setUint32(entry, IDS_TAG, true);
  view.setUint32(entry + 4, crc32c(text), true);
  view.setBigUint64(entry + 8, BigInt(offset), true);
  view.setBigUint64(entry + 16, BigInt(text.length), true);
  view.setUint32(entry + 24, OPTIONAL, true);
  view.setBigUint64(24, BigInt(bytes.length), true);
  view.setUint32(32, sections + 1, true);
  view.setUint32(36, header, true);
  view.setUint32(60, 0, true);
  view.setUint32(60, crc32c(bytes.subarray(0, header)), true);
  return bytes;
}

/** The ids of a snapshot that was found sound; undefined where it has none. */
export function idsOf(snapshot: Uint8Array): string[] | undefined {
  const view = viewOf(snapshot);
  for (let i = 0; i < view.getUint32(32, true); i++) {
    const at = HEADER_BYTES + ENTRY_BYTES * i;
    if (view.getUint32(at, true) !== IDS_TAG) continue;
    const offset = Number(view.getBigUint64(at + 8, true));
    const text = snapshot.subarray(offset, offset + Number(view.getBigUint64(at + 16, true)));
    if (crc32c(text) !== view.getUint32(at + 4, true))
      throw new Error('expected sound ids, got a wrong checksum');
    const ids = JSON.parse(new TextDecoder().decode(text));
    if (!Array.isArray(ids) || !ids.every((id) => typeof id === 'string')) {
      throw new Error('expected a list of texts as ids, got something else');
    }
    return ids;
  }
  return undefined;
}

/** Refuses ids that come twice, since a row could not be told by them. */
export function checkDistinct(
  path: string,
  ids: readonly string[],
  taken: ReadonlySet<string> = new Set(),
): void {
  const seen = new Set<string>();
  for (let i = 0; i < ids.length; i++) {
    if (taken.has(ids[i]))
      throw new Error(`${path}: expected new ids, got ${ids[i]} in row ${i}, which is taken`);
    if (seen.has(ids[i])) throw new Error(`${path}: expected each id once, got ${ids[i]} again in row ${i}`);
    seen.add(ids[i]);
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / 64) * 64;
}

let table: Uint32Array | undefined;

/** CRC-32C, as of all sections: the reflected polynomial 82f63b78. */
function crc32c(bytes: Uint8Array): number {
  table ??= Uint32Array.from({ length: 256 }, (_, byte) => {
    let word = byte;
    for (let bit = 0; bit < 8; bit++) word = word & 1 ? 0x82f63b78 ^ (word >>> 1) : word >>> 1;
    return word;
  });
  let state = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) state = table[(state ^ bytes[i]) & 255] ^ (state >>> 8);
  return (state ^ 0xffffffff) >>> 0;
}
