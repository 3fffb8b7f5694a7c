import { MAX_CELLS } from './cells.js';
import { checkChoice, checkInteger, checkOptions } from './check.js';
import type { Engine } from './engine.js';
import { EngineSearch } from './engine-search.js';
import { isOutOfMemory } from './memory.js';
import { finish, type Progress, under } from './progress.js';
import { RandomGenerator } from './random.js';
import { LEAST_PRINCIPAL } from './space.js';
import { type TunedSetting, Tuner } from './tuning.js';

/** Below this many rows one cell is scanned whole. */
const FEW_ROWS = 2000;
/** Rows a cell, by default. */
const ROWS_PER_CELL = 128;
/** Rows ranked a query from which on 4-bit records pay: below, the rows themselves are as cheap. */
const REFINE_FROM = 96;
/** Share of the shells that holds 0.95 of the neighbors, above which shells only cost: rows that are all as long. */
const LARGEST_SHARE = 0.75;
/** Rows and cells of a trial of the coded space. */
const TRIAL_ROWS = 3000;
const TRIAL_CELLS = 24;

/** Options of a build. */
export interface BuildOptions {
  /** Cells of the Voronoi hash, 1 to 16,384; by default from the number of rows and their structure. */
  cells?: number;
  /** `lloyd` (default) trains centres; `none` takes random rows as they are: a faster build, slower searches. */
  training?: 'lloyd' | 'none';
  /** Whether survivors pass a second stage of 4-bit codes; by default where that pays. */
  refine?: boolean;
  /** Whether codes are of the rows' principal components: above 256 dimensions only; by default where that is faster. */
  principal?: boolean;
  /** Whether to tune after the build; default true. */
  tune?: boolean;
}

/** Refuses options of a build that are none. */
export function checkBuild(options: BuildOptions): void {
  checkOptions('options', options);
  if (options.cells !== undefined) checkInteger('cells', options.cells, 1, MAX_CELLS);
  checkChoice('training', options.training ?? 'lloyd', ['lloyd', 'none']);
}

/** Builds at once, in place. Whatever ends it early leaves every answer as it was. */
export function buildInPlace({ engine, tuner, passing }: EngineSearch, options: BuildOptions): void {
  if (engine.size === 0) {
    engine.compact();
    return;
  }
  const { keep, takeBack } = engine.begin();
  const tuned = new Map(tuner.tuned) as Map<number, TunedSetting[]>;
  tuner.forget();
  let complete = false;
  try {
    finish(sort(engine, tuner, options));
    if (options.tune ?? true) finish(tuner.tune({}));
    complete = true;
  } finally {
    if (complete) {
      keep();
      engine.trimScratch();
      passing.forget();
    } else {
      takeBack();
      tuner.restore(tuned);
    }
  }
}

/** Builds a copy of the engine. */
export function* buildBeside(search: EngineSearch, options: BuildOptions): Generator<Progress, EngineSearch> {
  const copy = new EngineSearch(yield* search.engine.copy(), search.userIds);
  if (copy.engine.size > 0) yield* buildAnew(copy, options);
  return copy;
}

/** Takes the first rows of an engine in, and builds. */
export function* buildFrom(
  search: EngineSearch,
  vectors: Float32Array,
  rows: number,
  options: BuildOptions,
): Generator<Progress> {
  yield* search.engine.take(vectors, rows);
  if (rows > 0) yield* buildAnew(search, options);
}

/** Builds for the rows that are there, one or more, in steps and in place. */
export function* buildAnew(
  { engine, tuner, passing }: EngineSearch,
  options: BuildOptions,
): Generator<Progress> {
  passing.forget();
  yield* sort(engine, tuner, options);
  if (options.tune ?? true) yield* tuner.tune({});
  engine.trimScratch();
}

/** Trains cells for the rows of an engine and sorts rows and codes into them. */
function* sort(engine: Engine, tuner: Tuner, options: BuildOptions): Generator<Progress> {
  const rows = engine.size;
  const { cells } = options;
  const begun: Progress = { phase: 'train', done: 0, total: rows };
  const encoded: Progress = { phase: 'encode', done: rows, total: rows };
  const long = engine.stride > LEAST_PRINCIPAL && rows >= FEW_ROWS;
  yield* under(begun, engine.start(long && options.principal !== false));
  if (long && options.principal === undefined && !(yield* under(begun, isPrincipalBetter(engine))))
    yield* under(begun, engine.start(false));
  let wanted = Math.min(cells ?? defaultCells(rows), rows);
  if (cells === undefined && wanted > 1 && (yield* under(begun, tuner.areCellsHopeless()))) wanted = 1;
  const free = cells === undefined && rows >= FEW_ROWS;
  // By inner product the neighbors are the longest rows, the farthest out. (Outer shells first: no faster than one cell.)
  const shells = free && engine.rows.metric !== 'inner-product';
  yield* engine.sort(wanted, options.training !== 'none', shells && wanted === 1);
  let look = yield* under(encoded, tuner.look());
  // Where a query must visit most cells anyway, shells around the mean serve better.
  if (free && wanted > 1 && look.structureless) {
    yield* under(encoded, engine.sort(1, false, shells));
    look = yield* under(encoded, tuner.look());
  }
  if (engine.isShelled && look.share > LARGEST_SHARE) engine.joinShells();
  if (options.refine ?? look.ranked >= REFINE_FROM) yield* engine.refine();
  if (options.refine !== undefined || !engine.isRefined) return;
  const refined: Progress = { phase: 'refine', done: rows, total: rows };
  if (!(yield* under(refined, tuner.isSecondStageGood()))) engine.dropRecords();
}

/** Tries both coded spaces on some of the rows. */
function* isPrincipalBetter(engine: Engine): Generator<Progress, boolean> {
  const count = Math.min(engine.size, TRIAL_ROWS);
  const all = engine.ids();
  const ids = Uint32Array.from({ length: count }, (_, i) => all[Math.floor((i * all.length) / count)]);
  const costs: number[] = [];
  try {
    for (const adopt of [false, true]) {
      const trial = yield* engine.trial(ids, adopt);
      yield* trial.sort(TRIAL_CELLS, true, false);
      costs.push(yield* new Tuner(trial, () => new RandomGenerator(0)).tryCost(0.95));
    }
  } catch (error) {
    // Without memory for a trial: the space that needs none.
    if (!isOutOfMemory(error)) throw error;
    return false;
  }
  return costs[1] <= costs[0];
}

/** Cells for a number of rows: the power of two nearest to rows / 128; 1 for few rows. */
function defaultCells(rows: number): number {
  if (rows < FEW_ROWS) return 1;
  const wanted = rows / ROWS_PER_CELL;
  let cells = 16;
  // Nearest by ratio. By multiplication: Math.log2 may differ between engines.
  while (cells < MAX_CELLS && wanted * wanted > 2 * cells * cells) cells *= 2;
  return cells;
}
