import { randomUUID } from 'node:crypto';
import { EventEmitter } from 'node:events';
import type { Job, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import type { View } from './catalog.js';
import { ClusterError } from './error.js';
import { HeldSegment } from './held.js';
import { JOB, KEEP_MS, type RowsJob, type SearchJob } from './jobs.js';
import {
  allSegments,
  type Head,
  type Manifest,
  type OpenSegment,
  readHead,
  type Segment,
} from './manifest.js';
import {
  dropLostQueues,
  dropQueue,
  forgetWorker,
  isSurplus,
  keepQueue,
  ownQueue,
  QUEUE_MS,
  readWorkers,
  segmentToTake,
  tellWorker,
  type WorkerStatus,
} from './placement.js';
import { loadPackages, Names, openRedis, type RedisAddress, TOMBSTONE_BITS } from './redis.js';
import { reply } from './replies.js';
import { RedisStore, type SegmentStore } from './store.js';
import {
  type Lists,
  mergeLists,
  type Request,
  readRequest,
  requestHeadBytes,
  writeAnswer,
  writeRequest,
} from './wire.js';

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

/** Jobs under way: while one is searched, the bytes of another come and go. */
const JOBS = 2;

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

/** Gives a segment up, unless fewer would be left than shall hold it: ARGV as for CLAIM. */
const LEAVE = `
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[2])
if redis.call('ZCARD', KEYS[1]) > tonumber(ARGV[4]) then return redis.call('ZREM', KEYS[1], ARGV[1]) end
return 0`;

/**
 * A process that holds segments of a cluster in memory and answers for them. It takes as many as its memory lets it, those
 * with the fewest copies first, and follows the cluster's changes. Where all have their holders, it takes segments over from
 * fuller workers: it serves one beside its holder, who then gives it up.
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
  readonly #held = new Map<string, { segment: HeldSegment; bytes: number }>();
  /** Segments that the newest manifest has not, and since when. */
  readonly #unwanted = new Map<string, number>();
  /** Segments that others serve since: it says so, and answers those who have not heard it yet. Since when. */
  readonly #left = new Map<string, number>();
  readonly #refused = new Map<string, string>();
  readonly #queue: string;
  /** The end of all work on segments that was begun: one thing at a time. */
  #turn: Promise<unknown> = Promise.resolve();
  #head: Head | null = null;
  #manifest: Manifest | null = null;
  #worker: Worker | null = null;
  /** When this worker last said that its queue is not lost, and looked for some that are. */
  #queuesAt = 0;
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
    this.#queue = names.worker(this.id);
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
      segments: [...this.#held.keys()].filter((digest) => !this.#left.has(digest)),
      bytes,
      memoryBytes: this.#memoryBytes,
      copies: this.#copies,
      refused: Object.fromEntries(this.#refused),
    };
  }

  /** Lets others take its segments, ends the jobs under way, and leaves. */
  async close(): Promise<void> {
    if (this.#isClosing) return;
    this.#isClosing = true;
    if (this.#timer) clearTimeout(this.#timer);
    await this.#round?.catch(() => {});
    const quietly = (work: Promise<unknown>): Promise<unknown> => work.catch(() => {});
    // Nobody asks any more; who has asked and is not answered asks another.
    await quietly(forgetWorker(this.#redis, this.#names, this.id));
    await this.#worker?.close();
    await Promise.all([...this.#held.keys()].map((digest) => this.#drop(digest)));
    await quietly(dropQueue(this.#redis, this.#names, this.#queue));
    await quietly(this.#redis.publish(this.#names.changes, ''));
    this.#listener?.disconnect();
    this.#redis.disconnect();
  }

  async #start(): Promise<void> {
    const { bullmq } = await loadPackages();
    await ownQueue(this.#redis, this.#names, this.#queue);
    this.#worker = new bullmq.Worker(this.#queue, (job) => this.#serve(job), {
      connection: this.#redis,
      prefix: this.#names.prefix,
      concurrency: JOBS,
      // Jobs depend on nothing but bytes: one that was slow may begin again, as often as need be.
      ...{ lockDuration: this.#goneAfterMs, stalledInterval: this.#goneAfterMs, maxStalledCount: 1000 },
      ...{ removeOnComplete: { count: 0 }, removeOnFail: { count: 0 } },
    });
    this.#worker.on('error', () => {}); // a lost connection: BullMQ connects again
    this.#listener = this.#redis.duplicate();
    this.#listener.on('error', () => {});
    this.#listener.on('message', () => this.#hurry());
    await this.#listener.subscribe(this.#names.changes);
    await this.#tick();
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
    const before = this.status.segments.join();
    const text = await this.#redis.get(this.#names.head);
    if (text !== null) await this.#follow(readHead(text));
    const manifest = text === null ? null : this.#manifest;
    const head = this.#head;
    const all = manifest ? allSegments(manifest) : [];
    const wanted = new Set(all.map(({ digest }) => digest));
    for (const [digest, { segment }] of this.#held) {
      if (wanted.has(digest)) this.#unwanted.delete(digest);
      else if (!this.#unwanted.has(digest)) this.#unwanted.set(digest, Date.now());
      // Searches that began before the change still ask for it, and long calls for all of their generation.
      else if (Date.now() - this.#unwanted.get(digest)! > 2 * this.#goneAfterMs) {
        if (segment.generation === head?.generation || !(await this.#isRead(segment.generation)))
          await this.#drop(digest);
      }
    }

    // Those that it has first, then those with the fewest holders.
    const counts = new Map<string, number>();
    for (const { digest } of all) {
      const holders = await this.#redis.zcount(this.#names.key('holders', digest), Date.now(), '+inf');
      counts.set(digest, this.#held.has(digest) ? -1 : holders);
    }
    const order = all.slice().sort((a, b) => counts.get(a.digest)! - counts.get(b.digest)!);
    for (const segment of order) {
      if (this.#isClosing || !manifest || !head) break;
      const { digest } = segment;
      const bytes = 'bytes' in segment ? segment.bytes : segment.rows * manifest.dimensions * 4;
      const held = this.#held.get(digest);
      if (held) held.bytes = bytes; // an open one grows
      if (!this.#held.has(digest) && !(await this.#makeRoom(bytes))) continue;
      const isHolder = await this.#claim(digest);
      const left = this.#left.get(digest);
      if (isHolder) this.#left.delete(digest);
      if (isHolder && !this.#held.has(digest)) await this.#take(segment, { manifest, head }, bytes);
      else if (!isHolder && left !== undefined && Date.now() - left < 2 * this.#goneAfterMs) continue;
      else if (!isHolder && this.#held.has(digest)) await this.#drop(digest);
    }
    await tellWorker(this.#redis, this.#names, this.status, this.#goneAfterMs);
    if (manifest && head) await this.#balance({ manifest, head });
    if (Date.now() - this.#queuesAt > QUEUE_MS / 4) {
      this.#queuesAt = Date.now();
      await keepQueue(this.#redis, this.#names, this.#queue);
      await dropLostQueues(this.#redis, this.#names);
    }
    const { segments } = this.status;
    if (segments.join() !== before) this.emit('segments', segments);
  }

  /**
   * Gives up what others serve beside it, and takes a segment over from a fuller worker: one at a time, so that each sees what
   * the one before changed.
   */
  async #balance({ manifest, head }: View): Promise<void> {
    const workers = await readWorkers(this.#redis, this.#names);
    const bytes = new Map(manifest.segments.map((segment) => [segment.digest, segment.bytes]));
    for (const digest of this.status.segments) {
      if (!isSurplus(this.id, digest, workers, bytes)) continue;
      if (!(await this.#askHolders(LEAVE, digest, this.#copies))) continue;
      this.#left.set(digest, Date.now());
      await tellWorker(this.#redis, this.#names, this.status, this.#goneAfterMs);
      return;
    }
    const wanted = segmentToTake(this.id, workers, bytes);
    const segment = manifest.segments.find(({ digest }) => digest === wanted);
    if (!segment || this.#isClosing || this.#held.has(segment.digest)) return;
    if (!(await this.#makeRoom(segment.bytes))) return;
    if (!(await this.#askHolders(CLAIM, segment.digest, this.#copies + 1))) return;
    await this.#take(segment, { manifest, head }, segment.bytes);
    this.#isHurried = true; // to say so, and to take the next
  }

  /** Whether a long call still reads a generation that is not shown any more. */
  async #isRead(generation: string): Promise<boolean> {
    const until = await this.#redis.zscore(this.#names.key('readers'), generation);
    return until !== null && Number(until) > Date.now();
  }

  /** Whether `bytes` more fit, if need be without segments that nobody asks for any more, or others serve. */
  async #makeRoom(bytes: number): Promise<boolean> {
    for (const digest of [...this.#unwanted.keys(), ...this.#left.keys()]) {
      if (this.status.bytes + bytes <= this.#memoryBytes) break;
      await this.#drop(digest);
    }
    return this.status.bytes + bytes <= this.#memoryBytes;
  }

  #claim(digest: string): Promise<boolean> {
    return this.#askHolders(CLAIM, digest, this.#copies);
  }

  async #askHolders(script: string, digest: string, copies: number): Promise<boolean> {
    const now = Date.now();
    const key = this.#names.key('holders', digest);
    const until = now + this.#goneAfterMs;
    return (await this.#redis.eval(script, 1, key, this.id, now, until, copies)) === 1;
  }

  /** Loads a segment; one that is not what the manifest says is refused by name. */
  async #take(segment: Segment | OpenSegment, { manifest, head }: View, bytes: number): Promise<void> {
    const { digest } = segment;
    try {
      const held =
        'parts' in segment
          ? await HeldSegment.load(segment, manifest, this.#store)
          : HeldSegment.open(segment, manifest);
      await this.#refresh(held, head);
      this.#held.set(digest, { segment: held, bytes });
      this.#refused.delete(digest);
    } catch (error) {
      await this.#redis.zrem(this.#names.key('holders', digest), this.id);
      const message = (error as Error).message;
      if (this.#refused.get(digest) !== message) this.emit('problem', error);
      this.#refused.set(digest, message);
    }
  }

  async #drop(digest: string): Promise<void> {
    const held = this.#held.get(digest);
    if (!held) return;
    this.#held.delete(digest);
    this.#unwanted.delete(digest);
    this.#left.delete(digest);
    await this.#redis.zrem(this.#names.key('holders', digest), this.id).catch(() => {});
    await this.#inTurn(async () => held.segment.dispose());
  }

  /** Runs work on segments alone: they change between answers, never within one. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {});
    return done;
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

  /** Brings a segment up to the state that a job wants. */
  async #refresh(held: HeldSegment, head: Head): Promise<void> {
    if (held.isOpen && held.version < head.version) {
      const { open, version } = await this.#openAt(held, head);
      await held.extend(open, version, this.#store);
    }
    if (held.tombstones < head.tombstones)
      held.bury(await this.#tombstones(held.generation, held.base, held.rows), head.tombstones);
  }

  /** An open segment as it was shown under a head: now, or before it was sealed. */
  async #openAt({ digest }: HeldSegment, head: Head): Promise<{ open: OpenSegment; version: number }> {
    if (this.#head!.version < head.version) {
      const text = await this.#redis.get(this.#names.head);
      if (text !== null) await this.#follow(readHead(text));
    }
    if (this.#manifest?.open?.digest === digest && this.#head!.version >= head.version)
      return { open: this.#manifest.open, version: this.#head!.version };
    const text = await this.#redis.get(this.#names.manifest(head.generation, head.version));
    const { open = null } = text === null ? {} : (JSON.parse(text) as Manifest);
    if (open?.digest === digest) return { open, version: head.version };
    throw new ClusterError(
      'ERR_CLUSTER_SEGMENT',
      `segment ${digest.slice(0, 12)}: expected it open in version ${head.version}, got another or none`,
      [digest],
    );
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

  /** Does a job and sends the answer; where it fails for good, one of no bytes, so that another worker is asked. */
  async #serve(job: Job<SearchJob | RowsJob>): Promise<void> {
    const { replies, answer, deadline } = job.data;
    if (Date.now() > deadline) return; // nobody waits for it
    let bytes: Uint8Array;
    try {
      bytes = 'segment' in job.data ? await this.#rows(job.data) : await this.#search(job.data);
    } catch (error) {
      if (job.attemptsMade + 1 < JOB.attempts) throw error;
      bytes = new Uint8Array(0);
    }
    reply(this.#redis, { replies, answer, bytes, ms: Math.max(1, deadline - Date.now()) + KEEP_MS });
  }

  async #search({ request, segments, head }: SearchJob): Promise<Uint8Array> {
    const question = await this.#request(request);
    const count = question.queries.length / question.dimensions;
    const k = question.kind === 'radius' ? Infinity : question.k;
    return this.#inTurn(async () => {
      const places: number[] = [];
      const lists: Lists[] = [];
      for (const [place, digest] of segments.entries()) {
        const held = this.#held.get(digest)?.segment;
        if (!held) continue; // given up since: another holds it
        await this.#refresh(held, head);
        lists.push(await held.answer(question));
        places.push(place);
      }
      return writeAnswer(places, mergeLists(lists, count, k));
    });
  }

  /** Writes rows where the next job reads them. */
  async #rows(job: RowsJob): Promise<Uint8Array> {
    const { request, segment, head, deadline, from, to, count, kind, k, recall, radius, exact } = job;
    const written = await this.#inTurn(async () => {
      const held = this.#held.get(segment)?.segment;
      if (!held) return null;
      await this.#refresh(held, head);
      const { dimensions } = held.index;
      const { ids, vectors, next } = held.vectors(from, to, count);
      const bytes = writeRequest({ kind, dimensions, k, recall, radius, exact, queries: vectors, ids, next });
      return { bytes, headBytes: requestHeadBytes(ids.length) };
    });
    if (!written) return new Uint8Array(0);
    const { bytes, headBytes } = written;
    await this.#redis.set(request, bytes, 'PX', Math.max(1, deadline - Date.now()) + KEEP_MS);
    return bytes.subarray(0, headBytes);
  }

  async #request(key: string): Promise<Request> {
    const bytes = await this.#redis.getBuffer(key);
    if (bytes === null) throw new Error(`request: expected one at ${key}, got none`);
    return readRequest(bytes);
  }
}
