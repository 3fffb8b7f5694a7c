import type { BuildOptions, VectorIndexOptions, VectorJoinOptions, VectorSearchOptions } from '../index.js';
import type { IndexState, KnownIds } from '../parallel.js';
import type { FileRows } from './file-rows.js';

/** An index as it is handed from thread to thread: over a shared memory, or as the bytes of a snapshot. */
export type Version =
  | { state: IndexState; bytes?: undefined }
  | { bytes: Uint8Array; maxBytes?: number; state?: undefined };

/** What a pool asks of a worker. */
export type Request =
  /** Read this index from now on. */
  | { kind: 'version'; version: Version; window?: [number, number] }
  /** Call a method of it; `known`: of the user's ids, those that it is about. */
  | { kind: 'call'; id: number; method: string; args: unknown[]; known?: KnownIds }
  /** Do a join for some rows, by their places in the order. */
  | {
      kind: 'join';
      id: number;
      join: 'neighborGraph' | 'selfJoin' | 'duplicates';
      options: VectorJoinOptions;
      first: number;
      end: number;
    }
  /** Take parts of a batch until there are no more. */
  | { kind: 'batch'; id: number; batch: Batch }
  /** Make the next version. */
  | { kind: 'make'; id: number; make: Make; shared: boolean; from: Version | null; helpers: MessagePort[] }
  /** Listen to the thread that makes the next version: it has parts to give away. */
  | { kind: 'help'; port: MessagePort; thread: number }
  | { kind: 'abort'; id: number; reason: ErrorLike };

export type Make =
  | { how: 'from'; vectors: Float32Array; options: VectorIndexOptions & BuildOptions }
  | { how: 'load'; bytes: Uint8Array; limits: object | undefined }
  | { how: 'build'; options: BuildOptions }
  | { how: 'tune' | 'compact'; args: unknown[] }
  | {
      how: 'add' | 'remove' | 'delete' | 'update' | 'set' | 'setMany';
      args: unknown[];
      /** Ids of the user that it is about, and what is known of them. */
      given: ArrayLike<unknown>;
      known?: KnownIds;
    };

/** Queries and results over memory that all threads see; queries may also lie in a file that they read. */
export interface Batch {
  queries: Float32Array | FileRows;
  dimensions: number;
  options: VectorSearchOptions;
  k: number;
  /** Threads that take parts. */
  threads: number;
  /** The first query that none has taken, by Atomics. */
  next: Int32Array;
  ids: Uint32Array;
  distances: Float32Array;
  counts: Uint32Array;
  /** 1 for each query whose answer was capped. */
  capped: Uint8Array;
}

/** What a worker answers. */
export type Response =
  | { kind: 'ready' }
  | { kind: 'result'; id: number; result: unknown }
  | {
      kind: 'made';
      id: number;
      result: unknown;
      /** All ids of the user of a new index; or the rows that the ids given have now, below 0 where they have none. */
      named: KnownIds | Float64Array | undefined;
      version: Version;
      about: About;
      windowBytes: number;
    }
  | { kind: 'progress'; id: number; progress: unknown }
  | { kind: 'error'; id: number; error: ErrorLike };

/** What is known of a version without asking a worker. */
export interface About {
  size: number;
  /** Ids given out. */
  ids: number;
  dimensions: number;
  metric: string;
  storage: string;
  cells: number;
}

/** An error with all that it carries; the class and own properties would be lost on the way. */
export interface ErrorLike {
  name: string;
  message: string;
  kind: 'TypeError' | 'RangeError' | 'Error';
  properties: Record<string, unknown>;
}

export function packError(error: unknown): ErrorLike {
  if (!(error instanceof Error)) {
    const like = error as { name?: string; message?: string } | null;
    return {
      name: like?.name ?? 'Error',
      message: String(like?.message ?? error),
      kind: 'Error',
      properties: {},
    };
  }
  const kind =
    error instanceof TypeError ? 'TypeError' : error instanceof RangeError ? 'RangeError' : 'Error';
  const properties: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(error)) {
    if (name !== 'name' && (typeof value === 'string' || typeof value === 'number')) properties[name] = value;
  }
  return { name: error.name, message: error.message, kind, properties };
}

export function unpackError({ name, message, kind, properties }: ErrorLike): Error {
  const error = new { TypeError, RangeError, Error }[kind](message);
  if (name !== error.name)
    Object.defineProperty(error, 'name', { value: name, configurable: true, writable: true });
  return Object.assign(error, properties);
}
