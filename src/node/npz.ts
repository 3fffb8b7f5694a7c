import { type Bytes, SourceFile } from './bytes.js';
import { FileFormatError, shorten, truncated } from './file-error.js';
import type { Layout, LayoutOptions } from './layout.js';
import { npyLayout } from './npy.js';

interface Entry {
  name: string;
  method: number;
  checksum: number;
  packedBytes: number;
  bytes: number;
  headerOffset: number;
}

const END_MAGIC = 0x06054b50;
const END_BYTES = 22;
const END_64_LOCATOR_MAGIC = 0x07064b50;
const END_64_MAGIC = 0x06064b50;
const ENTRY_MAGIC = 0x02014b50;
const ENTRY_BYTES = 46;
const LOCAL_MAGIC = 0x04034b50;
const LOCAL_BYTES = 30;
const MOST_COMMENT_BYTES = 65_535;
/** Room for more than 100,000 arrays. */
const MOST_DIRECTORY_BYTES = 2 ** 24;
const ZIP_64 = 0xffffffff;
const STORED = 0;
const DEFLATED = 8;

/**
 * The layout of one array of a .npz file, the first unless a name is given: a ZIP archive of .npy files, stored or
 * deflated (PKWARE's APPNOTE 6.3, with the 64-bit records that NumPy writes).
 */
export async function npzLayout(file: SourceFile, options: LayoutOptions): Promise<Layout> {
  const disk = await file.onDisk();
  // Of a gzipped archive everything below reads the unpacked copy.
  const archive = file.isCompressed ? await SourceFile.open(disk.path) : file;
  const entries = await readDirectory(file.name, archive, disk.bytes);
  const arrays = entries.filter(({ name }) => name.endsWith('.npy'));
  const names = arrays.map(({ name }) => name.slice(0, -4));
  const entry = options.name === undefined ? arrays[0] : arrays[names.indexOf(options.name)];
  if (entry === undefined) {
    const wanted = options.name === undefined ? 'at least 1 array' : `an array named ${options.name}`;
    throw new FileFormatError('ERR_FILE_FIELD', file.name, wanted, shorten(names.join(', ')) || 'none');
  }
  if (entry.method !== STORED && entry.method !== DEFLATED) {
    const got = `method ${entry.method}`;
    throw new FileFormatError('ERR_FILE_COMPRESSION', file.name, 'stored or deflated arrays', got);
  }
  const local = await readPart(archive, entry.headerOffset, LOCAL_BYTES);
  if (local.byteLength < LOCAL_BYTES || local.getUint32(0, true) !== LOCAL_MAGIC) {
    const expected = `a local header of ${entry.name} at byte ${entry.headerOffset}`;
    throw new FileFormatError('ERR_FILE_HEADER', file.name, expected, 'other bytes');
  }
  const start = entry.headerOffset + LOCAL_BYTES + local.getUint16(26, true) + local.getUint16(28, true);
  if (start + entry.packedBytes > disk.bytes) {
    throw truncated(file.name, `${start + entry.packedBytes} bytes for ${entry.name}`, disk.bytes);
  }
  const open = async (): Promise<Bytes> => {
    const bytes =
      entry.method === STORED
        ? await archive.part(start, entry.bytes)
        : archive.inflatedPart(start, entry.packedBytes);
    return new CheckedBytes(file.name, entry, bytes);
  };
  return npyLayout(file, open, entry.bytes, `[${entry.name.slice(0, -4)}]`);
}

async function readPart(file: SourceFile, start: number, length: number): Promise<DataView> {
  const bytes = await file.part(start, length);
  try {
    const target = new Uint8Array(length);
    return new DataView(target.buffer, 0, await bytes.read(target));
  } finally {
    await bytes.close();
  }
}

