import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import { VectorIndex } from '../index.js';
import { type ClusterCallOptions, checkQueries, refuse } from './calls.js';
import type { Catalog } from './catalog.js';
import { asWriter } from './lock.js';
import { type Head, type Manifest, type OpenSegment, partKeys, partsOf, rowsOf, sha256 } from './manifest.js';
import { checkPublish, type PublishOptions, type PublishRows, seal, storeSegments } from './publish.js';
import { type Names, TOMBSTONE_BITS } from './redis.js';
import { fetchPart, type SegmentStore } from './store.js';

/** All that changes a cluster; one writer among all clients at a time. */
export class Writer {
  readonly #redis: Redis;
  readonly #names: Names;
  readonly #store: SegmentStore;
  readonly #catalog: Catalog;

  constructor(redis: Redis, names: Names, store: SegmentStore, catalog: Catalog) {
    this.#redis = redis;
    this.#names = names;
    this.#store = store;
    this.#catalog = catalog;
  }

  /** Runs work as the only writer, from what is shown then. */
  #write<T>(
    work: (head: Head | null, check: () => void) => Promise<T>,
    options: ClusterCallOptions = {},
  ): Promise<T> {
    const key = this.#names.key('writer');
    return asWriter(this.#redis, key, async (check) => work(await this.#catalog.head(), check), options);
  }

  publish(rows: PublishRows, options: PublishOptions): Promise<string> {
    checkPublish(options);
    return this.#write(async (_, check) => {
      const generation = randomUUID();
      const stored = new Set<string>();
      try {
        const made = await storeSegments(rows, options, { generation, store: this.#store, stored });
        const { dimensions, metric = 'euclidean' } = options;
        const manifest: Manifest = { generation, dimensions, metric, ...made, open: null };
        await this.#catalog.show(manifest, { generation, version: 1, tombstones: 0 }, check);
        return generation;
      } catch (error) {
        // Nothing of it was visible.
        await this.#catalog.forget(generation).catch(() => {});
        await this.#deleteUnshared(stored).catch(() => {});
        throw error;
      }
    }, options);
  }

  append(vectors: Float32Array, options: ClusterCallOptions): Promise<number> {
    return this.#write(async (before, check) => {
      const { manifest, head } = await this.#catalog.viewOf(before);
      const { dimensions, metric } = manifest;
      const count = checkQueries(vectors, dimensions);
      const open: OpenSegment = manifest.open ?? {
        digest: sha256(randomUUID()),
        base: rowsOf(manifest),
        rows: 0,
        blocks: [],
      };
      const first = open.base + open.rows;
      if (count === 0) return first;
      // An index takes in what workers will, and refuses what they would: before anything is stored.
      const index = new VectorIndex({ dimensions, metric });
      try {
        index.add(vectors);
      } finally {
        index.dispose();
      }
      const bytes = new Uint8Array(vectors.buffer, vectors.byteOffset, vectors.byteLength);
      const blocks = [...open.blocks];
      for (const { part, bytes: piece } of partsOf(bytes)) {
        const key = sha256(open.digest, String(blocks.length), part.sha256);
        await this.#store.put(key, piece);
        blocks.push({ ...part, key });
      }
      const grown = { ...open, rows: open.rows + count, blocks };
      const version = head.version + 1;
      const next = { ...manifest, open: grown };
      await this.#show(next, manifest, { ...head, version }, check);
      if (grown.rows >= manifest.segmentRows) {
        const sealed = await this.#sealed(manifest, grown);
        await this.#show(sealed, next, { ...head, version: version + 1 }, check);
      }
      return first;
    }, options);
  }

  /** Shows a manifest, and gives back the blocks of an open segment that was sealed so long ago that nobody reads them. */
  async #show(manifest: Manifest, before: Manifest, head: Head, check: () => void): Promise<void> {
    const open = (await this.#catalog.show(manifest, head, check))?.open;
    if (!open || open.digest === before.open?.digest) return;
    for (const { key } of open.blocks) await this.#store.delete(key);
  }

  /** The manifest with the open segment built and sealed. */
  async #sealed(manifest: Manifest, open: OpenSegment): Promise<Manifest> {
    const { dimensions, metric, generation } = manifest;
    const vectors = new Float32Array(open.rows * dimensions);
    let at = 0;
    for (const part of open.blocks) {
      const bytes = new Uint8Array(await fetchPart(this.#store, open.digest, part));
      vectors.set(new Float32Array(bytes.buffer), at);
      at += bytes.length / 4;
    }
    const index = await VectorIndex.fromAsync(vectors, { dimensions, metric });
    try {
      const place = { generation, base: open.base, store: this.#store, stored: new Set<string>() };
      return { ...manifest, segments: [...manifest.segments, await seal(index.save(), place)], open: null };
    } finally {
      index.dispose();
    }
  }

  remove(ids: ArrayLike<number>, options: ClusterCallOptions): Promise<number> {
    return this.#write(async (before, check) => {
      const { manifest, head } = await this.#catalog.viewOf(before);
      const rows = rowsOf(manifest);
      for (let i = 0; i < ids.length; i++)
        if (!(Number.isInteger(ids[i]) && ids[i] >= 0 && ids[i] < rows))
          refuse(`ids: expected ids from 0 to ${rows - 1}, got ${ids[i]} at place ${i}`);
      if (ids.length === 0) return 0;
      const bits = this.#redis.pipeline();
      for (let i = 0; i < ids.length; i++) {
        const piece = Math.floor(ids[i] / TOMBSTONE_BITS);
        bits.setbit(this.#names.tombstones(manifest.generation, piece), ids[i] % TOMBSTONE_BITS, 1);
      }
      const were = (await bits.exec()) ?? [];
      const failed = were.find(([error]) => error);
      if (failed) throw failed[0];
      check();
      await this.#catalog.point({ ...head, tombstones: head.tombstones + 1 });
      return were.filter(([, was]) => was === 0).length;
    }, options);
  }

  dropGeneration(generation: string): Promise<void> {
    return this.#write(async (head) => {
      if (head?.generation === generation)
        refuse(`generation: expected an old one, got the current ${generation}`);
      const stored = await this.#catalog.generations();
      if (!stored.some((other) => other.generation === generation))
        refuse(`generation: expected one that is stored, got ${generation}`);
      const lost = (await this.#catalog.manifestsOf(generation)).flatMap(partKeys);
      await this.#catalog.forget(generation);
      await this.#deleteUnshared(lost);
    });
  }

  /** Deletes parts that no generation names. */
  async #deleteUnshared(keys: Iterable<string>): Promise<void> {
    const named = new Set<string>();
    for (const { generation } of await this.#catalog.generations())
      for (const manifest of await this.#catalog.manifestsOf(generation))
        for (const key of partKeys(manifest)) named.add(key);
    for (const key of new Set(keys)) if (!named.has(key)) await this.#store.delete(key);
  }
}
