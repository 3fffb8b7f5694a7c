import type { Neighbors } from './neighbors.js';
import type { Progress } from './progress.js';
import { isTruthCheap, type Settings, TRUTH } from './settings.js';
import { expectContent } from './snapshot.js';

/** How far out cells hold neighbors, at one number of neighbors. */
interface ReachPoint {
  /** Neighbors of a query. */
  k: number;
  /** Mean distance of the k-th, in the engine's space. */
  distance: number;
  /** For each of LEVELS: (g - g1) / distance that this share of the neighbors' cells does not pass. */
  slopes: number[];
  /** For each of LEVELS: place of the cell among all cells, likewise. */
  places: number[];
}

/** What was measured; ascending k and distance. Empty where there are too few rows, or one cell. */
export type Reach = readonly ReachPoint[];

/** What the measuring asks of an engine. */
export interface Reachable {
  readonly size: number;
  readonly stride: number;
  readonly cells: number;
  run(query: Float32Array, k: number, settings: Settings): number;
  runExact(query: Float32Array, k: number): number;
  read(found: number, into: Neighbors, at: number): void;
  vector(id: number): Float32Array;
  ids(): Uint32Array;
  placesOfRows(): Generator<Progress, { cells: Uint32Array }>;
  cellDistances(query: Float32Array): { cells: Uint32Array; squared: Float32Array };
  squaredOf(distance: number, query: Float32Array): number;
  /** Squared distance of a query and a row in the engine's space. */
  squaredTo(query: Float32Array, id: number): number;
}

/** Shares of the neighbors. */
const LEVELS: readonly number[] = [0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999];
/** Neighbors at which is measured, and rows that are the queries. */
const NEIGHBORS: readonly number[] = [10, 100, 1000];
const QUERIES = 60;
/** Beyond these, random rows tell: so many a query, in shares of all pairs by distance. */
const FAR_ROWS = 150;
const FAR_SHARES: readonly number[] = [0, 0.1, 0.3, 0.6, 0.9, 1];
const MOST_POINTS = NEIGHBORS.length + FAR_SHARES.length - 1;
/** k, distance, slopes and places of a point, f64 each, in a snapshot. */
const POINT_NUMBERS = 2 + 2 * LEVELS.length;
/** Distances and slopes are float32 where they are used. */
const LARGEST = 1e36;
/** Neighbors of a query that are looked at, evenly spaced. */
const LOOKED_AT = 125;
/** Half-widths of the codes' error bound by recall: a normal distribution's for half of what may be missed, and 0.2. */
const EPSILONS: readonly (readonly [number, number])[] = [
  [0, 0.8],
  [0.5, 1],
  [0.8, 1.5],
  [0.9, 1.85],
  [0.95, 2.2],
  [0.99, 2.8],
  [0.999, 3.5],
  [1, 4.5],
];

/**
 * Measures in which cells the neighbors of rows lie: how much farther than the nearest centre their centres are, in squared
 * distance, over the neighbors' distance. Two points in neighboring cells are parted by a plane between the centres, so
 * the ratio says how far across such planes neighbors are found. `random` gives a number below a bound.
 */
export function* measureReach(
  engine: Reachable,
  random: { integer(bound: number): number },
): Generator<Progress, Reach> {
  const { size, cells } = engine;
  const ks = NEIGHBORS.filter((k, i) => i === 0 || k * 4 <= size);
  if (cells === 1 || size <= 4 * ks[0]) return [];
  const most = ks[ks.length - 1];
  const rows = new Set<number>();
  while (rows.size < Math.min(QUERIES, size)) rows.add(random.integer(size));
  const ids = engine.ids();
  const { cells: cellOf } = yield* engine.placesOfRows();
  const place = new Uint32Array(cells);
  const found = { ids: new Uint32Array(most + 1), distances: new Float32Array(most + 1) };
  const exact = isTruthCheap(engine, rows.size);
  const far: { distance: number; slope: number; place: number }[] = [];
  const seen = ks.map(() => ({ distances: 0, slopes: [] as number[], places: [] as number[] }));
  let done = 0;
  for (const row of rows) {
    yield { phase: 'tune', done, total: rows.size };
    const own = ids[row];
    const query = engine.vector(own);
    const count = exact ? engine.runExact(query, most + 1) : engine.run(query, most + 1, TRUTH);
    engine.read(count, found, 0);
    yield { phase: 'tune', done: done++, total: rows.size };
    const neighbors = Array.from({ length: count }, (_, i) => i).filter((i) => found.ids[i] !== own);
    const order = engine.cellDistances(query);
    order.cells.forEach((cell, i) => {
      place[cell] = i;
    });
    const nearest = order.squared.reduce((least, g) => Math.min(least, g), Infinity);
    ks.forEach((k, i) => {
      const last = neighbors[Math.min(k, neighbors.length) - 1];
      const distance = Math.sqrt(Math.max(0, engine.squaredOf(found.distances[last], query)));
      seen[i].distances += distance / rows.size;
      if (!(distance > 0)) return; // equal rows: they say nothing
      const step = Math.max(1, Math.floor(k / LOOKED_AT));
      for (let j = 0; j < Math.min(k, neighbors.length); j += step) {
        const at = place[cellOf[found.ids[neighbors[j]]]];
        seen[i].slopes.push((order.squared[at] - nearest) / distance);
        seen[i].places.push(at);
      }
    });
    for (let i = 0; i < FAR_ROWS; i++) {
      const id = ids[random.integer(size)];
      const distance = Math.sqrt(Math.max(0, engine.squaredTo(query, id)));
      if (id === own || !(distance > 0)) continue;
      const at = place[cellOf[id]];
      far.push({ distance, slope: (order.squared[at] - nearest) / distance, place: at });
    }
  }
  const reach: ReachPoint[] = [];
  const push = (k: number, distance: number, slopes: number[], places: number[]): void => {
    const before = reach[reach.length - 1];
    if (slopes.length === 0 || (before && (k <= before.k || distance <= before.distance * 1.0001))) return;
    reach.push({ k, distance, slopes: levels(slopes), places: levels(places) });
  };
  for (const [i, { distances, slopes, places }] of seen.entries()) {
    yield { phase: 'tune', done, total: rows.size };
    push(ks[i], distances, slopes, places);
  }
  far.sort((a, b) => a.distance - b.distance);
  yield { phase: 'tune', done, total: rows.size };
  for (let i = 1; i < FAR_SHARES.length; i++) {
    const some = far.slice(Math.floor(FAR_SHARES[i - 1] * far.length), Math.ceil(FAR_SHARES[i] * far.length));
    const mean = some.reduce((sum, pair) => sum + pair.distance / some.length, 0);
    const k = ((FAR_SHARES[i - 1] + FAR_SHARES[i]) / 2) * size;
    push(
      k,
      mean,
      some.map((pair) => pair.slope),
      some.map((pair) => pair.place),
    );
  }
  return reach;
}

