/**
 * Queries per second at a recall, through the public API, beside other packages:
 *
 *     npm run bench:search -- [words mnist gaussian million FILE.hdf5] [--peers none|node|wasm|all] [--json FILE]
 *
 * Recall is recall@10. Speed is queries per CPU second of one thread. Every contestant has a process of its own
 * (contestants.ts); they take turns, a pass over all queries at a time, so that a slow minute of the machine hits all. Of
 * each point of a curve the median pass counts; a curve is the upper envelope of the points that were measured, and read
 * between two of them on a straight line from recall to log speed. Ratios are the median of the ratios of the rounds.
 */
import { type ChildProcess, fork, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { isCached, K, type Passes, type Ready, type Request, SHORT_BUILD, type Way } from './contestants.js';
import { envelope, speedAt, TARGETS } from './curve.js';
import { prepareDataSets, readDataSet } from './data.js';
import { figure, median, provenance, runIfStarted, table, writeJson } from './record.js';

const ROUNDS = 9;
/** Processes in which a short build is measured; the median counts. */
const BUILDS = 3;
/** Passes of a turn, together. */
const TURN_MS = 60;
/** Points of which all passes so far took this long are measured enough after three rounds. */
const POINT_MS = 4000;
const SURVEY_QUERIES = 300;
const PEERS = ['hnswlib-node', 'hnswlib-wasm'];
const SETS = ['words', 'mnist', 'gaussian', 'million'];

/** What was asked for: ratios at the three targets, of build times, bytes of a row beyond its floats. */
interface Goals {
  speed: Record<string, (number | null)[]>;
  build: Record<string, number>;
  batch?: number[];
  bytes?: number;
  buildSeconds?: number;
}

const GOALS: Record<string, Goals> = {
  words: {
    speed: { 'hnswlib-node': [3.8, 4.6, 3.3], 'hnswlib-wasm': [8, 8, 8] },
    build: { 'hnswlib-node': 40, 'hnswlib-wasm': 80 },
    batch: [1.3, 1.4, 1.5],
    bytes: 40,
  },
  mnist: {
    speed: { 'hnswlib-node': [null, 7, 7], 'hnswlib-wasm': [8, 8, 8] },
    build: { 'hnswlib-node': 30, 'hnswlib-wasm': 80 },
    bytes: 130,
  },
  gaussian: {
    speed: { 'hnswlib-node': [5, 6, 8], 'hnswlib-wasm': [8, 8, 8] },
    build: { 'hnswlib-node': 8, 'hnswlib-wasm': 15 },
    bytes: 40,
  },
  million: { speed: { exactSearch: [1500, 1500, 1000] }, build: {}, buildSeconds: 25 },
};

/** A way with its passes: those of one round are an array of `rounds`. */
interface Point {
  way: Way;
  recall: number;
  rounds: number[][];
}

/** A contestant's process. */
class Turn {
  readonly name: string;
  readonly #child: ChildProcess;
  ready!: Ready;
  curve: Point[] = [];

  constructor(name: string, set: string) {
    this.name = name;
    // a process of this script's kind inherits the TypeScript loader
    this.#child = fork(fileURLToPath(new URL('./contestants.ts', import.meta.url)), [name, set], {
      serialization: 'advanced',
    });
  }

  async start(): Promise<void> {
    this.ready = (await this.#answer()) as Ready;
  }

  survey(): Promise<Passes[]> {
    return this.#ask({ survey: SURVEY_QUERIES }) as Promise<Passes[]>;
  }

  async measure(point: Point): Promise<void> {
    const { recall, qps } = (await this.#ask({ way: point.way, leastMs: TURN_MS })) as Passes;
    point.recall = recall;
    point.rounds.push(qps);
  }

  stop(): void {
    this.#child.kill();
  }

  #ask(request: Request): Promise<unknown> {
    this.#child.send(request);
    return this.#answer();
  }

  #answer(): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const gone = (code: number | null): void =>
        reject(new Error(`${this.name}: expected an answer, got exit code ${code}`));
      this.#child.once('exit', gone);
      this.#child.once('message', (message) => {
        this.#child.off('exit', gone);
        resolve(message);
      });
    });
  }
}

// ---- curves

const point = (way: Way): Point => ({ way, recall: 0, rounds: [] });

/** Queries per second of a point: of one round, if it was measured in it, or of all. */
function speedOf({ rounds }: Point, round?: number): number {
  return median((round === undefined ? undefined : rounds[round]) ?? rounds.flat());
}

const bestOf = ({ rounds }: Point): number => Math.max(...rounds.flat());

const mostRecall = (curve: Point[]): Point => curve.reduce((a, b) => (b.recall > a.recall ? b : a));

