import {
  BitSamplingLsh,
  HyperplaneLsh,
  type IdKind,
  MinHashLsh,
  SnapshotError,
  type SnapshotLimits,
  VectorIndex,
} from '../index.js';
import { hasIndexedDb, IndexedDbBackend } from './indexed-db.js';
import { hasOpfs, OpfsBackend } from './opfs.js';
import { type Backend, platform, type Sink, type StoredIndex, totalOf } from './platform.js';

/** Every class that can be stored. */
// biome-ignore lint/suspicious/noExplicitAny: an index with ids of any kind, and a union of the kinds is no constraint
export type SavableIndex = VectorIndex<any> | HyperplaneLsh | BitSamplingLsh | MinHashLsh;

/** Bytes that are handed to the browser at a time. */
const PART_BYTES = 2 ** 20;
const KIND_AT = 12;

/** The classes by the number that a snapshot's header has for them (docs/snapshot-format.md), less 1. */
const CLASSES = [VectorIndex, HyperplaneLsh, BitSamplingLsh, MinHashLsh] as const;

/** What went wrong with a storage, as a stable string. */
export type StorageErrorCode = 'ERR_NO_STORAGE' | 'ERR_STORAGE_NAME';

/** A storage that is not there, or a name that it cannot have. */
export class StorageError extends Error {
  readonly code: StorageErrorCode;

  constructor(code: StorageErrorCode, message: string) {
    super(message);
    this.name = 'StorageError';
    this.code = code;
  }
}

/** The browser gives this site no more room. What was stored before is still there. */
export class StorageQuotaError extends Error {
  readonly code: 'ERR_STORAGE_QUOTA' = 'ERR_STORAGE_QUOTA';
  /** Bytes of the snapshot, where they are known. */
  readonly needed: number | undefined;
  /** Bytes that the browser says are left, where it says so. */
  readonly available: number | undefined;

  constructor(needed: number | undefined, available: number | undefined, options?: { cause?: unknown }) {
    const [want, have] = [needed, available].map((bytes) => bytes ?? 'an unknown number of');
    super(
      `storage: expected room for ${want} bytes, got ${have}; delete indexes, or ask the user for persistent storage`,
      options,
    );
    this.name = 'StorageQuotaError';
    this.needed = needed;
    this.available = available;
  }
}

/** Options of `openStorage`. */
export interface StorageOptions {
  /** What keeps these indexes apart from others of the same site; default `orthant`. */
  folder?: string;
  /** `opfs`, the site's own file system, or `indexeddb`; by default the first that is there. */
  backend?: 'opfs' | 'indexeddb';
}

/** Options of saving and loading. */
export interface StorageCallOptions {
  /** Ends the waiting for another tab, and the work. */
  signal?: AbortSignal;
}

/**
 * Opens the storage of this site for indexes: in pages and in workers, in secure contexts (https, localhost).
 *
 * @throws StorageError (ERR_NO_STORAGE) where there is neither a file system nor IndexedDB, or there are no Web Locks.
 */
export async function openStorage(options: StorageOptions = {}): Promise<IndexStorage> {
  const { folder = 'orthant', backend } = options;
  if (!/^[\w-]{1,64}$/.test(folder)) {
    throw new StorageError(
      'ERR_STORAGE_NAME',
      `folder: expected 1 to 64 letters, digits, _ or -, got ${folder}`,
    );
  }
  if (platform.navigator?.locks === undefined) {
    throw new StorageError(
      'ERR_NO_STORAGE',
      'storage: expected Web Locks, got none; is the page secure (https)?',
    );
  }
  if (backend !== 'indexeddb' && hasOpfs()) {
    try {
      return new IndexStorage(folder, await OpfsBackend.open(folder));
    } catch (error) {
      // There, but not for this page: private windows of some browsers.
      if (backend === 'opfs' || !hasIndexedDb()) throw error;
    }
  }
  if (backend !== 'opfs' && hasIndexedDb()) {
    return new IndexStorage(folder, await IndexedDbBackend.open(folder));
  }
  throw new StorageError(
    'ERR_NO_STORAGE',
    `storage: expected ${backend ?? 'opfs or indexeddb'}, got none here`,
  );
}

/** Indexes of this site by name. Made by `openStorage`. */
export class IndexStorage {
  readonly folder: string;
  readonly #backend: Backend;

  /** @internal */
  constructor(folder: string, backend: Backend) {
    this.folder = folder;
    this.#backend = backend;
  }

  /** Where the indexes are. */
  get backend(): 'opfs' | 'indexeddb' {
    return this.#backend.kind;
  }

