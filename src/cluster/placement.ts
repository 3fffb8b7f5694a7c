import type { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { loadPackages, type Names } from './redis.js';

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

/** The workers that have said something lately. */
export async function readWorkers(redis: Redis, names: Names): Promise<WorkerStatus[]> {
  const ids = await redis.zrangebyscore(names.key('workers'), Date.now(), '+inf');
  if (ids.length === 0) return [];
  const texts = await redis.mget(...ids.map((id) => names.key('worker', id)));
  return texts.flatMap((text) => (text === null ? [] : [JSON.parse(text) as WorkerStatus]));
}

/** Says what a worker serves, for so many milliseconds. */
export async function tellWorker(
  redis: Redis,
  names: Names,
  status: WorkerStatus,
  ms: number,
): Promise<void> {
  await redis.set(names.key('worker', status.id), JSON.stringify(status), 'PX', ms);
  await redis.zadd(names.key('workers'), Date.now() + ms, status.id);
}

/** Takes back what a worker said. */
export async function forgetWorker(redis: Redis, names: Names, id: string): Promise<void> {
  await redis.unlink(names.key('worker', id));
  await redis.zrem(names.key('workers'), id);
}

/**
 * Which of the holders of each segment to ask: of several that which has the fewest rows to search so far, in turn where
 * that leaves a choice. `segments` are rows by digest; those that nobody holds are in no share.
 */
export function shareOut(
  segments: ReadonlyMap<string, number>,
  workers: readonly Pick<WorkerStatus, 'id' | 'segments'>[],
  turn: number,
): Map<string, string[]> {
  const holders = new Map<string, string[]>();
  workers.forEach((_, i) => {
    const { id, segments: held } = workers[(i + turn) % workers.length];
    for (const digest of held) {
      const known = holders.get(digest);
      if (known) known.push(id);
      else holders.set(digest, [id]);
    }
  });
  const shares = new Map<string, string[]>();
  const rows = new Map<string, number>();
  for (const [digest, count] of segments) {
    let best: string | undefined;
    for (const id of holders.get(digest) ?? [])
      if (best === undefined || (rows.get(id) ?? 0) < (rows.get(best) ?? 0)) best = id;
    if (best === undefined) continue;
    rows.set(best, (rows.get(best) ?? 0) + count);
    const share = shares.get(best);
    if (share) share.push(digest);
    else shares.set(best, [digest]);
  }
  return shares;
}

/** A queue whose owner has said nothing for so long is nobody's. */
export const QUEUE_MS = 60_000;
/** Events of a queue that Redis keeps: nobody reads them but dashboards. */
const EVENTS = 100;

/** The queue of one worker or client, who must say that it is still there. */
export async function ownQueue(redis: Redis, names: Names, name: string): Promise<void> {
  await (await openQueue(redis, names, name)).close();
}

export async function keepQueue(redis: Redis, names: Names, name: string): Promise<void> {
  await redis.zadd(names.key('queues'), Date.now() + QUEUE_MS, name);
}

/** Forgets a queue with all that is in it: who waits for its jobs has seen that its owner is gone, and asks another. */
export async function dropQueue(redis: Redis, names: Names, name: string): Promise<void> {
  await withQueue(redis, names, name, (queue) => queue.obliterate({ force: true }));
  await redis.zrem(names.key('queues'), name);
}

/** Forgets the queues of workers and clients that are gone. */
export async function dropLostQueues(redis: Redis, names: Names): Promise<void> {
  for (const name of await redis.zrangebyscore(names.key('queues'), '-inf', Date.now()))
    await dropQueue(redis, names, name).catch(() => {}); // another one is at it
}

/** Jobs that a worker has not ended. */
export function waitingJobs(redis: Redis, names: Names, id: string): Promise<number> {
  return withQueue(redis, names, names.worker(id), async (queue) => {
    const { wait, active, delayed } = await queue.getJobCounts('wait', 'active', 'delayed');
    return wait + active + delayed;
  });
}

/** `ownQueue`, and the queue itself. */
export async function openQueue(redis: Redis, names: Names, name: string): Promise<Queue> {
  const queue = await queueOf(redis, names, name);
  await queue.waitUntilReady();
  await keepQueue(redis, names, name);
  return queue;
}

async function queueOf(redis: Redis, names: Names, name: string): Promise<Queue> {
  const { bullmq } = await loadPackages();
  const { prefix } = names;
  const queue: Queue = new bullmq.Queue(name, {
    connection: redis,
    prefix,
    streams: { events: { maxLen: EVENTS } },
  });
  queue.on('error', () => {});
  return queue;
}

async function withQueue<T>(
  redis: Redis,
  names: Names,
  name: string,
  use: (queue: Queue) => Promise<T>,
): Promise<T> {
  const queue = await queueOf(redis, names, name);
  try {
    return await use(queue);
  } finally {
    await queue.close();
  }
}