/** The ways to measure well: around each target those that the survey saw nearest to its envelope. */
function choose(surveyed: Passes[], perSide: number): Way[] {
  const speed = ({ qps }: Passes): number => qps[0];
  const front = envelope(surveyed, speed);
  const chosen = new Set<Passes>([front[front.length - 1]]);
  const rank = (candidate: Passes): number =>
    speed(candidate) / (speedAt(front, candidate.recall, speed) ?? Number.POSITIVE_INFINITY);
  for (const target of TARGETS) {
    const at = front.findIndex((candidate) => candidate.recall >= target);
    for (const neighbor of at < 0 ? [] : front.slice(Math.max(0, at - 1), at + 1)) chosen.add(neighbor);
    const within = (from: number, to: number): Passes[] =>
      surveyed
        .filter(({ recall }) => recall >= from && recall < to)
        .sort((a, b) => rank(b) - rank(a))
        .slice(0, perSide);
    const reach = Math.min(0.02, 1 - target);
    for (const near of [...within(target - reach, target), ...within(target, target + reach)])
      chosen.add(near);
  }
  return [...chosen].map(({ way }) => way);
}

// ---- one data set

interface SetResult {
  data: string;
  n: number;
  d: number;
  metric: string;
  k: number;
  queries: number;
  contestants: {
    ready: Ready;
    curve: { way: Way; recall: number; qps: number; best: number; passes: number }[];
    /** At the three targets; null where the curve does not reach it. */
    qps: (number | null)[];
    best: (number | null)[];
  }[];
  tuned: { target: number; recall: number; qps: number; best: number }[];
  batch: { target: number; recall: number; qps: number; best: number; ratio: number }[];
  exact: { recall: number; qps: number };
  /** How many times as fast: at the three targets, at the same by the best passes, in building. */
  ratios: Record<string, { qps: (number | null)[]; best: (number | null)[]; build: number | null }>;
  bytesBeyondRows: number;
  bytesOfSecondStage: number;
}

async function measureSet(set: string, peers: string[]): Promise<{ result: SetResult; lines: string }> {
  const { n, d, metric, nq } = readDataSet(set);
  const turns: Turn[] = [];
  try {
    for (const name of ['orthant', ...peers]) {
      const turn = new Turn(name, set);
      turns.push(turn);
      await turn.start();
      if (name === 'orthant') turn.ready = await medianBuild(turn.ready, set);
      progress(`${set}: ${name} is ready`);
    }
    for (const turn of turns) {
      const ways = choose(await turn.survey(), turn.name === 'orthant' ? 4 : 1);
      turn.curve = ways.map(point);
      progress(`${set}: ${turn.name} surveyed, ${ways.length} points to measure`);
    }
    const tuned = TARGETS.map((recall) => point({ recall, batch: false }));
    const batch = TARGETS.map((recall) => point({ recall, batch: true }));
    const exact = point({ exact: true });
    for (let round = 0; round < ROUNDS; round++) {
      for (const turn of turns) {
        const own = turn.name === 'orthant' ? [...tuned.flatMap((one, i) => [one, batch[i]]), exact] : [];
        for (const one of [...own, ...turn.curve]) if (!isMeasured(one, nq)) await turn.measure(one);
      }
      progress(`${set}: round ${round + 1} of ${ROUNDS}`);
    }
    const result = summarize({ data: set, n, d, metric, k: K, queries: nq }, turns, tuned, batch, exact);
    return { result, lines: print(result) };
  } finally {
    for (const turn of turns) turn.stop();
  }
}

/** A short build again in fresh processes: one slow moment is a large part of it. */
async function medianBuild(first: Ready, set: string): Promise<Ready> {
  if (first.buildSeconds >= SHORT_BUILD) return first;
  const builds = [first];
  while (builds.length < BUILDS) {
    const again = new Turn(first.name, set);
    try {
      await again.start();
      builds.push(again.ready);
    } finally {
      again.stop();
    }
  }
  builds.sort((a, b) => a.buildSeconds - b.buildSeconds);
  const { buildSeconds, buildSecondsOfAll, warmBuildSeconds } = builds[BUILDS >> 1];
  return { ...first, buildSeconds, buildSecondsOfAll, warmBuildSeconds };
}

function isMeasured({ rounds }: Point, queries: number): boolean {
  if (rounds.length < 3) return false;
  const spent = rounds.flat().reduce((sum, qps) => sum + (1000 * queries) / qps, 0);
  return spent >= POINT_MS;
}