/** What was measured as bytes: docs/snapshot-format.md. */
export function encodeReach(reach: Reach): Uint8Array {
  const view = new DataView(new ArrayBuffer(reach.length * POINT_NUMBERS * 8));
  const numbers = reach.flatMap(({ k, distance, slopes, places }) => [k, distance, ...slopes, ...places]);
  numbers.forEach((number, i) => void view.setFloat64(8 * i, number, true));
  return new Uint8Array(view.buffer);
}

/** What such bytes say of an index with so many cells; a refusal of any that measureReach cannot have given. */
export function decodeReach(view: DataView, cells: number): Reach {
  const points = view.byteLength / (POINT_NUMBERS * 8);
  const isWhole = Number.isInteger(points) && points > 0 && points <= MOST_POINTS;
  expectContent(isWhole, `1 to ${MOST_POINTS} points of the reach`, `${view.byteLength} bytes`);
  const reach: ReachPoint[] = [];
  for (let i = 0; i < points; i++) {
    const [k, distance, ...rest] = Array.from({ length: POINT_NUMBERS }, (_, j) =>
      view.getFloat64(8 * (i * POINT_NUMBERS + j), true),
    );
    const before = reach.at(-1) ?? { k: 0, distance: 0 };
    expectContent(k > before.k && k <= 2 ** 32, `a reach of more than ${before.k} neighbors`, k);
    expectContent(distance > before.distance && distance <= LARGEST, 'a longer reach', distance);
    const [slopes, places] = [rest.slice(0, LEVELS.length), rest.slice(LEVELS.length)];
    for (const [numbers, most] of [[slopes, LARGEST] as const, [places, cells - 1] as const]) {
      let last = 0;
      for (const number of numbers) {
        expectContent(number >= last && number <= most, `a reach from ${last} to ${most}`, number);
        last = number;
      }
    }
    expectContent(places.every(Number.isInteger), 'whole places of cells', 'others');
    reach.push({ k, distance, slopes, places });
  }
  return reach;
}

/** The slopes for a recall, as the kernel reads them: pairs of distance and slope. */
export function slopesFor(reach: Reach, recall: number): Float32Array {
  const level = levelOf(recall);
  return Float32Array.from(reach.flatMap((point) => [point.distance, between(LEVELS, point.slopes, level)]));
}

/** How many cells hold the k nearest at a recall. */
export function cellsFor(reach: Reach, recall: number, k: number, cells: number): number {
  if (reach.length === 0) return cells;
  const level = levelOf(recall);
  const ks = reach.map((point) => point.k);
  const places = reach.map((point) => between(LEVELS, point.places, level) + 1);
  const last = ks.length - 1;
  const more = k > ks[last] ? Math.sqrt(k / ks[last]) : 1;
  return Math.min(cells, Math.ceil(between(ks, places, k) * more));
}

/** Half-width of the codes' error bound for a recall. */
export function epsilonFor(recall: number): number {
  return between(
    EPSILONS.map(([at]) => at),
    EPSILONS.map(([, epsilon]) => epsilon),
    recall,
  );
}

/** A quarter of what may be missed is missed by the cells, the rest by the codes. */
function levelOf(recall: number): number {
  return 1 - (1 - recall) / 4;
}

/** Read on a straight line between two points; constant outside. */
function between(at: readonly number[], values: readonly number[], x: number): number {
  const last = at.length - 1;
  if (x <= at[0]) return values[0];
  for (let i = 1; i <= last; i++) {
    if (x > at[i]) continue;
    return values[i - 1] + ((values[i] - values[i - 1]) * (x - at[i - 1])) / (at[i] - at[i - 1]);
  }
  return values[last];
}

function levels(values: number[]): number[] {
  const sorted = Float64Array.from(values).sort();
  return LEVELS.map((level) => sorted[Math.ceil(level * (sorted.length - 1))]);
}
