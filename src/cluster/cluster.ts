import type { Redis } from 'ioredis';
import {
  blocksOf,
  type ClusterBatch,
  type ClusterCallOptions,
  type ClusterNeighbors,
  type ClusterPage,
  type ClusterSearchOptions,
  checkQueries,
  checkSearch,
} from './calls.js';
import { Catalog } from './catalog.js';
import { closed, Gather } from './gather.js';
import { blocksOfPages, Groups, Joins, withoutSelf } from './joins.js';
import type { PublishOptions, PublishRows } from './publish.js';
import { Names, openRedis, type RedisAddress } from './redis.js';
import { type ClusterStatus, readStatus } from './status.js';
import { RedisStore, type SegmentStore } from './store.js';
import { Writer } from './writer.js';

/** Options of a `Cluster`. */
export interface ClusterOptions {
  redis: RedisAddress;
  /** The cluster's name: several may share one Redis. */
  name: string;
  /** Where segments lie; default Redis. Workers must be given the same. */
  store?: SegmentStore;
}

/**
 * An index larger than a machine: a list of sealed `VectorIndex` segments in the memory of `ClusterWorker` processes, and
 * queries that travel to them and back through BullMQ and Redis.
 *
 * Batch work is what it is for: a block of queries costs a few round trips. All answers are those that one index of all
 * rows would give, equal to the digit where every row is compared.
 */
export class Cluster {
  readonly #redis: Redis;
  readonly #names: Names;
  readonly #gather: Gather;
  readonly #catalog: Catalog;
  readonly #joins: Joins;
  readonly #writer: Writer;
  #isClosed = false;

  private constructor(redis: Redis, names: Names, store: SegmentStore, gather: Gather) {
    this.#redis = redis;
    this.#names = names;
    this.#gather = gather;
    this.#catalog = new Catalog(redis, names);
    this.#joins = new Joins(redis, names, this.#catalog, gather);
    this.#writer = new Writer(redis, names, store, this.#catalog);
  }

  /** @throws ClusterError (ERR_CLUSTER_REDIS) where Redis does not answer; ERR_CLUSTER_PACKAGE without bullmq and ioredis. */
  static async connect(options: ClusterOptions): Promise<Cluster> {
    const names = new Names(options?.name);
    const redis = await openRedis(options.redis);
    try {
      const store = options.store ?? new RedisStore(redis, names.parts);
      return new Cluster(redis, names, store, await Gather.open(redis, names));
    } catch (error) {
      redis.disconnect();
      throw error;
    }
  }

  /** Ends the connections. Workers go on. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#gather.close();
    this.#redis.disconnect();
  }

  /** `close()`, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /**
   * Makes a generation of segments of these rows: built one at a time, stored, read back, and visible to all by one write
   * at the end. Until then, and where it fails, the generation before it answers.
   *
   * @param rows rows × dimensions floats at once, or pages of them, or snapshots of `VectorIndex` that become segments as
   * they are.
   * @returns the generation's name.
   */
  async publish(rows: PublishRows, options: PublishOptions): Promise<string> {
    this.#alive();
    return this.#writer.publish(rows, options);
  }

  /** The k nearest neighbors of one query among all segments. For many, `searchBatch` shares the journey. */
  async search(query: Float32Array, options: ClusterSearchOptions = {}): Promise<ClusterNeighbors> {
    const { ids, distances, counts, missing } = await this.searchBatch(query, options);
    return { ids: ids.slice(0, counts[0]), distances: distances.slice(0, counts[0]), missing };
  }

