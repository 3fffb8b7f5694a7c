import { rangeError } from './check.js';
import { createMemory, type GrowingMemory } from './kernels.js';

const PAGE = 65536;
/** One page less than 4 GiB, so that the end of a region is always an address too: 2^32 would wrap to 0 in a kernel. */
const MAX_BYTES = 65535 * PAGE;
/** Regions start on cache lines, so that a 16-byte load never straddles two. */
const ALIGNMENT = 64;
/** Byte 0 stays free: no region has address 0. */
const BASE = 64;

interface Region {
  ptr: number;
  bytes: number;
}

/** A region by name. */
export type RegionEntry = readonly [name: string, ptr: number, bytes: number];

/** A memory that is there already, for `LinearMemory` to be made over. */
export interface Placement {
  memory: GrowingMemory;
  regions: readonly RegionEntry[];
  /** Where new regions go: those of `regions` are others' then, and only read. Without it all are its own. */
  area?: readonly [start: number, end: number];
}

/**
 * One memory of up to 4 GiB (less a page), cut into named regions. This file is the one owner of addresses.
 *
 * A region keeps its contents when it grows, but may move: ask for its address again after every `reserve`. Views are
 * made afresh when the memory has grown; the getters below always return live ones over the whole memory, to be indexed
 * with `ptr >>> 2`. Addresses reach 2^32 - 1: kernels return them signed, so `>>> 0` whatever a kernel returns.
 */
export class LinearMemory {
  /** @internal */
  readonly memory: GrowingMemory;
  readonly maxBytes: number;
  #regions: Map<string, Region> = new Map();
  /** Regions of others. */
  #fixed: Map<string, Region> = new Map();
  #base = BASE;
  /** Bytes of the memory when the views were last forgotten: those made since are at least as long. */
  #viewed = 0;
  #f32: Float32Array = new Float32Array(0);
  #u32: Uint32Array = new Uint32Array(0);
  #u8: Uint8Array = new Uint8Array(0);

