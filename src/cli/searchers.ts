import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { NeighborsBatch, VectorIndex, VectorSearchOptions } from '../index.js';

/** What a worker is started with, and what it is then sent. */
export interface WorkerStart {
  snapshot: SharedArrayBuffer;
  options: VectorSearchOptions;
}
export interface WorkerAnswer extends NeighborsBatch {
  error?: { message: string };
}

/** Answers pages of queries, several at a time. */
export interface Searchers {
  /** Pages that are worth having under way at a time. */
  readonly lanes: number;
  search(queries: Float32Array): Promise<NeighborsBatch>;
  close(): Promise<void>;
}

/** How many threads are worth it: those of the machine, unless the user says otherwise. */
export function threadsFor(wanted: number | undefined): number {
  return wanted ?? Math.min(availableParallelism(), 64);
}

/** Searches on `threads` threads: on this one if that is 1, else on workers that have a copy of the index each. */
export function openSearchers(index: VectorIndex, options: VectorSearchOptions, threads: number): Searchers {
  if (threads <= 1) {
    return {
      lanes: 1,
      search: async (queries) => index.searchBatch(queries, options),
      close: async () => {},
    };
  }
  const bytes = index.save();
  const snapshot = new SharedArrayBuffer(bytes.length);
  new Uint8Array(snapshot).set(bytes);
  return new Threads({ snapshot, options }, threads);
}

interface Job {
  queries: Float32Array;
  resolve: (answer: NeighborsBatch) => void;
  reject: (error: unknown) => void;
}

class Threads implements Searchers {
  readonly lanes: number;
  #idle: Worker[] = [];
  #waiting: Job[] = [];
  #jobs = new Map<Worker, Job>();
  #workers: Worker[];

  constructor(start: WorkerStart, threads: number) {
    // One page more than there are threads, so that none waits for its next.
    this.lanes = threads + 1;
    this.#workers = Array.from({ length: threads }, () => {
      const worker = new Worker(new URL('./search-worker.js', import.meta.url), { workerData: start });
      worker.on('message', (answer: WorkerAnswer) => this.#take(worker, answer));
      worker.on('error', (error) => this.#fail(worker, error));
      this.#idle.push(worker);
      return worker;
    });
  }

  search(queries: Float32Array): Promise<NeighborsBatch> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ queries, resolve, reject });
      this.#hand();
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }

  #hand(): void {
    while (this.#idle.length > 0 && this.#waiting.length > 0) {
      const worker = this.#idle.shift() as Worker;
      const job = this.#waiting.shift() as Job;
      this.#jobs.set(worker, job);
      worker.postMessage(job.queries);
    }
  }

  #take(worker: Worker, answer: WorkerAnswer): void {
    const job = this.#jobs.get(worker);
    this.#jobs.delete(worker);
    this.#idle.push(worker);
    if (answer.error) job?.reject(new Error(answer.error.message));
    else job?.resolve(answer);
    this.#hand();
  }

  #fail(worker: Worker, error: unknown): void {
    this.#jobs.get(worker)?.reject(error);
    this.#jobs.delete(worker);
    for (const job of this.#waiting.splice(0)) job.reject(error);
  }
}

/** Works on pages, some at a time, and gives what comes of them in the order of the pages. */
export async function* inOrder<Page, Result>(
  pages: AsyncIterable<Page>,
  lanes: number,
  work: (page: Page) => Promise<Result>,
): AsyncGenerator<{ page: Page; result: Result }> {
  const under: { page: Page; result: Promise<Result> }[] = [];
  const first = async (): Promise<{ page: Page; result: Result }> => {
    const { page, result } = under.shift() as (typeof under)[number];
    return { page, result: await result };
  };
  for await (const page of pages) {
    const result = work(page);
    // It is looked at later; until then a failure must not end the process.
    result.catch(() => undefined);
    under.push({ page, result });
    if (under.length >= lanes) yield await first();
  }
  while (under.length > 0) yield await first();
}
