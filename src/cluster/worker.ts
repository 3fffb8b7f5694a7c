import { randomUUID } from 'node:crypto';
import { EventEmitter } from 'node:events';
import type { Job, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { ClusterError } from './error.js';
import { HeldSegment } from './held.js';
import { KEEP_MS, type MergeJob, type RowsJob, type SearchJob } from './jobs.js';
import { type Head, type Manifest, readHead } from './manifest.js';
import { loadPackages, Names, openRedis, type RedisAddress, TOMBSTONE_BITS } from './redis.js';
import { RedisStore, type SegmentStore } from './store.js';
import { mergeLists, type Request, readAnswer, readRequest, writeMerged, writeRequest } from './wire.js';

/** Options of a `ClusterWorker`. */
export interface ClusterWorkerOptions {
  redis: RedisAddress;
  /** The cluster's name. */
  name: string;
  /** Bytes of segments that this process may hold; default 1 GiB. */
  memoryBytes?: number;
  /** Workers that shall hold each segment; default 1. All workers of a cluster should say the same. */
  copies?: number;
  /** Where segments lie; default Redis. */
  store?: SegmentStore;
  /** Milliseconds after which a worker that says nothing counts as gone, and its segments are free; default 5,000. */
  goneAfterMs?: number;
}

/** What a worker says of itself. */
export interface WorkerStatus {
  id: string;
  /** Digests of the segments that it serves. */
  segments: string[];
  bytes: number;
  memoryBytes: number;
  /** Segments that it refused, and why. */
  refused: Record<string, string>;
}

/** Requests that were read and may be asked for again, by another segment's job. */
const REQUESTS_KEPT = 16;

/**
 * Claims a segment: KEYS[1] its holders by the time until which they count; ARGV: worker, now, until, copies. Gives 1 where
 * the worker holds it then.
 */
const CLAIM = `
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[2])
if redis.call('ZSCORE', KEYS[1], ARGV[1]) or redis.call('ZCARD', KEYS[1]) < tonumber(ARGV[4]) then
  redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
  return 1
end
return 0`;

/**
 * A process that holds segments of a cluster in memory and answers for them. It takes as many as its memory lets it, those
 * with the fewest copies first, and follows the cluster's changes.
 *
 * Emits `segments` when what it serves has changed, and `problem` (a ClusterError) for a segment that it refused.
 */
export class ClusterWorker extends EventEmitter {
  readonly id: string = randomUUID();
  readonly #redis: Redis;
  readonly #names: Names;
  readonly #store: SegmentStore;
  readonly #memoryBytes: number;
  readonly #copies: number;
  readonly #goneAfterMs: number;
  readonly #held = new Map<string, { segment: HeldSegment; bytes: number; worker: Worker }>();
  /** Segments that the newest manifest has not, and since when. */
  readonly #unwanted = new Map<string, number>();
  readonly #refused = new Map<string, string>();
  readonly #requests = new Map<string, Promise<Request>>();
  /** Changes to one segment come one after the other. */
  readonly #turns = new Map<string, Promise<void>>();
  #head: Head | null = null;
  #manifest: Manifest | null = null;
  #merger: Worker | null = null;
  /** A connection that only listens. */
  #listener: Redis | null = null;
  #timer: NodeJS.Timeout | null = null;
  #round: Promise<void> | null = null;
  #isHurried = false;
  #isClosing = false;

  private constructor(redis: Redis, names: Names, options: ClusterWorkerOptions) {
    super();
    this.#redis = redis;
    this.#names = names;
    this.#memoryBytes = options.memoryBytes ?? 2 ** 30;
    this.#copies = options.copies ?? 1;
    this.#goneAfterMs = options.goneAfterMs ?? 5000;
    this.#store = options.store ?? new RedisStore(redis, names.parts);
  }

  /** Joins a cluster; resolves when the segments that it takes at first are served. */
  static async start(options: ClusterWorkerOptions): Promise<ClusterWorker> {
    const names = new Names(options.name);
    for (const [name, value, least] of [
      ['memoryBytes', options.memoryBytes, 1],
      ['copies', options.copies, 1],
      ['goneAfterMs', options.goneAfterMs, 100],
    ] as const) {
      if (value !== undefined && !(Number.isFinite(value) && value >= least))
        throw new ClusterError('ERR_CLUSTER_ARGUMENT', `${name}: expected ${least} or more, got ${value}`);
    }
    const redis = await openRedis(options.redis);
    try {
      const worker = new ClusterWorker(redis, names, options);
      await worker.#start();
      return worker;
    } catch (error) {
      redis.disconnect();
      throw error;
    }
  }

  /** The segments that are held now, and their bytes. */
  get status(): WorkerStatus {
    let bytes = 0;
    for (const held of this.#held.values()) bytes += held.bytes;
    return {
      id: this.id,
      segments: [...this.#held.keys()],
      bytes,
      memoryBytes: this.#memoryBytes,
      refused: Object.fromEntries(this.#refused),
    };
  }

  /** Gives its segments up, ends the jobs under way, and leaves. */
  async close(): Promise<void> {
    if (this.#isClosing) return;
    this.#isClosing = true;
    if (this.#timer) clearTimeout(this.#timer);
    await this.#round?.catch(() => {});
    await Promise.all([this.#merger?.close(), ...[...this.#held.keys()].map((digest) => this.#drop(digest))]);
    await this.#redis.unlink(this.#names.key('worker', this.id)).catch(() => {});
    await this.#redis.zrem(this.#names.key('workers'), this.id).catch(() => {});
    this.#listener?.disconnect();
    this.#redis.disconnect();
  }

  async #start(): Promise<void> {
    const { bullmq } = await loadPackages();
    this.#merger = new bullmq.Worker(this.#names.merge, (job) => this.#merge(job), this.#workerOptions(4));
    this.#merger.on('error', () => {}); // a lost connection: BullMQ connects again
    this.#listener = this.#redis.duplicate();
    this.#listener.on('error', () => {});
    this.#listener.on('message', () => this.#hurry());
    await this.#listener.subscribe(this.#names.changes);
    await this.#tick();
  }

  #workerOptions(concurrency: number) {
    return {
      connection: this.#redis,
      prefix: this.#names.prefix,
      concurrency,
      // A killed worker's jobs are taken up again after about this long.
      lockDuration: this.#goneAfterMs,
      stalledInterval: this.#goneAfterMs,
      // Jobs depend on nothing but bytes: they may begin as often as workers die.
      maxStalledCount: 1000,
      removeOnComplete: { count: 0 },
      removeOnFail: { age: 3600 },
    };
  }

  /** Looks at the cluster, adjusts what it holds, says so; and again, well before it would count as gone. */
  async #tick(): Promise<void> {
    this.#timer = null;
    this.#round = this.#adjust();
    try {
      await this.#round;
    } catch (error) {
      // Redis may be away for a while; the next round tries again.
      if (!this.#isClosing) this.emit('problem', error);
    }
    if (!this.#isClosing)
      this.#timer = setTimeout(() => void this.#tick(), this.#isHurried ? 0 : this.#goneAfterMs / 4);
    this.#isHurried = false;
  }

  /** The head has moved: looks now rather than at the next round. */
  #hurry(): void {
    if (this.#isClosing) return;
    if (!this.#timer) {
      this.#isHurried = true; // a round is under way: one more behind it
      return;
    }
    clearTimeout(this.#timer);
    this.#timer = null;
    void this.#tick();
  }

  async #adjust(): Promise<void> {
    const before = [...this.#held.keys()].join();
    const text = await this.#redis.get(this.#names.head);
    if (text !== null) await this.#follow(readHead(text));
    const manifest = text === null ? null : this.#manifest;
    const all = manifest ? [...manifest.segments, ...(manifest.open ? [manifest.open] : [])] : [];
    const wanted = new Set(all.map(({ digest }) => digest));
    for (const digest of this.#held.keys()) {
      if (wanted.has(digest)) this.#unwanted.delete(digest);
      else if (!this.#unwanted.has(digest)) this.#unwanted.set(digest, Date.now());
      // Searches that began before the change still ask for it.
      else if (Date.now() - this.#unwanted.get(digest)! > 2 * this.#goneAfterMs) await this.#drop(digest);
    }

    // Those that it has first, then those with the fewest holders.
    const counts = new Map<string, number>();
    for (const { digest } of all) {
      const holders = await this.#redis.zcount(this.#names.key('holders', digest), Date.now(), '+inf');
      counts.set(digest, this.#held.has(digest) ? -1 : holders);
    }
    const order = all.slice().sort((a, b) => counts.get(a.digest)! - counts.get(b.digest)!);
    for (const segment of order) {
      if (this.#isClosing || !manifest) break;
      const { digest } = segment;
      const bytes = 'bytes' in segment ? segment.bytes : segment.rows * manifest.dimensions * 4;
      if (!this.#held.has(digest) && !(await this.#makeRoom(bytes))) continue;
      const isHolder = await this.#claim(digest);
      if (isHolder && !this.#held.has(digest)) await this.#take(segment, manifest, bytes);
      else if (!isHolder && this.#held.has(digest)) await this.#drop(digest);
    }
    const key = this.#names.key('worker', this.id);
    await this.#redis.set(key, JSON.stringify(this.status), 'PX', this.#goneAfterMs);
    await this.#redis.zadd(this.#names.key('workers'), Date.now() + this.#goneAfterMs, this.id);
    if ([...this.#held.keys()].join() !== before) this.emit('segments', [...this.#held.keys()]);
  }

  /** Whether `bytes` more fit, if need be without segments that nobody asks for any more. */
  async #makeRoom(bytes: number): Promise<boolean> {
    for (const digest of this.#unwanted.keys()) {
      if (this.status.bytes + bytes <= this.#memoryBytes) break;
      await this.#drop(digest);
    }
    return this.status.bytes + bytes <= this.#memoryBytes;
  }

  async #claim(digest: string): Promise<boolean> {
    const now = Date.now();
    const key = this.#names.key('holders', digest);
    const until = now + this.#goneAfterMs;
    return (await this.#redis.eval(CLAIM, 1, key, this.id, now, until, this.#copies)) === 1;
  }

  /** Loads a segment and serves its queue from then on; one that is not what the manifest says is refused by name. */
  async #take(
    segment: Manifest['segments'][number] | NonNullable<Manifest['open']>,
    manifest: Manifest,
    bytes: number,
  ): Promise<void> {
    const { digest } = segment;
    let held: HeldSegment;
    try {
      held =
        'parts' in segment
          ? await HeldSegment.load(segment, manifest, this.#store)
          : HeldSegment.open(segment, manifest);
      await this.#refresh(
        held,
        manifest,
        this.#head!.tombstones,
        'blocks' in segment ? segment.blocks.length : 0,
      );
    } catch (error) {
      await this.#redis.zrem(this.#names.key('holders', digest), this.id);
      const message = (error as Error).message;
      if (this.#refused.get(digest) !== message) this.emit('problem', error);
      this.#refused.set(digest, message);
      return;
    }
    this.#refused.delete(digest);
    const { bullmq } = await loadPackages();
    const worker = new bullmq.Worker(
      this.#names.segment(digest),
      (job) => (job.name === 'rows' ? this.#rows(job, held) : this.#search(job, held)),
      this.#workerOptions(2),
    );
    worker.on('error', () => {});
    this.#held.set(digest, { segment: held, bytes, worker });
  }

  async #drop(digest: string): Promise<void> {
    const held = this.#held.get(digest);
    if (!held) return;
    this.#held.delete(digest);
    this.#unwanted.delete(digest);
    this.#turns.delete(digest);
    // First no more jobs, then no more claim: another worker's copy must not wait for this one.
    await held.worker.close();
    await this.#redis.zrem(this.#names.key('holders', digest), this.id).catch(() => {});
    held.segment.dispose();
  }

  /** Reads the manifest that the head names, unless it has it. */
  async #follow(head: Head): Promise<Manifest> {
    const known = this.#head;
    if (!this.#manifest || known?.generation !== head.generation || known.version !== head.version) {
      const text = await this.#redis.get(this.#names.manifest(head.generation, head.version));
      if (text === null) {
        // Replaced between the two reads: the next round sees the newer one.
        if (this.#manifest) return this.#manifest;
        throw new ClusterError(
          'ERR_CLUSTER_EMPTY',
          `manifest: expected version ${head.version}, got none in Redis`,
        );
      }
      this.#manifest = JSON.parse(text) as Manifest;
    }
    this.#head = head;
    return this.#manifest;
  }

  /** Brings a segment up to the state that a job wants. One change at a time. */
  #refresh(held: HeldSegment, manifest: Manifest, tombstones: number, blocks: number): Promise<void> {
    if (held.tombstones >= tombstones && held.blocks >= blocks) return Promise.resolve();
    const turn = (this.#turns.get(held.digest) ?? Promise.resolve())
      .catch(() => {})
      .then(async () => {
        if (held.blocks < blocks) {
          let { open } = manifest;
          if (open?.digest !== held.digest || open.blocks.length < blocks) {
            const text = await this.#redis.get(this.#names.head);
            if (text !== null) ({ open } = await this.#follow(readHead(text)));
          }
          if (open?.digest === held.digest)
            await held.extend(open, Math.max(blocks, open.blocks.length), this.#store);
          // The rows that came may have been removed meanwhile.
          held.tombstones = -1;
        }
        if (held.tombstones < tombstones || held.tombstones < 0) {
          const rows = this.#rowsOf(manifest, held);
          held.bury(await this.#tombstones(manifest.generation, held.base, rows), rows, tombstones);
        }
      });
    this.#turns.set(held.digest, turn);
    return turn;
  }

  #rowsOf(manifest: Manifest, held: HeldSegment): number {
    const sealed = manifest.segments.find(({ digest }) => digest === held.digest);
    return sealed ? sealed.rows : (this.#manifest?.open?.rows ?? 0);
  }

  /** The bits of removed rows from global id `base` on. */
  async #tombstones(generation: string, base: number, rows: number): Promise<Uint8Array> {
    const bits = new Uint8Array(Math.ceil(rows / 8) + 1);
    const set = (id: number): void => {
      bits[(id - base) >> 3] |= 128 >> ((id - base) & 7);
    };
    for (let piece = Math.floor(base / TOMBSTONE_BITS); piece * TOMBSTONE_BITS < base + rows; piece++) {
      const first = piece * TOMBSTONE_BITS;
      const from = Math.max(0, Math.floor((base - first) / 8));
      const to = Math.min(TOMBSTONE_BITS, base + rows - first) >> 3;
      const stored = await this.#redis.getrangeBuffer(this.#names.tombstones(generation, piece), from, to);
      stored.forEach((byte, i) => {
        for (let bit = 0; byte !== 0 && bit < 8; bit++) {
          const id = first + 8 * (from + i) + bit;
          if ((byte >> (7 - bit)) & 1 && id >= base && id < base + rows) set(id);
        }
      });
    }
    return bits;
  }

  async #search(job: Job<SearchJob>, held: HeldSegment): Promise<void> {
    const { request, answer, tombstones, blocks, deadline } = job.data;
    if (Date.now() > deadline) return; // nobody waits for it
    await this.#refresh(held, this.#manifest!, tombstones, blocks);
    const bytes = await held.answer(await this.#request(request));
    await this.#redis.set(answer, bytes, 'PX', Math.max(1, deadline - Date.now()) + KEEP_MS);
  }

  async #rows(job: Job<RowsJob>, held: HeldSegment): Promise<void> {
    const { request, reply, tombstones, blocks, deadline, from, count, kind, k, recall, radius, exact } =
      job.data;
    if (Date.now() > deadline) return;
    await this.#refresh(held, this.#manifest!, tombstones, blocks);
    const { ids, vectors, next } = held.rows(from, count, this.#rowsOf(this.#manifest!, held));
    const { dimensions } = held.index;
    const bytes = writeRequest({ kind, dimensions, k, recall, radius, exact, queries: vectors, ids, next });
    await this.#tell(request, bytes, deadline, reply);
  }

  async #merge(job: Job<MergeJob>): Promise<void> {
    const { answers, result, reply, queries, k, deadline } = job.data;
    if (Date.now() > deadline) return;
    const found = await this.#redis.mgetBuffer(...answers.map(({ key }) => key));
    const lost = found.indexOf(null);
    if (lost >= 0) {
      // Delivered twice: the answers have become the result.
      if ((await this.#redis.exists(result)) === 1) return;
      throw new Error(`answer: expected one at ${answers[lost].key}, got none`);
    }
    const lists = found.map((bytes, i) => readAnswer(bytes!, answers[i].base));
    const merged = mergeLists(lists, queries, k < 0 ? Infinity : k);
    await this.#tell(result, writeMerged(merged), deadline, reply);
    await this.#redis.unlink(...answers.map(({ key }) => key));
  }

  /** Stores what a client waits for, and says so: the value stays where the word is lost with a connection. */
  async #tell(key: string, bytes: Buffer, deadline: number, reply: string): Promise<void> {
    await this.#redis.set(key, bytes, 'PX', Math.max(1, deadline - Date.now()) + KEEP_MS);
    await this.#redis.publish(reply, key);
  }

  /** A request is fetched once for all segments that this process holds. */
  #request(key: string): Promise<Request> {
    let request = this.#requests.get(key);
    if (!request) {
      request = this.#redis.getBuffer(key).then((bytes) => {
        if (bytes === null) throw new Error(`request: expected one at ${key}, got none`);
        return readRequest(bytes);
      });
      request.catch(() => this.#requests.delete(key));
      this.#requests.set(key, request);
      for (const old of this.#requests.keys()) {
        if (this.#requests.size <= REQUESTS_KEPT) break;
        this.#requests.delete(old);
      }
    }
    return request;
  }
}