  /**
   * Saves an index under a name; it takes the place of one that was there. Resolves when it is on the disk: the tab, the
   * browser and (as far as the browser knows) the machine may stop then. Stopped before, the old one is still there.
   *
   * One tab or worker writes a name at a time, the others wait (Web Locks). The index may be searched meanwhile and not
   * changed (ERR_BUSY). The site needs room for both.
   *
   * @param name 1 to 100 characters.
   * @throws StorageQuotaError (ERR_STORAGE_QUOTA) with `needed` and `available`; StorageError (ERR_STORAGE_NAME); what the
   * signal says. Then the old one is still there.
   */
  async save(name: string, index: SavableIndex, options: StorageCallOptions = {}): Promise<void> {
    await this.#alone(name, 'exclusive', options, async () => {
      let needed: number | undefined;
      let sink: Sink | undefined;
      try {
        sink = await this.#backend.write(name);
        const parts = new Parts(sink, async (head) => {
          needed = totalOf(head);
          const available = await this.#available();
          if (available !== undefined && needed > available) throw new StorageQuotaError(needed, available);
        });
        const stream = new WritableStream<Uint8Array>({ write: (bytes) => parts.write(bytes) });
        await index.saveTo(stream, options);
        await parts.flush();
        await sink.commit();
      } catch (error) {
        await sink?.abort().catch(() => {}); // what it leaves does not count as whole
        if ((error as Error).name !== 'QuotaExceededError') throw error;
        const available = await this.#available();
        // Some browsers name a round number instead of what is left.
        const isTrue = available !== undefined && needed !== undefined && available < needed;
        throw new StorageQuotaError(needed, isTrue ? available : undefined, { cause: error });
      }
    });
  }

  /**
   * The index of a name, of whatever class it is; undefined where there is none. Read straight into its memory, and proven
   * there as `load` proves bytes.
   *
   * @param limits as of `load`; and `as`, the class that it must be.
   * @throws SnapshotError (ERR_SNAPSHOT) with a `reason`.
   */
  load<Kind extends IdKind = 'row'>(
    name: string,
    limits: SnapshotLimits & StorageCallOptions & { as: typeof VectorIndex },
  ): Promise<VectorIndex<Kind> | undefined>;
  load<Index extends SavableIndex>(
    name: string,
    limits: SnapshotLimits & StorageCallOptions & { as: new (options: never) => Index },
  ): Promise<Index | undefined>;
  load(name: string, limits?: SnapshotLimits & StorageCallOptions): Promise<SavableIndex | undefined>;
  load(
    name: string,
    limits: SnapshotLimits & StorageCallOptions & { as?: unknown } = {},
  ): Promise<SavableIndex | undefined> {
    return this.#alone(name, 'shared', limits, async () => {
      const { as, ...rest } = limits;
      let refused: unknown;
      for (const { head, stream } of await this.#backend.read(name)) {
        const kind = head.length < KIND_AT + 1 ? 0 : head[KIND_AT];
        // What is no snapshot at all, any class tells.
        const loadable = (as ?? CLASSES[kind - 1] ?? VectorIndex) as typeof VectorIndex;
        try {
          return await loadable.loadFrom(stream(), rest);
        } catch (error) {
          // After a crash the one before may still be there.
          if (!(error instanceof SnapshotError)) throw error;
          refused ??= error;
        }
      }
      if (refused !== undefined) throw refused;
      return undefined;
    });
  }

  /** What is stored, in order of names. */
  async list(): Promise<StoredIndex[]> {
    const all = await this.#backend.list();
    return all.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Deletes the index of a name; whether there was one. */
  delete(name: string, options: StorageCallOptions = {}): Promise<boolean> {
    return this.#alone(name, 'exclusive', options, () => this.#backend.remove(name));
  }

  /**
   * Asks the browser to keep this site's storage when the disk runs full, which it may otherwise clear. Whether it will.
   */
  async persist(): Promise<boolean> {
    return (await platform.navigator?.storage?.persist?.()) ?? false;
  }

  async #available(): Promise<number | undefined> {
    const { quota, usage } = (await platform.navigator?.storage?.estimate?.()) ?? {};
    return quota === undefined || usage === undefined ? undefined : Math.max(0, quota - usage);
  }

  async #alone<Result>(
    name: string,
    mode: 'exclusive' | 'shared',
    options: StorageCallOptions,
    work: () => Promise<Result>,
  ): Promise<Result> {
    if (typeof name !== 'string' || name.length === 0 || name.length > 100) {
      const got = typeof name === 'string' ? `${name.length}` : typeof name;
      throw new StorageError(
        'ERR_STORAGE_NAME',
        `name: expected a string of 1 to 100 characters, got ${got}`,
      );
    }
    const { signal } = options;
    const lock = `orthant:${this.#backend.kind}:${this.folder}:${name}`;
    const request = platform.navigator?.locks?.request(lock, signal ? { mode, signal } : { mode }, work);
    return request as Promise<Result>;
  }
}

/** Gathers a stream's pieces into parts of the same size. */
class Parts {
  readonly #sink: Sink;
  /** Told the first bytes before any are written. */
  readonly #begin: (head: Uint8Array) => Promise<void>;
  readonly #part: Uint8Array = new Uint8Array(PART_BYTES);
  #used = 0;
  #hasBegun = false;

  constructor(sink: Sink, begin: (head: Uint8Array) => Promise<void>) {
    this.#sink = sink;
    this.#begin = begin;
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (!this.#hasBegun) await this.#begin(bytes); // the first piece is the header
    this.#hasBegun = true;
    for (let at = 0; at < bytes.length; ) {
      const some = Math.min(bytes.length - at, PART_BYTES - this.#used);
      this.#part.set(bytes.subarray(at, at + some), this.#used);
      this.#used += some;
      at += some;
      if (this.#used === PART_BYTES) await this.flush();
    }
  }

  async flush(): Promise<void> {
    if (this.#used > 0) await this.#sink.write(this.#part.subarray(0, this.#used));
    this.#used = 0;
  }
}
