import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import type { Redis } from 'ioredis';
import { ClusterError } from './error.js';
import { type Part, sha256 } from './manifest.js';

/** Where segments' bytes lie. Keys are hexadecimal digests of what they name. */
export interface SegmentStore {
  /** Resolves once the bytes are as safe as they will be. */
  put(key: string, bytes: Uint8Array): Promise<void>;
  /** The bytes, or null where there are none. */
  get(key: string): Promise<Uint8Array | null>;
  /** Forgets the bytes; nothing happens where there are none. */
  delete(key: string): Promise<void>;
}

/** Segments as values of Redis. */
export class RedisStore implements SegmentStore {
  readonly #redis: Redis;
  readonly #prefix: string;

  constructor(redis: Redis, prefix: string) {
    this.#redis = redis;
    this.#prefix = prefix;
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    await this.#redis.set(this.#prefix + key, Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  }

  get(key: string): Promise<Uint8Array | null> {
    return this.#redis.getBuffer(this.#prefix + key);
  }

  async delete(key: string): Promise<void> {
    await this.#redis.unlink(this.#prefix + key);
  }
}

/** Segments as files of a folder that all machines see. */
export class DirectoryStore implements SegmentStore {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** A reader sees all of the file or nothing of it: written beside, then renamed. */
  async put(key: string, bytes: Uint8Array): Promise<void> {
    await mkdir(this.#folder, { recursive: true });
    const file = this.#file(key);
    const beside = `${file}.${process.pid}-${Math.random().toString(36).slice(2)}`;
    const handle = await open(beside, 'wx');
    try {
      await handle.writeFile(bytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(beside, file);
  }

  /** The bytes of the file, or null where there is none. */
  async get(key: string): Promise<Uint8Array | null> {
    try {
      return await readFile(this.#file(key));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw error;
    }
  }

  /** Removes the file; nothing happens where there is none. */
  async delete(key: string): Promise<void> {
    await rm(this.#file(key), { force: true });
  }

  #file(key: string): string {
    if (!/^[0-9a-f]+$/.test(key)) throw new RangeError(`key: expected hexadecimal digits, got ${key}`);
    return path.join(this.#folder, key);
  }
}

/** The bytes of a part, as long as they should be and with the digest that they should have. */
export async function fetchPart(store: SegmentStore, segment: string, part: Part): Promise<Uint8Array> {
  const bytes = await store.get(part.key);
  const wrong = (what: string): ClusterError =>
    new ClusterError(
      'ERR_CLUSTER_SEGMENT',
      `segment ${segment.slice(0, 12)}, part ${part.key.slice(0, 12)}: ${what}`,
      [segment],
    );
  if (bytes === null) throw wrong('expected it in the store, got nothing');
  if (bytes.length !== part.bytes) throw wrong(`expected ${part.bytes} bytes, got ${bytes.length}`);
  const digest = sha256(bytes);
  if (digest !== part.sha256)
    throw wrong(`expected SHA-256 ${part.sha256.slice(0, 12)}…, got ${digest.slice(0, 12)}…`);
  return bytes;
}
