import type { Redis } from 'ioredis';
import { ClusterError } from './error.js';

/** Where Redis is: an address (`redis://…`, `rediss://…` with TLS), or those of some nodes of a Redis Cluster. */
export type RedisAddress = string | readonly string[];

interface Packages {
  bullmq: Pick<typeof import('bullmq'), 'FlowProducer' | 'Queue' | 'QueueEvents' | 'Worker'>;
  ioredis: Pick<typeof import('ioredis'), 'Redis' | 'Cluster'>;
}

let packages: Promise<Packages> | undefined;

/** The two optional packages, on demand. */
export function loadPackages(): Promise<Packages> {
  packages ??= Promise.all([import('bullmq'), import('ioredis')]).then(
    ([bullmq, ioredis]) => ({ bullmq, ioredis }),
    (error) => {
      packages = undefined;
      throw new ClusterError(
        'ERR_CLUSTER_PACKAGE',
        'orthant/cluster: expected the packages bullmq and ioredis, got none; npm install bullmq ioredis',
        [],
        error,
      );
    },
  );
  return packages;
}

/** A connection that tries again for ever: what waits on it has deadlines of its own. */
export async function openRedis(address: RedisAddress): Promise<Redis> {
  const { ioredis } = await loadPackages();
  // BullMQ wants no limit of retries on connections that block.
  const options = { maxRetriesPerRequest: null, enableAutoPipelining: false, retryStrategy: retryAfter };
  const redis =
    typeof address === 'string'
      ? new ioredis.Redis(address, options)
      : (new ioredis.Cluster([...address], {
          redisOptions: options,
          clusterRetryStrategy: retryAfter,
        }) as unknown as Redis);
  // Without a listener each lost connection would end the process. Who waits is told by the deadline.
  redis.on('error', () => {});
  return redis;
}

function retryAfter(times: number): number {
  return Math.min(50 * times, 1000);
}

/** Waits until Redis answers, or names it in the error. */
export async function checkRedis(redis: Redis, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms);
  });
  try {
    await Promise.race([redis.ping(), late]);
  } catch (error) {
    const { host, port } = redis.options ?? {};
    throw new ClusterError(
      'ERR_CLUSTER_REDIS',
      `redis: expected an answer from Redis at ${host ?? 'the cluster'}:${port ?? ''}, got ${(error as Error).message}`,
      [],
      error,
    );
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Names of everything that a cluster keeps in Redis. The braces put all of it into one slot of a Redis Cluster, as BullMQ
 * needs.
 */
export class Names {
  readonly prefix: string;

  constructor(name: string) {
    if (typeof name !== 'string' || !/^[\w.-]{1,64}$/.test(name))
      throw new ClusterError(
        'ERR_CLUSTER_ARGUMENT',
        `name: expected 1 to 64 letters, digits, dots or dashes, got ${JSON.stringify(name)}`,
      );
    this.prefix = `{orthant-${name}}`;
  }

  /** Queue of the jobs that put a flow's answers together. */
  readonly merge: string = 'merge';

  /** Queue of the jobs for one segment. */
  segment(digest: string): string {
    return `segment-${digest.slice(0, 24)}`;
  }

  key(...parts: (string | number)[]): string {
    return [this.prefix, ...parts].join(':');
  }

  get head(): string {
    return this.key('head');
  }

  /** Channel on which a moved head is told. */
  get changes(): string {
    return this.key('changes');
  }

  manifest(generation: string, version: number): string {
    return this.key('manifest', generation, version);
  }

  /** Bits of removed rows by global id, in pieces of TOMBSTONE_BITS. */
  tombstones(generation: string, piece: number): string {
    return this.key('tombstones', generation, piece);
  }
}

/** Bits of one tombstone value: 2 MB of Redis' at most 512. */
export const TOMBSTONE_BITS: number = 2 ** 24;