  /** @param place `'shared'` for a new memory that threads may share. */
  constructor(maxBytes: number = MAX_BYTES, place?: 'shared' | Placement) {
    this.maxBytes = Math.min(maxBytes, MAX_BYTES);
    if (place === undefined || place === 'shared') {
      this.memory = createMemory(MAX_BYTES / PAGE, place === 'shared');
      return;
    }
    const { memory, regions, area } = place;
    this.memory = memory;
    memory.grow(0); // another thread may have made it grow: asks for the whole of it
    const own = area ? this.#fixed : this.#regions;
    for (const [name, ptr, bytes] of regions) own.set(name, { ptr, bytes });
    if (area) [this.#base, this.maxBytes] = area;
  }

  // `#grow` empties the views, and so does whoever else makes an unshared memory grow, since that detaches them. Asking a
  // WebAssembly.Memory for its buffer every time would take 30 ns.

  /** All of the memory as floats. */
  get f32(): Float32Array {
    if (this.#f32.length === 0) this.#f32 = new Float32Array(this.memory.buffer);
    return this.#f32;
  }

  /** All of the memory as unsigned words. */
  get u32(): Uint32Array {
    if (this.#u32.length === 0) this.#u32 = new Uint32Array(this.memory.buffer);
    return this.#u32;
  }

  /** All of the memory as bytes. */
  get u8(): Uint8Array {
    if (this.#u8.length === 0) this.#u8 = new Uint8Array(this.memory.buffer);
    return this.#u8;
  }

  /** Address of a region, 0 while it has never been reserved. */
  ptr(name: string): number {
    return (this.#regions.get(name) ?? this.#fixed.get(name))?.ptr ?? 0;
  }

  /** Bytes that a region can hold, 0 while it has never been reserved. */
  capacity(name: string): number {
    return (this.#regions.get(name) ?? this.#fixed.get(name))?.bytes ?? 0;
  }

  /** Bytes in use by part, and of the memory as a whole. */
  usage(): Record<string, number> {
    const parts: Record<string, number> = {};
    for (const [name, region] of this.#regions) parts[name] = region.bytes;
    parts.total = this.memory.buffer.byteLength;
    return parts;
  }

  /** All regions. */
  get entries(): RegionEntry[] {
    return Array.from(this.#regions, ([name, { ptr, bytes }]) => [name, ptr, bytes] as const);
  }

  /** Bytes of all regions. */
  get reserved(): number {
    let bytes = 0;
    for (const region of this.#regions.values()) bytes += region.bytes;
    return bytes;
  }

  /**
   * Address of a region of at least `bytes`, old contents kept. A region that must grow takes at least a quarter more
   * than it had, so that many small additions copy each byte a bounded number of times; a new one is exactly `bytes`.
   *
   * Throws a RangeError (ERR_OUT_OF_MEMORY) with the bytes needed in one piece and available so; then nothing has changed.
   */
  reserve(name: string, bytes: number): number {
    const old = this.#regions.get(name);
    if (old && old.bytes >= bytes) return old.ptr;
    const wanted = roundUp(bytes);
    const roomy = old ? Math.max(wanted, roundUp(Math.ceil(old.bytes * 1.25))) : wanted;
    // A generous region that does not fit is tried again at its exact size before it is refused.
    const region = this.#place(name, old, roomy) ?? this.#place(name, old, wanted);
    if (!region) throw this.#outOfMemory(name, wanted);
    if (old && old.ptr !== region.ptr) this.u8.copyWithin(region.ptr, old.ptr, old.ptr + old.bytes);
    this.#regions.set(name, region);
    return region.ptr;
  }

  /** Gives the end of a region back for others to use: what lies behind its first `bytes`. */
  trim(name: string, bytes: number): void {
    const region = this.#regions.get(name);
    if (region) region.bytes = Math.min(region.bytes, roundUp(bytes));
  }

  /** Gives a region's bytes back for others to use. Its contents are lost. */
  release(name: string): void {
    this.#regions.delete(name);
  }

  /** Hands one region's bytes to another name, which loses what it had. */
  rename(from: string, to: string): void {
    const region = this.#regions.get(from);
    this.#regions.delete(from);
    if (region) this.#regions.set(to, region);
    else this.#regions.delete(to);
  }

  /** Finds room for `bytes`: in place, in a gap, or at the end, growing the memory. Null when it does not fit. */
  #place(name: string, old: Region | undefined, bytes: number): Region | null {
    const taken = [...this.#regions].sort((a, b) => a[1].ptr - b[1].ptr);
    let gapStart = this.#base;
    let best: Region | null = null;
    let bestGap = Infinity;
    for (let i = 0; i <= taken.length; i++) {
      const gapEnd = i < taken.length ? taken[i][1].ptr : this.maxBytes;
      // A region may also swallow the gap right behind it, and then need not move.
      const inPlace = i > 0 && taken[i - 1][0] === name && old;
      if (inPlace && gapEnd - old.ptr >= bytes && this.#grow(old.ptr + bytes)) return { ptr: old.ptr, bytes };
      const gap = gapEnd - gapStart;
      if (gap >= bytes && gap < bestGap) {
        best = { ptr: gapStart, bytes };
        bestGap = gap;
      }
      if (i < taken.length) gapStart = taken[i][1].ptr + taken[i][1].bytes;
    }
    if (!best && old) {
      // Where nothing else is large enough: the gap before its place, the place itself, and the gap behind, in one.
      const at = taken.findIndex(([other]) => other === name);
      const start = at === 0 ? this.#base : taken[at - 1][1].ptr + taken[at - 1][1].bytes;
      const end = at + 1 < taken.length ? taken[at + 1][1].ptr : this.maxBytes;
      if (end - start >= bytes) best = { ptr: start, bytes };
    }
    return best && this.#grow(best.ptr + best.bytes) ? best : null;
  }

  /** Makes the memory reach `end`; in steps of a quarter, at least 1 MiB, since every step costs all views. */
  #grow(end: number): boolean {
    const now = this.memory.buffer.byteLength;
    if (end <= now) {
      // A shared memory that others made grow: the old views are whole, and too short.
      if (now !== this.#viewed) this.#forgetViews();
      return true;
    }
    const step = Math.min(Math.max(end, now * 1.25, now + (1 << 20)), this.maxBytes);
    for (const target of [step, end]) {
      const pages = Math.ceil(target / PAGE) - now / PAGE;
      if (now / PAGE + pages > MAX_BYTES / PAGE) continue;
      try {
        this.memory.grow(pages);
        this.#forgetViews();
        return true;
      } catch {} // the engine refuses with a RangeError: try the smaller step, then give up
    }
    return false;
  }

  #forgetViews(): void {
    this.#viewed = this.memory.buffer.byteLength;
    this.#f32 = new Float32Array(0);
    this.#u32 = new Uint32Array(0);
    this.#u8 = new Uint8Array(0);
  }

  #outOfMemory(name: string, needed: number): RangeError {
    // Where the limit leaves room, it was the engine that refused to grow: then only the present memory counts.
    const limited = this.#largestPiece(name, this.maxBytes);
    const available = limited < needed ? limited : this.#largestPiece(name, this.memory.buffer.byteLength);
    const error = rangeError(
      'ERR_OUT_OF_MEMORY',
      `memory: expected ${needed} bytes in one piece for ${name}, got at most ${available} (limit ${this.maxBytes}); split the rows over several indexes`,
    );
    error.name = 'OutOfMemoryError';
    return Object.assign(error, { needed, available });
  }

  /** Bytes of the longest piece below `end` that a region could have: a gap, or its own place and the gaps around it. */
  #largestPiece(name: string, end: number): number {
    let largest = 0;
    let pieceStart = this.#base;
    for (const [other, region] of [...this.#regions].sort((a, b) => a[1].ptr - b[1].ptr)) {
      if (other === name) continue;
      largest = Math.max(largest, region.ptr - pieceStart);
      pieceStart = region.ptr + region.bytes;
    }
    return Math.max(largest, end - pieceStart);
  }
}

/** Whether an error is the refusal of memory: nothing has changed then, and what was asked for may be done with less. */
export function isOutOfMemory(error: unknown): boolean {
  return (error as { code?: unknown } | null)?.code === 'ERR_OUT_OF_MEMORY';
}

function roundUp(bytes: number): number {
  return Math.ceil(Math.max(bytes, 1) / ALIGNMENT) * ALIGNMENT;
}
