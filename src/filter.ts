import { checkBytes, describe, typeError } from './check.js';

/** What an IdSet is known by here: its class would come into every bundle that has hash tables in it. */
interface BitSet {
  has(id: number): boolean;
  toBitmap(): Uint8Array;
}

function isBitSet(value: unknown): value is BitSet {
  return typeof (value as BitSet | null | undefined)?.toBitmap === 'function';
}

/** A filter (id-set.ts) as a function; `nameOf` gives what a function of the caller's is called with for a row. */
export function testOf(
  filter: unknown,
  nameOf: (id: number) => unknown = (id) => id,
): (id: number) => boolean {
  if (isBitSet(filter)) return (id) => filter.has(id);
  if (filter instanceof Uint8Array) {
    checkBytes('filter', filter);
    return (id) => ((filter[id >>> 3] >> (id & 7)) & 1) === 1; // behind the end: undefined >> 0 is 0
  }
  if (typeof filter === 'function') return (id) => Boolean(filter(nameOf(id)));
  throw typeError(
    'ERR_ARGUMENT_TYPE',
    `filter: expected a function, a Uint8Array or an IdSet, got ${describe(filter)}`,
  );
}
