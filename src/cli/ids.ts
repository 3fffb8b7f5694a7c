import { type IdKind, IdSet, type VectorIndex } from '../index.js';
import type { VectorPage } from '../node/index.js';
import type { WorkerPool } from '../workers/index.js';
import { readBytes } from './inputs.js';
import type { Name } from './neighbors.js';
import type { Command } from './packages.js';
import { UsageError } from './terminal.js';

/** An index with ids of any kind. */
// biome-ignore lint/suspicious/noExplicitAny: a file tells the kind only when it is read
export type AnyIndex = VectorIndex<any>;

/** Kinds of ids that files may have. */
export const ID_KINDS = ['string', 'bigint', 'number'] as const;

/** A row's id as it is printed. */
function printed(id: string | bigint | number | undefined): string | number {
  return typeof id === 'bigint' ? String(id) : (id as string | number);
}

/** What the rows of an index are called, for as long as the index lives. */
export function nameIn(index: AnyIndex): Name {
  return index.idKind === 'row' ? (row) => row : (row) => printed(index.idOf(row));
}

/** The same of a pool. */
export async function namesOf(pool: WorkerPool<IdKind>): Promise<Name> {
  if (pool.idKind === 'row') return (row) => row;
  const names: (string | number)[] = [];
  // A row that was removed has no id.
  for (let [row, found] = [0, 0]; found < pool.size; row++) {
    const id = await pool.idOf(row);
    if (id === undefined) continue;
    names[row] = printed(id);
    found++;
  }
  return (row) => names[row];
}

/** A text as an id of a kind; undefined where it is none. */
export function idOfKind(kind: IdKind, text: string): string | bigint | number | undefined {
  if (kind === 'string') return text;
  if (kind === 'bigint') return /^-?\d+$/.test(text) ? BigInt(text) : undefined;
  if (kind === 'row') return /^\d+$/.test(text) ? Number(text) : undefined;
  const value = Number(text);
  return text.trim() !== '' && Number.isFinite(value) ? value : undefined;
}

/** The rows of the ids in a text file. */
export function rowsOf(index: AnyIndex, path: string): number[] {
  return idsIn(index.idKind, path).map((text) => {
    const id = idOfKind(index.idKind, text);
    const row = id === undefined ? undefined : index.rowOf(id);
    if (row !== undefined) return row;
    throw new Error(`${path}: expected ids of the index, got ${JSON.stringify(text)}`);
  });
}

/** The ids of a text file: lines where they are strings, which may have spaces, else also words. */
export function idsIn(kind: IdKind, path: string): string[] {
  const text = new TextDecoder().decode(readBytes(path));
  return text.split(kind === 'string' ? /\r?\n/ : /\s+/).filter((id) => id !== '');
}

/** Options of a command that finds some rows only. */
export interface FilterOptions {
  only?: string;
  exclude?: string;
}

export function filterOptions(command: Command): Command {
  return command
    .option('--only <file>', 'find only rows whose ids are in this text, a line each')
    .option('--exclude <file>', 'find no rows whose ids are in this text, a line each');
}

/** The file that names rows, and whether only those or all others are to be found. */
export function filterFile(
  command: string,
  { only, exclude }: FilterOptions,
): { path: string; isOnly: boolean } | undefined {
  if (only !== undefined && exclude !== undefined) {
    throw new UsageError(`${command}: expected either --only or --exclude, got both`);
  }
  const path = only ?? exclude;
  return path === undefined ? undefined : { path, isOnly: only !== undefined };
}

/** The rows of an index that may be found. */
export function filterOf(index: AnyIndex, { path, isOnly }: { path: string; isOnly: boolean }): IdSet {
  const named = new IdSet(rowsOf(index, path));
  if (isOnly) return named;
  const others = new IdSet();
  for (const id of index.userIds()) {
    const row = index.rowOf(id) as number;
    if (!named.has(row)) others.add(row);
  }
  return others;
}

/** Adds a page of a file to an index; what is wrong with it is told by its place in the file. */
export function addPage(index: AnyIndex, page: VectorPage, path: string): number {
  const { vectors, first } = page;
  const kind: IdKind = index.idKind;
  const ids = page.ids?.map((text, i) => {
    const id = idOfKind(kind, text);
    if (id !== undefined) return id;
    throw new Error(
      `${path}: expected ids that are each a ${kind}, got ${JSON.stringify(text)} in row ${first + i}`,
    );
  });
  try {
    return index.add(vectors, ids);
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === 'ERR_DUPLICATE_ID' && ids) {
      const seen = new Set();
      const at = ids.findIndex((id) => index.has(id) || seen.size === seen.add(id).size);
      throw new Error(
        `${path}: expected each id once, got ${JSON.stringify(page.ids?.[at])} again in row ${first + at}`,
        { cause: error },
      );
    }
    throw inFile(error, path, first);
  }
}

/** An error about a vector of a page, with the row's number in the file. */
export function inFile(error: unknown, path: string, first: number): unknown {
  const { code } = error as { code?: string };
  if (!(error instanceof Error) || (code !== 'ERR_ZERO_VECTOR' && code !== 'ERR_NOT_FINITE')) return error;
  const message = error.message.replace(/\brow (\d+)/, (_, row) => `row ${first + Number(row)}`);
  return new Error(`${path}: ${message}`, { cause: error });
}
