/**
 * Argument checks, in one voice: `subject: expected …, got …`, with both numbers and a stable code.
 * TypeError for a wrong kind, RangeError for a wrong value. Every check happens once, at the public door.
 */

/** Every code that an error of this package carries in its `code` property. */
export type ErrorCode =
  | 'ERR_ARGUMENT_TYPE'
  | 'ERR_ARGUMENT_RANGE'
  | 'ERR_LENGTH'
  | 'ERR_NOT_FINITE'
  | 'ERR_DUPLICATE_ID'
  | 'ERR_ZERO_VECTOR'
  | 'ERR_DETACHED'
  | 'ERR_DISPOSED'
  | 'ERR_BUSY'
  | 'ERR_CHANGED'
  | 'ERR_WORKER'
  | 'ERR_TOO_LARGE'
  | 'ERR_OUT_OF_MEMORY'
  | 'ERR_COMPILE_FORBIDDEN'
  | 'ERR_NO_SIMD'
  | 'ERR_SNAPSHOT';

/** A wrong kind of argument, with its code. */
export function typeError(code: ErrorCode, message: string): TypeError {
  return Object.assign(new TypeError(message), { code });
}

/** A wrong value of the right kind, with its code. */
export function rangeError(code: ErrorCode, message: string): RangeError {
  return Object.assign(new RangeError(message), { code });
}

/** Describes a value in an error text: its kind, or its value when that is short. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint')
    return String(value);
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (ArrayBuffer.isView(value) || Array.isArray(value)) {
    return `${value.constructor.name} of ${'length' in value ? value.length : value.byteLength}`;
  }
  return typeof value === 'object' ? (value.constructor?.name ?? 'object') : typeof value;
}

/** An integer in [min, max], or an error that names the argument. */
export function checkInteger(subject: string, value: unknown, min: number, max: number): number {
  if (typeof value !== 'number') {
    throw typeError(
      'ERR_ARGUMENT_TYPE',
      `${subject}: expected an integer from ${min} to ${max}, got ${describe(value)}`,
    );
  }
  if (!Number.isInteger(value) || value < min || value > max) {
    throw rangeError(
      'ERR_ARGUMENT_RANGE',
      `${subject}: expected an integer from ${min} to ${max}, got ${value}`,
    );
  }
  return value;
}

/** One id or a list of them, each of the `count` given out so far, or an error that names the first that is not. */
export function checkIds(subject: string, value: unknown, count: number): ArrayLike<number> {
  const ids = typeof value === 'number' ? [value] : (value as ArrayLike<number>);
  if (typeof ids !== 'object' || ids === null || !Number.isInteger(ids.length) || ids.length < 0) {
    throw typeError(
      'ERR_ARGUMENT_TYPE',
      `${subject}: expected an id or an array of ids, got ${describe(value)}`,
    );
  }
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i];
    if (typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < count) continue;
    const place = typeof value === 'number' ? '' : ` at place ${i}`;
    const wanted =
      count === 0 ? 'an id of the index, which has given out none' : `ids from 0 to ${count - 1}`;
    const message = `${subject}: expected ${wanted}, got ${describe(id)}${place}`;
    throw typeof id === 'number'
      ? rangeError('ERR_ARGUMENT_RANGE', message)
      : typeError('ERR_ARGUMENT_TYPE', message);
  }
  return ids;
}

/** A number in [min, max], or an error that names the argument. */
export function checkNumber(subject: string, value: unknown, min: number, max: number): number {
  if (typeof value !== 'number') {
    throw typeError(
      'ERR_ARGUMENT_TYPE',
      `${subject}: expected a number from ${min} to ${max}, got ${describe(value)}`,
    );
  }
  if (!(value >= min && value <= max)) {
    throw rangeError(
      'ERR_ARGUMENT_RANGE',
      `${subject}: expected a number from ${min} to ${max}, got ${value}`,
    );
  }
  return value;
}

/** One of the listed words, or an error that lists them. */
export function checkChoice<T extends string>(subject: string, value: unknown, choices: readonly T[]): T {
  if (!choices.includes(value as T)) {
    const list = choices.map((choice) => `'${choice}'`).join(', ');
    const make = typeof value === 'string' ? rangeError : typeError;
    const code = typeof value === 'string' ? 'ERR_ARGUMENT_RANGE' : 'ERR_ARGUMENT_TYPE';
    throw make(code, `${subject}: expected one of ${list}, got ${describe(value)}`);
  }
  return value as T;
}

