import { checkNumber, checkOptions, rangeError } from './check.js';
import type { SharedKernels } from './kernels.js';
import type { LinearMemory } from './memory.js';

/** Why bytes were refused: the `reason` of a SnapshotError. */
export type SnapshotReason =
  /** Not a snapshot. */
  | 'format'
  /** A snapshot of another class. */
  | 'kind'
  /** Written by a version whose format this one does not know. */
  | 'version'
  /** Needs a feature that this version does not have. */
  | 'feature'
  /** Fewer or more bytes than it says itself: cut off, or something behind it. */
  | 'length'
  /** Bytes have changed since they were written. */
  | 'checksum'
  /** Larger than the limits given to `load`. */
  | 'limit'
  /** Something in it cannot be true: not written by this library, or made to look so. */
  | 'content';

/** The refusal of bytes that are no sound snapshot. Nothing of them has been taken in. */
export class SnapshotError extends RangeError {
  readonly code: 'ERR_SNAPSHOT' = 'ERR_SNAPSHOT';
  readonly reason: SnapshotReason;

  constructor(reason: SnapshotReason, message: string) {
    super(`snapshot: ${message}`);
    this.name = 'SnapshotError';
    this.reason = reason;
  }
}

/** What a loaded index may be at most, for bytes from strangers. Checked before any memory is taken. */
export interface SnapshotLimits {
  /** Bytes of the snapshot, and of the memory of the index that is made of it; default 4 GiB. */
  maxBytes?: number;
  /** Rows; default 2^32 - 2. */
  maxRows?: number;
  /** Floats a vector; default 4,096. */
  maxDimensions?: number;
}

/** The classes that have snapshots. */
export type SnapshotKind = 'VectorIndex' | 'HyperplaneLsh' | 'BitSamplingLsh' | 'MinHashLsh';

/** A section to be written: bytes at addresses of the memory, or in an array. A section without pieces is left out. */
export interface SectionSource {
  tag: number;
  pieces: readonly (Uint8Array | { ptr: number; bytes: number })[];
  /** Whether readers who do not know it may skip it. */
  isOptional?: boolean;
}

/**
 * A snapshot on its way out: its bytes in order, cut into parts that are good until the next step. Many are views of the
 * index's own memory, so no second copy is made. A part may be empty: a pause, where others may run.
 *
 * This and `Reading` are what files and streams are made of: streams.ts has the ones for arrays and web streams, and an
 * adapter writes or fills the parts with calls of its own platform. Each class gives them as `snapshotParts()` and
 * `fromParts(limits, bytes)`.
 */
export type Writing = Generator<Uint8Array, void, void>;

/**
 * A snapshot on its way in: places to be filled with the next bytes, in order, each before the next step; what comes of
 * it at the end. Many are views of the new index's own memory. A place may be empty: a pause. Who gives up calls `return`.
 */
export type Reading<Result> = Generator<Uint8Array, Result, void>;

/** Documented in docs/snapshot-format.md, to the byte. */
const MAGIC: readonly number[] = [0x89, 0x4f, 0x52, 0x54, 0x48, 0x0d, 0x0a, 0x1a]; // "\x89ORTH\r\n\x1a"
const VERSION = 1;
const KINDS: readonly SnapshotKind[] = ['VectorIndex', 'HyperplaneLsh', 'BitSamplingLsh', 'MinHashLsh'];
/** Required feature bits that this version knows: none yet. */
const KNOWN_FEATURES = 0;
const HEADER_BYTES = 64;
const ENTRY_BYTES = 32;
const MAX_SECTIONS = 64;
const ALIGNMENT = 64;
/** Bit of a section's flags: who does not know the section may skip it. */
const OPTIONAL_SECTION = 1;
const TABLE_BYTES = 16 * 256 * 4;
/** Bytes that are read at a time: they stay in the second-level cache until they are checked. */
const READ_BYTES = 2 ** 18;
/** Bytes that are checked or written at a time. */
const WRITE_BYTES = 2 ** 20;
/** A part or a place without bytes: others may run now. */
export const PAUSE: Uint8Array = new Uint8Array(0);

/** Work within a reading or a writing: after each of its steps others may run. */
export function* paused<Result>(work: Generator<unknown, Result>): Generator<Uint8Array, Result, void> {
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
    yield PAUSE;
  }
}

interface Entry {
  tag: number;
  offset: number;
  bytes: number;
  checksum: number;
  isKnown: boolean;
}

