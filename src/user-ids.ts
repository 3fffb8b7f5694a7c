import { checkChoice, describe, rangeError, typeError } from './check.js';
import { allocate, expectContent, PAUSE, type Reading } from './snapshot.js';

/** What rows are called by: their numbers (`row`), or ids of the user's own. */
export type IdKind = 'row' | 'string' | 'bigint' | 'number';

/** What ids of each kind are. */
export interface IdTypes {
  row: number;
  string: string;
  bigint: bigint;
  number: number;
}

/** An id of a kind. */
export type IdOf<Kind extends IdKind> = IdTypes[Kind];

/** Ids of one kind, in an array of any sort; `undefined` where rows are called by their numbers. */
export type IdsOf<Kind extends IdKind> = {
  row: undefined;
  string: readonly string[];
  bigint: readonly bigint[] | BigInt64Array | BigUint64Array;
  number: readonly number[] | Float64Array;
}[Kind];

/** The user's ids of the rows of an answer, in the same places; missing where rows are called by their numbers. */
export type Named<Kind extends IdKind> = Kind extends 'row'
  ? { userIds?: undefined }
  : { userIds: IdOf<Kind>[] };

/** The user's ids of the rows that a page of a join is about: those of `rows`. */
export type NamedRows<Kind extends IdKind> = Kind extends 'row'
  ? { rowUserIds?: undefined }
  : { rowUserIds: IdOf<Kind>[] };

/** The user's ids of pairs of rows: those of `a` and of `b`. */
export type NamedPairs<Kind extends IdKind> = Kind extends 'row'
  ? { aUserIds?: undefined; bUserIds?: undefined }
  : { aUserIds: IdOf<Kind>[]; bUserIds: IdOf<Kind>[] };

/** The kind that an `ids` option stands for: a word, or the ids themselves. */
export type KindOf<Ids> = Ids extends 'string' | readonly string[]
  ? 'string'
  : Ids extends 'bigint' | readonly bigint[] | BigInt64Array | BigUint64Array
    ? 'bigint'
    : Ids extends 'number' | readonly number[] | Float64Array
      ? 'number'
      : 'row';

/** What `ids` may be for an index of given vectors: the ids themselves, or their kind where there are none yet. */
export type IdsOption =
  | 'string'
  | 'bigint'
  | 'number'
  | IdsOf<'string'>
  | IdsOf<'bigint'>
  | IdsOf<'number'>
  | undefined;

/** An id, whatever its kind. */
export type UserId = string | bigint | number;

/** In the order of their numbers in a snapshot; `row` is 0. */
export const ID_KINDS: readonly IdKind[] = ['row', 'string', 'number', 'bigint'];
/** Kinds of ids of the user's own. */
export const USER_ID_KINDS: readonly Exclude<IdKind, 'row'>[] = ['string', 'bigint', 'number'];

/** Entries of one Map: V8 refuses more than 2^24. */
const MAP_ENTRIES = 2 ** 23;
/** Half of an i64 and a u64 together. */
const LEAST_BIGINT = -(2n ** 63n);
const LARGEST_BIGINT = 2n ** 64n - 1n;
/** Matches a half of a surrogate pair that stands alone: it has no UTF-8. */
const LONE_SURROGATE = /[\ud800-\udfff]/u;
/** Ids that are read or written before others may run. */
const STEP_IDS = 8192;

/**
 * The user's own ids of the rows of an index: unique strings, bigints of 64 bits, or finite numbers. A row that is removed
 * gives its id back; its number is never another row's.
 *
 * About 60 bytes an id and what a string is long, outside the linear memory, however large numbers are.
 */
export class UserIds {
  readonly kind: Exclude<IdKind, 'row'>;
  /** Row numbers by id. Several maps only beyond 2^23 ids: the last takes new ones. */
  readonly #rows: Map<UserId, number>[] = [new Map()];
  /** Ids by row number; undefined where the row was removed. */
  readonly #ids: (UserId | undefined)[] = [];
  readonly #mapEntries: number;