/** A function, or an error that names the argument. */
export function checkFunction(subject: string, value: unknown): void {
  if (typeof value !== 'function')
    throw typeError('ERR_ARGUMENT_TYPE', `${subject}: expected a function, got ${describe(value)}`);
}

/** A plain options object (or nothing), so that `search(query, 5)` is refused with a word about `{ k: 5 }`. */
export function checkOptions(subject: string, value: unknown): void {
  if (value !== undefined && (typeof value !== 'object' || value === null || ArrayBuffer.isView(value))) {
    throw typeError(
      'ERR_ARGUMENT_TYPE',
      `${subject}: expected an options object such as { k: 10 }, got ${describe(value)}`,
    );
  }
}

/** A Float32Array on a live buffer. */
export function checkFloats(subject: string, value: unknown): Float32Array {
  return checkArray(subject, value, Float32Array, 'floats');
}

/** A Uint8Array on a live buffer. */
export function checkBytes(subject: string, value: unknown): Uint8Array {
  return checkArray(subject, value, Uint8Array, 'bytes');
}

/** A Uint32Array on a live buffer. */
export function checkWords(subject: string, value: unknown): Uint32Array {
  return checkArray(subject, value, Uint32Array, 'words');
}

function checkArray<Kind extends Float32Array | Uint8Array | Uint32Array>(
  subject: string,
  value: unknown,
  kind: new () => Kind,
  items: string,
): Kind {
  if (!(value instanceof kind)) {
    throw typeError('ERR_ARGUMENT_TYPE', `${subject}: expected a ${kind.name}, got ${describe(value)}`);
  }
  // A detached view has length 0, as has an empty one: only the buffer tells them apart.
  if (value.length === 0 && isDetached(value.buffer)) {
    throw typeError(
      'ERR_DETACHED',
      `${subject}: expected a ${kind.name} on a live buffer, got a detached one of 0 ${items}`,
    );
  }
  return value;
}

/** One vector of `dimensions` floats, for a caller who has a kernel look at the floats. */
export function checkLength(subject: string, value: unknown, dimensions: number): Float32Array {
  const vector = checkFloats(subject, value);
  if (vector.length !== dimensions) {
    throw rangeError('ERR_LENGTH', `${subject}: expected ${dimensions} floats, got ${vector.length}`);
  }
  return vector;
}

/** One vector of `dimensions` finite floats. */
export function checkVector(subject: string, value: unknown, dimensions: number): Float32Array {
  const vector = checkLength(subject, value, dimensions);
  checkFinite(subject, vector, dimensions);
  return vector;
}

/** Whole rows of `dimensions` finite floats; returns how many rows. */
export function checkRows(subject: string, value: unknown, dimensions: number): number {
  const rows = checkRowCount(subject, value, dimensions);
  checkFinite(subject, value as Float32Array, dimensions);
  return rows;
}

/** Whole rows of `dimensions` floats, for a caller who looks at the floats itself; returns how many rows. */
export function checkRowCount(subject: string, value: unknown, dimensions: number): number {
  const { length } = checkFloats(subject, value);
  if (length % dimensions !== 0) {
    throw rangeError(
      'ERR_LENGTH',
      `${subject}: expected a multiple of ${dimensions} floats (one row each), got ${length}`,
    );
  }
  return length / dimensions;
}

/** The largest size of a number in a vector: so no squared distance overflows, up to 65,536 dimensions. */
export const MAX_VALUE: number = Math.fround(1e16); // the nearest float is a little more

/** Refuses NaN, infinities and numbers beyond MAX_VALUE, naming row and column. */
export function checkFinite(subject: string, vectors: Float32Array, dimensions: number): void {
  for (let i = 0; i < vectors.length; i++) {
    // Also false for NaN. One comparison a float is as fast as sums over stretches (0.9 ns both).
    if (Math.abs(vectors[i]) <= MAX_VALUE) continue;
    const row = Math.floor(i / dimensions);
    throw rangeError(
      'ERR_NOT_FINITE',
      `${subject}: expected finite numbers of at most 1e16, got ${vectors[i]} in row ${row}, column ${i % dimensions}`,
    );
  }
}

function isDetached(buffer: ArrayBufferLike): boolean {
  if ('detached' in buffer) return (buffer as { detached: boolean }).detached;
  if (buffer.byteLength !== 0) return false;
  try {
    new Uint8Array(buffer as ArrayBuffer); // throws on a detached buffer, also where `detached` is unknown
    return false;
  } catch {
    return true;
  }
}
