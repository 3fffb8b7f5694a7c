/** What is used of the browser, so that neither this package nor its users need the types of the DOM. */

export interface OpfsFile {
  readonly size: number;
  readonly lastModified: number;
  slice(start: number, end: number): { arrayBuffer(): Promise<ArrayBuffer> };
  stream(): ReadableStream<Uint8Array>;
}

/** Only in dedicated workers. */
export interface SyncAccessHandle {
  write(bytes: Uint8Array, options: { at: number }): number;
  flush(): void;
  close(): void;
}

export interface OpfsWritable {
  write(bytes: Uint8Array): Promise<void>;
  close(): Promise<void>;
  abort(): Promise<void>;
}

export interface OpfsFileHandle {
  readonly kind: 'file' | 'directory';
  getFile(): Promise<OpfsFile>;
  createWritable?(): Promise<OpfsWritable>;
  createSyncAccessHandle?(): Promise<SyncAccessHandle>;
}

export interface OpfsFolder {
  getDirectoryHandle(name: string, options: { create: boolean }): Promise<OpfsFolder>;
  getFileHandle(name: string, options: { create: boolean }): Promise<OpfsFileHandle>;
  removeEntry(name: string): Promise<void>;
  entries(): AsyncIterable<[string, OpfsFileHandle]>;
}

export interface Request<Result> {
  readonly result: Result;
  readonly error: Error | null;
  onsuccess: (() => void) | null;
  onerror: (() => void) | null;
}

export interface OpenRequest extends Request<Database> {
  onupgradeneeded: (() => void) | null;
}

export interface Database {
  createObjectStore(name: string, options?: { keyPath: string }): unknown;
  transaction(stores: string[], mode: string, options?: { durability: string }): Transaction;
  close(): void;
}

export interface Transaction {
  readonly error: Error | null;
  objectStore(name: string): ObjectStore;
  oncomplete: (() => void) | null;
  onabort: (() => void) | null;
}

export interface ObjectStore {
  get(key: unknown): Request<unknown>;
  getAll(): Request<unknown[]>;
  put(value: unknown, key?: unknown): Request<unknown>;
  delete(key: unknown): Request<unknown>;
}

export interface Platform {
  navigator?: {
    storage?: {
      getDirectory?(): Promise<OpfsFolder>;
      estimate?(): Promise<{ quota?: number; usage?: number }>;
      persist?(): Promise<boolean>;
    };
    locks?: {
      request<Result>(
        name: string,
        options: { mode: 'exclusive' | 'shared'; signal?: AbortSignal },
        work: () => Promise<Result>,
      ): Promise<Result>;
    };
  };
  indexedDB?: { open(name: string, version: number): OpenRequest };
  IDBKeyRange?: { bound(lower: unknown, upper: unknown, lowerOpen?: boolean, upperOpen?: boolean): unknown };
  FileSystemFileHandle?: { prototype: object };
}

export const platform: Platform = globalThis as unknown as Platform;

/** A place where snapshots are kept by name. Calls for one name come one at a time (locks). */
export interface Backend {
  readonly kind: 'opfs' | 'indexeddb';
  /** Begins a snapshot that takes the place of the old one of this name at `commit`, not before. */
  write(name: string): Promise<Sink>;
  /** The snapshots of a name that look whole, the newest first; more than one only after a crash. */
  read(name: string): Promise<Source[]>;
  list(): Promise<StoredIndex[]>;
  /** Whether there was one. */
  remove(name: string): Promise<boolean>;
}

export interface Sink {
  write(bytes: Uint8Array): Promise<void>;
  /** On the disk when it resolves. */
  commit(): Promise<void>;
  /** Leaves nothing of what was written. */
  abort(): Promise<void>;
}

export interface Source {
  /** The first bytes. */
  head: Uint8Array;
  stream(): ReadableStream<Uint8Array>;
}

/** One index that is stored. */
export interface StoredIndex {
  name: string;
  bytes: number;
  /** Milliseconds since 1970. */
  savedAt: number;
}

/** Bytes of a snapshot by its first 32 (docs/snapshot-format.md); NaN where these are fewer. */
export function totalOf(head: Uint8Array): number {
  if (head.length < 32) return Number.NaN;
  const view = new DataView(head.buffer, head.byteOffset, 32);
  return view.getUint32(24, true) + view.getUint32(28, true) * 2 ** 32;
}