/**
 * A snapshot that is being read, section by section in the order of the bytes. `open` proves the header: magic, version,
 * kind, features, its checksum, and a table of sections that follow each other without overlap. What is in the sections is
 * for the caller to prove.
 */
export class SnapshotReader {
  readonly #kind: SnapshotKind;
  readonly #known: readonly number[];
  /** Bytes at hand; Infinity where that shows only at the end. */
  readonly #length: number;
  readonly #sections: Map<number, Entry> = new Map();
  #entries: Entry[] = [];
  #next = 0;
  /** Bytes read so far. */
  #at = 0;
  readonly maxBytes: number;
  readonly maxRows: number;
  readonly maxDimensions: number;

  /** `known` are the tags of the sections that the caller understands; `length` the bytes at hand, if that is known. */
  constructor(kind: SnapshotKind, known: readonly number[], limits: SnapshotLimits = {}, length?: number) {
    checkOptions('limits', limits);
    this.maxBytes = checkNumber('maxBytes', limits.maxBytes ?? 2 ** 32, 1, 2 ** 32);
    this.maxRows = checkNumber('maxRows', limits.maxRows ?? 2 ** 32 - 2, 0, 2 ** 32 - 2);
    this.maxDimensions = checkNumber('maxDimensions', limits.maxDimensions ?? 4096, 1, 4096);
    this.#kind = kind;
    this.#known = known;
    this.#length = length ?? Number.POSITIVE_INFINITY;
  }

