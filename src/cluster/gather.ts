import { randomUUID } from 'node:crypto';
import type { FlowProducer, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { type ClusterSearchOptions, deadlineOf, type Question } from './calls.js';
import type { View } from './catalog.js';
import { ClusterError } from './error.js';
import { JOB, KEEP_MS, type RowsJob, type SearchJob } from './jobs.js';
import { allSegments, type OpenSegment, type Segment } from './manifest.js';
import {
  dropLostQueues,
  dropQueue,
  keepQueue,
  ownQueue,
  QUEUE_MS,
  readWorkers,
  shareOut,
  type WorkerStatus,
} from './placement.js';
import { checkRedis, loadPackages, type Names, within } from './redis.js';
import { type Lists, mergeLists, readAnswer } from './wire.js';

/** How often a waiting call looks unasked whether its workers live; and how soon at first where nobody holds a segment. */
const LOOK_MS = 250;
const FIRST_LOOK_MS = 20;
/** How old what is known of workers may be. */
const PLACEMENT_MS = 1000;
/** How long a goodbye to Redis may take. */
const CLOSE_MS = 2000;
/** Redis is up, but not yet what it was. */
const PASSING = /LOADING|MASTERDOWN|CLUSTERDOWN|READONLY|TRYAGAIN|closed/i;

/** One worker's share of what a flow asks. */
interface Share {
  worker: string;
  segments: string[];
  key: string;
  flow: string;
}

/** What is asked of segments until each has answered. */
interface Errand {
  /** Those that have not answered: rows by digest. */
  left: Map<string, number>;
  /** Milliseconds since 1970. */
  deadline: number;
  signal?: AbortSignal;
  /** Writes what the jobs read: at first, and where Redis may have lost it. */
  prepare(): void;
  job(segments: string[], key: string): { name: string; data: SearchJob | RowsJob };
  /** The bytes at the keys of shares. */
  read(keys: string[]): Promise<(Buffer | null)[]>;
  /** Takes an answer in: what it answers for goes out of `left`. */
  take(bytes: Buffer, segments: string[]): void;
}

/**
 * A client's way to the workers and back. Each question is a BullMQ flow: a child in the queue of each worker that holds a
 * share of the segments, and the parent in this client's own queue, where it comes up when all children have ended. Where a
 * worker is gone, does not hold a segment any more, or Redis was away, what has not been answered is asked again.
 */
export class Gather {
  readonly #redis: Redis;
  readonly #names: Names;
  readonly #flows: FlowProducer;
  readonly #worker: Worker;
  readonly #queue: string;
  /** Calls that wait, by their flow. */
  readonly #waiting = new Map<string, () => void>();
  readonly #renewal: NodeJS.Timeout;
  #workers: { at: number; list: Promise<WorkerStatus[]> } | null = null;
  /** Times that Redis was away. */
  #losses = 0;
  #turn = 0;
  #isClosed = false;

  private constructor(redis: Redis, names: Names, flows: FlowProducer, worker: Worker, queue: string) {
    this.#redis = redis;
    this.#names = names;
    this.#flows = flows;
    this.#worker = worker;
    this.#queue = queue;
    flows.on('error', () => {});
    redis.on('ready', () => {
      this.#losses++;
      for (const wake of this.#waiting.values()) wake();
    });
    this.#renewal = setInterval(() => {
      keepQueue(redis, names, queue)
        .then(() => dropLostQueues(redis, names))
        .catch(() => {});
    }, QUEUE_MS / 4).unref();
  }

  static async open(redis: Redis, names: Names): Promise<Gather> {
    const { bullmq } = await loadPackages();
    const { prefix } = names;
    const queue = names.gather(randomUUID());
    await ownQueue(redis, names, queue);
    const flows = new bullmq.FlowProducer({ connection: redis, prefix });
    // Its jobs are done at once, so no lock of theirs runs out; one that is done twice wakes nobody.
    const worker: Worker = new bullmq.Worker(queue, async ({ id }) => gather.#waiting.get(String(id))?.(), {
      ...{ connection: redis, prefix, autorun: false, skipLockRenewal: true },
      ...{ removeOnComplete: { count: 0 }, removeOnFail: { count: 0 } },
    });
    worker.on('error', () => {}); // it connects again, and waiting calls look for themselves meanwhile
    const gather = new Gather(redis, names, flows, worker, queue);
    void worker.run().catch(() => {});
    return gather;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#renewal);
    for (const wake of this.#waiting.values()) wake();
    // Without Redis they would wait for it for ever.
    const leave = async (): Promise<void> => {
      await this.#worker.close(true);
      await dropQueue(this.#redis, this.#names, this.#queue);
      await this.#flows.close();
    };
    await within(
      CLOSE_MS,
      leave().catch(() => {}),
    );
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
    const spent = [request];
    const left = new Map(allSegments(manifest).map(({ digest, rows }) => [digest, rows]));
    if (left.size === 0) return { lists: mergeLists([], queries, k), missing: [] };
    await this.#pursue({
      left,
      deadline,
      signal: options.signal,
      prepare,
      job: (segments, answer) => ({ name: 'search', data: { request, answer, head, deadline, segments } }),
      read: (keys) => this.#redis.mgetBuffer(...keys),
      take: (bytes, segments) => {
        const { lists, segments: places } = readAnswer(bytes);
        for (const place of places) left.delete(segments[place]);
        if (places.length > 0) found.push(lists);
      },
      spent,
    });
    void this.#redis.unlink(...spent).catch(() => {});
    if (left.size > 0) {
      await checkRedis(this.#redis, 2000);
      if (!options.partial) throw await this.late([...left.keys()], ms);
    }
    return { lists: mergeLists(found, queries, k), missing: [...left.keys()] };
  }

  /**
   * Has a worker write the next rows of a segment at `request`, for `ask`; gives the first bytes of what it wrote.
   */
  async rows(
    { digest, rows }: Segment | OpenSegment,
    data: Omit<RowsJob, 'segment' | 'deadline'>,
    bytesWanted: number,
    options: ClusterSearchOptions,
  ): Promise<Buffer> {
    const ms = deadlineOf(options);
    const deadline = Date.now() + ms;
    const left = new Map([[digest, rows]]);
    let head: Buffer | null = null;
    await this.#pursue({
      left,
      deadline,
      signal: options.signal,
      prepare: () => {},
      job: () => ({ name: 'rows', data: { ...data, segment: digest, deadline } }),
      read: (keys) =>
        Promise.all(keys.map(() => this.#redis.getrangeBuffer(data.request, 0, bytesWanted - 1))),
      take: (bytes) => {
        if (bytes.length === 0) return;
        head = bytes;
        left.clear();
      },
      spent: [],
    });
    if (head) return head;
    await checkRedis(this.#redis, 2000);
    throw await this.late([digest], ms);
  }

  /** Asks until every segment has answered, or the deadline has passed. */
  async #pursue(errand: Errand & { spent: string[] }): Promise<void> {
    const { left, deadline, signal, spent } = errand;
    let shares: Share[] = [];
    let losses = -1;
    let pause = FIRST_LOOK_MS;
    let isFresh = false;
    let failure: unknown;
    const flows = new Set<string>();
    const ended = new Set<string>();
    const bell = new Bell();
    const wake = (): void => bell.ring();
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
          shares = [];
          errand.prepare();
        }
        const workers = await this.#placement(isFresh, Math.min(late, 2 * LOOK_MS));
        shares = shares.filter(({ worker }) => workers.some(({ id }) => id === worker));
        const asked = new Set(shares.flatMap(({ segments }) => segments));
        const unasked = new Map([...left].filter(([digest]) => !asked.has(digest)));
        if (unasked.size > 0) {
          const flow = randomUUID();
          const parts = [...shareOut(unasked, workers, this.#turn++)].map(([worker, segments], i) => ({
            ...{ worker, segments, flow },
            key: this.#names.key('answer', flow, i),
          }));
          if (parts.length > 0) {
            shares.push(...parts);
            spent.push(...parts.map(({ key }) => key));
            flows.add(flow);
            this.#waiting.set(flow, () => {
              ended.add(flow);
              bell.ring();
            });
            this.#scatter(flow, parts, errand).catch((error: Error) => {
              if (PASSING.test(error.message)) ended.add(flow);
              else failure = error;
              bell.ring();
            });
          }
          isFresh = parts.length === 0;
        }

        // Where some segments are with nobody, one looks soon, and less and less often, whether they are.
        const isHeld = shares.reduce((sum, { segments }) => sum + segments.length, 0) >= left.size;
        await bell.wait(Math.min(isHeld ? LOOK_MS : pause, Math.max(1, deadline - Date.now())));
        if (!isHeld) pause = Math.min(2 * pause, LOOK_MS);
        isFresh = !bell.wasRung || !isHeld;

        if (shares.length === 0) continue;
        // A connection that is down keeps commands waiting: they must not outlast the deadline.
        const ms = Math.max(1, Math.min(deadline - Date.now(), 2 * LOOK_MS));
        const over = new Set(ended);
        const answers = await within(ms, errand.read(shares.map(({ key }) => key)));
        if (!answers) continue;
        answers.forEach((bytes, i) => {
          if (bytes) errand.take(bytes, shares[i].segments);
        });
        if (left.size === 0) return;
        const before = shares.length;
        shares = shares.filter(({ flow }, i) => !answers[i]?.length && !over.has(flow));
        // A worker that answered without a segment has given it up, and says so soon.
        if (shares.length < before) {
          await bell.wait(Math.min(FIRST_LOOK_MS, Math.max(1, deadline - Date.now())));
          isFresh = true;
        }
      }
    } finally {
      for (const flow of flows) this.#waiting.delete(flow);
      signal?.removeEventListener('abort', wake);
    }
  }

  /** One flow: a child for each worker, then the word that all have ended. */
  async #scatter(flow: string, shares: Share[], errand: Errand): Promise<void> {
    const { prefix } = this.#names;
    await this.#flows.add({
      name: 'gather',
      queueName: this.#queue,
      prefix,
      data: {},
      opts: { jobId: flow, removeOnComplete: true, removeOnFail: true },
      children: shares.map(({ worker, segments, key }) => ({
        ...errand.job(segments, key),
        queueName: this.#names.worker(worker),
        prefix,
        opts: JOB,
      })),
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
  async late(segments: string[], ms: number): Promise<ClusterError> {
    const reasons: string[] = [];
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
