import { randomUUID } from 'node:crypto';
import type { FlowProducer, Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { type BuildOptions, type Metric, VectorIndex, type VectorIndexOptions } from '../index.js';
import { ClusterError } from './error.js';
import { KEEP_MS, type MergeJob, type RowsJob, type SearchJob } from './jobs.js';
import {
  checkFingerprint,
  fingerprintOf,
  type Head,
  type Manifest,
  type OpenSegment,
  partsOf,
  readHead,
  type Segment,
  sha256,
  writeHead,
} from './manifest.js';
import {
  checkRedis,
  loadPackages,
  Names,
  openRedis,
  type RedisAddress,
  TOMBSTONE_BITS,
  usedBytes,
} from './redis.js';
import { fetchPart, RedisStore, type SegmentStore } from './store.js';
import {
  concat,
  type Lists,
  mergeLists,
  type Request,
  readAnswer,
  readMerged,
  readRequestHead,
  requestHeadBytes,
  writeRequest,
} from './wire.js';
import type { WorkerStatus } from './worker.js';

/** Options of a `Cluster`. */
export interface ClusterOptions {
  redis: RedisAddress;
  /** The cluster's name: several may share one Redis. */
  name: string;
  /** Where segments lie; default Redis. Workers must be given the same. */
  store?: SegmentStore;
}

/** How far a call has come. */
export interface ClusterProgress {
  phase: 'publish' | 'search' | 'join';
  done: number;
  /** 0 where it is not known. */
  total: number;
}

/** What every call of a cluster takes. */
export interface ClusterCallOptions {
  /** Milliseconds that one block of queries may take; default 30,000. */
  deadlineMs?: number;
  signal?: AbortSignal;
  /** Called after each block of queries. */
  onProgress?: (progress: ClusterProgress) => void;
}

/** What a search of a cluster takes. */
export interface ClusterSearchOptions extends ClusterCallOptions {
  /** Neighbors wanted; default 10. */
  k?: number;
  /** Share of the true neighbors that each segment should find; default 0.95. */
  recall?: number;
  /** Every row is compared. */
  exact?: boolean;
  /**
   * What happens where a segment has not answered by the deadline: an error that names it (default), or a result of the
   * others with its name in `missing`.
   */
  partial?: boolean;
  /** Queries that travel together; default 100. */
  block?: number;
}

export interface PublishOptions extends ClusterCallOptions, Omit<VectorIndexOptions, 'ids'>, BuildOptions {
  /** Rows of a segment; default 250,000. */
  segmentRows?: number;
}

/** Global ids and distances, nearest first. Ids count through all segments, and may pass 2^32. */
export interface ClusterNeighbors {
  ids: Float64Array;
  distances: Float32Array;
  /** Digests of segments that did not answer; empty unless `partial` was asked for. */
  missing: string[];
}

/** queries × k places, row-major; places that were not filled are id NaN at distance Infinity. */
export interface ClusterBatch extends ClusterNeighbors {
  counts: Uint32Array;
}

/** A page of a join: neighbors of the rows `rows`, lists one behind the other, counts[i] of them for row i. */
export interface ClusterPage {
  /** Number of each row in the source, or its global id in a graph of the cluster's own rows. */
  rows: Float64Array;
  counts: Uint32Array;
  ids: Float64Array;
  distances: Float32Array;
  missing: string[];
}

/** What is published, and who holds it. */
export interface ClusterStatus {
  generation: string | null;
  /** null where nothing is published. */
  dimensions: number | null;
  metric: Metric | null;
  rows: number;
  segments: {
    digest: string;
    base: number;
    rows: number;
    bytes: number;
    isOpen: boolean;
    holders: number;
    waiting: number;
  }[];
  workers: WorkerStatus[];
  /** Bytes that Redis uses. */
  redisBytes: number;
}

const DEADLINE_MS = 30_000;
const SEGMENT_ROWS = 250_000;
/** Blocks of a long call that are under way at a time. */
const IN_FLIGHT = 4;
/** How often a waiting call looks for its result unasked: a word may be lost with a connection. */
const LOOK_MS = 250;
/** How long Redis may take for a word before it counts as gone. */
const ANSWER_MS = 2500;
/** How long a goodbye to Redis may take. */
const CLOSE_MS = 2000;
/** The writer's lock: renewed while a writer lives. */
const LOCK_MS = 10_000;

const UNLOCK = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`;
const RENEW = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0`;

/** What a call asks of all segments. */
type Question = Pick<Request, 'kind' | 'k' | 'recall' | 'radius' | 'exact'>;

interface View {
  head: Head;
  manifest: Manifest;
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
  readonly #store: SegmentStore;
  readonly #flows: FlowProducer;
  /** A connection that only listens, and the channel on which this client is told of its results. */
  readonly #listener: Redis;
  readonly #reply: string;
  /** Calls that wait for a value, by its key. */
  readonly #waiting = new Map<string, () => void>();
  #manifest: { key: string; manifest: Manifest } | null = null;
  #isClosed = false;

  private constructor(
    redis: Redis,
    names: Names,
    store: SegmentStore,
    flows: FlowProducer,
    { listener, reply }: { listener: Redis; reply: string },
  ) {
    this.#redis = redis;
    this.#names = names;
    this.#store = store;
    this.#flows = flows;
    this.#listener = listener;
    this.#reply = reply;
    listener.on('message', (_, key: string) => this.#waiting.get(key)?.());
    flows.on('error', () => {});
  }

  /** @throws ClusterError (ERR_CLUSTER_REDIS) where Redis does not answer; ERR_CLUSTER_PACKAGE without bullmq and ioredis. */
  static async connect(options: ClusterOptions): Promise<Cluster> {
    const names = new Names(options?.name);
    const { bullmq } = await loadPackages();
    const redis = await openRedis(options.redis);
    try {
      const flows = new bullmq.FlowProducer({ connection: redis, prefix: names.prefix });
      const store = options.store ?? new RedisStore(redis, names.parts);
      const reply = names.key('reply', randomUUID());
      const listener = redis.duplicate();
      listener.on('error', () => {}); // it connects again, and waiting calls look for themselves meanwhile
      await listener.subscribe(reply);
      return new Cluster(redis, names, store, flows, { listener, reply });
    } catch (error) {
      redis.disconnect();
      throw error;
    }
  }

  /** Ends the connections. Workers go on. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    // Without Redis they would wait for it for ever.
    await within(
      CLOSE_MS,
      this.#flows.close().catch(() => {}),
    );
    this.#listener.disconnect();
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
  async publish(
    rows: Float32Array | Iterable<Float32Array | Uint8Array> | AsyncIterable<Float32Array | Uint8Array>,
    options: PublishOptions,
  ): Promise<string> {
    this.#alive();
    const { segmentRows = SEGMENT_ROWS, signal, onProgress, deadlineMs: _, ...indexOptions } = options;
    if (!Number.isInteger(segmentRows) || segmentRows < 1)
      throw new ClusterError('ERR_CLUSTER_ARGUMENT', `segmentRows: expected 1 or more, got ${segmentRows}`);
    const { dimensions, metric = 'euclidean' } = indexOptions;
    new VectorIndex(indexOptions).dispose(); // checks them
    return this.#write(async () => {
      const generation = randomUUID();
      const segments: Segment[] = [];
      let fingerprint: string | null = null;
      let base = 0;
      const stored = new Set<string>();
      const seal = async (snapshot: Uint8Array): Promise<void> => {
        signal?.throwIfAborted();
        const segment = await this.#seal(snapshot, base, stored);
        fingerprint ??= fingerprintOf(snapshot);
        checkFingerprint(segment.digest, fingerprint, fingerprintOf(snapshot));
        segments.push(segment);
        base += segment.rows;
        onProgress?.({
          phase: 'publish',
          done: base,
          total: rows instanceof Float32Array ? rows.length / dimensions : 0,
        });
      };
      const build = async (vectors: Float32Array): Promise<void> => {
        // In slices: between them the writer's lock is renewed.
        const index = await VectorIndex.fromAsync(vectors, { ...indexOptions, signal });
        try {
          await seal(index.save());
        } finally {
          index.dispose();
        }
      };
      try {
        let waiting: Float32Array[] = [];
        let waitingFloats = 0;
        const wanted = segmentRows * dimensions;
        for await (const page of rows instanceof Float32Array ? [rows] : rows) {
          if (page instanceof Uint8Array) {
            if (waitingFloats > 0) await build(concat(waiting, Float32Array));
            waiting = [];
            waitingFloats = 0;
            await seal(page);
            continue;
          }
          if (page.length % dimensions !== 0)
            throw new ClusterError(
              'ERR_CLUSTER_ARGUMENT',
              `rows: expected a multiple of ${dimensions} floats, got ${page.length}`,
            );
          for (let at = 0; at < page.length; ) {
            const piece = page.subarray(at, at + wanted - waitingFloats);
            waiting.push(piece.slice());
            waitingFloats += piece.length;
            at += piece.length;
            if (waitingFloats < wanted) continue;
            await build(concat(waiting, Float32Array));
            waiting = [];
            waitingFloats = 0;
          }
        }
        if (waitingFloats > 0) await build(concat(waiting, Float32Array));
        signal?.throwIfAborted();
        fingerprint ??= fingerprintOf(emptySnapshot(indexOptions));
        const manifest: Manifest = {
          generation,
          dimensions,
          metric,
          fingerprint,
          segmentRows,
          segments,
          open: null,
        };
        await this.#redis.sadd(this.#names.key('generations'), generation);
        await this.#show(manifest, { generation, version: 1, tombstones: 0 });
        return generation;
      } catch (error) {
        // Nothing of it was visible; what another generation stored before is kept.
        await Promise.allSettled([...stored].map((key) => this.#store.delete(key)));
        throw error;
      }
    });
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
    const { question, block } = checkSearch(options);
    const { k } = question;
    const view = await this.#view();
    const count = checkQueries(queries, view.manifest.dimensions);
    const batch: ClusterBatch = {
      ids: new Float64Array(count * k).fill(Number.NaN),
      distances: new Float32Array(count * k).fill(Infinity),
      counts: new Uint32Array(count),
      missing: [],
    };
    for await (const page of this.#blocks(
      blocksOf(queries, view.manifest.dimensions, block),
      question,
      options,
      count,
    )) {
      let at = 0;
      page.rows.forEach((row, i) => {
        batch.ids.set(page.ids.subarray(at, at + page.counts[i]), row * k);
        batch.distances.set(page.distances.subarray(at, at + page.counts[i]), row * k);
        batch.counts[row] = page.counts[i];
        at += page.counts[i];
      });
      batch.missing = [...new Set([...batch.missing, ...page.missing])];
    }
    return batch;
  }

  /**
   * The k nearest neighbors of each of many rows, or all within a radius, page by page in the order of the rows.
   *
   * @param rows rows × dimensions floats at once or in pages, so that more than fits in memory can be joined.
   */
  async *join(
    rows: Float32Array | Iterable<Float32Array> | AsyncIterable<Float32Array>,
    options: ClusterSearchOptions & { radius?: number },
  ): AsyncGenerator<ClusterPage> {
    const { question, block } = checkSearch(options);
    const { dimensions } = (await this.#view()).manifest;
    const pages = rows instanceof Float32Array ? [rows] : rows;
    const source = async function* (): AsyncGenerator<{ rows: Float64Array; queries: Float32Array }> {
      let first = 0;
      for await (const page of pages) {
        const count = checkQueries(page, dimensions);
        for (const piece of blocksOf(page, dimensions, block))
          yield { rows: piece.rows.map((row) => row + first), queries: piece.queries };
        first += count;
      }
    };
    yield* this.#blocks(source(), question, options, 0);
  }

  /** The k nearest others of every row of the cluster, page by page in the order of ids. */
  async *neighborGraph(options: ClusterSearchOptions): AsyncGenerator<ClusterPage> {
    const { question } = checkSearch(options);
    for await (const page of this.#ownRows({ ...question, k: question.k + 1 }, options))
      yield withoutSelf(page, question.k);
  }

  /**
   * Groups of rows that are linked by pairs within `radius`: each group ascending, groups by their smallest id. Takes
   * memory for the ids that have such a neighbor.
   */
  async duplicates(options: ClusterSearchOptions & { radius: number }): Promise<Float64Array[]> {
    const { question } = checkSearch(options);
    const parent = new Map<number, number>();
    const find = (id: number): number => {
      let root = id;
      for (let up = parent.get(root); up !== undefined && up !== root; up = parent.get(root)) root = up;
      for (let at = id; at !== root; ) {
        const up = parent.get(at)!;
        parent.set(at, root);
        at = up;
      }
      return root;
    };
    for await (const page of this.#ownRows(question, options)) {
      let at = 0;
      page.rows.forEach((row, i) => {
        for (const id of page.ids.subarray(at, at + page.counts[i])) {
          if (id === row) continue;
          for (const each of [id, row]) if (!parent.has(each)) parent.set(each, each);
          const [a, b] = [find(id), find(row)];
          parent.set(Math.max(a, b), Math.min(a, b)); // the smallest id is the root
        }
        at += page.counts[i];
      });
    }
    const groups = new Map<number, number[]>();
    for (const id of [...parent.keys()].sort((a, b) => a - b)) {
      const root = find(id);
      groups.set(root, [...(groups.get(root) ?? []), id]);
    }
    return [...groups.entries()].sort(([a], [b]) => a - b).map(([, ids]) => Float64Array.from(ids));
  }

  /**
   * Adds rows to the newest segment, which is still open; every later search of any client has them. At `segmentRows` it is
   * built and sealed. One writer at a time: others wait their turn for up to the deadline.
   *
   * @returns the global id of the first row; the others follow.
   */
  async append(vectors: Float32Array, options: ClusterCallOptions = {}): Promise<number> {
    return this.#write(async (head) => {
      const { manifest } = await this.#viewOf(this.#needed(head));
      const count = checkQueries(vectors, manifest.dimensions);
      const last = manifest.segments.at(-1);
      const end = last ? last.base + last.rows : 0;
      const open: OpenSegment = manifest.open ?? {
        digest: sha256(randomUUID()),
        base: end,
        rows: 0,
        blocks: [],
      };
      const first = open.base + open.rows;
      if (count === 0) return first;
      // An index takes in what workers will, and refuses what they would: before anything is stored.
      const index = new VectorIndex({ dimensions: manifest.dimensions, metric: manifest.metric });
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
      let next: Manifest = { ...manifest, open: { ...open, rows: open.rows + count, blocks } };
      const version = this.#needed(head).version + 1;
      await this.#show(next, { ...head!, version });
      if (next.open!.rows >= manifest.segmentRows) {
        next = await this.#sealOpen(next);
        await this.#show(next, { ...head!, version: version + 1 });
      }
      return first;
    }, options);
  }

  /** Removes rows: no search that begins later has them. Returns how many of them were there. */
  async remove(ids: ArrayLike<number>, options: ClusterCallOptions = {}): Promise<number> {
    return this.#write(async (head) => {
      const { manifest } = await this.#viewOf(this.#needed(head));
      const rows = rowsOf(manifest);
      for (let i = 0; i < ids.length; i++) {
        if (!(Number.isInteger(ids[i]) && ids[i] >= 0 && ids[i] < rows))
          throw new ClusterError(
            'ERR_CLUSTER_ARGUMENT',
            `ids: expected ids from 0 to ${rows - 1}, got ${ids[i]} at place ${i}`,
          );
      }
      if (ids.length === 0) return 0;
      const bits = this.#redis.pipeline();
      for (let i = 0; i < ids.length; i++) {
        const piece = Math.floor(ids[i] / TOMBSTONE_BITS);
        bits.setbit(this.#names.tombstones(manifest.generation, piece), ids[i] % TOMBSTONE_BITS, 1);
      }
      const before = (await bits.exec()) ?? [];
      const failed = before.find(([error]) => error);
      if (failed) throw failed[0];
      await this.#point({ ...head!, tombstones: head!.tombstones + 1 });
      return before.filter(([, was]) => was === 0).length;
    }, options);
  }

  /** Generations that are stored, and which is shown. */
  async generations(): Promise<{ generation: string; isCurrent: boolean }[]> {
    this.#alive();
    const head = await this.#head();
    const all = await this.#redis.smembers(this.#names.key('generations'));
    return all.sort().map((generation) => ({ generation, isCurrent: head?.generation === generation }));
  }

  /** Gives back all that a generation takes, except parts that another one shares. The current one is refused. */
  async dropGeneration(generation: string): Promise<void> {
    await this.#write(async (head) => {
      if (head?.generation === generation)
        throw new ClusterError(
          'ERR_CLUSTER_ARGUMENT',
          `generation: expected an old one, got the current ${generation}`,
        );
      const keep = new Set<string>();
      const lose = new Set<string>();
      let found = false;
      for (const { generation: other } of await this.generations()) {
        for (const manifest of await this.#manifestsOf(other)) {
          const into = other === generation ? lose : keep;
          for (const key of partKeys(manifest)) into.add(key);
        }
        if (other === generation) found = true;
      }
      if (!found)
        throw new ClusterError(
          'ERR_CLUSTER_ARGUMENT',
          `generation: expected one that is stored, got ${generation}`,
        );
      for (const key of lose) if (!keep.has(key)) await this.#store.delete(key);
      const versions = Number(await this.#redis.get(this.#names.key('versions', generation)));
      for (let version = 1; version <= versions; version++)
        await this.#redis.unlink(this.#names.manifest(generation, version));
      for (
        let piece = 0;
        (await this.#redis.unlink(this.#names.tombstones(generation, piece))) === 1;
        piece++
      ) {
        // until there is none
      }
      await this.#redis.unlink(this.#names.key('versions', generation));
      await this.#redis.srem(this.#names.key('generations'), generation);
    });
  }

  /** Segments, who holds them, what waits for them; workers and what they hold. */
  async status(): Promise<ClusterStatus> {
    this.#alive();
    const { bullmq } = await loadPackages();
    const head = await this.#head();
    const manifest = head ? (await this.#viewOf(head)).manifest : null;
    const segments: ClusterStatus['segments'] = [];
    for (const segment of manifest ? allSegments(manifest) : []) {
      const { digest, base, rows } = segment;
      const queue = new bullmq.Queue(this.#names.segment(digest), {
        connection: this.#redis,
        prefix: this.#names.prefix,
      }) as Queue;
      try {
        const { wait, active } = await queue.getJobCounts('wait', 'active');
        segments.push({
          digest,
          base,
          rows,
          bytes:
            'bytes' in segment ? segment.bytes : segment.blocks.reduce((sum, { bytes }) => sum + bytes, 0),
          isOpen: !('bytes' in segment),
          holders: await this.#redis.zcount(this.#names.key('holders', digest), Date.now(), '+inf'),
          waiting: wait + active,
        });
      } finally {
        await queue.close();
      }
    }
    const workers: WorkerStatus[] = [];
    const holders = new Set<string>();
    for (const id of await this.#workerIds()) holders.add(id);
    for (const id of holders) {
      const text = await this.#redis.get(this.#names.key('worker', id));
      if (text) workers.push(JSON.parse(text));
    }
    return {
      generation: head?.generation ?? null,
      dimensions: manifest?.dimensions ?? null,
      metric: manifest?.metric ?? null,
      rows: manifest ? rowsOf(manifest) : 0,
      segments,
      workers: workers.sort((a, b) => (a.id < b.id ? -1 : 1)),
      redisBytes: await usedBytes(this.#redis),
    };
  }

  async #workerIds(): Promise<string[]> {
    await this.#redis.zremrangebyscore(this.#names.key('workers'), '-inf', `${Date.now()}`);
    return this.#redis.zrange(this.#names.key('workers'), '0', '-1');
  }

  /* ---- reading ---- */

  async #head(): Promise<Head | null> {
    const text = await this.#redis.get(this.#names.head);
    return text === null ? null : readHead(text);
  }

  #needed(head: Head | null): Head {
    if (head) return head;
    throw new ClusterError(
      'ERR_CLUSTER_EMPTY',
      'cluster: expected a published generation, got none; publish rows first',
    );
  }

  async #view(): Promise<View> {
    this.#alive();
    const text = await within(ANSWER_MS, this.#redis.get(this.#names.head));
    if (text === undefined) {
      await checkRedis(this.#redis, ANSWER_MS);
      return this.#view();
    }
    return this.#viewOf(this.#needed(text === null ? null : readHead(text)));
  }

  async #viewOf(head: Head): Promise<View> {
    const key = this.#names.manifest(head.generation, head.version);
    if (this.#manifest?.key !== key) {
      const text = await this.#redis.get(key);
      if (text === null) {
        throw new ClusterError(
          'ERR_CLUSTER_EMPTY',
          `manifest: expected version ${head.version} in Redis, got none`,
        );
      }
      this.#manifest = { key, manifest: JSON.parse(text) };
    }
    return { head, manifest: this.#manifest.manifest };
  }

  async #manifestsOf(generation: string): Promise<Manifest[]> {
    const versions = Number(await this.#redis.get(this.#names.key('versions', generation)));
    const manifests: Manifest[] = [];
    for (let version = 1; version <= versions; version++) {
      const text = await this.#redis.get(this.#names.manifest(generation, version));
      if (text !== null) manifests.push(JSON.parse(text));
    }
    return manifests;
  }

  /** Asks block after block, a few at a time; pages come in the order of the blocks. */
  async *#blocks(
    blocks:
      | Iterable<{ rows: Float64Array; queries: Float32Array }>
      | AsyncIterable<{ rows: Float64Array; queries: Float32Array }>,
    question: Question,
    options: ClusterSearchOptions,
    total: number,
  ): AsyncGenerator<ClusterPage> {
    const ask = async ({
      rows,
      queries,
    }: {
      rows: Float64Array;
      queries: Float32Array;
    }): Promise<ClusterPage> => {
      const view = await this.#view();
      const { dimensions } = view.manifest;
      const request = this.#names.key('request', randomUUID());
      const bytes = writeRequest({ ...question, dimensions, queries, ids: new Float64Array(0), next: null });
      await this.#redis.set(request, bytes, 'PX', deadlineOf(options) + KEEP_MS);
      const { lists, missing } = await this.#ask(view, request, rows.length, question, options);
      return { rows, ...lists, missing };
    };
    yield* this.#inOrder(blocks, ask, options, total);
  }

  /** As `#blocks`, for the cluster's own rows, which workers read: they never come here. */
  async *#ownRows(question: Question, options: ClusterSearchOptions): AsyncGenerator<ClusterPage> {
    const { block } = checkSearch(options);
    const view = await this.#view();
    const rows = this.#rowRequests(view, question, options, block);
    const ask = async ({ request, ids }: { request: string; ids: Float64Array }): Promise<ClusterPage> => {
      const { lists, missing } = await this.#ask(view, request, ids.length, question, options);
      return { rows: ids, ...lists, missing };
    };
    yield* this.#inOrder(rows, ask, options, rowsOf(view.manifest));
  }

  async *#rowRequests(
    { manifest, head }: View,
    question: Question,
    options: ClusterSearchOptions,
    block: number,
  ): AsyncGenerator<{ request: string; ids: Float64Array }> {
    const { bullmq } = await loadPackages();
    for (const segment of allSegments(manifest)) {
      const queue = new bullmq.Queue(this.#names.segment(segment.digest), {
        connection: this.#redis,
        prefix: this.#names.prefix,
      }) as Queue;
      try {
        for (let from: number | null = 0; from !== null; ) {
          const request = this.#names.key('request', randomUUID());
          const ms = deadlineOf(options);
          const data: RowsJob = {
            ...question,
            ...this.#stateFor(segment, manifest, head),
            ...{ request, reply: this.#reply, deadline: Date.now() + ms, from, count: block },
          };
          const added = queue.add('rows', data, {
            ...{ removeOnComplete: true, removeOnFail: true, attempts: 5 },
            backoff: { type: 'fixed', delay: 200 },
          });
          const bytes = await this.#result(
            request,
            added,
            data.deadline,
            options.signal,
            requestHeadBytes(block),
          );
          if (bytes === null) throw await this.#late([segment], ms);
          const { ids, next } = readRequestHead(bytes);
          if (ids.length > 0) yield { request, ids };
          from = next;
        }
      } finally {
        await queue.close();
      }
    }
  }

  /** Runs `ask` on a few items at a time; gives the answers in order. */
  async *#inOrder<Item>(
    items: Iterable<Item> | AsyncIterable<Item>,
    ask: (item: Item) => Promise<ClusterPage>,
    { signal, onProgress }: ClusterSearchOptions,
    total: number,
  ): AsyncGenerator<ClusterPage> {
    const pending: Promise<ClusterPage>[] = [];
    let done = 0;
    const next = async (): Promise<ClusterPage> => {
      const page = await (pending.shift() as Promise<ClusterPage>);
      done += page.rows.length;
      onProgress?.({ phase: total > 0 ? 'search' : 'join', done, total });
      return page;
    };
    try {
      for await (const item of items) {
        signal?.throwIfAborted();
        const answer = ask(item);
        answer.catch(() => {}); // told when its turn comes
        pending.push(answer);
        if (pending.length >= IN_FLIGHT) yield await next();
      }
      while (pending.length > 0) {
        signal?.throwIfAborted();
        yield await next();
      }
    } finally {
      await Promise.allSettled(pending);
    }
  }

  #stateFor(
    { digest }: { digest: string },
    { generation, open }: Manifest,
    { tombstones }: Head,
  ): Pick<SearchJob, 'generation' | 'segment' | 'tombstones' | 'blocks'> {
    return {
      generation,
      segment: digest,
      tombstones,
      blocks: open?.digest === digest ? open.blocks.length : 0,
    };
  }

  /** One flow: a child for each segment, then the merge. */
  async #ask(
    { manifest, head }: View,
    request: string,
    queries: number,
    question: Question,
    options: ClusterSearchOptions,
  ): Promise<{ lists: Lists; missing: string[] }> {
    const ms = deadlineOf(options);
    const deadline = Date.now() + ms;
    const flow = randomUUID();
    const segments = allSegments(manifest);
    const k = question.kind === 'radius' ? Infinity : question.k;
    if (segments.length === 0) return { lists: mergeLists([], queries, k), missing: [] };
    const answers = segments.map(({ digest, base }) => ({
      key: this.#names.key('answer', flow, digest),
      base,
      digest,
    }));
    const result = this.#names.key('result', flow);
    const data: MergeJob = {
      answers: answers.map(({ key, base }) => ({ key, base })),
      result,
      reply: this.#reply,
      queries,
      k: Number.isFinite(k) ? k : -1,
      deadline,
    };
    const gone = { removeOnComplete: true, removeOnFail: true };
    const added = this.#flows.add({
      name: 'merge',
      queueName: this.#names.merge,
      prefix: this.#names.prefix,
      data,
      opts: { jobId: flow, attempts: 5, ...gone },
      children: segments.map((segment, i) => ({
        name: 'search',
        queueName: this.#names.segment(segment.digest),
        prefix: this.#names.prefix,
        data: {
          ...this.#stateFor(segment, manifest, head),
          request,
          answer: answers[i].key,
          deadline,
        } satisfies SearchJob,
        opts: { attempts: 5, backoff: { type: 'fixed', delay: 200 }, ...gone },
      })),
    });
    const bytes = await this.#result(result, added, deadline, options.signal);
    void this.#redis.unlink(request, result).catch(() => {});
    if (bytes) return { lists: readMerged(bytes), missing: [] };
    return this.#partial(answers, queries, k, ms, options.partial === true);
  }

  /** Waits for a value, or its first bytes; null once the deadline has passed. */
  async #result(
    key: string,
    added: Promise<unknown>,
    deadline: number,
    signal: AbortSignal | undefined,
    bytesWanted = 0,
  ): Promise<Buffer | null> {
    let isTold = false;
    let wake = (): void => {};
    const abort = (): void => wake();
    this.#waiting.set(key, () => {
      isTold = true;
      wake();
    });
    signal?.addEventListener('abort', abort);
    let failure: unknown;
    added.catch((error) => {
      failure = error;
      wake();
    });
    try {
      for (;;) {
        signal?.throwIfAborted();
        if (failure) throw failure;
        if (this.#isClosed) throw closed();
        const late = deadline - Date.now();
        if (!isTold) {
          await new Promise<void>((resolve) => {
            const timer = setTimeout(resolve, Math.max(0, Math.min(LOOK_MS, late)));
            wake = () => {
              clearTimeout(timer);
              resolve();
            };
          });
          signal?.throwIfAborted();
        }
        isTold = false;
        // A connection that is down keeps commands waiting: they must not outlast the deadline.
        const bytes = await within(
          Math.max(1, Math.min(late, 2 * LOOK_MS)),
          bytesWanted > 0 ? this.#redis.getrangeBuffer(key, 0, bytesWanted - 1) : this.#redis.getBuffer(key),
        );
        if (bytes && bytes.length > 0) return bytes;
        if (late <= 0) return null;
      }
    } finally {
      this.#waiting.delete(key);
      signal?.removeEventListener('abort', abort);
    }
  }

  /** What came until the deadline. */
  async #partial(
    answers: { key: string; base: number; digest: string }[],
    queries: number,
    k: number,
    ms: number,
    isWanted: boolean,
  ): Promise<{ lists: Lists; missing: string[] }> {
    await checkRedis(this.#redis, 2000);
    const lists: Lists[] = [];
    const missing: string[] = [];
    for (const { key, base, digest } of answers) {
      const bytes = await this.#redis.getBuffer(key);
      if (bytes) lists.push(readAnswer(bytes, base));
      else missing.push(digest);
    }
    if (!isWanted)
      throw await this.#late(
        missing.map((digest) => ({ digest })),
        ms,
      );
    return { lists: mergeLists(lists, queries, k), missing };
  }

  async #late(segments: { digest: string }[], ms: number, cause?: unknown): Promise<ClusterError> {
    await checkRedis(this.#redis, 2000);
    const names = segments.map(({ digest }) => digest.slice(0, 12)).join(', ');
    const reasons: string[] = [];
    for (const worker of (await this.status()).workers)
      for (const [digest, reason] of Object.entries(worker.refused))
        if (segments.some((segment) => segment.digest === digest))
          reasons.push(`worker ${worker.id}: ${reason}`);
    return new ClusterError(
      'ERR_CLUSTER_DEADLINE',
      `cluster: expected answers within ${ms} ms, got none from segment ${names || 'or worker'}${reasons.length > 0 ? ` (${reasons.join('; ')})` : ''}`,
      segments.map(({ digest }) => digest),
      cause,
    );
  }

  /* ---- writing ---- */

  /** Runs work as the only writer. */
  async #write<T>(
    work: (head: Head | null) => Promise<T>,
    { deadlineMs = DEADLINE_MS, signal }: ClusterCallOptions = {},
  ): Promise<T> {
    this.#alive();
    await checkRedis(this.#redis, 5000);
    const key = this.#names.key('writer');
    const token = randomUUID();
    const end = Date.now() + deadlineMs;
    while ((await this.#redis.set(key, token, 'PX', LOCK_MS, 'NX')) === null) {
      signal?.throwIfAborted();
      if (Date.now() > end)
        throw new ClusterError(
          'ERR_CLUSTER_BUSY',
          `cluster: expected to be the writer within ${deadlineMs} ms, got another one at work`,
        );
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    let isHeld = true;
    const renewal = setInterval(() => {
      this.#redis.eval(RENEW, 1, key, token, `${LOCK_MS}`).then(
        (renewed) => {
          isHeld = renewed === 1;
        },
        () => {},
      );
    }, LOCK_MS / 4);
    try {
      this.#lease = () => {
        if (!isHeld)
          throw new ClusterError(
            'ERR_CLUSTER_BUSY',
            'cluster: expected to stay the writer, got too late to say so',
          );
      };
      return await work(await this.#head());
    } finally {
      clearInterval(renewal);
      await this.#redis.eval(UNLOCK, 1, key, token).catch(() => {});
    }
  }

  /** Throws where the writer's lock was lost: another may have written since. */
  #lease: () => void = () => {};

  /** Stores a manifest, then points to it: the one write by which a change is seen. */
  async #show(manifest: Manifest, head: Head): Promise<void> {
    await this.#redis.set(this.#names.manifest(head.generation, head.version), JSON.stringify(manifest));
    await this.#redis.set(this.#names.key('versions', head.generation), `${head.version}`);
    this.#lease();
    await this.#point(head);
    // Readers that saw the head before this may still want the version before.
    if (head.version > 2) await this.#redis.unlink(this.#names.manifest(head.generation, head.version - 2));
  }

  /** Moves the pointer, and tells the workers, who would see it themselves a little later. */
  async #point(head: Head): Promise<void> {
    await this.#redis.set(this.#names.head, writeHead(head));
    await this.#redis.publish(this.#names.changes, '').catch(() => {});
  }

  /** Stores a snapshot and reads it back. */
  async #seal(snapshot: Uint8Array, base: number, stored: Set<string>): Promise<Segment> {
    const index = VectorIndex.load(snapshot);
    const rows = index.add(new Float32Array(0)); // the id that comes next: removed rows have theirs for ever
    index.dispose();
    const pieces = partsOf(snapshot);
    const digest = sha256(...pieces.map(({ part }) => part.sha256), String(base));
    const parts = pieces.map(({ part }) => ({ ...part, key: sha256(digest, part.sha256) }));
    const segment = { digest, base, rows, bytes: snapshot.length, parts };
    for (const [i, part] of parts.entries()) {
      stored.add(part.key);
      await this.#store.put(part.key, pieces[i].bytes);
      await fetchPart(this.#store, digest, part);
    }
    return segment;
  }

  /** Builds the open segment's index, and seals it. */
  async #sealOpen(manifest: Manifest): Promise<Manifest> {
    const { dimensions, metric, open } = manifest;
    if (!open) return manifest;
    const vectors = new Float32Array(open.rows * dimensions);
    let at = 0;
    for (const part of open.blocks) {
      const bytes = new Uint8Array(await fetchPart(this.#store, open.digest, part));
      vectors.set(new Float32Array(bytes.buffer), at);
      at += bytes.length / 4;
    }
    const index = await VectorIndex.fromAsync(vectors, { dimensions, metric });
    try {
      const snapshot = index.save();
      const segment = await this.#seal(snapshot, open.base, new Set());
      return { ...manifest, segments: [...manifest.segments, segment], open: null };
    } finally {
      index.dispose();
    }
  }

  #alive(): void {
    if (this.#isClosed) throw closed();
  }
}

