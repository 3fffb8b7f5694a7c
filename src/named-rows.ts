import {
  checkIds,
  checkInteger,
  checkRowCount,
  checkRows,
  describe,
  rangeError,
  typeError,
} from './check.js';
import type { Engine } from './engine.js';
import { checkDistinct, checkIdArray, checkIdCount, type UserIds } from './user-ids.js';

/** Ids that an index gives out at most. */
const MAX_ROWS = 2 ** 32 - 2;

/** An engine, and the user's ids of its rows where there are any: without, rows are called by their numbers. */
interface NamedRows {
  readonly engine: Engine;
  readonly userIds: UserIds | undefined;
}

/** The number of the row of an id, if there is one. */
export function findRow({ engine, userIds }: NamedRows, id: unknown): number | undefined {
  if (userIds) return userIds.rowOf('id', id);
  const isRow = Number.isInteger(id) && (id as number) >= 0 && engine.rows.has(id as number);
  return isRow ? (id as number) : undefined;
}

/** The same of an id that must be that of a row. */
export function checkRow({ engine, userIds }: NamedRows, id: unknown): number {
  const { rows } = engine;
  if (userIds) {
    const row = userIds.rowOf('id', id);
    if (row !== undefined) return row;
    throw rangeError(
      'ERR_ARGUMENT_RANGE',
      `id: expected one that a row of the index has, got ${describe(id)}`,
    );
  }
  if (rows.idCount === 0)
    throw rangeError(
      'ERR_ARGUMENT_RANGE',
      `id: expected a row of the index, which has 0, got ${describe(id)}`,
    );
  const checked = checkInteger('id', id, 0, rows.idCount - 1);
  if (!rows.has(checked))
    throw rangeError('ERR_ARGUMENT_RANGE', `id: expected a row of the index, got ${id}, which was removed`);
  return checked;
}

/** How many rows some vectors are; refuses more than there is room for. */
export function checkNewRows({ engine }: NamedRows, vectors: Float32Array): number {
  const rows = checkRowCount('vectors', vectors, engine.rows.dimensions);
  const ids = engine.rows.idCount + rows;
  if (ids > MAX_ROWS)
    throw rangeError('ERR_TOO_LARGE', `vectors: expected at most ${MAX_ROWS} ids in all, got ${ids}`);
  return rows;
}

/** Checks vectors and their ids, and has `take` append so many rows; without a trace where that fails. */
export function appendRows<Result>(
  named: NamedRows,
  vectors: Float32Array,
  ids: unknown,
  take: (rows: number) => Result,
): Result {
  const rows = checkNewRows(named, vectors);
  const { engine, userIds } = named;
  if ((ids === undefined) !== (userIds === undefined) && rows > 0) {
    const wanted = userIds
      ? `${rows} ids, one a row, each a ${userIds.kind}`
      : "none, since rows of this index are called by their numbers (unless it is made with an option such as ids: 'string')";
    throw typeError('ERR_ARGUMENT_TYPE', `ids: expected ${wanted}, got ${describe(ids)}`);
  }
  if (!userIds || ids === undefined) return take(rows);
  const list = checkIdArray('ids', ids);
  checkIdCount('ids', list, rows);
  const first = engine.rows.idCount;
  userIds.add('ids', list, first);
  try {
    return take(rows);
  } catch (error) {
    userIds.takeBack(first);
    throw error;
  }
}

/** Gives ids, each once, these vectors: `add` has the new ones, together; then the others are replaced one by one. */
export function setRows(
  named: NamedRows,
  ids: unknown,
  vectors: Float32Array,
  add: (vectors: Float32Array, ids: unknown[]) => void,
): void {
  const { engine, userIds } = named;
  const { dimensions } = engine.rows;
  const list = checkIdArray('ids', ids);
  checkIdCount('ids', list, checkRows('vectors', vectors, dimensions));
  const rows = userIds
    ? userIds.rowsOf('ids', list)
    : Float64Array.from(checkIds('ids', list, engine.rows.idCount), (id) => checkRow(named, id));
  checkDistinct('ids', list);
  const all = Array.from(rows.keys());
  const old = all.filter((i) => rows[i] >= 0);
  const fresh = all.filter((i) => rows[i] < 0);
  engine.checkUpdates(vectors, old);
  const added = new Float32Array(fresh.length * dimensions);
  const vector = (i: number): Float32Array => vectors.subarray(i * dimensions, (i + 1) * dimensions);
  fresh.forEach((i, at) => {
    added.set(vector(i), at * dimensions);
  });
  if (fresh.length > 0)
    add(
      added,
      fresh.map((i) => list[i]),
    );
  for (const i of old) engine.update(rows[i], vector(i));
}

/** Removes the rows of one id or of many; returns how many there were. */
export function removeRows({ engine, userIds }: NamedRows, ids: unknown): number {
  if (!userIds) return engine.remove(checkIds('ids', ids, engine.rows.idCount));
  const list = typeof ids === 'object' ? checkIdArray('ids', ids) : [ids];
  const rows = userIds.rowsOf('ids', list).filter((row) => row >= 0);
  const removed = engine.remove(rows);
  userIds.remove(rows);
  return removed;
}
