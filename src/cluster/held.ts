import { VectorIndex } from '../index.js';
import { ClusterError } from './error.js';
import {
  checkFingerprint,
  fingerprintOf,
  type Manifest,
  type OpenSegment,
  type Segment,
} from './manifest.js';
import { fetchPart, type SegmentStore } from './store.js';
import { concat, type Lists, type Request } from './wire.js';

/** Queries until the first turn of the event loop, where locks are renewed; as many as take SLICE_MS from then on. */
const FIRST_QUERIES = 16;
const SLICE_MS = 100;
/** Kinds of questions whose time is remembered. */
const KINDS_KEPT = 16;

/** A segment in a worker's memory. What it answers depends on its bytes and the question alone, so a job may run twice. */
export class HeldSegment {
  readonly digest: string;
  readonly base: number;
  readonly generation: string;
  readonly isOpen: boolean;
  readonly index: VectorIndex;
  /** Ids that it has given out. */
  rows: number;
  /** Version of the manifest that it has all rows of. */
  version = 0;
  /** Up to which change of the tombstones its rows are removed. */
  tombstones = 0;
  /** Blocks of an open segment that were taken in. */
  #blocks = 0;
  /** Milliseconds of CPU of a query of each kind, as the last took. */
  readonly #queryMs = new Map<string, number>();

  private constructor(
    { digest, base }: Segment | OpenSegment,
    { generation }: Manifest,
    { index, rows, isOpen }: { index: VectorIndex; rows: number; isOpen: boolean },
  ) {
    this.digest = digest;
    this.base = base;
    this.generation = generation;
    this.index = index;
    this.rows = rows;
    this.isOpen = isOpen;
  }

  /** Fetches a sealed segment, part by part, and proves that it is what the manifest says. */
  static async load(segment: Segment, manifest: Manifest, store: SegmentStore): Promise<HeldSegment> {
    const { digest, bytes, rows } = segment;
    const snapshot = new Uint8Array(bytes);
    let at = 0;
    for (const part of segment.parts) {
      snapshot.set(await fetchPart(store, digest, part), at);
      at += part.bytes;
    }
    checkFingerprint(digest, manifest.fingerprint, fingerprintOf(snapshot));
    let index: VectorIndex;
    try {
      index = VectorIndex.load(snapshot);
    } catch (error) {
      throw new ClusterError(
        'ERR_CLUSTER_SEGMENT',
        `segment ${digest.slice(0, 12)}: ${(error as Error).message}`,
        [digest],
        error,
      );
    }
    return new HeldSegment(segment, manifest, { index, rows, isOpen: false });
  }

  /** An open segment, still without its rows: `extend` brings them. */
  static open(segment: OpenSegment, manifest: Manifest): HeldSegment {
    const { dimensions, metric } = manifest;
    const index = new VectorIndex({ dimensions, metric });
    return new HeldSegment(segment, manifest, { index, rows: 0, isOpen: true });
  }

  /** Takes in the blocks of an open segment that it has not. */
  async extend(open: OpenSegment, version: number, store: SegmentStore): Promise<void> {
    for (; this.#blocks < open.blocks.length; this.#blocks++) {
      const bytes = new Uint8Array(await fetchPart(store, this.digest, open.blocks[this.#blocks]));
      this.index.add(new Float32Array(bytes.buffer));
      this.rows += bytes.length / 4 / this.index.dimensions;
      this.tombstones = 0; // they may have been removed since
    }
    this.version = version;
  }

  /** Removes the rows whose bits are set; bit 0 of `bits` is this segment's first row. */
  bury(bits: Uint8Array, tombstones: number): void {
    const ids: number[] = [];
    for (let id = 0; id < this.rows; id++)
      if ((bits[id >> 3] >> (7 - (id & 7))) & 1 && this.index.has(id)) ids.push(id);
    if (ids.length > 0) this.index.remove(ids);
    this.tombstones = tombstones;
  }

  /** The neighbors of each query among this segment's rows. */
  async answer({ kind, queries, dimensions, k, recall, radius, exact }: Request): Promise<Lists> {
    const count = queries.length / dimensions;
    const counts = new Uint32Array(count);
    const ids: Uint32Array[] = [];
    const distances: Float32Array[] = [];
    const options = exact ? { exact } : { recall };
    const sort = [kind, k, recall, radius, exact].join();
    const wanted = Math.min(k, this.index.size);
    for (let first = 0; first < count && wanted > 0; ) {
      const perQuery = this.#queryMs.get(sort);
      const most = perQuery === undefined ? FIRST_QUERIES : Math.max(1, Math.floor(SLICE_MS / perQuery));
      const size = Math.min(most, count - first);
      const started = performance.now();
      const some = queries.subarray(first * dimensions, (first + size) * dimensions);
      if (kind === 'radius') {
        const found = this.index.searchRadiusBatch(some, radius, options);
        for (let i = 0; i < size; i++) counts[first + i] = found.offsets[i + 1] - found.offsets[i];
        ids.push(found.ids);
        distances.push(found.distances);
      } else {
        const found = this.index.searchBatch(some, { ...options, k: wanted });
        counts.set(found.counts, first);
        if (found.counts.every((filled) => filled === wanted)) {
          ids.push(found.ids);
          distances.push(found.distances);
        } else {
          found.counts.forEach((filled, i) => {
            ids.push(found.ids.subarray(i * wanted, i * wanted + filled));
            distances.push(found.distances.subarray(i * wanted, i * wanted + filled));
          });
        }
      }
      if (this.#queryMs.size > KINDS_KEPT) this.#queryMs.clear();
      this.#queryMs.set(sort, Math.max(1e-3, (performance.now() - started) / size));
      first += size;
      if (first < count) await new Promise((resolve) => setImmediate(resolve));
    }
    return { counts, ids: this.#global(ids), distances: concat(distances, Float32Array) };
  }

  /** Global ids of arrays of local ones, one behind the other. */
  #global(local: readonly Uint32Array[]): Float64Array {
    const ids = new Float64Array(local.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const some of local) for (let i = 0; i < some.length; i++) ids[at++] = this.base + some[i];
    return ids;
  }

  /** The vectors of up to `count` live rows from local id `from` to before `to`; `next` is where to go on, null at the end. */
  vectors(
    from: number,
    to: number,
    count: number,
  ): { ids: Float64Array; vectors: Float32Array; next: number | null } {
    const { dimensions } = this.index;
    const ids: number[] = [];
    const vectors = new Float32Array(count * dimensions);
    let id = from;
    for (; id < to && ids.length < count; id++) {
      if (!this.index.has(id)) continue;
      vectors.set(this.index.vector(id), ids.length * dimensions);
      ids.push(this.base + id);
    }
    return {
      ids: Float64Array.from(ids),
      vectors: vectors.subarray(0, ids.length * dimensions),
      next: id < to ? id : null,
    };
  }

  dispose(): void {
    this.index.dispose();
  }
}