function closed(): ClusterError {
  return new ClusterError('ERR_CLUSTER_CLOSED', 'cluster: expected an open connection, got a closed one');
}

/** What work gives, or undefined where it takes longer than that. */
async function within<T>(ms: number, work: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, ms, undefined);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

function deadlineOf({ deadlineMs = DEADLINE_MS }: ClusterCallOptions): number {
  return deadlineMs;
}

function allSegments({ segments, open }: Manifest): (Segment | OpenSegment)[] {
  return open ? [...segments, open] : segments;
}

function partKeys(manifest: Manifest): string[] {
  return [
    ...manifest.segments.flatMap(({ parts }) => parts.map(({ key }) => key)),
    ...(manifest.open?.blocks.map(({ key }) => key) ?? []),
  ];
}

/** Ids given out so far. */
function rowsOf(manifest: Manifest): number {
  const last = allSegments(manifest).at(-1);
  return last ? last.base + last.rows : 0;
}

function emptySnapshot(options: VectorIndexOptions): Uint8Array {
  const index = new VectorIndex(options);
  try {
    return index.save();
  } finally {
    index.dispose();
  }
}

function checkSearch(options: ClusterSearchOptions & { radius?: number }): {
  question: Question;
  block: number;
} {
  const {
    k = 10,
    recall = 0.95,
    exact = false,
    radius,
    block = 100,
    deadlineMs = DEADLINE_MS,
  } = options ?? {};
  const refuse = (message: string): never => {
    throw new ClusterError('ERR_CLUSTER_ARGUMENT', message);
  };
  if (!Number.isInteger(k) || k < 1 || k > 2 ** 20)
    refuse(`k: expected an integer from 1 to ${2 ** 20}, got ${k}`);
  if (!(recall >= 0 && recall <= 1)) refuse(`recall: expected a number from 0 to 1, got ${recall}`);
  if (radius !== undefined && !Number.isFinite(radius))
    refuse(`radius: expected a finite number, got ${radius}`);
  if (!Number.isInteger(block) || block < 1 || block > 10_000)
    refuse(`block: expected an integer from 1 to 10000, got ${block}`);
  if (!(deadlineMs > 0)) refuse(`deadlineMs: expected more than 0, got ${deadlineMs}`);
  return {
    question: { kind: radius === undefined ? 'nearest' : 'radius', k, recall, radius: radius ?? 0, exact },
    block,
  };
}