  *open(): Reading<void> {
    const length = this.#length;
    // Into arrays of its own: what is proven here stays so, even if the source is written to by another thread.
    const start = new Uint8Array(Math.min(MAGIC.length, length));
    yield start;
    if (start.some((byte, i) => byte !== MAGIC[i])) {
      throw new SnapshotError('format', 'expected bytes that save() wrote, got some that begin otherwise');
    }
    expectBytes(length >= HEADER_BYTES, `at least ${HEADER_BYTES}`, length);
    let header = new Uint8Array(HEADER_BYTES);
    header.set(start);
    yield header.subarray(MAGIC.length);
    const word = (at: number): number => viewOf(header).getUint32(at, true);
    if (word(8) !== VERSION) {
      throw new SnapshotError('version', `expected format version ${VERSION}, got ${word(8)}`);
    }
    const count = word(32);
    const headerBytes = roundUp(HEADER_BYTES + ENTRY_BYTES * count);
    expectContent(count <= MAX_SECTIONS, `at most ${MAX_SECTIONS} sections`, count);
    expectBytes(length >= headerBytes, `a header of ${headerBytes}`, length);
    const whole = new Uint8Array(headerBytes);
    whole.set(header);
    header = whole;
    yield header.subarray(HEADER_BYTES);
    const checksum = word(60);
    header.fill(0, 60, 64);
    expectChecksum('header', checksumOf(header), checksum);
    const view = viewOf(header);

    const kindNumber = word(12);
    if (kindNumber !== KINDS.indexOf(this.#kind) + 1) {
      const got = KINDS[kindNumber - 1] ?? `kind ${kindNumber}`;
      throw new SnapshotError(
        'kind',
        `expected one of a ${this.#kind}, got one of ${got}; load it with that class`,
      );
    }
    const unknown = (word(16) & ~KNOWN_FEATURES) >>> 0;
    if (unknown !== 0) {
      throw new SnapshotError(
        'feature',
        `expected features that this version has, got bits 0x${unknown.toString(16)} more; load it with a newer one`,
      );
    }
    // Bits of word 20 are of features that a reader may ignore.
    const total = totalOf(header);
    expectBytes(length === total || length === Number.POSITIVE_INFINITY, `${total}`, length);
    this.limit('maxBytes', this.maxBytes, total);
    expectContent(word(36) === headerBytes, `a header of ${headerBytes} bytes`, word(36));
    expectZeros(header.subarray(40, 60));

    let end = headerBytes;
    let lastTag = 0;
    expectZeros(header.subarray(HEADER_BYTES + ENTRY_BYTES * count));
    for (let i = 0; i < count; i++) {
      const at = HEADER_BYTES + ENTRY_BYTES * i;
      const tag = word(at);
      const entry = {
        tag,
        checksum: word(at + 4),
        offset: long(view, at + 8),
        bytes: long(view, at + 16),
        isKnown: this.#known.includes(tag),
      };
      const flags = word(at + 24);
      const name = `section ${tag}`;
      expectContent((flags & ~OPTIONAL_SECTION) === 0 && word(at + 28) === 0, `${name} without flags`, flags);
      expectContent(entry.offset === roundUp(end), `${name} at byte ${roundUp(end)}`, entry.offset);
      const room = total - entry.offset;
      expectContent(entry.bytes <= room, `${name} of at most ${room} bytes`, entry.bytes);
      expectContent(!this.#sections.has(tag), `${name} once`, 2);
      end = entry.offset + entry.bytes;
      if (!entry.isKnown && !(flags & OPTIONAL_SECTION)) {
        throw new SnapshotError('feature', `expected sections that this version knows, got ${tag}`);
      }
      if (entry.isKnown) {
        expectContent(tag > lastTag, `${name} before section ${lastTag}`, 'it behind');
        lastTag = tag;
      }
      this.#sections.set(tag, entry);
      this.#entries.push(entry);
    }
    expectContent(end === total, `sections up to byte ${total}`, end);
    this.#at = headerBytes;
  }

  has(tag: number): boolean {
    return this.#sections.has(tag);
  }

  /** Bytes of a section; 0 where there is none. */
  bytesOf(tag: number): number {
    return this.#sections.get(tag)?.bytes ?? 0;
  }

  /** Fails unless a number is within one of the limits of the caller. */
  limit(name: 'maxBytes' | 'maxRows' | 'maxDimensions', most: number, got: number): void {
    if (!(got <= most)) throw new SnapshotError('limit', `expected at most ${most} (${name}), got ${got}`);
  }

  /** What `make` makes; a refusal where `maxBytes` leaves no room for it. */
  *within<Index>(make: () => Reading<Index>): Reading<Index> {
    try {
      return yield* make();
    } catch (error) {
      const { code, message } = error as Error & { code?: string };
      if (code !== 'ERR_OUT_OF_MEMORY' || this.maxBytes === 2 ** 32) throw error;
      throw new SnapshotError('limit', `expected an index of at most ${this.maxBytes} bytes; ${message}`);
    }
  }

  /** Fails unless a section is there with this many bytes. */
  expectSection(tag: number, bytes: number): void {
    const got = this.bytesOf(tag);
    expectContent(this.has(tag) && got === bytes, `section ${tag} of ${bytes} bytes`, got);
  }

  /** A copy of a section outside the linear memory, verified. Sections are read in ascending order of their tags. */
  *read(tag: number, mostBytes: number): Reading<DataView> {
    const bytes = this.bytesOf(tag);
    expectContent(this.has(tag) && bytes <= mostBytes, `section ${tag} of ${mostBytes} bytes`, bytes);
    const { checksum } = yield* this.#advance(tag);
    const copy = allocate(bytes);
    let sum = 0;
    for (const part of cut(copy, READ_BYTES)) {
      yield part;
      sum = checksumOf(part, sum);
    }
    this.#at += bytes;
    expectChecksum(`section ${tag}`, sum, checksum);
    return viewOf(copy);
  }

  /** Reads a section to an address and verifies it there. `checksums` is over the same memory. */
  *copy(tag: number, memory: LinearMemory, ptr: number, checksums: Checksums): Reading<void> {
    const { bytes, checksum } = yield* this.#advance(tag);
    let sum = 0;
    for (let at = 0; at < bytes; at += READ_BYTES) {
      const part = Math.min(READ_BYTES, bytes - at);
      yield memory.u8.subarray(ptr + at, ptr + at + part);
      sum = checksums.of(ptr + at, part, sum);
    }
    this.#at += bytes;
    expectChecksum(`section ${tag}`, sum, checksum);
  }

  /** Reads what is behind the last section that the caller knows. */
  *close(): Reading<void> {
    while (this.#next < this.#entries.length) yield* this.#skip(this.#entries[this.#next++]);
  }

  /** Comes to the beginning of a section. */
  *#advance(tag: number): Reading<Entry> {
    for (;;) {
      const entry = this.#entries[this.#next++];
      if (entry.tag !== tag) {
        yield* this.#skip(entry);
        continue;
      }
      yield* this.#gap(entry);
      return entry;
    }
  }

  /** Passes over a section that the caller does not know. It is verified all the same. */
  *#skip(entry: Entry): Reading<void> {
    expectContent(!entry.isKnown, `no section ${entry.tag}`, 'one');
    yield* this.#gap(entry);
    const scratch = new Uint8Array(Math.min(entry.bytes, READ_BYTES));
    let sum = 0;
    for (let at = 0; at < entry.bytes; at += READ_BYTES) {
      const part = scratch.subarray(0, Math.min(READ_BYTES, entry.bytes - at));
      yield part;
      sum = checksumOf(part, sum);
    }
    this.#at += entry.bytes;
    expectChecksum(`section ${entry.tag}`, sum, entry.checksum);
  }

  *#gap(entry: Entry): Reading<void> {
    const gap = new Uint8Array(entry.offset - this.#at);
    yield gap;
    expectZeros(gap);
    this.#at = entry.offset;
  }
}

/** The bytes of a snapshot: header and sections in the order given, which is that of their tags. */
export function* writeSnapshot(
  kind: SnapshotKind,
  sections: readonly SectionSource[],
  memory: LinearMemory,
  kernels: SharedKernels,
): Writing {
  const written = sections.filter(({ pieces }) => pieces.length > 0);
  const header = new Uint8Array(roundUp(HEADER_BYTES + ENTRY_BYTES * written.length));
  const view = viewOf(header);
  header.set(MAGIC);
  const words = [VERSION, KINDS.indexOf(kind) + 1, 0, 0];
  words.forEach((word, i) => void view.setUint32(8 + 4 * i, word, true));
  view.setUint32(32, written.length, true);
  view.setUint32(36, header.length, true);
  let end = header.length;
  const gaps: Uint8Array[] = [];
  for (const [i, { tag, pieces, isOptional }] of written.entries()) {
    const offset = roundUp(end);
    gaps.push(new Uint8Array(offset - end));
    const entry = HEADER_BYTES + ENTRY_BYTES * i;
    view.setUint32(entry, tag, true);
    setLong(view, entry + 8, offset);
    view.setUint32(entry + 24, isOptional ? OPTIONAL_SECTION : 0, true);
    let bytes = 0;
    let sum = 0;
    for (const piece of pieces) {
      // The header comes first, and has the checksums.
      if (piece instanceof Uint8Array) {
        for (const part of cut(piece, WRITE_BYTES)) {
          sum = checksumOf(part, sum);
          yield PAUSE;
        }
        bytes += piece.length;
        continue;
      }
      for (let at = 0; at < piece.bytes; at += WRITE_BYTES) {
        // Tables for each part: nothing of this stays in the memory while others run.
        const checksums = new Checksums(memory, kernels);
        sum = checksums.of(piece.ptr + at, Math.min(WRITE_BYTES, piece.bytes - at), sum);
        checksums.release();
        if (piece.bytes > WRITE_BYTES) yield PAUSE;
      }
      bytes += piece.bytes;
    }
    setLong(view, entry + 16, bytes);
    view.setUint32(entry + 4, sum, true);
    end = offset + bytes;
  }
  setLong(view, 24, end);
  view.setUint32(60, checksumOf(header), true);
  yield header;
  for (const [i, { pieces }] of written.entries()) {
    if (gaps[i].length > 0) yield gaps[i];
    for (const piece of pieces) {
      if (piece instanceof Uint8Array) {
        yield* cut(piece, WRITE_BYTES);
        continue;
      }
      for (let at = 0; at < piece.bytes; at += WRITE_BYTES) {
        const to = Math.min(at + WRITE_BYTES, piece.bytes);
        yield memory.u8.subarray(piece.ptr + at, piece.ptr + to);
      }
    }
  }
}

/** An array in parts of at most so many bytes. */
function* cut(bytes: Uint8Array, most: number): Generator<Uint8Array, void, void> {
  for (let at = 0; at < bytes.length; at += most) yield bytes.subarray(at, at + most);
}

/** Bytes of a whole snapshot, as the beginning of its header says. */
export function totalOf(header: Uint8Array): number {
  return long(viewOf(header), 24);
}

/** CRC-32C of bytes in a linear memory, at 2 GB/s and more. Its tables are a region while it is in use. */
export class Checksums {
  readonly #memory: LinearMemory;
  readonly #kernels: SharedKernels;

