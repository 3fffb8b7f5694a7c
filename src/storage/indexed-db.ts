import {
  type Backend,
  type Database,
  type OpenRequest,
  platform,
  type Request,
  type Sink,
  type Source,
  type StoredIndex,
  type Transaction,
} from './platform.js';

const NAMES = 'names';
const PARTS = 'parts';

interface Entry extends StoredIndex {
  generation: string;
  parts: number;
}

export function hasIndexedDb(): boolean {
  return platform.indexedDB !== undefined;
}

/**
 * IndexedDB. Parts of a snapshot are records under [name, generation, number], and the record of a name says which
 * generation counts; it is put last, in a transaction of its own, which also removes the parts of all others.
 */
export class IndexedDbBackend implements Backend {
  readonly kind = 'indexeddb';
  readonly #database: Database;

  private constructor(database: Database) {
    this.#database = database;
  }

  static async open(folder: string): Promise<IndexedDbBackend> {
    const request = platform.indexedDB?.open(folder, 1) as OpenRequest;
    request.onupgradeneeded = () => {
      request.result.createObjectStore(NAMES, { keyPath: 'name' });
      request.result.createObjectStore(PARTS);
    };
    return new IndexedDbBackend(await resultOf(request));
  }

  async write(name: string): Promise<Sink> {
    const generation = crypto.randomUUID();
    let parts = 0;
    let bytes = 0;
    const own = range([name, generation], [name, generation, []]);
    return {
      write: async (part) => {
        // A copy of its own: a view would be stored with the whole buffer behind it.
        await this.#change((transaction) => {
          transaction.objectStore(PARTS).put(part.slice(), [name, generation, parts]);
        });
        parts++;
        bytes += part.length;
      },
      commit: async () => {
        await this.#change((transaction) => {
          const entry: Entry = { name, generation, parts, bytes, savedAt: Date.now() };
          transaction.objectStore(NAMES).put(entry);
          transaction.objectStore(PARTS).delete(range([name], [name, generation], true));
          transaction.objectStore(PARTS).delete(range([name, generation, []], [name, []]));
        });
      },
      abort: async () => this.#change((transaction) => void transaction.objectStore(PARTS).delete(own)),
    };
  }

  async read(name: string): Promise<Source[]> {
    const entry = await this.#entry(name);
    if (entry === undefined) return [];
    const part = async (number: number): Promise<Uint8Array> => {
      const store = this.#database.transaction([PARTS], 'readonly').objectStore(PARTS);
      return (await resultOf(store.get([name, entry.generation, number]))) as Uint8Array;
    };
    const head = await part(0);
    let next = 0;
    const stream = (): ReadableStream<Uint8Array> =>
      new ReadableStream({
        async pull(controller) {
          if (next === entry.parts) controller.close();
          else controller.enqueue(await part(next++));
        },
      });
    return [{ head, stream }];
  }

  async list(): Promise<StoredIndex[]> {
    const store = this.#database.transaction([NAMES], 'readonly').objectStore(NAMES);
    const entries = (await resultOf(store.getAll())) as Entry[];
    return entries.map(({ name, bytes, savedAt }) => ({ name, bytes, savedAt }));
  }

  async remove(name: string): Promise<boolean> {
    const entry = await this.#entry(name);
    await this.#change((transaction) => {
      transaction.objectStore(NAMES).delete(name);
      transaction.objectStore(PARTS).delete(range([name], [name, []]));
    });
    return entry !== undefined;
  }

  async #entry(name: string): Promise<Entry | undefined> {
    const store = this.#database.transaction([NAMES], 'readonly').objectStore(NAMES);
    return (await resultOf(store.get(name))) as Entry | undefined;
  }

  /** Changes records, all or none; they are on the disk when it resolves. */
  async #change(action: (transaction: Transaction) => void): Promise<void> {
    const transaction = this.#database.transaction([NAMES, PARTS], 'readwrite', { durability: 'strict' });
    await new Promise<void>((done, fail) => {
      transaction.oncomplete = () => done();
      transaction.onabort = () => fail(transaction.error);
      action(transaction);
    });
  }
}

function resultOf<Result>(request: Request<Result>): Promise<Result> {
  return new Promise((done, fail) => {
    request.onsuccess = () => done(request.result);
    request.onerror = () => fail(request.error);
  });
}

/** All keys from one to another, which is left out. Arrays come after strings, and strings after numbers. */
function range(from: unknown[], to: unknown[], fromOpen: boolean = false): unknown {
  return platform.IDBKeyRange?.bound(from, to, fromOpen, true);
}