function checkQueries(queries: unknown, dimensions: number): number {
  if (!(queries instanceof Float32Array) || queries.length % dimensions !== 0) {
    const got = queries instanceof Float32Array ? `${queries.length}` : typeof queries;
    throw new ClusterError(
      'ERR_CLUSTER_ARGUMENT',
      `queries: expected a multiple of ${dimensions} floats, got ${got}`,
    );
  }
  const bad = queries.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0)
    throw new ClusterError(
      'ERR_CLUSTER_ARGUMENT',
      `queries: expected finite numbers, got ${queries[bad]} in row ${Math.floor(bad / dimensions)}, column ${bad % dimensions}`,
    );
  return queries.length / dimensions;
}

function* blocksOf(
  queries: Float32Array,
  dimensions: number,
  block: number,
): Generator<{ rows: Float64Array; queries: Float32Array }> {
  const count = queries.length / dimensions;
  for (let first = 0; first < count; first += block) {
    const size = Math.min(block, count - first);
    yield {
      rows: Float64Array.from({ length: size }, (_, i) => first + i),
      queries: queries.subarray(first * dimensions, (first + size) * dimensions),
    };
  }
}

/** Takes each row out of its own list; at most k others stay. */
function withoutSelf(page: ClusterPage, k: number): ClusterPage {
  const ids: number[] = [];
  const distances: number[] = [];
  const counts = new Uint32Array(page.rows.length);
  let at = 0;
  page.rows.forEach((row, i) => {
    for (let j = at; j < at + page.counts[i]; j++) {
      if (page.ids[j] === row || counts[i] === k) continue;
      ids.push(page.ids[j]);
      distances.push(page.distances[j]);
      counts[i]++;
    }
    at += page.counts[i];
  });
  return { ...page, counts, ids: Float64Array.from(ids), distances: Float32Array.from(distances) };
}