  /**
   * The k nearest neighbors of each query among all segments.
   *
   * @param queries rows × dimensions floats.
   */
  async searchBatch(queries: Float32Array, options: ClusterSearchOptions = {}): Promise<ClusterBatch> {
    this.#alive();
    const { question, block } = checkSearch(options);
    const { k } = question;
    const view = await this.#catalog.view();
    const { dimensions } = view.manifest;
    const count = checkQueries(queries, dimensions);
    const batch: ClusterBatch = {
      ids: new Float64Array(count * k).fill(Number.NaN),
      distances: new Float32Array(count * k).fill(Infinity),
      counts: new Uint32Array(count),
      missing: [],
    };
    const missing = new Set<string>();
    const blocks = blocksOf(queries, dimensions, block);
    for await (const page of this.#joins.blocks(blocks, question, options, { view, total: count })) {
      let at = 0;
      page.rows.forEach((row, i) => {
        batch.ids.set(page.ids.subarray(at, at + page.counts[i]), row * k);
        batch.distances.set(page.distances.subarray(at, at + page.counts[i]), row * k);
        batch.counts[row] = page.counts[i];
        at += page.counts[i];
      });
      for (const digest of page.missing) missing.add(digest);
    }
    return { ...batch, missing: [...missing] };
  }

  /**
   * The k nearest neighbors of each of many rows, or all within a radius, page by page in the order of the rows.
   *
   * However long it takes, ids are those of the generation that was shown when it began; rows that are appended to that or
   * removed from it meanwhile are seen by pages that are asked for later. Where workers' memory has no room for both, a newer
   * generation ends it with an error.
   *
   * @param rows rows × dimensions floats at once or in pages, so that more than fits in memory can be joined.
   */
  async *join(
    rows: Float32Array | Iterable<Float32Array> | AsyncIterable<Float32Array>,
    options: ClusterSearchOptions & { radius?: number },
  ): AsyncGenerator<ClusterPage> {
    this.#alive();
    const { question, block } = checkSearch(options);
    const view = await this.#catalog.view();
    const { dimensions } = view.manifest;
    const pages = rows instanceof Float32Array ? [rows] : rows;
    const blocks = blocksOfPages(pages, dimensions, (page) => blocksOf(page, dimensions, block));
    yield* this.#joins.blocks(blocks, question, options, { view, total: 0 });
  }

  /**
   * The k nearest others of every row of the cluster, page by page in the order of ids: of the rows that are there when it
   * begins, with what happens meanwhile as in `join`.
   */
  async *neighborGraph(options: ClusterSearchOptions): AsyncGenerator<ClusterPage> {
    this.#alive();
    const { question } = checkSearch(options);
    for await (const page of this.#joins.ownRows({ ...question, k: question.k + 1 }, options))
      yield withoutSelf(page, question.k);
  }

  /**
   * Groups of rows that are linked by pairs within `radius`: each group ascending, groups by their smallest id. Takes
   * memory for the ids that have such a neighbor.
   */
  async duplicates(options: ClusterSearchOptions & { radius: number }): Promise<Float64Array[]> {
    this.#alive();
    const { question } = checkSearch(options);
    const groups = new Groups();
    for await (const page of this.#joins.ownRows(question, options)) groups.link(page);
    return groups.all();
  }

  /**
   * Adds rows to the newest segment, which is still open; every later search of any client has them. At `segmentRows` it is
   * built and sealed. One writer at a time: others wait their turn for up to the deadline.
   *
   * @returns the global id of the first row; the others follow.
   */
  async append(vectors: Float32Array, options: ClusterCallOptions = {}): Promise<number> {
    this.#alive();
    return this.#writer.append(vectors, options);
  }

  /** Removes rows: no search that begins later has them. Returns how many of them were there. */
  async remove(ids: ArrayLike<number>, options: ClusterCallOptions = {}): Promise<number> {
    this.#alive();
    return this.#writer.remove(ids, options);
  }

  /** Generations that are stored, and which is shown. */
  async generations(): Promise<{ generation: string; isCurrent: boolean }[]> {
    this.#alive();
    return this.#catalog.generations();
  }

  /** Gives back all that a generation takes, except parts that another one shares. The current one is refused. */
  async dropGeneration(generation: string): Promise<void> {
    this.#alive();
    await this.#writer.dropGeneration(generation);
  }

  /** Segments and who holds them; workers, what they hold, and what waits for them. */
  async status(): Promise<ClusterStatus> {
    this.#alive();
    return readStatus(this.#redis, this.#names, this.#catalog);
  }

  #alive(): void {
    if (this.#isClosed) throw closed();
  }
}
