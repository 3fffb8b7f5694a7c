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
import { concat, type Request, writeAnswer } from './wire.js';

/** Queries until the first turn of the event loop, where locks are renewed; as many as take SLICE_MS from then on. */
const FIRST_QUERIES = 16;
const SLICE_MS = 100;

/** A segment in a worker's memory. What it answers depends on its bytes and the question alone, so a job may run twice. */
export class HeldSegment {
  readonly digest: string;
  readonly base: number;
  readonly index: VectorIndex;
  /** Blocks of an open segment that were taken in. */
  blocks = 0;
  /** Up to which change of the tombstones its rows are removed. */
  tombstones = 0;

  private constructor(digest: string, base: number, index: VectorIndex) {
    this.digest = digest;
    this.base = base;
    this.index = index;
  }

  /** Fetches a sealed segment, part by part, and proves that it is what the manifest says. */
  static async load(segment: Segment, manifest: Manifest, store: SegmentStore): Promise<HeldSegment> {
    const { digest, base, bytes } = segment;
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
    return new HeldSegment(digest, base, index);
  }

  /** An open segment, still without its rows: `extend` brings them. */
  static open({ digest, base }: OpenSegment, { dimensions, metric }: Manifest): HeldSegment {
    return new HeldSegment(digest, base, new VectorIndex({ dimensions, metric }));
  }

  /** Takes in the blocks up to number `blocks` of an open segment. */
  async extend(open: OpenSegment, blocks: number, store: SegmentStore): Promise<void> {
    while (this.blocks < blocks) {
      const part = open.blocks[this.blocks];
      const bytes = new Uint8Array(await fetchPart(store, this.digest, part));
      this.index.add(new Float32Array(bytes.buffer));
      this.blocks++;
    }
  }

  /** Removes the rows whose bits are set; bit 0 of `bits` is this segment's first row. */
  bury(bits: Uint8Array, rows: number, tombstones: number): void {
    const ids: number[] = [];
    for (let id = 0; id < rows; id++)
      if ((bits[id >> 3] >> (7 - (id & 7))) & 1 && this.index.has(id)) ids.push(id);
    if (ids.length > 0) this.index.remove(ids);
    this.tombstones = tombstones;
  }

  /** The neighbors of each query among this segment's rows. */
  async answer({ kind, queries, dimensions, k, recall, radius, exact }: Request): Promise<Buffer> {
    const count = queries.length / dimensions;
    const counts = new Uint32Array(count);
    const ids: Uint32Array[] = [];
    const distances: Float32Array[] = [];
    const options = exact ? { exact } : { recall };
    let size = FIRST_QUERIES;
    for (let first = 0; first < count; ) {
      const started = performance.now();
      const some = queries.subarray(first * dimensions, (first + size) * dimensions);
      if (kind === 'radius') {
        const found = this.index.searchRadiusBatch(some, radius, options);
        for (let i = 0; i + 1 < found.offsets.length; i++)
          counts[first + i] = found.offsets[i + 1] - found.offsets[i];
        ids.push(found.ids);
        distances.push(found.distances);
      } else {
        const wanted = Math.min(k, this.index.size);
        if (wanted === 0) break;
        const found = this.index.searchBatch(some, { ...options, k: wanted });
        found.counts.forEach((filled, i) => {
          counts[first + i] = filled;
          ids.push(found.ids.subarray(i * wanted, i * wanted + filled));
          distances.push(found.distances.subarray(i * wanted, i * wanted + filled));
        });
      }
      first += size;
      size = Math.max(1, Math.floor((size * SLICE_MS) / Math.max(1, performance.now() - started)));
      if (first < count) await new Promise((resolve) => setImmediate(resolve));
    }
    return writeAnswer(counts, concat(ids, Uint32Array), concat(distances, Float32Array));
  }

  /** The vectors of up to `count` live rows from local id `from` on; `next` is where to go on, null at the end. */
  rows(
    from: number,
    count: number,
    end: number,
  ): { ids: Float64Array; vectors: Float32Array; next: number | null } {
    const { dimensions } = this.index;
    const ids: number[] = [];
    const vectors = new Float32Array(count * dimensions);
    let id = from;
    for (; id < end && ids.length < count; id++) {
      if (!this.index.has(id)) continue;
      vectors.set(this.index.vector(id), ids.length * dimensions);
      ids.push(this.base + id);
    }
    return {
      ids: Float64Array.from(ids),
      vectors: vectors.subarray(0, ids.length * dimensions),
      next: id < end ? id : null,
    };
  }

  dispose(): void {
    this.index.dispose();
  }
}
