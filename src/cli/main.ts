#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { defineAdd, defineBuild, defineRemove, defineTune } from './build.js';
import { defineCluster } from './cluster.js';
import { defineBench, defineEval } from './evaluate.js';
import { defineDuplicates, defineGraph } from './graph.js';
import { defineInfo } from './info.js';
import { defineJoin } from './join.js';
import { Command, CommanderError } from './packages.js';
import { defineConvert, defineExact, defineSearch } from './search.js';
import { endQuietlyWithReader, UsageError } from './terminal.js';

/** The command was used in a way that makes no sense; 1 is for all other failures. */
const WRONG_USAGE = 2;

function makeProgram(): Command {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  const program = new Command('orthant')
    .version(version, '-V, --version', 'print the version')
    .description(
      'Nearest neighbors of vectors in files: exact, or many times faster at a recall of your choice.\n\n' +
        'Vectors come from .npy, .npz, .fvecs, .bvecs, .ivecs, .fbin, .u8bin, .csv, .tsv, .jsonl, .parquet and .hdf5 files, ' +
        'also packed (.gz). Results go to stdout, words to stderr. Exit codes: 0 done, 1 failed, 2 used wrongly.',
    )
    .addHelpText(
      'after',
      '\nExample:\n' +
        '  $ orthant build base.npy -o base.orthant\n' +
        '  $ orthant search base.orthant queries.npy -k 5 > neighbors.tsv\n\n' +
        'orthant COMMAND --help tells more about a command, and has an example.',
    )
    .showHelpAfterError('(orthant --help tells how)')
    .configureHelp({ sortSubcommands: false, showGlobalOptions: false });
  for (const define of [
    defineBuild,
    defineSearch,
    defineExact,
    defineJoin,
    defineDuplicates,
    defineGraph,
    defineTune,
    defineEval,
    defineInfo,
    defineConvert,
    defineAdd,
    defineRemove,
    defineBench,
    defineCluster,
  ]) {
    define(program);
  }
  const prepare = (command: Command, name: string): void => {
    if (command.commands.length === 0)
      command.option('--json', 'results as JSON').option('-q, --quiet', 'no words and no progress');
    command.showHelpAfterError(`(${name} --help tells how)`).exitOverride();
    for (const inner of command.commands) prepare(inner, `${name} ${inner.name()}`);
  };
  for (const command of program.commands) prepare(command, `orthant ${command.name()}`);
  return program.exitOverride();
}

endQuietlyWithReader();
try {
  await makeProgram().parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    // Help and version end this way too, with code 0.
    process.exitCode = error.exitCode === 0 ? 0 : WRONG_USAGE;
  } else {
    const { message } = error as Error;
    process.stderr.write(`orthant: ${message.replace(/[^\P{Cc}\n]/gu, '?')}\n`);
    process.exitCode = error instanceof UsageError ? WRONG_USAGE : 1;
  }
}