  constructor(kind: Exclude<IdKind, 'row'>, mapEntries: number = MAP_ENTRIES) {
    this.kind = kind;
    this.#mapEntries = mapEntries;
  }

  /** Ids that are taken. */
  get size(): number {
    return this.#rows.reduce((sum, { size }) => sum + size, 0);
  }

  /** The row of an id, if there is one. The id must be of this kind. */
  rowOf(subject: string, id: unknown): number | undefined {
    return this.#find(this.#check(subject, id, undefined));
  }

  /** The id of a row, if it is there. */
  idOf(row: number): UserId | undefined {
    return row < this.#ids.length ? this.#ids[row] : undefined;
  }

  /** The ids of many rows. */
  of(rows: Uint32Array): (UserId | undefined)[] {
    const ids = new Array<UserId | undefined>(rows.length);
    for (let i = 0; i < rows.length; i++) ids[i] = this.idOf(rows[i]);
    return ids;
  }

  /** The rows of many ids, -1 for those that are taken by none. Fails for the first that is not of this kind. */
  rowsOf(subject: string, ids: ArrayLike<unknown>): Float64Array {
    const rows = new Float64Array(ids.length);
    for (let i = 0; i < ids.length; i++) rows[i] = this.#find(this.#check(subject, ids[i], i)) ?? -1;
    return rows;
  }

  /**
   * Gives the rows from `first` on, which follow those that have ids, these ids. Fails, with nothing changed, for one that
   * is not of this kind, comes twice, or is taken.
   */
  add(subject: string, ids: ArrayLike<unknown>, first: number): void {
    let place = 0;
    try {
      for (; place < ids.length; place++) {
        const id = this.#check(subject, ids[place], place);
        const taken = this.#find(id);
        if (taken !== undefined) throw duplicate(subject, id, place, taken, first);
        this.#enter(id, first + place);
      }
    } catch (error) {
      this.takeBack(first);
      throw error;
    }
  }

  /** Takes the ids of the rows from `first` on back, as if they had never come. */
  takeBack(first: number): void {
    for (let row = first; row < this.#ids.length; row++) this.#forget(row);
    if (this.#ids.length > first) this.#ids.length = first;
  }

  /** Takes ids from rows that are removed. */
  remove(rows: ArrayLike<number>): void {
    for (let i = 0; i < rows.length; i++) {
      this.#forget(rows[i]);
      this.#ids[rows[i]] = undefined;
    }
  }

  #enter(id: UserId, row: number): void {
    let rows = this.#rows[this.#rows.length - 1];
    if (rows.size >= this.#mapEntries) {
      rows = new Map();
      this.#rows.push(rows);
    }
    rows.set(id, row);
    // Numbers of removed rows may be missing: a sparse array takes no memory for many of them.
    this.#ids[row] = id;
  }

  #forget(row: number): void {
    const id = this.#ids[row];
    if (id === undefined) return;
    for (const rows of this.#rows) if (rows.delete(id)) return;
  }

  #find(id: UserId): number | undefined {
    for (const rows of this.#rows) {
      const row = rows.get(id);
      if (row !== undefined) return row;
    }
    return undefined;
  }

