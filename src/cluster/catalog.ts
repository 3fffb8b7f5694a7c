import type { Redis } from 'ioredis';
import { ClusterError } from './error.js';
import { type Head, type Manifest, readHead, rowsOf, writeHead } from './manifest.js';
import { checkRedis, type Names, TOMBSTONE_BITS, within } from './redis.js';

/** What a reader sees from one moment on. */
export interface View {
  head: Head;
  manifest: Manifest;
}

/** How long Redis may take for a word before it counts as gone. */
const ANSWER_MS = 2500;

/** The manifests in Redis, and the one pointer to that which is shown. */
export class Catalog {
  readonly #redis: Redis;
  readonly #names: Names;
  #known: { key: string; manifest: Manifest } | null = null;

  constructor(redis: Redis, names: Names) {
    this.#redis = redis;
    this.#names = names;
  }

  /** What is shown now; null where nothing was published. */
  async head(): Promise<Head | null> {
    const text = await this.#redis.get(this.#names.head);
    return text === null ? null : readHead(text);
  }

  /** What is shown now. @throws ClusterError (ERR_CLUSTER_EMPTY); ERR_CLUSTER_REDIS where Redis does not answer. */
  async view(): Promise<View> {
    const head = await within(ANSWER_MS, this.head());
    if (head === undefined) {
      await checkRedis(this.#redis, ANSWER_MS);
      return this.view();
    }
    return this.viewOf(head);
  }

  async viewOf(head: Head | null): Promise<View> {
    if (head === null)
      throw new ClusterError(
        'ERR_CLUSTER_EMPTY',
        'cluster: expected a published generation, got none; publish rows first',
      );
    const key = this.#names.manifest(head.generation, head.version);
    if (this.#known?.key !== key) {
      const text = await this.#redis.get(key);
      if (text === null) {
        throw new ClusterError(
          'ERR_CLUSTER_EMPTY',
          `manifest: expected version ${head.version} in Redis, got none`,
        );
      }
      this.#known = { key, manifest: JSON.parse(text) };
    }
    return { head, manifest: this.#known.manifest };
  }

  /**
   * Stores a manifest, then points to it: the one write by which a change is seen. `check` is asked right before. Gives the
   * manifest that no reader wants any more.
   */
  async show(manifest: Manifest, head: Head, check: () => void): Promise<Manifest | null> {
    await this.#redis.sadd(this.#names.key('generations'), head.generation);
    await this.#redis.set(this.#names.manifest(head.generation, head.version), JSON.stringify(manifest));
    await this.#redis.set(this.#names.key('versions', head.generation), `${head.version}`);
    check();
    await this.point(head);
    // Readers that saw the head before this may still want the version before.
    const old = await this.#redis.getdel(this.#names.manifest(head.generation, head.version - 2));
    return old === null ? null : JSON.parse(old);
  }

  /** Moves the pointer, and tells the workers, who would see it themselves a little later. */
  async point(head: Head): Promise<void> {
    await this.#redis.set(this.#names.head, writeHead(head));
    await this.#redis.publish(this.#names.changes, '').catch(() => {});
  }

  /** Generations that are stored, and which is shown. */
  async generations(): Promise<{ generation: string; isCurrent: boolean }[]> {
    const head = await this.head();
    const all = await this.#redis.smembers(this.#names.key('generations'));
    return all.sort().map((generation) => ({ generation, isCurrent: head?.generation === generation }));
  }

  /** All manifests of a generation that are stored. */
  async manifestsOf(generation: string): Promise<Manifest[]> {
    const versions = Number(await this.#redis.get(this.#names.key('versions', generation)));
    const manifests: Manifest[] = [];
    for (let version = 1; version <= versions; version++) {
      const text = await this.#redis.get(this.#names.manifest(generation, version));
      if (text !== null) manifests.push(JSON.parse(text));
    }
    return manifests;
  }

  /** Forgets a generation's manifests and tombstones. */
  async forget(generation: string): Promise<void> {
    const rows = Math.max(0, ...(await this.manifestsOf(generation)).map(rowsOf));
    const versions = Number(await this.#redis.get(this.#names.key('versions', generation)));
    for (let version = 1; version <= versions; version++)
      await this.#redis.unlink(this.#names.manifest(generation, version));
    for (let piece = 0; piece * TOMBSTONE_BITS < rows; piece++)
      await this.#redis.unlink(this.#names.tombstones(generation, piece));
    await this.#redis.unlink(this.#names.key('versions', generation));
    await this.#redis.zrem(this.#names.key('readers'), generation);
    await this.#redis.srem(this.#names.key('generations'), generation);
  }
}
