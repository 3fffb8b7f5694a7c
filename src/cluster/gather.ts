import { randomUUID } from 'node:crypto';
import type { FlowProducer, Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { type ClusterSearchOptions, deadlineOf, type Question } from './calls.js';
import type { View } from './catalog.js';
import { ClusterError } from './error.js';
import { type Asked, JOB, KEEP_MS, type RowsJob, type SearchJob } from './jobs.js';
import { allSegments, type Head, type OpenSegment, readHead, type Segment } from './manifest.js';
import {
  dropLostQueues,
  dropQueue,
  keepQueue,
  openQueue,
  QUEUE_MS,
  readWorkers,
  shareOut,
  type WorkerStatus,
} from './placement.js';
import { checkRedis, loadPackages, type Names, within } from './redis.js';
import { Replies } from './replies.js';
import { type Lists, mergeLists, readAnswer } from './wire.js';

/** How often a waiting call looks unasked whether its workers live; and how soon at first where nobody holds a segment. */
const LOOK_MS = 250;
const FIRST_LOOK_MS = 20;
/** How old what is known of workers may be. */
const PLACEMENT_MS = 1000;
/** Flows that may have ended in this client's queue before they are cleared, and how long they may stay there. */
const CLEAR_FLOWS = 100;
const CLEAR_MS = 5000;
/** How long a goodbye to Redis may take. */
const CLOSE_MS = 2000;
const NOTHING = Buffer.alloc(0);
/** Redis is up, but not yet what it was. */
const PASSING = /LOADING|MASTERDOWN|CLUSTERDOWN|READONLY|TRYAGAIN|closed/i;

/** One worker's share of what a flow asks. */
interface Share {
  worker: string;
  segments: string[];
  /** Id of the answer. */
  id: string;
}

/** What is asked of segments until each has answered. */
interface Errand {
  /** Those that have not answered: rows by digest. */
  left: Map<string, number>;
  /** Milliseconds since 1970. */
  deadline: number;
  signal?: AbortSignal;
  /** Writes what the jobs read: at first, and where Redis may have lost it or a worker could not answer. */
  prepare(): void;
  job(segments: string[]): { name: string; data: Asked<SearchJob> | Asked<RowsJob> };
  /** Takes an answer in: what it answers for goes out of `left`. */
  take(bytes: Buffer, segments: string[]): void;
}

/**
 * A client's way to the workers and back. Each question is a BullMQ flow: a child in the queue of each worker that holds a
 * share of the segments, and the parent in this client's own queue, where it comes up when all children have ended. Answers
 * come in by a list. Where a worker is gone, does not hold a segment any more, or Redis was away, what has not been answered
 * is asked again.
 */
export class Gather {
  readonly #redis: Redis;
  readonly #names: Names;
  readonly #flows: FlowProducer;
  readonly #queue: Queue;
  readonly #replies: Replies;
  /** Calls that wait. */
  readonly #waiting = new Set<Bell>();
  readonly #renewal: NodeJS.Timeout;
  readonly #clearing: NodeJS.Timeout;
  #workers: { at: number; list: Promise<WorkerStatus[]> } | null = null;
  /** Times that Redis was away. */
  #losses = 0;
  #turn = 0;
  /** Flows that were added since the queue was cleared. */
  #added = 0;
  #isClosed = false;

  private constructor(redis: Redis, names: Names, flows: FlowProducer, queue: Queue) {
    this.#redis = redis;
    this.#names = names;
    this.#flows = flows;
    this.#queue = queue;
    flows.on('error', () => {});
    const onLoss = (): void => {
      this.#losses++;
      for (const bell of this.#waiting) bell.ring();
    };
    redis.on('ready', onLoss);
    this.#replies = new Replies(redis, names.key('answers', queue.name), onLoss);
    this.#renewal = setInterval(() => {
      keepQueue(redis, names, queue.name)
        .then(() => dropLostQueues(redis, names))
        .catch(() => {});
    }, QUEUE_MS / 4).unref();
    this.#clearing = setInterval(() => this.#clear(), CLEAR_MS).unref();
  }

  static async open(redis: Redis, names: Names): Promise<Gather> {
    const { bullmq } = await loadPackages();
    const { prefix } = names;
    const queue = await openQueue(redis, names, names.gather(randomUUID()));
    return new Gather(redis, names, new bullmq.FlowProducer({ connection: redis, prefix }), queue);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#renewal);
    clearInterval(this.#clearing);
    for (const bell of this.#waiting) bell.ring();
    this.#replies.close();
    // Without Redis they would wait for it for ever.
    const leave = async (): Promise<void> => {
      await this.#queue.close();
      await dropQueue(this.#redis, this.#names, this.#queue.name);
      await this.#redis.unlink(this.#replies.key);
      await this.#flows.close();
    };
    await within(
      CLOSE_MS,
      leave().catch(() => {}),
    );
  }

  /** Forgets the flows that have ended: of what they found, nothing is in them. */
  #clear(): void {
    if (this.#added === 0) return;
    this.#added = 0;
    this.#queue.drain().catch(() => {});
  }

  /** The neighbors of the queries at `request` among all segments; `prepare` writes them there. */
  async ask(
    { manifest, head }: View,
    { request, queries, prepare }: { request: string; queries: number; prepare: () => void },
    question: Question,
    options: ClusterSearchOptions,
  ): Promise<{ lists: Lists; missing: string[] }> {
    const ms = deadlineOf(options);
    const deadline = Date.now() + ms;
    const k = question.kind === 'radius' ? Infinity : question.k;
    const found: Lists[] = [];
    const left = new Map(allSegments(manifest).map(({ digest, rows }) => [digest, rows]));
    if (left.size === 0) return { lists: mergeLists([], queries, k), missing: [] };
    await this.#pursue({
      left,
      deadline,
      signal: options.signal,
      prepare,
      job: (segments) => ({ name: 'search', data: { request, head, deadline, segments } }),
      take: (bytes, segments) => {
        const { lists, segments: places } = readAnswer(bytes);
        for (const place of places) left.delete(segments[place]);
        if (places.length > 0) found.push(lists);
      },
    });
    void this.#redis.unlink(request).catch(() => {});
    if (left.size > 0) {
      await checkRedis(this.#redis, 2000);
      if (!options.partial) throw await this.#late([...left.keys()], ms, head);
    }
    return { lists: mergeLists(found, queries, k), missing: [...left.keys()] };
  }

  /**
   * Has a worker write the next rows of a segment at `request`, for `ask`; gives the first bytes of what it wrote.
   */
  async rows(
    { digest, rows }: Segment | OpenSegment,
    data: Omit<Asked<RowsJob>, 'segment' | 'deadline'>,
    options: ClusterSearchOptions,
  ): Promise<Buffer> {
    const ms = deadlineOf(options);
    const deadline = Date.now() + ms;
    const left = new Map([[digest, rows]]);
    let written: Buffer | null = null;
    await this.#pursue({
      left,
      deadline,
      signal: options.signal,
      prepare: () => {},
      job: () => ({ name: 'rows', data: { ...data, segment: digest, deadline } }),
      take: (bytes) => {
        written = bytes;
        left.clear();
      },
    });
    if (written) return written;
    await checkRedis(this.#redis, 2000);
    throw await this.#late([digest], ms, data.head);
  }

  /** Asks until every segment has answered, or the deadline has passed. */
  async #pursue(errand: Errand): Promise<void> {
    const { left, deadline, signal } = errand;
    const shares = new Map<string, Share>();
    const arrived: { id: string; bytes: Buffer }[] = [];
    let losses = -1;
    let pause = FIRST_LOOK_MS;
    let isFresh = false;
    let failure: unknown;
    const bell = new Bell();
    const wake = (): void => bell.ring();
    const arrive = (id: string, bytes: Buffer): void => {
      arrived.push({ id, bytes });
      bell.ring();
    };
    const forget = (id: string): void => {
      shares.delete(id);
      this.#replies.forget(id);
    };
    this.#waiting.add(bell);
    signal?.addEventListener('abort', wake);
    try {
      for (;;) {
        signal?.throwIfAborted();
        if (failure) throw failure;
        if (this.#isClosed) throw closed();
        const late = deadline - Date.now();
        if (late <= 0) return;

        if (losses !== this.#losses) {
          losses = this.#losses;
          for (const id of shares.keys()) forget(id);
          errand.prepare();
        }
        const workers = await this.#placement(isFresh, Math.min(late, 2 * LOOK_MS));
        for (const { id, worker } of shares.values())
          if (!workers.some((living) => living.id === worker)) forget(id);
        const asked = new Set([...shares.values()].flatMap(({ segments }) => segments));
        const unasked = new Map([...left].filter(([digest]) => !asked.has(digest)));
        if (unasked.size > 0) {
          const parts = [...shareOut(unasked, workers, this.#turn++)].map(([worker, segments]) => ({
            ...{ worker, segments },
            id: randomUUID(),
          }));
          for (const part of parts) {
            shares.set(part.id, part);
            for (const digest of part.segments) asked.add(digest);
            this.#replies.expect(part.id, (bytes) => arrive(part.id, bytes));
          }
          if (parts.length > 0) {
            this.#scatter(parts, errand).catch((error: Error) => {
              if (!PASSING.test(error.message)) failure = error;
              for (const { id } of parts) arrive(id, NOTHING);
            });
          }
        }

        // Where some segments are with nobody, one looks soon, and less and less often, whether they are.
        const isHeld = asked.size >= left.size;
        await bell.wait(Math.min(isHeld ? LOOK_MS : pause, Math.max(1, deadline - Date.now())));
        if (!isHeld) pause = Math.min(2 * pause, LOOK_MS);
        isFresh = !bell.wasRung || !isHeld;

        let isMissing = false;
        for (const { id, bytes } of arrived.splice(0)) {
          const share = shares.get(id);
          if (!share) continue; // another was asked since
          forget(id);
          if (bytes.length > 0) errand.take(bytes, share.segments);
          else errand.prepare();
          isMissing ||= share.segments.some((digest) => left.has(digest));
        }
        if (left.size === 0) return;
        // A worker that answered without a segment has given it up, and says so soon.
        if (isMissing) {
          await bell.wait(Math.min(FIRST_LOOK_MS, Math.max(1, deadline - Date.now())));
          isFresh = true;
        }
      }
    } finally {
      this.#waiting.delete(bell);
      for (const id of shares.keys()) forget(id);
      signal?.removeEventListener('abort', wake);
    }
  }

  /** One flow: a child for each worker, then the word that all have ended. */
  async #scatter(shares: Share[], errand: Errand): Promise<void> {
    const { prefix } = this.#names;
    const replies = this.#replies.key;
    if (++this.#added >= CLEAR_FLOWS) this.#clear();
    await this.#flows.add({
      name: 'gather',
      queueName: this.#queue.name,
      prefix,
      data: {},
      opts: { removeOnComplete: true, removeOnFail: true },
      children: shares.map(({ worker, segments, id }) => {
        const { name, data } = errand.job(segments);
        const to = { replies, answer: id };
        return { name, data: { ...data, ...to }, queueName: this.#names.worker(worker), prefix, opts: JOB };
      }),
    });
  }

  /** The workers that live, as of lately; `isFresh`: as of now. */
  async #placement(isFresh: boolean, ms: number): Promise<WorkerStatus[]> {
    const known = this.#workers;
    if (!known || isFresh || Date.now() - known.at > PLACEMENT_MS) {
      const list = readWorkers(this.#redis, this.#names);
      list.catch(() => {});
      const read = { at: Date.now(), list };
      this.#workers = read;
      const workers = await within(ms, list);
      if (workers) return workers;
      if (this.#workers === read) this.#workers = known;
      return known ? ((await within(1, known.list)) ?? []) : [];
    }
    return (await within(ms, known.list)) ?? [];
  }

  /** What is said of segments that did not answer, with the reasons of those who refused them. */
  async #late(segments: string[], ms: number, { generation }: Head): Promise<ClusterError> {
    const reasons: string[] = [];
    const shown = await this.#redis.get(this.#names.head);
    if (shown !== null && readHead(shown).generation !== generation)
      reasons.push(`workers gave generation ${generation} up for a newer one`);
    for (const { id, refused } of await readWorkers(this.#redis, this.#names))
      for (const [digest, reason] of Object.entries(refused))
        if (segments.includes(digest)) reasons.push(`worker ${id}: ${reason}`);
    const names = segments.map((digest) => digest.slice(0, 12)).join(', ');
    const why = reasons.length > 0 ? ` (${reasons.join('; ')})` : '';
    return new ClusterError(
      'ERR_CLUSTER_DEADLINE',
      `cluster: expected answers within ${ms} ms, got none from segment ${names}${why}`,
      segments,
    );
  }
}

/** Wakes one that waits; a ring that comes before is heard as well. */
class Bell {
  /** Whether the last wait ended by a ring. */
  wasRung = false;
  #isRung = false;
  #wake: () => void = () => {};

  ring(): void {
    this.#isRung = true;
    this.#wake();
  }

  async wait(ms: number): Promise<void> {
    if (!this.#isRung) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.wasRung = this.#isRung;
    this.#isRung = false;
  }
}

export function closed(): ClusterError {
  return new ClusterError('ERR_CLUSTER_CLOSED', 'cluster: expected an open connection, got a closed one');
}

/** Milliseconds that Redis keeps what a call of this deadline writes. */
export function keepMs(options: ClusterSearchOptions): number {
  return deadlineOf(options) + KEEP_MS;
}