function summarize(
  about: Pick<SetResult, 'data' | 'n' | 'd' | 'metric' | 'k' | 'queries'>,
  turns: Turn[],
  tuned: Point[],
  batch: Point[],
  exact: Point,
): SetResult {
  const [own, ...others] = turns;
  const rounds = Array.from({ length: ROUNDS }, (_, round) => round);
  const at = (curve: Point[], target: number, round?: number): number | null =>
    speedAt(curve, target, (one) => speedOf(one, round));
  /** Where a peer does not reach a target, its point of most recall stands in. */
  const atOrBest = (curve: Point[], target: number, round: number): number =>
    at(curve, target, round) ?? speedOf(mostRecall(curve), round);
  const ratioTo = (theirs: (target: number, round: number) => number) =>
    TARGETS.map((target) => {
      const ratios = rounds.map((round) => (at(own.curve, target, round) ?? 0) / theirs(target, round));
      return at(own.curve, target) === null ? null : median(ratios);
    });
  const bestRatioTo = (curve: Point[]) =>
    TARGETS.map((target) => {
      const ours = speedAt(own.curve, target, bestOf);
      const theirs = speedAt(curve, target, bestOf) ?? bestOf(mostRecall(curve));
      return ours === null ? null : ours / theirs;
    });
  const ratios: SetResult['ratios'] = {
    exactSearch: {
      qps: ratioTo((_, round) => speedOf(exact, round)),
      best: bestRatioTo([exact]),
      build: null,
    },
  };
  for (const other of others) {
    ratios[other.name] = {
      qps: ratioTo((target, round) => atOrBest(other.curve, target, round)),
      best: bestRatioTo(other.curve),
      build: other.ready.buildSeconds / own.ready.buildSeconds,
    };
  }
  const { n, d } = about;
  const parts = { ...own.ready.memory };
  const second = (parts.refine ?? 0) + (parts.refineNorms ?? 0);
  delete parts.total;
  const all = Object.values(parts).reduce((sum, bytes) => sum + bytes, 0);
  const row = (one: Point) => ({ recall: one.recall, qps: speedOf(one), best: bestOf(one) });
  return {
    ...about,
    contestants: turns.map(({ ready, curve }) => ({
      ready,
      curve: [...curve]
        .sort((a, b) => a.recall - b.recall)
        .map((one) => ({ way: one.way, ...row(one), passes: one.rounds.flat().length })),
      qps: TARGETS.map((target) => at(curve, target)),
      best: TARGETS.map((target) => speedAt(curve, target, bestOf)),
    })),
    tuned: tuned.map((one, i) => ({ target: TARGETS[i], ...row(one) })),
    batch: batch.map((one, i) => ({
      target: TARGETS[i],
      ...row(one),
      ratio: median(one.rounds.map((passes, round) => median(passes) / speedOf(tuned[i], round))),
    })),
    exact: { recall: exact.recall, qps: speedOf(exact) },
    ratios,
    bytesBeyondRows: (all - second) / n - 4 * d,
    bytesOfSecondStage: second / n,
  };
}

// ---- printing

