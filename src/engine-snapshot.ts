import { MAX_CELLS } from './cells.js';
import { groupsOf } from './centres.js';
import type { Engine } from './engine.js';
import type { Metric } from './neighbors.js';
import { decodeReach, encodeReach, type Reach } from './reach.js';
import type { Storage } from './rows.js';
import { mostKept } from './settings.js';
import {
  bitsOf,
  Checksums,
  countBits,
  expectContent,
  MAX_SEED_BYTES,
  paused,
  type Reading,
  type SectionSource,
  type SnapshotLimits,
  SnapshotReader,
  seedBytes,
  seedFrom,
  type Writing,
  writeSnapshot,
} from './snapshot.js';
import type { TunedSetting } from './tuning.js';
import { ID_KINDS, type IdKind, UserIds } from './user-ids.js';

/** Sections, in the order of the file: docs/snapshot-format.md. */
const PARAMETERS = 1;
const TUNED = 2;
const SLOTS = 3;
const MEAN = 4;
const SIGNS = 5;
const MATRIX = 6;
const RAW_MEAN = 7;
const CENTRES = 8;
const ROWS = 9;
const LABELS = 10;
const LENGTHS = 11;
const BLOCKS = 12;
const REFINE = 13;
const REFINE_NORMS = 14;
const REMOVED = 15;
const USER_IDS = 16;
const REACH = 17;
const TAGS: readonly number[] = Array.from({ length: 17 }, (_, i) => i + 1);

const PARAMETER_BYTES = 64;
const TUNED_BYTES = 64;
/** Settings that a snapshot may hold: every tuning of another k or recall adds to them. */
const MAX_TUNED = 65536;
const METRICS: readonly Metric[] = ['euclidean', 'cosine', 'inner-product'];
const STORAGES: readonly Storage[] = ['f32', 'int8'];
/** Stands for a setting without `keep`. */
const NO_KEEP = 0xffffffff;
const MAX_REACH_BYTES = 4096;
const MAX_IDS = 2 ** 32 - 2;
const LARGEST_SQUARED_NORM = 1e36;

type Tuned = ReadonlyMap<number, readonly TunedSetting[]>;

/**
 * The snapshot of an engine and of what was tuned for it. Removed rows are compacted away first: then nothing of them is
 * in the bytes, and an index that is loaded is the one that was saved, place by place.
 */
export function* writeEngine(
  engine: Engine,
  tuned: Tuned,
  userIds: UserIds | undefined,
  reach: Reach | undefined,
): Writing {
  if (engine.rows.dead > 0) engine.compact();
  const ids = userIds ? yield* userIds.encode(engine.ids()) : [];
  const { plan, rows, size, dims } = engine;
  const region = (tag: number, name: string, bytes: number): SectionSource => ({
    tag,
    pieces: plan.ptr(name) === 0 ? [] : [{ ptr: plan.ptr(name), bytes }],
  });
  const slots = engine.usedSlots();
  const bytes = engine.bytesOf(size, slots);
  const sections: SectionSource[] = [
    { tag: PARAMETERS, pieces: [parameters(engine, userIds?.kind ?? 'row')] },
    { tag: TUNED, pieces: tuned.size === 0 ? [] : [tunedBytes(tuned)] },
    { tag: SLOTS, pieces: [new Uint8Array(slots.buffer)] },
    region(MEAN, 'mean', dims * 4),
    region(SIGNS, 'signs', plan.get('Rounds') * dims * 4),
    region(MATRIX, 'matrix', bytes.matrix),
    region(RAW_MEAN, 'rawMean', engine.stride * 4),
    region(CENTRES, 'centres', slots.length * dims * 4),
  ];
  if (size > 0) {
    sections.push(region(ROWS, 'rows', rows.bytes), region(LABELS, 'labels', size * 4));
  }
  // Without rows these are empty, and tell that there are such regions.
  sections.push(region(LENGTHS, 'lengths', size * 4));
  if (size > 0) sections.push({ tag: BLOCKS, pieces: engine.runs() });
  sections.push(
    region(REFINE, 'refine', bytes.refine),
    region(REFINE_NORMS, 'refineNorms', size * 4),
    { tag: REMOVED, pieces: rows.idCount === size ? [] : [bitsOf(rows.idCount, (id) => !rows.has(id))] },
    { tag: USER_IDS, pieces: ids },
    // Whoever does not know it measures again.
    { tag: REACH, pieces: reach?.length ? [encodeReach(reach)] : [], isOptional: true },
  );
  yield* writeSnapshot('VectorIndex', sections, plan.memory, plan.kernels);
}

