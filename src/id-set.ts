import { checkIds, checkInteger, describe, rangeError, typeError } from './check.js';

/** Ids are below this: an index has no more. */
const MAX_IDS = 2 ** 32 - 1;

/**
 * Which rows count: a function of the id; a bitmap (bit id & 7 of byte id >> 3; ids behind its end do not pass); or an
 * IdSet, the fastest, since an index keeps a copy for as long as the set stays the same.
 */
export type Filter<Id = number> = ((id: Id) => boolean) | Uint8Array | IdSet;

/**
 * A set of ids, one bit each: what a filter is at its fastest, and how filters are combined.
 *
 * Ids count up from 0, so a set of any of n rows takes n / 8 bytes. A set grows by itself; it is not tied to an index.
 */
export class IdSet implements Iterable<number> {
  /** Bit id & 7 of byte id >> 3; bytes behind the end are 0. */
  #bytes: Uint8Array;
  #size = 0;
  #version = 0;

  /**
   * @param ids those to begin with.
   * @throws TypeError (ERR_ARGUMENT_TYPE) for anything else than ids; RangeError (ERR_ARGUMENT_RANGE) for a number that is none.
   */
  constructor(ids: Iterable<number> = []) {
    this.#bytes = new Uint8Array(0);
    if (typeof ids !== 'object' || ids === null || typeof ids[Symbol.iterator] !== 'function') {
      throw typeError('ERR_ARGUMENT_TYPE', `ids: expected something to iterate over, got ${describe(ids)}`);
    }
    for (const id of ids) this.add(id);
  }

  /**
   * The set that a bitmap stands for: id is in it where bit id & 7 of byte id >> 3 is 1. The bytes are copied.
   *
   * @throws TypeError (ERR_ARGUMENT_TYPE) for anything else than a Uint8Array; RangeError (ERR_ARGUMENT_RANGE) beyond 2^29 bytes.
   */
  static fromBitmap(bytes: Uint8Array): IdSet {
    if (!(bytes instanceof Uint8Array)) {
      throw typeError('ERR_ARGUMENT_TYPE', `bytes: expected a Uint8Array, got ${describe(bytes)}`);
    }
    if (bytes.length > 2 ** 29) {
      throw rangeError('ERR_ARGUMENT_RANGE', `bytes: expected at most 2^29 bytes, got ${bytes.length}`);
    }
    const set = new IdSet();
    set.#take(bytes.slice());
    return set;
  }

  /** The ids from 0 to n - 1 of which a function says true; it is called once for each, in order. */
  static where(n: number, predicate: (id: number) => boolean): IdSet {
    checkInteger('n', n, 0, MAX_IDS);
    if (typeof predicate !== 'function') {
      throw typeError('ERR_ARGUMENT_TYPE', `predicate: expected a function, got ${describe(predicate)}`);
    }
    const set = new IdSet();
    const bytes = new Uint8Array(Math.ceil(n / 8));
    for (let id = 0; id < n; id++) if (predicate(id)) bytes[id >>> 3] |= 1 << (id & 7);
    set.#take(bytes);
    return set;
  }

  /** How many ids are in the set. */
  get size(): number {
    return this.#size;
  }

  /** Changes with every change of the set: the same number means the same ids. */
  get version(): number {
    return this.#version;
  }

  /** @internal */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** Whether the id is in the set. */
  has(id: number): boolean {
    return Number.isInteger(id) && id >= 0 && id < this.#bytes.length * 8 && this.#bit(id) === 1;
  }

  /** Puts ids in; returns the set. Those that are in it already stay. */
  add(ids: number | ArrayLike<number>): this {
    const checked = checkIds('ids', ids, MAX_IDS);
    for (let i = 0; i < checked.length; i++) {
      const id = checked[i];
      this.#reach((id >>> 3) + 1);
      if (this.#bit(id)) continue;
      this.#bytes[id >>> 3] |= 1 << (id & 7);
      this.#size++;
    }
    this.#version++;
    return this;
  }

  /** Takes ids out; returns how many were in. */
  delete(ids: number | ArrayLike<number>): number {
    const checked = checkIds('ids', ids, MAX_IDS);
    let deleted = 0;
    for (let i = 0; i < checked.length; i++) {
      const id = checked[i];
      if (!this.has(id)) continue;
      this.#bytes[id >>> 3] &= ~(1 << (id & 7));
      deleted++;
    }
    this.#size -= deleted;
    this.#version++;
    return deleted;
  }

  /** A new set of the ids that are in both. */
  and(other: IdSet): IdSet {
    const theirs = checkSet('other', other).#bytes;
    const bytes = this.#bytes.slice(0, theirs.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] &= theirs[i];
    return IdSet.own(bytes);
  }

  /** A new set of the ids that are in one of them, or both. */
  or(other: IdSet): IdSet {
    const theirs = checkSet('other', other).#bytes;
    const bytes = new Uint8Array(Math.max(this.#bytes.length, theirs.length));
    bytes.set(this.#bytes);
    for (let i = 0; i < theirs.length; i++) bytes[i] |= theirs[i];
    return IdSet.own(bytes);
  }

  /** A new set of the ids that are in this one and not in the other. */
  andNot(other: IdSet): IdSet {
    const theirs = checkSet('other', other).#bytes;
    const bytes = this.#bytes.slice();
    for (let i = 0; i < Math.min(bytes.length, theirs.length); i++) bytes[i] &= ~theirs[i];
    return IdSet.own(bytes);
  }

  /** A new set of the ids from 0 to n - 1 that are not in this one; n is the number of ids that an index has given out. */
  not(n: number): IdSet {
    checkInteger('n', n, 0, MAX_IDS);
    const bytes = new Uint8Array(Math.ceil(n / 8)).fill(255);
    if (n & 7) bytes[bytes.length - 1] = 2 ** (n & 7) - 1;
    for (let i = 0; i < Math.min(bytes.length, this.#bytes.length); i++) bytes[i] &= ~this.#bytes[i];
    return IdSet.own(bytes);
  }

  /** The same ids as a bitmap: bit id & 7 of byte id >> 3. */
  toBitmap(): Uint8Array {
    return this.#bytes.slice();
  }

  /** The ids, ascending. */
  *[Symbol.iterator](): Generator<number> {
    for (let i = 0; i < this.#bytes.length; i++) {
      for (let left = this.#bytes[i]; left; left &= left - 1) yield i * 8 + 31 - Math.clz32(left & -left);
    }
  }

  #bit(id: number): number {
    return (this.#bytes[id >>> 3] >> (id & 7)) & 1;
  }

  #reach(bytes: number): void {
    if (bytes <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(bytes, Math.min(2 ** 29, this.#bytes.length * 2)));
    grown.set(this.#bytes);
    this.#bytes = grown;
  }

  #take(bytes: Uint8Array): void {
    this.#bytes = bytes;
    let size = 0;
    for (let i = 0; i < bytes.length; i++) {
      let left = bytes[i];
      left -= (left >> 1) & 0x55;
      left = (left & 0x33) + ((left >> 2) & 0x33);
      size += (left + (left >> 4)) & 15;
    }
    this.#size = size;
    this.#version++;
  }

  /** @internal A set that owns these bytes. */
  static own(bytes: Uint8Array): IdSet {
    const set = new IdSet();
    set.#take(bytes);
    return set;
  }
}

function checkSet(subject: string, value: unknown): IdSet {
  if (value instanceof IdSet) return value;
  throw typeError('ERR_ARGUMENT_TYPE', `${subject}: expected an IdSet, got ${describe(value)}`);
}