  /** An id of this kind, or an error that says which was none. */
  #check(subject: string, id: unknown, place: number | undefined): UserId {
    const got = (): string => `got ${describe(id)}${place === undefined ? '' : ` at place ${place}`}`;
    if (typeof id !== this.kind) {
      throw typeError(
        'ERR_ARGUMENT_TYPE',
        `${subject}: expected a ${this.kind}, as the ids of this index are, ${got()}`,
      );
    }
    if (typeof id === 'string') {
      if (LONE_SURROGATE.test(id))
        throw rangeError('ERR_ARGUMENT_RANGE', `${subject}: expected well-formed Unicode, ${got()}`);
    } else if (typeof id === 'number') {
      if (!Number.isFinite(id))
        throw rangeError('ERR_ARGUMENT_RANGE', `${subject}: expected a finite number, ${got()}`);
      return id + 0; // no -0
    } else if ((id as bigint) < LEAST_BIGINT || (id as bigint) > LARGEST_BIGINT) {
      throw rangeError(
        'ERR_ARGUMENT_RANGE',
        `${subject}: expected a bigint from -2^63 to 2^64 - 1, ${got()}`,
      );
    }
    return id as UserId;
  }

  /** The section of a snapshot with the ids of these rows: docs/snapshot-format.md. */
  *encode(rows: Uint32Array): Generator<Uint8Array, Uint8Array[], void> {
    if (rows.length === 0) return [];
    const { kind } = this;
    const table = allocate((kind === 'string' ? 4 : 8) * rows.length + (kind === 'string' ? 4 : 0));
    const view = new DataView(table.buffer);
    if (kind === 'string') {
      const encoder = new TextEncoder();
      const pieces: Uint8Array[] = [table];
      let end = 0;
      for (let i = 0; i < rows.length; ) {
        let text = '';
        for (const to = Math.min(rows.length, i + STEP_IDS); i < to; ) {
          const id = this.#ids[rows[i]] as string;
          text += id;
          end += utf8Length(id);
          view.setUint32(4 * ++i, end, true);
        }
        if (end > 2 ** 32 - 1) {
          throw rangeError(
            'ERR_TOO_LARGE',
            `ids: expected at most ${2 ** 32 - 1} bytes of strings, got ${end} or more`,
          );
        }
        pieces.push(encoder.encode(text));
        yield PAUSE;
      }
      return pieces;
    }
    const signs = allocate(kind === 'bigint' ? Math.ceil(rows.length / 8) : 0);
    for (let i = 0; i < rows.length; i++) {
      const id = this.#ids[rows[i]];
      if (i % STEP_IDS === 0) yield PAUSE;
      if (typeof id === 'number') {
        view.setFloat64(8 * i, id, true);
        continue;
      }
      view.setBigUint64(8 * i, BigInt.asUintN(64, id as bigint), true);
      if ((id as bigint) < 0n) signs[i >>> 3] |= 1 << (i & 7);
    }
    return kind === 'bigint' ? [table, signs] : [table];
  }

  /** Gives the rows with these numbers, ascending, the ids that such a section has; this has none yet. */
  *decode(section: DataView, rows: Uint32Array): Reading<void> {
    const read =
      this.kind === 'string' ? stringsOf(section, rows.length) : numberOf(section, this.kind, rows.length);
    for (let i = 0; i < rows.length; i++) {
      if (i % STEP_IDS === 0) yield PAUSE;
      const id = read(i);
      expectContent(this.#find(id) === undefined, 'ids that differ', describe(id));
      this.#enter(id, rows[i]);
    }
  }
}

/** The kind that an `ids` option names, and the ids that it has; nothing where there is no such option. */
export function checkIdsOption(
  value: unknown,
): { kind: Exclude<IdKind, 'row'>; ids: ArrayLike<unknown> | undefined } | undefined {
  if (value === undefined) return undefined;
  if (typeof value === 'string') return { kind: checkChoice('ids', value, USER_ID_KINDS), ids: undefined };
  const ids = checkIdArray('ids', value);
  const first = ids[0];
  if (value instanceof BigInt64Array || value instanceof BigUint64Array) return { kind: 'bigint', ids };
  if (ArrayBuffer.isView(value)) return { kind: 'number', ids };
  for (const kind of USER_ID_KINDS) if (typeof first === kind) return { kind, ids };
  if (ids.length === 0) {
    throw rangeError(
      'ERR_LENGTH',
      "ids: expected ids, which tell their kind, or for an empty index the kind itself as in ids: 'string', got 0 ids",
    );
  }
  throw typeError(
    'ERR_ARGUMENT_TYPE',
    `ids: expected strings, bigints or numbers, got ${describe(first)} at place 0`,
  );
}

