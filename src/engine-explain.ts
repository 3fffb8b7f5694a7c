import type { Engine, RowTrace } from './engine.js';
import type { EngineSearch, VectorSearchOptions } from './engine-search.js';
import type { Neighbors } from './neighbors.js';
import type { Settings } from './settings.js';
import type { UserId } from './user-ids.js';

/** What one search did, and why a row was missed. */
export interface VectorExplanation extends Neighbors {
  /** Whether `maxCandidates` left rows out. */
  capped: boolean;
  /** How it was done; `null` for an exact search. */
  settings: Settings | null;
  cells: number;
  cellsProbed: number;
  codesScanned: number;
  /** Slots whose lower bound passed the limit of the moment. */
  survivors: number;
  /** Survivors that the second stage looked at; 0 where there is none. */
  rowsRefined: number;
  /** Rows whose exact distance was computed. */
  rowsRanked: number;
  /** With a filter: how many ids pass it. */
  passing?: number;
  /**
   * With a filter: whether the search went through the cells or compared all rows that pass, as `exact` does, because that
   * was modeled to cost less. Then `settings` is null.
   */
  way?: 'cells' | 'rows';
  /** Milliseconds by stage; with a filter, to prepare is to take it in, and all else counts as the scan. */
  times: { prepareMs: number; cellsMs: number; scanMs: number; rankMs: number };
  /** About the row that was asked for. */
  row?: RowExplanation;
}

/** Where one row stood in one search. */
export interface RowExplanation extends RowTrace {
  /** The row's number. */
  id: number;
  /** Its id, in an index with ids of its own. */
  userId?: UserId;
  found: boolean;
  reason:
    | 'found'
    | 'excluded by the filter'
    | 'cell not probed'
    | 'filtered by its code'
    | 'ranked behind k others';
}

/** What is in an index. */
export interface IndexStats {
  rows: number;
  removed: number;
  cells: number;
  cellSizes: Uint32Array;
  largestCell: number;
  emptyCells: number;
  skew: number;
  refined: boolean;
  bytesPerRow: number;
}

/** One search with all that it did; `id`: about the row of this number. */
export function explainSearch(
  search: EngineSearch,
  query: Float32Array,
  options: VectorSearchOptions<never>,
  id: number | undefined,
): VectorExplanation {
  const { k, settings: resolved, most } = search.resolve(options);
  const { engine, passing: among } = search;
  const marks = [performance.now()];
  const lap = (): void => void marks.push(performance.now());
  let found: number;
  let passing: number | undefined;
  let settings: Settings | null = resolved;
  if (options.filter !== undefined) {
    passing = search.takeFilter(options.filter);
    const through = search.through(options, k, settings, passing);
    lap();
    lap();
    const done = among.search(query, k, through, passing);
    found = done.found;
    settings =
      through && done.way === 'cells'
        ? { probes: through.mostProbes, epsilon: through.epsilon, patience: 0 }
        : null;
    lap();
    lap();
  } else if (settings && engine.size > 0) {
    found = engine.runInStages(query, k, settings, lap, most);
  } else {
    for (let i = 0; i < 3; i++) lap();
    found = engine.runExact(query, k);
    lap();
  }
  const neighbors = { ids: new Uint32Array(found), distances: new Float32Array(found) };
  engine.read(found, neighbors, 0);
  const done = engine.counters();
  const explanation: VectorExplanation = {
    ...neighbors,
    capped: engine.capped,
    settings,
    cells: engine.cells,
    ...(passing === undefined ? {} : { passing, way: settings ? ('cells' as const) : ('rows' as const) }),
    cellsProbed: settings ? done.cells : 0,
    codesScanned: settings ? done.codes : 0,
    survivors: settings ? done.survivors : 0,
    rowsRefined: settings ? done.refined : 0,
    rowsRanked: engine.size === 0 ? 0 : done.ranked,
    times: {
      prepareMs: marks[1] - marks[0],
      cellsMs: marks[2] - marks[1],
      scanMs: marks[3] - marks[2],
      rankMs: marks[4] - marks[3],
    },
  };
  if (id !== undefined) {
    const filtered = passing !== undefined;
    const excluded = filtered && !among.passes(id);
    const probed = settings && !filtered ? engine.probedCells() : null;
    const visited = (cell: number): boolean =>
      filtered ? among.visited(cell) : (probed as Uint32Array).includes(cell);
    const trace = engine.trace(query, id, settings);
    const isFound = neighbors.ids.includes(id);
    let reason: RowExplanation['reason'] = 'ranked behind k others';
    if (isFound) reason = 'found';
    else if (excluded) reason = 'excluded by the filter';
    else if (settings && !visited(trace.cell)) reason = 'cell not probed';
    else if (settings && !(trace.lowerBound < trace.limit)) reason = 'filtered by its code';
    // Nearer than what was found: its code of the second stage lost it.
    else if (trace.distance < neighbors.distances[found - 1]) reason = 'filtered by its code';
    explanation.row = { id, found: isFound, ...trace, reason };
  }
  return explanation;
}

/** Rows, removed ones that still take room, and how even the cells are. */
export function statsOf(engine: Engine): IndexStats {
  const sizes = engine.cellSizes();
  const rows = Math.max(1, engine.size);
  let squares = 0;
  let largest = 0;
  let empty = 0;
  for (const size of sizes) {
    squares += size * size;
    largest = Math.max(largest, size);
    if (size === 0) empty++;
  }
  return {
    rows: engine.size,
    removed: engine.rows.dead,
    cells: sizes.length,
    cellSizes: sizes,
    largestCell: largest,
    emptyCells: empty,
    // Mean size of the cell that a row is in, over the mean size of a cell: 1 when all are equal.
    skew: (squares / rows / rows) * sizes.length,
    refined: engine.isRefined,
    bytesPerRow: engine.plan.memory.memory.buffer.byteLength / rows,
  };
}
