import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import { type ClusterCallOptions, deadlineOf } from './calls.js';
import { ClusterError } from './error.js';
import { checkRedis } from './redis.js';

/** How long a writer that says nothing is waited for. */
const LOCK_MS = 10_000;

const UNLOCK = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`;
const RENEW = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0`;

/**
 * Runs work as the only writer among all clients. `work` is given a check that throws where the lock was lost: another may
 * have written since.
 */
export async function asWriter<T>(
  redis: Redis,
  key: string,
  work: (check: () => void) => Promise<T>,
  options: ClusterCallOptions = {},
): Promise<T> {
  await checkRedis(redis, 5000);
  const ms = deadlineOf(options);
  const token = randomUUID();
  const end = Date.now() + ms;
  while ((await redis.set(key, token, 'PX', LOCK_MS, 'NX')) === null) {
    options.signal?.throwIfAborted();
    if (Date.now() > end)
      throw new ClusterError(
        'ERR_CLUSTER_BUSY',
        `cluster: expected to be the writer within ${ms} ms, got another one at work`,
      );
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  let isHeld = true;
  const renewal = setInterval(() => {
    redis.eval(RENEW, 1, key, token, `${LOCK_MS}`).then(
      (renewed) => {
        isHeld = renewed === 1;
      },
      () => {},
    );
  }, LOCK_MS / 4);
  try {
    return await work(() => {
      if (!isHeld)
        throw new ClusterError(
          'ERR_CLUSTER_BUSY',
          'cluster: expected to stay the writer, got too late to say so',
        );
    });
  } finally {
    clearInterval(renewal);
    await redis.eval(UNLOCK, 1, key, token).catch(() => {});
  }
}
