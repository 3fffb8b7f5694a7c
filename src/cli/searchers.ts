import { closeSync, openSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { type IdKind, type IdSet, VectorIndex } from '../index.js';
import type { FloatRows, VectorPage, VectorSource } from '../node/index.js';
import { inOrder, WorkerPool } from '../workers/index.js';
import { type Answers, packed } from './answers.js';
import { type AnyIndex, inFile, nameIn, namesOf } from './ids.js';
import { inSnapshot, loadIndex, readBytes } from './inputs.js';
import type { Name } from './neighbors.js';

/** An index on this thread, or one in a memory that several threads share: both answer the same calls. */
export type Answering = AnyIndex | WorkerPool;

/** What answers, and what its rows are called. */
export interface Opened {
  index: Answering;
  name: Name;
}

/** Pages under way at a time: the threads have the next ones while this one reads and writes. */
const LANES = 3;

/** How many threads are worth it: those of the machine, unless the user says otherwise. */
export function threadsFor(wanted: number | undefined): number {
  return wanted ?? Math.min(availableParallelism(), 64);
}

/** The index itself for one thread; else threads that answer, and the index is gone. */
export async function onThreads(index: AnyIndex, threads: number): Promise<Opened> {
  if (threads <= 1) return { index, name: nameIn(index) };
  const bytes = sharedBytes(index);
  index.dispose();
  return openPool(bytes, threads);
}

/**
 * A snapshot on one thread or on several; `seen` is what `look` saw in it, which with several threads needs an index of its own
 * for a while.
 */
export async function openSnapshot<Seen = undefined>(
  path: string,
  threads: number,
  look?: (index: AnyIndex) => Seen,
): Promise<Opened & { seen?: Seen }> {
  if (threads <= 1) {
    const index = loadIndex(path);
    return { index, name: nameIn(index), seen: look?.(index) };
  }
  const bytes = readBytes(path, true);
  try {
    const seen = look && seenIn(VectorIndex.load<IdKind>(bytes), look);
    return { ...(await openPool(bytes, threads)), seen };
  } catch (error) {
    throw inSnapshot(error, path);
  }
}

/** What there is to see in an index, which is gone before threads take room for theirs. */
function seenIn<Seen>(index: AnyIndex, look: (index: AnyIndex) => Seen): Seen {
  try {
    return look(index);
  } finally {
    index.dispose();
  }
}

async function openPool(bytes: Uint8Array, threads: number): Promise<Opened> {
  const pool = await WorkerPool.load<IdKind>(bytes, { threads });
  return { index: pool as WorkerPool, name: await namesOf(pool) };
}

/** The snapshot in memory that a thread reads without a copy. */
function sharedBytes(index: AnyIndex): Uint8Array {
  const bytes = index.save();
  const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
  shared.set(bytes);
  return shared;
}

/** How rows of a file are answered. */
export interface Question {
  k?: number;
  radius?: number;
  recall: number;
  exact?: boolean;
  filter?: IdSet;
}

/** Rows of a file without their vectors: where they start, and their ids where they have some. */
export type RowPage = Pick<VectorPage, 'first' | 'rows' | 'ids'>;

/** Rows with what was found for them. */
interface Answered {
  page: RowPage;
  result: Answers;
}

/**
 * The pages of a file with what an index answers to them, in their order. Threads read the file themselves where its rows lie there
 * as float32 and k of their neighbors are wanted.
 */
export function answered(
  index: Answering,
  source: VectorSource,
  options: { from?: number; pageRows: number },
  question: Question,
): AsyncGenerator<Answered> {
  const { floats } = source;
  if (floats && question.radius === undefined && index instanceof WorkerPool)
    return answeredFile(index, source, floats, options, question);
  return answeredPages(index, source, options, question);
}

/**
 * By pages that this thread reads. Vectors lie where threads read them without a copy, in memory that the next pages use
 * again; the index checks them.
 */
async function* answeredPages(
  index: Answering,
  source: VectorSource,
  options: { from?: number; pageRows: number },
  question: Question,
): AsyncGenerator<Answered> {
  const free: ArrayBufferLike[] = [];
  const room = (floats: number): Float32Array => {
    const old = free.pop();
    const isEnough = old !== undefined && old.byteLength >= 4 * floats;
    return new Float32Array(isEnough ? old : new SharedArrayBuffer(4 * floats), 0, floats);
  };
  const tasks = async function* (): AsyncGenerator<() => Promise<Answered & { page: VectorPage }>> {
    for await (const page of source.pages({ ...options, room, check: false }))
      yield async () => ({ page, result: await answer(index, page, question, source.path) });
  };
  for await (const one of inOrder(tasks(), LANES)) {
    yield one;
    free.push(one.page.vectors.buffer);
  }
}

/** By the threads alone. */
async function* answeredFile(
  pool: WorkerPool,
  source: VectorSource,
  { offset, rows, isPrefixed }: FloatRows,
  { from = 0, pageRows }: { from?: number; pageRows: number },
  question: Question,
): AsyncGenerator<Answered> {
  const { radius: _, ...options } = question;
  const rowBytes = 4 * (source.dimensions + (isPrefixed ? 1 : 0));
  const descriptor = openSync(source.path, 'r');
  const begun = new Set<Promise<unknown>>();
  const search = async (page: RowPage): Promise<Answered> => {
    const place = { descriptor, offset: offset + page.first * rowBytes, rows: page.rows, isPrefixed };
    const found = pool.searchFile(place, options);
    begun.add(found);
    try {
      return { page, result: packed(await found) };
    } catch {
      // What is wrong is told by who reads it here.
      for await (const { result } of answeredPages(pool, source, { from: page.first, pageRows }, question))
        return { page, result };
      throw new Error(`${source.path}: expected ${rows} rows, got ${page.first}`);
    } finally {
      begun.delete(found);
    }
  };
  const tasks = function* (): Generator<() => Promise<Answered>> {
    for (let first = from; first < rows; first += pageRows)
      yield () => search({ first, rows: Math.min(pageRows, rows - first) });
  };
  try {
    yield* inOrder(tasks(), LANES);
  } finally {
    await Promise.allSettled(begun);
    closeSync(descriptor);
  }
}

/** The k nearest of some rows of a file, or all within a radius. */
async function answer(
  index: Answering,
  { vectors, first }: VectorPage,
  { k, radius, ...options }: Question,
  path: string,
): Promise<Answers> {
  try {
    if (radius !== undefined) return await index.searchRadiusBatch(vectors, radius, options);
    return packed(await index.searchBatch(vectors, { ...options, k }));
  } catch (error) {
    throw inFile(error, path, first);
  }
}
