import type { Redis } from 'ioredis';
import type { Metric } from '../index.js';
import type { Catalog } from './catalog.js';
import { allSegments, bytesOf, rowsOf } from './manifest.js';
import { readWorkers, type WorkerStatus, waitingJobs } from './placement.js';
import { type Names, usedBytes } from './redis.js';

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
    /** Workers that serve it. */
    holders: number;
  }[];
  /** `waiting`: jobs that a worker has not ended. */
  workers: (WorkerStatus & { waiting: number })[];
  /** Bytes that Redis uses. */
  redisBytes: number;
}

export async function readStatus(redis: Redis, names: Names, catalog: Catalog): Promise<ClusterStatus> {
  const head = await catalog.head();
  const manifest = head ? (await catalog.viewOf(head)).manifest : null;
  const workers = await readWorkers(redis, names);
  const holders = new Map<string, number>();
  for (const digest of workers.flatMap(({ segments }) => segments))
    holders.set(digest, (holders.get(digest) ?? 0) + 1);
  return {
    generation: head?.generation ?? null,
    dimensions: manifest?.dimensions ?? null,
    metric: manifest?.metric ?? null,
    rows: manifest ? rowsOf(manifest) : 0,
    segments: (manifest ? allSegments(manifest) : []).map((segment) => ({
      digest: segment.digest,
      base: segment.base,
      rows: segment.rows,
      bytes: bytesOf(segment),
      isOpen: !('parts' in segment),
      holders: holders.get(segment.digest) ?? 0,
    })),
    workers: await Promise.all(
      workers
        .sort((a, b) => (a.id < b.id ? -1 : 1))
        .map(async (worker) => ({ ...worker, waiting: await waitingJobs(redis, names, worker.id) })),
    ),
    redisBytes: await usedBytes(redis),
  };
}
