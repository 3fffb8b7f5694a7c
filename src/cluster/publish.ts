import { type BuildOptions, VectorIndex, type VectorIndexOptions } from '../index.js';
import { type ClusterCallOptions, refuse } from './calls.js';
import { checkFingerprint, fingerprintOf, partsOf, type Segment, sha256 } from './manifest.js';
import { fetchPart, type SegmentStore } from './store.js';
import { concat } from './wire.js';

export interface PublishOptions extends ClusterCallOptions, Omit<VectorIndexOptions, 'ids'>, BuildOptions {
  /** Rows of a segment; default 250,000. */
  segmentRows?: number;
}

/** All rows at once, or pages of them, or snapshots that become segments as they are. */
export type PublishRows =
  | Float32Array
  | Iterable<Float32Array | Uint8Array>
  | AsyncIterable<Float32Array | Uint8Array>;

const SEGMENT_ROWS = 250_000;

/** Stores a snapshot under its digest, part by part, and reads each back. `stored` takes the keys. */
export async function seal(
  snapshot: Uint8Array,
  { generation, base, store, stored }: Place,
): Promise<Segment> {
  const index = VectorIndex.load(snapshot);
  const rows = index.add(new Float32Array(0)); // the id that comes next: removed rows have theirs for ever
  index.dispose();
  const pieces = partsOf(snapshot);
  // Generations share what they store, but not what they hold: rows that are removed in one are there in another.
  const content = sha256(String(base), ...pieces.map(({ part }) => part.sha256));
  const digest = sha256(generation, content);
  const parts = pieces.map(({ part }) => ({ ...part, key: sha256(content, part.sha256) }));
  for (const [i, part] of parts.entries()) {
    stored.add(part.key);
    await store.put(part.key, pieces[i].bytes);
    await fetchPart(store, digest, part);
  }
  return { digest, base, rows, bytes: snapshot.length, parts };
}

interface Place {
  generation: string;
  base: number;
  store: SegmentStore;
  stored: Set<string>;
}

/** Cuts rows into segments as they come, builds and stores each: one of them is in memory at a time. */
export async function storeSegments(
  rows: PublishRows,
  options: PublishOptions,
  { generation, store, stored }: Omit<Place, 'base'>,
): Promise<{ segments: Segment[]; fingerprint: string; segmentRows: number }> {
  const { segmentRows = SEGMENT_ROWS, signal, onProgress, deadlineMs: _, ...indexOptions } = options;
  const { dimensions } = indexOptions;
  const segments: Segment[] = [];
  let fingerprint: string | null = null;
  let base = 0;

  const add = async (snapshot: Uint8Array): Promise<void> => {
    signal?.throwIfAborted();
    const segment = await seal(snapshot, { generation, base, store, stored });
    fingerprint ??= fingerprintOf(snapshot);
    checkFingerprint(segment.digest, fingerprint, fingerprintOf(snapshot));
    segments.push(segment);
    base += segment.rows;
    const total = rows instanceof Float32Array ? rows.length / dimensions : 0;
    onProgress?.({ phase: 'publish', done: base, total });
  };

  let waiting: Float32Array[] = [];
  let waitingFloats = 0;
  /** Makes a segment of the rows that wait for others. */
  const flush = async (): Promise<void> => {
    if (waitingFloats === 0) return;
    // In slices: between them the writer's lock is renewed.
    const index = await VectorIndex.fromAsync(concat(waiting, Float32Array), { ...indexOptions, signal });
    waiting = [];
    waitingFloats = 0;
    try {
      await add(index.save());
    } finally {
      index.dispose();
    }
  };

  const wanted = segmentRows * dimensions;
  for await (const page of rows instanceof Float32Array ? [rows] : rows) {
    if (page instanceof Uint8Array) {
      await flush();
      await add(page);
      continue;
    }
    if (page.length % dimensions !== 0)
      refuse(`rows: expected a multiple of ${dimensions} floats, got ${page.length}`);
    for (let at = 0; at < page.length; ) {
      const piece = page.subarray(at, at + wanted - waitingFloats);
      waiting.push(piece.slice());
      waitingFloats += piece.length;
      at += piece.length;
      if (waitingFloats === wanted) await flush();
    }
  }
  await flush();
  signal?.throwIfAborted();
  return { segments, fingerprint: fingerprint ?? emptyFingerprint(indexOptions), segmentRows };
}

/** Refuses options that no index takes, before anything is read. */
export function checkPublish({ segmentRows = 1, ...options }: PublishOptions): void {
  if (!Number.isInteger(segmentRows) || segmentRows < 1)
    refuse(`segmentRows: expected 1 or more, got ${segmentRows}`);
  const { signal: _signal, onProgress: _progress, deadlineMs: _deadline, ...indexOptions } = options;
  new VectorIndex(indexOptions).dispose();
}

function emptyFingerprint(options: VectorIndexOptions): string {
  const index = new VectorIndex(options);
  try {
    return fingerprintOf(index.save());
  } finally {
    index.dispose();
  }
}
