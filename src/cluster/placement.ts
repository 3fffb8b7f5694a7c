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
  /** Workers that shall hold each segment, as this one was told. */
  copies: number;
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

/** How full a worker is: bytes of the segments that it serves, as a share of its memory. */
function fillOf({ segments, memoryBytes }: Placed, bytes: ReadonlyMap<string, number>, more = 0): number {
  return (segments.reduce((sum, digest) => sum + (bytes.get(digest) ?? 0), 0) + more) / memoryBytes;
}

type Placed = Pick<WorkerStatus, 'id' | 'segments' | 'memoryBytes' | 'copies'>;

/**
 * The segment that worker `id` should take beside its holder, who then gives it up: the largest of the fullest worker that
 * leaves this one no fuller than that one, so that nothing ever goes back. `bytes`: those of each segment that may move; none
 * moves while one is without all its copies, or has more of them.
 */
export function segmentToTake(
  id: string,
  workers: readonly Placed[],
  bytes: ReadonlyMap<string, number>,
): string | null {
  const own = workers.find((worker) => worker.id === id);
  if (!own) return null;
  for (const digest of bytes.keys())
    if (workers.filter(({ segments }) => segments.includes(digest)).length !== own.copies) return null;
  const bySize = [...bytes.keys()].sort((a, b) => bytes.get(b)! - bytes.get(a)!);
  const byFill = [...workers].sort((a, b) => fillOf(b, bytes) - fillOf(a, bytes));
  for (const fullest of byFill)
    for (const digest of bySize) {
      if (!fullest.segments.includes(digest) || own.segments.includes(digest)) continue;
      const size = bytes.get(digest)!;
      if (fillOf(own, bytes, size) <= Math.min(1, fillOf(fullest, bytes, -size))) return digest;
    }
  return null;
}

/** Whether worker `id` is the one that gives a segment up: the fullest, where more serve it than shall. */
export function isSurplus(
  id: string,
  digest: string,
  workers: readonly Placed[],
  bytes: ReadonlyMap<string, number>,
): boolean {
  const holders = workers.filter(({ segments }) => segments.includes(digest));
  if (holders.length <= Math.max(...holders.map(({ copies }) => copies))) return false;
  const [fullest] = holders.sort((a, b) => fillOf(b, bytes) - fillOf(a, bytes) || (a.id < b.id ? -1 : 1));
  return fullest.id === id;
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