function print(result: SetResult): string {
  const { data, n, d, metric, queries, contestants, tuned, batch, exact, ratios } = result;
  const goals = GOALS[data] ?? { speed: {}, build: {} };
  const [own, ...others] = contestants;
  const qps = (value: number | null): string => (value === null ? '-' : figure(value));
  const withGoal = (value: number | null, goal: number | null | undefined, digits = 1): string => {
    const text = value === null ? '-' : `${value.toFixed(value < 100 ? digits : 0)}x`;
    if (goal === null || goal === undefined) return text;
    return `${text} of ${goal}x${value !== null && value >= goal ? ' ' : '!'}`;
  };
  const seconds = (value: number): string => `${value.toFixed(value < 100 ? 2 : 0)} s`;
  const missed = (value: number, most?: number): string => (most !== undefined && value > most ? '!' : '');
  const upTo = (most?: number): string => (most === undefined ? '' : ` of ${most}`);
  const bytes = `${result.bytesBeyondRows.toFixed(1)} B${upTo(goals.bytes)}${missed(result.bytesBeyondRows, goals.bytes)}`;
  const { buildSeconds: buildTime, buildSecondsOfAll: ofAll, warmBuildSeconds: warm } = own.ready;
  const aside = [ofAll && `all threads ${seconds(ofAll)}`, warm && `warm ${seconds(warm)}`].filter(Boolean);

  const rows = [
    [
      `${data} ${n.toLocaleString('en')} x ${d}, ${metric}`,
      ...TARGETS.map((target) => target.toFixed(2)),
      'build',
      'beyond rows',
    ],
    [
      'orthant, curve, QPS',
      ...own.qps.map(qps),
      `${seconds(buildTime)}${upTo(goals.buildSeconds)}${missed(buildTime, goals.buildSeconds)}`,
      result.bytesOfSecondStage ? `${bytes} + ${result.bytesOfSecondStage.toFixed(0)} B` : bytes,
    ],
    ['  best of passes', ...own.best.map(qps), aside.join(', '), ''],
    ['orthant, { recall }, QPS', ...tuned.map((one) => qps(one.qps)), '', ''],
    ['  recall got', ...tuned.map((one) => one.recall.toFixed(4)), '', ''],
    [`searchBatch of ${queries}, QPS`, ...batch.map((one) => qps(one.qps)), '', ''],
    ['  recall got', ...batch.map((one) => one.recall.toFixed(4)), '', ''],
    ['  to search', ...batch.map((one, i) => withGoal(one.ratio, goals.batch?.[i], 2)), '', ''],
    ['exactSearch, QPS', ...TARGETS.map(() => qps(exact.qps)), '', ''],
    [
      '  orthant to it',
      ...ratios.exactSearch.qps.map((ratio, i) => withGoal(ratio, goals.speed.exactSearch?.[i])),
      '',
      '',
    ],
  ];
  for (const { ready, qps: speeds, best, curve } of others) {
    const most = curve[curve.length - 1];
    const reached = (value: number | null): string =>
      value === null ? `${figure(most.qps)} @${most.recall.toFixed(3)}` : figure(value);
    const { qps: times, build } = ratios[ready.name];
    rows.push(
      [`${ready.name} ${ready.version}, QPS`, ...speeds.map(reached), seconds(ready.buildSeconds), ''],
      ['  best of passes', ...best.map(qps), '', ''],
      [
        '  orthant to it',
        ...times.map((ratio, i) => withGoal(ratio, goals.speed[ready.name]?.[i])),
        withGoal(build, goals.build[ready.name]),
        '',
      ],
      ['    by the best passes', ...ratios[ready.name].best.map((ratio) => withGoal(ratio, null)), '', ''],
    );
  }
  const front = own.curve.map((one) => ({ ...one, mark: ` ${one.recall.toFixed(4)}` }));
  const ways = envelope(front, (one) => one.qps).map(({ way, mark, qps: speed }) => {
    if (!('probes' in way)) return mark;
    return `${mark}  ${figure(speed)} QPS  probes ${way.probes}, epsilon ${way.epsilon}, patience ${way.patience}`;
  });
  const cells = own.ready.cells === undefined ? '' : ` (${own.ready.cells} cells)`;
  return `${table(rows)}\n\northant's curve${cells}:\n${ways.join('\n')}\n`;
}

function progress(text: string): void {
  console.error(`  ${text}`);
}

// ---- the command

/** The peers that can take part; builds an index that is missing, which takes minutes. */
function preparePeers(peers: string[], set: string): string[] {
  const folder = new URL('./peers/', import.meta.url);
  return peers.filter((peer) => {
    if (!existsSync(new URL(`node_modules/${peer}/`, folder))) {
      progress(`${peer}: not installed, left out (npm run setup in bench/peers)`);
      return false;
    }
    if (isCached(peer, set)) return true;
    if (set === 'million') {
      progress(`${peer}: no index of ${set}, left out (building one takes most of an hour)`);
      return false;
    }
    const script = fileURLToPath(new URL('run.mjs', folder));
    spawnSync(process.execPath, ['--expose-gc', script, peer, set], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    return isCached(peer, set);
  });
}

async function main(argv: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: argv,
    allowPositionals: true,
    options: { peers: { type: 'string', default: 'all' }, json: { type: 'string' } },
  });
  const sets = positionals.length > 0 ? positionals : ['words', 'mnist', 'gaussian'];
  if (!['none', 'node', 'wasm', 'all'].includes(values.peers)) {
    throw new RangeError(`--peers: expected none, node, wasm or all, got ${values.peers}`);
  }
  const peers = PEERS.filter((peer) => values.peers === 'all' || peer === `hnswlib-${values.peers}`);
  const about = provenance();
  console.log(`${about.machine}, Node ${about.node}, commit ${about.commit}, ${about.date}`);
  console.log(`one thread, queries per CPU second at recall@${K}; "x of y!" is a goal that was missed\n`);
  const results: (SetResult & typeof about)[] = [];
  for (const set of prepareDataSets('data set', sets, SETS)) {
    const { result, lines } = await measureSet(set, preparePeers(peers, set));
    console.log(lines);
    results.push({ ...about, ...result });
    if (values.json !== undefined) writeJson(values.json, results);
  }
}

await runIfStarted(import.meta.url, main);
