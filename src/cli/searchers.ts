import { availableParallelism } from 'node:os';
import { WorkerPool } from '../workers/index.js';
import { type AnyIndex, copiedNames, nameIn } from './ids.js';
import { loadIndex, readBytes } from './inputs.js';
import type { Name } from './neighbors.js';

/** An index on this thread, or one in a memory that several threads share: both answer the same calls. */
export type Answering = AnyIndex | WorkerPool;

/** What answers, and what its rows are called. */
export interface Opened {
  index: Answering;
  name: Name;
}

/** Pages under way at a time: the threads have the next ones while this one reads and writes. */
export const LANES = 3;

/** How many threads are worth it: those of the machine, unless the user says otherwise. */
export function threadsFor(wanted: number | undefined): number {
  return wanted ?? Math.min(availableParallelism(), 64);
}

/** The index itself for one thread; else threads that answer, and the index is gone. */
export async function onThreads(index: AnyIndex, threads: number): Promise<Opened> {
  if (threads <= 1) return { index, name: nameIn(index) };
  const name = copiedNames(index);
  const bytes = sharedBytes(index);
  index.dispose();
  return { index: await WorkerPool.load(bytes, { threads }), name };
}

/** A snapshot on one thread or on several; `look` sees it before it may be out of reach. */
export async function openSnapshot(
  path: string,
  threads: number,
  look?: (index: AnyIndex) => void,
): Promise<Opened> {
  const index = loadIndex(path);
  look?.(index);
  if (threads <= 1) return { index, name: nameIn(index) };
  // It is gone before the threads take room for theirs.
  const name = copiedNames(index);
  index.dispose();
  return { index: await WorkerPool.load(readBytes(path, true), { threads }), name };
}

/** The snapshot in memory that a thread reads without a copy. */
function sharedBytes(index: AnyIndex): Uint8Array {
  const bytes = index.save();
  const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
  shared.set(bytes);
  return shared;
}

/** Works on pages, some at a time, and gives what comes of them in the order of the pages. */
export async function* inOrder<Page, Result>(
  pages: AsyncIterable<Page>,
  work: (page: Page) => Result | Promise<Result>,
): AsyncGenerator<{ page: Page; result: Result }> {
  const under: { page: Page; result: Promise<Result> }[] = [];
  const first = async (): Promise<{ page: Page; result: Result }> => {
    const { page, result } = under.shift() as (typeof under)[number];
    return { page, result: await result };
  };
  for await (const page of pages) {
    const result = (async () => work(page))();
    // It is looked at later; until then a failure must not end the process.
    result.catch(() => undefined);
    under.push({ page, result });
    if (under.length >= LANES) yield await first();
  }
  while (under.length > 0) yield await first();
}
