import {
  Cluster,
  ClusterError,
  type ClusterOptions,
  DirectoryStore,
  type RedisAddress,
} from '../cluster/index.js';
import { abandonFiles } from '../node/index.js';
import type { Common } from './build.js';
import { type Command, Option } from './packages.js';
import { UsageError } from './terminal.js';

/** Options of a command that talks to a cluster. */
export interface ClusterFlags extends Common {
  redis: string;
  store?: string;
}

export function clusterOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--redis <url>', 'redis:// or rediss:// (TLS) address; of a Redis Cluster some, with commas')
        .env('ORTHANT_REDIS')
        .default('redis://localhost'),
    )
    .option('--store <folder>', 'segments lie in this folder, which all machines see, rather than in Redis');
}

export function connectionOf(name: string, { redis, store }: ClusterFlags): ClusterOptions {
  const addresses = redis.split(',').filter((address) => address !== '');
  for (const address of addresses.length === 0 ? [redis] : addresses) {
    // The address may hold a password: it is not repeated.
    if (!/^rediss?:\/\//.test(address) || !URL.canParse(address))
      throw new UsageError('--redis: expected an address like redis://host:6379, got something else');
  }
  const address: RedisAddress = redis.includes(',') ? addresses : redis;
  return { redis: address, name, ...(store !== undefined && { store: new DirectoryStore(store) }) };
}

/** Runs work on a cluster, and leaves it. Wrong arguments are wrong usage. */
export async function withCluster<Result>(
  name: string,
  flags: ClusterFlags,
  work: (cluster: Cluster, signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  try {
    return await interruptible(async (signal) => {
      const cluster = await Cluster.connect(connectionOf(name, flags));
      try {
        return await work(cluster, signal);
      } finally {
        await cluster.close();
      }
    });
  } catch (error) {
    throw asUsage(error);
  }
}

/** What the cluster says against an argument is said of the command line. */
export function asUsage(error: unknown): unknown {
  const isUsage = error instanceof ClusterError && error.code === 'ERR_CLUSTER_ARGUMENT';
  return isUsage ? new UsageError(error.message) : error;
}

/** Ctrl-C ends work by its signal, so that it clears up; a second one does not wait for that. */
async function interruptible<Result>(work: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
  const controller = new AbortController();
  let got: NodeJS.Signals | undefined;
  const unlisten = (): void => {
    process.removeListener('SIGINT', stop);
    process.removeListener('SIGTERM', stop);
  };
  const end = (signal: NodeJS.Signals): void => {
    abandonFiles();
    unlisten();
    // Ends as it would have without us, so that a shell knows why.
    process.kill(process.pid, signal);
  };
  const stop = (signal: NodeJS.Signals): void => {
    if (got !== undefined) {
      end(signal);
      return;
    }
    got = signal;
    controller.abort(new Error('interrupted'));
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  try {
    return await work(controller.signal);
  } finally {
    if (got !== undefined) end(got);
    else unlisten();
  }
}
