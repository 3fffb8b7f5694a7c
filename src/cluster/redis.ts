import type { Redis } from 'ioredis';
import { ClusterError } from './error.js';

/**
 * Where Redis is: an address, or those of some nodes of a Redis Cluster. `redis://name:password@host:6379`, with TLS
 * `rediss://…`; NODE_EXTRA_CA_CERTS names certificates of one's own authority.
 */
export type RedisAddress = string | readonly string[];

interface Packages {
  bullmq: Pick<typeof import('bullmq'), 'FlowProducer' | 'Queue' | 'Worker'>;
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

/** What a connection stumbled over last, to be told where Redis does not answer. */
const troubles = new WeakMap<Redis, Error>();

/**
 * A connection that answers, and from then on tries again for ever: what waits on it has deadlines of its own. One address
 * may be that of a Redis Cluster's node.
 */
export async function openRedis(address: RedisAddress): Promise<Redis> {
  const isOne = typeof address === 'string';
  const redis = isOne ? await openNode(address) : await openCluster(address);
  try {
    await checkRedis(redis, 5000);
    if (!isOne || !/cluster_enabled:1/.test(await redis.info('cluster'))) return redis;
  } catch (error) {
    redis.disconnect();
    throw error;
  }
  redis.disconnect();
  return openRedis([address]);
}

// BullMQ wants no limit of retries on connections that block.
const OPTIONS = { maxRetriesPerRequest: null, enableAutoPipelining: false, retryStrategy: retryAfter };

async function openNode(address: string): Promise<Redis> {
  const { ioredis } = await loadPackages();
  return listening(new ioredis.Redis(address, OPTIONS));
}

async function openCluster(addresses: readonly string[]): Promise<Redis> {
  const { ioredis } = await loadPackages();
  const [first] = addresses.map((address) => new URL(address));
  // Other nodes than these are found through them: name, password and TLS of the first are those of all.
  const isSafe = first.protocol === 'rediss:';
  const cluster = new ioredis.Cluster([...addresses], {
    redisOptions: {
      ...OPTIONS,
      ...(first.username !== '' && { username: decodeURIComponent(first.username) }),
      ...(first.password !== '' && { password: decodeURIComponent(first.password) }),
      ...(isSafe && { tls: {} }),
    },
    // A certificate is for a name: it must not become a number on the way.
    ...(isSafe && {
      dnsLookup: (host: string, done: (error: null, host: string) => void) => done(null, host),
    }),
    clusterRetryStrategy: retryAfter,
  });
  return listening(cluster as unknown as Redis);
}

/** Without a listener each lost connection would end the process. Who waits is told by the deadline. */
function listening(redis: Redis): Redis {
  redis.on('error', (error: Error) => troubles.set(redis, error));
  redis.on('ready', () => troubles.delete(redis));
  return redis;
}

/** Bytes that all nodes use which hold values. */
export async function usedBytes(redis: Redis): Promise<number> {
  const { nodes } = redis as { nodes?: (role: 'master') => Redis[] };
  const all = nodes ? nodes.call(redis, 'master') : [redis];
  const infos = await Promise.all(all.map((node) => node.info('memory')));
  return infos.reduce((sum, info) => sum + Number(/used_memory:(\d+)/.exec(info)?.[1] ?? 0), 0);
}

function retryAfter(times: number): number {
  return Math.min(50 * times, 1000);
}

/** What work gives, or undefined where it takes longer than that. */
export async function within<T>(ms: number, work: Promise<T>): Promise<T | undefined> {
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
    const place = host === undefined ? 'the nodes of a Redis Cluster' : `Redis at ${host}:${port}`;
    const { message } = error as Error;
    const trouble = troubles.get(redis)?.message;
    throw new ClusterError(
      'ERR_CLUSTER_REDIS',
      `redis: expected an answer from ${place}, got ${message}${trouble && trouble !== message ? ` (${trouble})` : ''}`,
      [],
      error,
    );
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Names of everything that a cluster keeps in Redis. The braces put all of it into one slot of a Redis Cluster, as BullMQ
 * needs; segments' bytes, which no script touches, lie without them on all of its nodes.
 */
export class Names {
  readonly prefix: string;
  readonly parts: string;

  constructor(name: string) {
    if (typeof name !== 'string' || !/^[\w.-]{1,64}$/.test(name))
      throw new ClusterError(
        'ERR_CLUSTER_ARGUMENT',
        `name: expected 1 to 64 letters, digits, dots or dashes, got ${JSON.stringify(name)}`,
      );
    this.prefix = `{orthant-${name}}`;
    this.parts = `orthant-${name}:part:`;
  }

  /** Queue of the jobs for one worker. */
  worker(id: string): string {
    return `worker-${id}`;
  }

  /** Queue in which a client is told that a flow has ended. */
  gather(id: string): string {
    return `gather-${id}`;
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
