import { createHash } from 'node:crypto';
import type { Metric } from '../index.js';
import { ClusterError } from './error.js';

/** One stored value: at most PART_BYTES of a segment. */
export interface Part {
  key: string;
  bytes: number;
  sha256: string;
}

/** One sealed VectorIndex snapshot. */
export interface Segment {
  /** SHA-256 over generation, base and the parts' digests: names the segment everywhere. */
  digest: string;
  /** Global id of its row 0. */
  base: number;
  /** Ids that it has given out; those removed before it was sealed count as well. */
  rows: number;
  bytes: number;
  parts: Part[];
}

/** The newest rows, not yet a snapshot: blocks of vectors in the order in which they were appended. */
export interface OpenSegment {
  digest: string;
  base: number;
  rows: number;
  blocks: Part[];
}

/** All that a reader must know of a generation. A new one is stored for each change; the head names the current. */
export interface Manifest {
  generation: string;
  dimensions: number;
  metric: Metric;
  fingerprint: string;
  /** Rows at which the open segment is sealed. */
  segmentRows: number;
  segments: Segment[];
  open: OpenSegment | null;
}

/** What the one pointer says: a change is visible once this is written. */
export interface Head {
  generation: string;
  version: number;
  /** How often rows of sealed segments were removed. */
  tombstones: number;
}

export function writeHead({ generation, version, tombstones }: Head): string {
  return `${generation} ${version} ${tombstones}`;
}

export function readHead(text: string): Head {
  const [generation, version, tombstones] = text.split(' ');
  return { generation, version: Number(version), tombstones: Number(tombstones) };
}

/** The sealed segments, and behind them the open one. */
export function allSegments({ segments, open }: Manifest): (Segment | OpenSegment)[] {
  return open ? [...segments, open] : segments;
}

/** Bytes of a segment's rows: those of its snapshot, or of vectors alone while it is open. */
export function bytesOf(segment: Segment | OpenSegment): number {
  return 'parts' in segment ? segment.bytes : segment.blocks.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** Keys of all that a manifest names in the store. */
export function partKeys({ segments, open }: Manifest): string[] {
  return [...segments.flatMap(({ parts }) => parts), ...(open?.blocks ?? [])].map(({ key }) => key);
}

/** Ids given out so far. */
export function rowsOf(manifest: Manifest): number {
  const last = allSegments(manifest).at(-1);
  return last ? last.base + last.rows : 0;
}

/** Values stay well under Redis' 512 MB, and one part in flight takes little memory. */
export const PART_BYTES: number = 64 * 2 ** 20;

export function sha256(...pieces: (string | Uint8Array)[]): string {
  const hash = createHash('sha256');
  for (const piece of pieces) hash.update(piece);
  return hash.digest('hex');
}

/** The parts that bytes are stored as. */
export function partsOf(bytes: Uint8Array): { part: Part; bytes: Uint8Array }[] {
  const parts: { part: Part; bytes: Uint8Array }[] = [];
  for (let at = 0; at < bytes.length; at += PART_BYTES) {
    const piece = bytes.subarray(at, at + PART_BYTES);
    const digest = sha256(piece);
    parts.push({ part: { key: digest, bytes: piece.length, sha256: digest }, bytes: piece });
  }
  return parts;
}

/** Where a snapshot keeps its parameters and the signs of its rotation: docs/snapshot-format.md, kind 1. */
const [TABLE_AT, ENTRY_BYTES, PARAMETERS, SIGNS] = [64, 32, 1, 5];

/**
 * What all segments of a generation must share: format, dimensions, metric, storage and rotation, by their bytes rather
 * than by the seed, since the same seed may mean other bytes in another version. Components that an index learns from its
 * own rows are its own affair: distances do not depend on them.
 */
export function fingerprintOf(snapshot: Uint8Array): string {
  const view = new DataView(snapshot.buffer, snapshot.byteOffset, snapshot.byteLength);
  const pieces: Uint8Array[] = [snapshot.subarray(8, 16)]; // format version and kind
  const sections = view.getUint32(32, true);
  for (let i = 0; i < sections; i++) {
    const entry = TABLE_AT + i * ENTRY_BYTES;
    const tag = view.getUint32(entry, true);
    const from = Number(view.getBigUint64(entry + 8, true));
    const bytes = Number(view.getBigUint64(entry + 16, true));
    if (tag === PARAMETERS) pieces.push(snapshot.subarray(from, from + 12)); // dimensions, metric, storage
    if (tag === SIGNS) pieces.push(snapshot.subarray(from, from + bytes));
  }
  return sha256(...pieces);
}

/** Refuses a segment of another kind than those beside it. */
export function checkFingerprint(segment: string, expected: string, got: string): void {
  if (expected === got) return;
  throw new ClusterError(
    'ERR_CLUSTER_SEGMENT',
    `segment ${segment.slice(0, 12)}: expected fingerprint ${expected.slice(0, 12)}, got ${got.slice(0, 12)}`,
    [segment],
  );
}