async function readDirectory(name: string, file: SourceFile, size: number): Promise<Entry[]> {
  const tailBytes = Math.min(size, END_BYTES + MOST_COMMENT_BYTES + 20);
  const tail = await readPart(file, size - tailBytes, tailBytes);
  let end = tail.byteLength - END_BYTES;
  while (end >= 0 && tail.getUint32(end, true) !== END_MAGIC) end--;
  if (end < 0) {
    throw new FileFormatError('ERR_FILE_MAGIC', name, 'a .npz (ZIP) archive', 'no directory at its end');
  }
  let count = tail.getUint16(end + 10, true);
  let bytes = tail.getUint32(end + 12, true);
  let offset = tail.getUint32(end + 16, true);
  if (end >= 20 && tail.getUint32(end - 20, true) === END_64_LOCATOR_MAGIC) {
    const at = Number(tail.getBigUint64(end - 12, true));
    const record = at + 56 <= size ? await readPart(file, at, 56) : undefined;
    if (record === undefined || record.getUint32(0, true) !== END_64_MAGIC) {
      throw new FileFormatError('ERR_FILE_HEADER', name, `a 64-bit directory at byte ${at}`, 'other bytes');
    }
    count = Number(record.getBigUint64(32, true));
    bytes = Number(record.getBigUint64(40, true));
    offset = Number(record.getBigUint64(48, true));
  }
  if (bytes > MOST_DIRECTORY_BYTES || offset + bytes > size) {
    const most = Math.min(MOST_DIRECTORY_BYTES, size);
    const got = `${bytes} at byte ${offset}`;
    throw new FileFormatError('ERR_FILE_HEADER', name, `a directory within ${most} bytes`, got);
  }
  const view = await readPart(file, offset, bytes);
  const entries: Entry[] = [];
  for (let i = 0, at = 0; i < count; i++) {
    if (at + ENTRY_BYTES > view.byteLength || view.getUint32(at, true) !== ENTRY_MAGIC) {
      const expected = `entry ${i} of the directory at byte ${offset + at}`;
      throw new FileFormatError('ERR_FILE_HEADER', name, expected, 'other bytes');
    }
    const nameBytes = view.getUint16(at + 28, true);
    const extraBytes = view.getUint16(at + 30, true);
    const next = at + ENTRY_BYTES + nameBytes + extraBytes + view.getUint16(at + 32, true);
    if (next > view.byteLength) {
      const expected = `${next} bytes of directory`;
      throw truncated(name, expected, view.byteLength);
    }
    const text = new Uint8Array(view.buffer, at + ENTRY_BYTES, nameBytes);
    const entry: Entry = {
      name: new TextDecoder().decode(text),
      method: view.getUint16(at + 10, true),
      checksum: view.getUint32(at + 16, true),
      packedBytes: view.getUint32(at + 20, true),
      bytes: view.getUint32(at + 24, true),
      headerOffset: view.getUint32(at + 42, true),
    };
    widen(entry, new DataView(view.buffer, at + ENTRY_BYTES + nameBytes, extraBytes));
    entries.push(entry);
    at = next;
  }
  return entries;
}

/** Takes sizes beyond 32 bits from the extra field, where they stand in this order if they are there at all. */
function widen(entry: Entry, extra: DataView): void {
  for (let at = 0; at + 4 <= extra.byteLength; ) {
    const bytes = extra.getUint16(at + 2, true);
    if (extra.getUint16(at, true) === 1) {
      const end = Math.min(extra.byteLength, at + 4 + bytes);
      let from = at + 4;
      for (const key of ['bytes', 'packedBytes', 'headerOffset'] as const) {
        if (entry[key] !== ZIP_64 || from + 8 > end) continue;
        entry[key] = Number(extra.getBigUint64(from, true));
        from += 8;
      }
    }
    at += 4 + bytes;
  }
}

/** Bytes of an entry; its checksum is compared when the last of them was read. */
class CheckedBytes implements Bytes {
  #name: string;
  #entry: Entry;
  #bytes: Bytes;
  #state = 0xffffffff;
  #isWhole = true;

  constructor(name: string, entry: Entry, bytes: Bytes) {
    this.#name = name;
    this.#entry = entry;
    this.#bytes = bytes;
  }

  get position(): number {
    return this.#bytes.position;
  }

  async read(target: Uint8Array): Promise<number> {
    const got = await this.#bytes.read(target);
    this.#state = crc32(this.#state, target.subarray(0, got));
    const { bytes, checksum } = this.#entry;
    if (this.#isWhole && got > 0 && this.position === bytes && (this.#state ^ -1) >>> 0 !== checksum) {
      throw new FileFormatError(
        'ERR_FILE_COMPRESSION',
        `${this.#name}[${this.#entry.name.slice(0, -4)}]`,
        `checksum ${checksum.toString(16)} of its ${bytes} bytes`,
        ((this.#state ^ -1) >>> 0).toString(16),
      );
    }
    return got;
  }

  async skip(count: number): Promise<number> {
    // A stored array is entered in its middle: its checksum is not known then.
    if (this.#entry.method === STORED && count > 65536) {
      this.#isWhole = false;
      return this.#bytes.skip(count);
    }
    const waste = new Uint8Array(Math.min(count, 1 << 18));
    let done = 0;
    while (done < count) {
      const got = await this.read(waste.subarray(0, count - done));
      if (got === 0) break;
      done += got;
    }
    return done;
  }

  async close(): Promise<void> {
    await this.#bytes.close();
  }
}

let table: Uint32Array | undefined;

/** The next state of ZIP's checksum: CRC-32 of the polynomial edb88320, bits reversed. */
function crc32(state: number, bytes: Uint8Array): number {
  table ??= Uint32Array.from({ length: 256 }, (_, byte) => {
    let word = byte;
    for (let bit = 0; bit < 8; bit++) word = word & 1 ? 0xedb88320 ^ (word >>> 1) : word >>> 1;
    return word;
  });
  let next = state;
  for (let i = 0; i < bytes.length; i++) next = table[(next ^ bytes[i]) & 255] ^ (next >>> 8);
  return next;
}
