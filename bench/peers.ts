/**
 * Other packages on the benchmark data: npm run bench:peers -- [--sets gaussian,FILE.hdf5] [--peers NAME,…] [--json FILE]
 *
 * First `npm run setup` in bench/peers. Each pair of package and set has a process of its own (peers/run.mjs) and
 * `--limit` seconds (100): a package that crashes, cannot take the data or is not done in time stays in the table, with its
 * reason and what was measured until then. Speeds are queries per CPU second of one thread, points of half a second.
 * Indexes that a package can save are kept from run to run; `--rebuild` makes them anew.
 *
 * This runs in a few minutes and gives the field at a glance. What search.ts measures, by turns and at length, is better
 * proof where two are close.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { prepareDataSets } from './data.js';
import { figure, type Provenance, provenance, runIfStarted, table, writeJson } from './record.js';

/** In the order of the table: this package, what needs no index, then the others. */
const PEERS = [
  'orthant',
  'brute-force',
  'hnswlib-node',
  'hnswlib-wasm',
  'usearch',
  'faiss-node',
  'faiss-node-flat',
  'voy-search',
  'edgevec',
  'hnsw',
];
const SETS = ['gaussian', 'digits', 'words', 'mnist', 'million'];
const TARGETS = ['0.90', '0.95', '0.99'] as const;

/** What run.mjs tells of one package on one data set. */
export interface PeerRow {
  peer: string;
  set: string;
  k: number;
  package?: string;
  version?: string;
  kind?: string;
  note?: string;
  n?: number;
  d?: number;
  metric?: string;
  build?: { seconds: number; residentBytes: number; wasmBytes?: number; builtAt: string; cached: boolean };
  curve?: { value: number | null; recall: number; qps: number; queries: number }[];
  qpsAt?: Record<(typeof TARGETS)[number], number | null>;
  /** Why there are no figures, or no more. */
  error?: string;
}

export interface PeersResult extends Provenance {
  peers: PeerRow[];
}

/** Runs one pair in a process of its own. */
function measure(peer: string, set: string, limit: number, rebuild: boolean): PeerRow {
  const script = fileURLToPath(new URL('./peers/run.mjs', import.meta.url));
  const options = ['--seconds', '0.5', ...(rebuild ? ['--rebuild'] : [])];
  const child = spawnSync(
    process.execPath,
    [...process.execArgv, '--expose-gc', script, peer, set, ...options],
    {
      stdio: ['ignore', 'pipe', 'ignore'],
      encoding: 'utf8',
      timeout: 1000 * limit,
      killSignal: 'SIGKILL',
      maxBuffer: 2 ** 26,
      env: { ...process.env, OMP_NUM_THREADS: '1', OPENBLAS_NUM_THREADS: '1' },
    },
  );
  // a crash may leave a package's own prints in front, never half a line
  const whole = (text: string): boolean => text.startsWith('{"peer"') && text.endsWith('}');
  const line = child.stdout.split('\n').filter(whole).at(-1);
  const row: PeerRow = line === undefined ? { peer, set, k: 10 } : JSON.parse(line);
  const isLate = (child.error as NodeJS.ErrnoException | undefined)?.code === 'ETIMEDOUT';
  if (isLate) row.error = `not done within ${limit} s`;
  else if (child.status !== 0)
    row.error ??= `the process ended with ${child.signal ?? `exit code ${child.status}`}`;
  return row;
}

/** The speed at each target; where the curve ends before it, its most accurate point. */
export function speedsOf({ curve = [], qpsAt }: PeerRow): string[] {
  const most = curve.reduce((a, b) => (b.recall > a.recall ? b : a), { recall: -1, qps: 0 });
  return TARGETS.map((target) => {
    const speed = qpsAt?.[target];
    if (speed !== null && speed !== undefined) return figure(speed);
    return most.recall < 0 ? '' : `${figure(most.qps)} (${most.recall.toFixed(3)})`;
  });
}

function print(set: string, rows: PeerRow[]): string {
  const { n = 0, d = 0 } = rows.find((row) => row.n !== undefined) ?? {};
  const lines = rows.map((row) => [
    `${row.peer} ${row.version ?? ''}`,
    ...speedsOf(row),
    row.build === undefined ? '' : `${figure(row.build.seconds)} s`,
    row.error ?? row.note ?? '',
  ]);
  return table([[`${set} ${figure(n)} x ${d}, QPS`, ...TARGETS, 'build', ''], ...lines]);
}

function main(argv: string[]): void {
  const { values } = parseArgs({
    args: argv,
    options: {
      sets: { type: 'string', default: 'gaussian,digits' },
      peers: { type: 'string', default: PEERS.join(',') },
      limit: { type: 'string', default: '100' },
      rebuild: { type: 'boolean', default: false },
      json: { type: 'string' },
    },
  });
  const peers = chosen('--peers', values.peers, PEERS);
  const limit = Number(values.limit);
  if (!(limit > 0)) throw new RangeError(`--limit: expected seconds above 0, got ${values.limit}`);
  const sets = prepareDataSets('--sets', values.sets.split(','), SETS);
  const about = provenance();
  console.log(`${about.machine}, Node ${about.node}, commit ${about.commit}, ${about.date}\n`);
  const rows: PeerRow[] = [];
  for (const set of sets) {
    for (const peer of peers) {
      console.error(`  ${set}: ${peer}`);
      rows.push(measure(peer, set, limit, values.rebuild));
    }
    console.log(`${print(set, rows.slice(-peers.length))}\n`);
    if (values.json !== undefined) writeJson(values.json, { ...about, peers: rows } satisfies PeersResult);
  }
}

function chosen(option: string, given: string, known: string[]): string[] {
  const names = given.split(',');
  const unknown = names.filter((name) => !known.includes(name));
  if (unknown.length > 0) {
    throw new RangeError(`${option}: expected some of ${known.join(', ')}, got ${unknown.join(', ')}`);
  }
  return names;
}

await runIfStarted(import.meta.url, main);