function parameters(engine: Engine, idKind: IdKind): Uint8Array {
  const { plan, rows } = engine;
  const seed = seedBytes(engine.seed);
  const view = new DataView(new ArrayBuffer(PARAMETER_BYTES + seed.length));
  const words = [
    rows.dimensions,
    METRICS.indexOf(rows.metric),
    STORAGES.indexOf(rows.storage),
    Number(engine.isBuilt),
    engine.size,
    engine.dims,
    plan.get('Rounds'),
    engine.cells,
    plan.get('Groups'),
  ];
  words.forEach((word, i) => void view.setUint32(4 * i, word, true));
  view.setFloat32(36, engine.isRefined ? plan.memory.f32[plan.word('RefineStep')] : 0, true);
  view.setFloat32(40, rows.squaredNorm, true);
  view.setUint32(44, rows.idCount - engine.size, true);
  view.setUint32(48, ID_KINDS.indexOf(idKind), true);
  const bytes = new Uint8Array(view.buffer);
  bytes.set(seed, PARAMETER_BYTES);
  return bytes;
}

function tunedBytes(tuned: Tuned): Uint8Array {
  const all = [...tuned]
    .sort(([a], [b]) => a - b)
    .flatMap(([k, settings]) => settings.map((setting) => [k, setting] as const));
  const view = new DataView(new ArrayBuffer(all.length * TUNED_BYTES));
  all.forEach(([k, setting], i) => {
    const at = i * TUNED_BYTES;
    const words = [k, setting.probes, setting.patience, setting.keep ?? NO_KEEP, Number(setting.met)];
    words.forEach((word, j) => void view.setUint32(at + 4 * j, word, true));
    const { epsilon, target, recall, atLeast, cost } = setting;
    [epsilon, target, recall, atLeast, cost].forEach(
      (x, j) => void view.setFloat64(at + 24 + 8 * j, x, true),
    );
  });
  return new Uint8Array(view.buffer);
}

/** A snapshot of a VectorIndex whose header and parameters have been read and proven; `fill` reads the rest. */
export class EngineSnapshot {
  readonly dimensions: number;
  readonly metric: Metric;
  readonly storage: Storage;
  readonly seed: bigint;
  readonly idKind: IdKind;
  readonly maxBytes: number;
  #reader: SnapshotReader;
  #parameters: DataView;

  /** `length`: the bytes at hand, if that is known. */
  static *open(limits?: SnapshotLimits, length?: number): Reading<EngineSnapshot> {
    const reader = new SnapshotReader('VectorIndex', TAGS, limits, length);
    yield* reader.open();
    return new EngineSnapshot(reader, yield* reader.read(PARAMETERS, PARAMETER_BYTES + MAX_SEED_BYTES));
  }

