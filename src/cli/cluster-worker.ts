import { ClusterWorker, type WorkerStatus } from '../cluster/index.js';
import { asUsage, type ClusterFlags, clusterOptions, connectionOf } from './cluster-connection.js';
import type { Command } from './packages.js';
import { integer, print, say, shortBytes } from './terminal.js';

interface WorkerFlags extends ClusterFlags {
  memoryBytes: number;
  copies: number;
  goneAfter: number;
}

export function defineClusterWorker(parent: Command): void {
  const command = parent
    .command('worker')
    .summary('hold segments and answer, until Ctrl-C')
    .description(
      'Takes segments of a cluster into memory, those with the fewest copies first, and answers for them. Ctrl-C ends the\n' +
        'jobs under way, hands the segments on and leaves; a second one leaves at once. With --json a line for each change.',
    )
    .argument('<name>', 'name of the cluster')
    .option(
      '--memory-bytes <bytes>',
      'memory that segments may take',
      integer(1, Number.MAX_SAFE_INTEGER),
      2 ** 30,
    )
    .option(
      '--copies <copies>',
      'workers that shall hold each segment; all workers should say the same',
      integer(1),
      1,
    )
    .option(
      '--gone-after <ms>',
      'milliseconds after which a worker that says nothing is replaced',
      integer(100),
      5000,
    );
  clusterOptions(command)
    .addHelpText('after', '\nExample:\n  $ orthant cluster worker products --memory-bytes 8000000000')
    .action(async (name: string, flags: WorkerFlags) => {
      const leaving = leave();
      const { memoryBytes, copies, goneAfter: goneAfterMs } = flags;
      let worker: ClusterWorker;
      try {
        worker = await ClusterWorker.start({
          ...connectionOf(name, flags),
          memoryBytes,
          copies,
          goneAfterMs,
        });
      } catch (error) {
        throw asUsage(error);
      }
      const tell = async (): Promise<void> => {
        const { status } = worker;
        if (flags.json) await print(`${JSON.stringify({ event: 'serving', ...status })}\n`);
        else say(wordsOf(status), flags);
      };
      worker.on('segments', () => void tell());
      worker.on('problem', (error: Error) => {
        if (flags.json) void print(`${JSON.stringify({ event: 'problem', message: error.message })}\n`);
        else process.stderr.write(`${error.message}\n`);
      });
      await tell();
      await leaving;
      say('leaving: ends the jobs under way', flags);
      await worker.close();
      if (flags.json) await print(`${JSON.stringify({ event: 'left', id: worker.id })}\n`);
      // Connections that are being made again for ever would keep the process.
      process.exit(0);
    });
}

/** Resolves with the first Ctrl-C; the second ends the process as if nobody listened. */
function leave(): Promise<void> {
  return new Promise((resolve) => {
    const stop = (): void => {
      process.removeListener('SIGINT', stop);
      process.removeListener('SIGTERM', stop);
      resolve();
    };
    process.on('SIGINT', stop);
    process.on('SIGTERM', stop);
  });
}

function wordsOf({ id, segments, bytes, memoryBytes }: WorkerStatus): string {
  const what = segments.length === 0 ? 'no segment yet' : `${segments.length} segments`;
  return `worker ${id} serves ${what}, ${shortBytes(bytes)} of ${shortBytes(memoryBytes)}`;
}