/** An array of ids, of any sort. */
export function checkIdArray(subject: string, value: unknown): ArrayLike<unknown> {
  if (Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView)))
    return value as unknown as ArrayLike<unknown>;
  throw typeError('ERR_ARGUMENT_TYPE', `${subject}: expected an array of ids, got ${describe(value)}`);
}

/** Refuses ids of which one comes twice. */
export function checkDistinct(subject: string, ids: ArrayLike<unknown>): void {
  const places = new Map<unknown, number>();
  for (let i = 0; i < ids.length; i++) {
    const before = places.get(ids[i]);
    if (before !== undefined) throw duplicate(subject, ids[i], i, before, 0);
    places.set(ids[i], i);
  }
}

/** As many ids as there are rows. */
export function checkIdCount(subject: string, ids: ArrayLike<unknown>, rows: number): void {
  if (ids.length === rows) return;
  throw rangeError('ERR_LENGTH', `${subject}: expected ${rows} ids, one a row, got ${ids.length}`);
}

function duplicate(subject: string, id: unknown, place: number, taken: number, first: number): RangeError {
  const wanted =
    taken >= first
      ? `different ids, got ${describe(id)} at places ${taken - first} and ${place}`
      : `new ids, got ${describe(id)} at place ${place}, which row ${taken} has`;
  return rangeError('ERR_DUPLICATE_ID', `${subject}: expected ${wanted}`);
}

/** Bytes of a well-formed string as UTF-8. */
function utf8Length(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    // Two units of a pair are 4 bytes.
    if (unit > 0x7f) bytes += unit > 0x7ff && (unit < 0xd800 || unit > 0xdfff) ? 2 : 1;
  }
  return bytes;
}

function stringsOf(section: DataView, count: number): (i: number) => string {
  const start = 4 * (count + 1);
  expectContent(section.byteLength >= start, `${count} ids`, `${section.byteLength} bytes`);
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const bytes = new Uint8Array(section.buffer, section.byteOffset + start, section.byteLength - start);
  expectContent(section.getUint32(0, true) === 0, 'ids from their beginning', section.getUint32(0, true));
  const last = section.getUint32(4 * count, true);
  expectContent(last === bytes.length, `ids of ${bytes.length} bytes`, last);
  return (i) => {
    const from = section.getUint32(4 * i, true);
    const to = section.getUint32(4 * i + 4, true);
    expectContent(from <= to && to <= bytes.length, `an id that ends from byte ${from} on`, to);
    let text: string | undefined;
    try {
      text = decoder.decode(bytes.subarray(from, to));
    } catch {
      // fails below
    }
    expectContent(text !== undefined, 'ids in UTF-8', `others at place ${i}`);
    return text as string;
  };
}

function numberOf(section: DataView, kind: 'number' | 'bigint', count: number): (i: number) => UserId {
  const bytes = 8 * count + (kind === 'bigint' ? Math.ceil(count / 8) : 0);
  expectContent(section.byteLength === bytes, `${bytes} bytes of ids`, section.byteLength);
  if (kind === 'number') {
    return (i) => {
      const id = section.getFloat64(8 * i, true);
      expectContent(Number.isFinite(id) && !Object.is(id, -0), 'a finite number as an id', id);
      return id;
    };
  }
  const spare = count % 8 === 0 ? 0 : section.getUint8(bytes - 1) >>> (count % 8);
  expectContent(spare === 0, 'zeros behind the last sign', spare);
  return (i) => {
    const id = section.getBigUint64(8 * i, true);
    if (((section.getUint8(8 * count + (i >>> 3)) >> (i & 7)) & 1) === 0) return id;
    expectContent(id >= 2n ** 63n, 'a negative id of 64 bits', id);
    return BigInt.asIntN(64, id);
  };
}