  constructor(memory: LinearMemory, kernels: SharedKernels) {
    this.#memory = memory;
    this.#kernels = kernels;
    kernels.fillChecksumTable(memory.reserve('checksum table', TABLE_BYTES));
  }

  /** The checksum of bytes at an address, behind others whose checksum is `before`. */
  of(ptr: number, bytes: number, before: number = 0): number {
    return this.#kernels.checksum(this.#memory.ptr('checksum table'), before, ptr, bytes) >>> 0;
  }

  release(): void {
    this.#memory.release('checksum table');
  }
}

/** Fails (reason `content`) unless something holds that holds in every snapshot that save() writes. */
export function expectContent(holds: boolean, expected: string, got: unknown): void {
  if (!holds) throw new SnapshotError('content', `expected ${expected}, got ${got}`);
}

function expectBytes(holds: boolean, expected: string, got: number): void {
  if (!holds) throw new SnapshotError('length', `expected ${expected} bytes, got ${got}`);
}

function expectChecksum(subject: string, got: number, expected: number): void {
  if (got === expected) return;
  const [want, have] = [expected, got].map((sum) => `0x${sum.toString(16).padStart(8, '0')}`);
  throw new SnapshotError('checksum', `expected checksum ${want} of the ${subject}, got ${have}`);
}

/** Bytes that mean nothing are 0, so that no change of a byte goes unnoticed. */
function expectZeros(bytes: Uint8Array): void {
  for (const byte of bytes) expectContent(byte === 0, 'zeros between the parts', byte);
}

/**
 * A bit for each of `count` ids, set where `holds`: bit id & 7 of byte id >> 3. So ids of removed rows take an eighth of a
 * byte in a snapshot, and no few bytes can ask for the memory of billions of them.
 */
export function bitsOf(count: number, holds: (id: number) => boolean): Uint8Array {
  const bits = new Uint8Array(Math.ceil(count / 8));
  for (let id = 0; id < count; id++) if (holds(id)) bits[id >>> 3] |= 1 << (id & 7);
  return bits;
}

/** How many bits are set; fails unless those behind the first `count` are 0. */
export function countBits(bits: Uint8Array, count: number): number {
  let set = 0;
  for (let byte of bits) for (; byte > 0; byte &= byte - 1) set++;
  const spare = count % 8 === 0 ? 0 : bits[bits.length - 1] >>> (count % 8);
  expectContent(spare === 0, `zeros behind bit ${count - 1}`, spare);
  return set;
}

/** Bytes outside the linear memory. */
export function allocate(bytes: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(bytes);
  } catch {
    throw rangeError(
      'ERR_OUT_OF_MEMORY',
      `snapshot: expected ${bytes} bytes for a copy, got no room for them`,
    );
  }
}