  private constructor(reader: SnapshotReader, view: DataView) {
    expectContent(
      view.byteLength >= PARAMETER_BYTES,
      `${PARAMETER_BYTES} bytes of parameters`,
      view.byteLength,
    );
    this.#reader = reader;
    this.#parameters = view;
    this.dimensions = this.#integer('dimensions', 0, 1, 2 ** 32);
    reader.limit('maxDimensions', reader.maxDimensions, this.dimensions);
    this.metric = METRICS[this.#integer('metric', 4, 0, METRICS.length - 1)];
    this.storage = STORAGES[this.#integer('storage', 8, 0, STORAGES.length - 1)];
    reader.limit('maxRows', reader.maxRows, this.#word(16));
    this.idKind = ID_KINDS[this.#integer('kind of ids', 48, 0, ID_KINDS.length - 1)];
    for (let at = 52; at < PARAMETER_BYTES; at += 4) this.#integer('reserved word', at, 0, 0);
    this.seed = seedFrom(view, PARAMETER_BYTES);
    this.maxBytes = reader.maxBytes;
  }

  /** What `make` makes; a refusal where the limit of the caller leaves no room for it. */
  within<Index>(make: () => Reading<Index>): Reading<Index> {
    return this.#reader.within(make);
  }

  /**
   * Fills an empty engine of these parameters; returns what was tuned, and the user's ids and the measured reach if they
   * are there. Nothing is allocated that the bytes do not cover.
   */
  *fill(engine: Engine): Reading<{
    tuned: Map<number, TunedSetting[]>;
    userIds: UserIds | undefined;
    reach: Reach | undefined;
  }> {
    const reader = this.#reader;
    const { plan } = engine;
    const rows = this.#word(16);
    const gone = this.#word(44);
    const ids = rows + gone;
    expectContent(ids <= MAX_IDS, `at most ${MAX_IDS} ids`, ids);
    const cells = this.#integer('cells', 28, 1, MAX_CELLS);
    const built = this.#integer('built', 12, 0, 1) === 1;
    expectContent(built || cells === 1, 'one cell before the first build', cells);
    const groups = this.#word(32);
    const expectedGroups = built && groups > 0 ? groupsOf(cells) : 0;
    expectContent(groups === expectedGroups, `${expectedGroups} groups`, groups);
    const dims = this.#word(20);
    const principal = reader.has(MATRIX);
    const rounds = principal ? 0 : plan.get('Rounds');
    this.#integer('rounds', 24, rounds, rounds);
    if (principal) {
      expectContent(dims >= 16 && dims <= engine.stride && dims % 4 === 0, 'coded dimensions', dims);
      reader.expectSection(MATRIX, dims * Math.ceil(engine.stride / 8) * 16);
    } else {
      this.#integer('coded dimensions', 20, engine.stride, engine.stride);
    }
    const squaredNorm = this.#parameters.getFloat32(40, true);
    const largest = this.metric === 'inner-product' ? LARGEST_SQUARED_NORM : 0;
    expectContent(squaredNorm >= 0 && squaredNorm <= largest, `a norm of at most ${largest}`, squaredNorm);
    const refined = reader.has(REFINE);
    const refineStep = this.#parameters.getFloat32(36, true);
    const widest = refined ? LARGEST_SQUARED_NORM : 0;
    expectContent(refineStep >= 0 && refineStep <= widest, `a step of at most ${widest}`, refineStep);

    reader.expectSection(SLOTS, cells * 4);
    const tuned = reader.has(TUNED)
      ? readTuned(yield* reader.read(TUNED, MAX_TUNED * TUNED_BYTES), ids)
      : new Map();
    const slots = new Uint32Array((yield* reader.read(SLOTS, cells * 4)).buffer);

    engine.openSpace(dims, principal);
    const bytes = engine.bytesOf(rows, slots);
    const regions: [tag: number, name: string, bytes: number, isThere: boolean][] = [
      [MEAN, 'mean', dims * 4, true],
      [SIGNS, 'signs', rounds * dims * 4, !principal],
      [MATRIX, 'matrix', bytes.matrix, principal],
      [RAW_MEAN, 'rawMean', engine.stride * 4, principal],
      [CENTRES, 'centres', cells * dims * 4, true],
      [ROWS, 'rows', rows * plan.get('RowBytes'), rows > 0],
      [LABELS, 'labels', rows * 4, rows > 0],
      [LENGTHS, 'lengths', rows * 4, this.metric === 'cosine' && reader.has(LENGTHS)],
      [BLOCKS, 'blocks', bytes.blocks, rows > 0],
      [REFINE, 'refine', bytes.refine, refined],
      [REFINE_NORMS, 'refineNorms', rows * 4, refined],
    ];
    // Everything that is about to be reserved stands in the bytes: a few words cannot ask for gigabytes.
    for (const [tag, , size, isThere] of regions) {
      if (isThere) reader.expectSection(tag, size);
      else expectContent(!reader.has(tag), `no section ${tag}`, 'one');
    }
    if (gone > 0) reader.expectSection(REMOVED, Math.ceil(ids / 8));
    else expectContent(!reader.has(REMOVED), 'no removed ids', 'some');
    const named = this.idKind !== 'row' && rows > 0;
    expectContent(reader.has(USER_IDS) === named, named ? 'ids of the rows' : 'no ids of rows', 'others');
    if (rows === 0) expectContent(bytes.blocks === 0, 'no slots without rows', slots[0]);
    const lengths = reader.has(LENGTHS);
    engine.open({ rows, ids, slots, built, lengths, squaredNorm, refined, refineStep });
    const checksums = new Checksums(plan.memory, plan.kernels);
    for (const [tag, name, , isThere] of regions) {
      if (isThere) yield* reader.copy(tag, plan.memory, plan.ptr(name), checksums);
    }
    checksums.release();
    const removed = gone > 0 ? yield* this.#readRemoved(ids, gone) : undefined;
    const names = named ? yield* reader.read(USER_IDS, reader.bytesOf(USER_IDS)) : undefined;
    const measured = reader.has(REACH) ? yield* reader.read(REACH, MAX_REACH_BYTES) : undefined;
    const reach = measured && decodeReach(measured, cells);
    yield* reader.close();
    const wrong = yield* paused(engine.settle(groups > 0, removed));
    expectContent(wrong === undefined, `${wrong}`, 'something else');
    const userIds = this.idKind === 'row' ? undefined : new UserIds(this.idKind);
    if (userIds && names) yield* userIds.decode(names, engine.ids());
    return { tuned, userIds, reach };
  }

  /** Which ids are those of removed rows. */
  *#readRemoved(ids: number, gone: number): Reading<Uint8Array> {
    const { buffer } = yield* this.#reader.read(REMOVED, Math.ceil(ids / 8));
    const bits = new Uint8Array(buffer);
    const count = countBits(bits, ids);
    expectContent(count === gone, `${gone} removed ids`, count);
    return bits;
  }

  #word(at: number): number {
    return this.#parameters.getUint32(at, true);
  }

  #integer(what: string, at: number, least: number, most: number): number {
    const value = this.#word(at);
    expectContent(value >= least && value <= most, `${what} from ${least} to ${most}`, value);
    return value;
  }
}

function readTuned(view: DataView, ids: number): Map<number, TunedSetting[]> {
  const tuned = new Map<number, TunedSetting[]>();
  expectContent(view.byteLength % TUNED_BYTES === 0, 'whole settings', `${view.byteLength} bytes`);
  let lastK = 0;
  let lastTarget = -1;
  for (let at = 0; at < view.byteLength; at += TUNED_BYTES) {
    const [k, probes, patience, keep, met, zero] = Array.from({ length: 6 }, (_, i) =>
      view.getUint32(at + 4 * i, true),
    );
    const [epsilon, target, recall, atLeast, cost] = Array.from({ length: 5 }, (_, i) =>
      view.getFloat64(at + 24 + 8 * i, true),
    );
    if (k !== lastK) lastTarget = -1;
    expectContent(k >= Math.max(1, lastK) && k <= Math.max(1, ids), 'settings in order of k', k);
    expectContent(target > lastTarget && target <= 1 && target >= 0, 'targets in order', target);
    expectContent(probes >= 1, '1 probe or more', probes);
    // What is kept is reserved at every search.
    expectContent(keep === NO_KEEP || keep <= mostKept(k), `at most ${mostKept(k)} rows kept`, keep);
    expectContent(met <= 1 && zero === 0, 'a flag', met);
    expectContent(epsilon >= 0 && epsilon <= 100, 'an epsilon', epsilon);
    for (const share of [recall, atLeast]) expectContent(Math.abs(share) <= 10, 'a recall', share);
    expectContent(cost >= 0, 'a cost', cost);
    const setting = { probes, epsilon, patience, target, recall, atLeast, met: met === 1, cost };
    if (k !== lastK) tuned.set(k, []);
    tuned.get(k)?.push(keep === NO_KEEP ? setting : { ...setting, keep });
    lastK = k;
    lastTarget = target;
  }
  return tuned;
}