/** The least number of little-endian bytes of a seed. */
export function seedBytes(seed: bigint): Uint8Array {
  const digits = seed === 0n ? '' : seed.toString(16);
  const hex = digits.length % 2 ? `0${digits}` : digits;
  if (hex.length > 2 * MAX_SEED_BYTES) {
    throw rangeError(
      'ERR_TOO_LARGE',
      `seed: expected at most ${MAX_SEED_BYTES} bytes in a snapshot, got ${hex.length / 2}`,
    );
  }
  const bytes = new Uint8Array(hex.length / 2);
  for (let i = 0; i < bytes.length; i++) {
    bytes[bytes.length - 1 - i] = Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16);
  }
  return bytes;
}

/** Bytes that a seed may have in a snapshot. */
export const MAX_SEED_BYTES = 1024;

/** The seed that stands at the end of a section, from `at` on. */
export function seedFrom(view: DataView, at: number): bigint {
  const count = view.byteLength - at;
  expectContent(count <= MAX_SEED_BYTES, `a seed of at most ${MAX_SEED_BYTES} bytes`, count);
  if (count === 0) return 0n;
  let hex = '';
  for (let i = view.byteLength - 1; i >= at; i--) hex += view.getUint8(i).toString(16).padStart(2, '0');
  expectContent(!hex.startsWith('00'), 'a seed without zeros before it', `0x${hex.slice(0, 8)}…`);
  return BigInt(`0x${hex}`);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

/** A u64; beyond 2^53 it is no longer exact, but larger than any file. */
function long(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
}

function setLong(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % 2 ** 32, true);
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
}

let table: Uint32Array | undefined;

/** CRC-32C of a few bytes outside the linear memory: assembly/checksum.ts does the many. */
export function checksumOf(bytes: Uint8Array, before: number = 0): number {
  table ??= Uint32Array.from({ length: 256 }, (_, byte) => {
    let state = byte;
    for (let bit = 0; bit < 8; bit++) state = (state >>> 1) ^ (state & 1 ? 0x82f63b78 : 0);
    return state >>> 0;
  });
  let state = ~before;
  for (let i = 0; i < bytes.length; i++) state = (state >>> 8) ^ table[(state ^ bytes[i]) & 255];
  return ~state >>> 0;
}
