import { statSync } from 'node:fs';
import { formatOf } from '../node/index.js';
import type { Common } from './build.js';
import { type InputOptions, inputOptions, openInput, readPart } from './inputs.js';
import type { Command } from './packages.js';
import { count, print, shortBytes, table } from './terminal.js';

/** What snapshots begin with: docs/snapshot-format.md. */
const MAGIC = [0x89, 0x4f, 0x52, 0x54, 0x48, 0x0d, 0x0a, 0x1a];
const KINDS = ['VectorIndex', 'HyperplaneLsh', 'BitSamplingLsh', 'MinHashLsh'];
const PARTS: Record<string, Record<number, string>> = {
  VectorIndex: {
    1: 'parameters',
    2: 'tuned settings',
    3: 'cell sizes',
    4: 'mean',
    5: 'rotation',
    6: 'principal components',
    7: 'mean of the rows',
    8: 'centres',
    9: 'rows',
    10: 'ids',
    11: 'lengths',
    12: 'codes',
    13: 'second stage',
    14: 'norms of the second stage',
    15: 'removed rows',
    16: 'ids of yours',
  },
  HyperplaneLsh: { 1: 'parameters', 2: 'hyperplanes', 3: 'rows', 4: 'keys', 5: 'removed rows' },
};
const ID_KINDS = ['row numbers', 'strings', 'numbers', 'bigints'];
const METRICS = ['euclidean', 'cosine', 'inner-product'];
const HEADER_BYTES = 64;
const ENTRY_BYTES = 32;
const TUNED_BYTES = 64;
const HISTOGRAM_BARS = 10;
const BAR_WIDTH = 40;

interface Part {
  tag: number;
  name: string;
  offset: number;
  bytes: number;
}

interface Snapshot {
  kind: string;
  formatVersion: number;
  bytes: number;
  about: Record<string, string | number>;
  parts: Part[];
  cells?: {
    count: number;
    smallest: number;
    median: number;
    largest: number;
    histogram: { to: number; cells: number }[];
  };
  tuned?: {
    k: number;
    target: number;
    recall: number;
    atLeast: number;
    met: boolean;
    probes: number;
    epsilon: number;
  }[];
}

export function defineInfo(program: Command): void {
  const command = program
    .command('info')
    .summary('what is in a snapshot or a file of vectors')
    .description(
      'Explains a snapshot: parts and their bytes, how full its cells are, which settings were tuned. Of a file of vectors it ' +
        'tells format, rows and dimensions.',
    )
    .argument('<file>', 'a snapshot, or a file of vectors');
  inputOptions(command)
    .addHelpText('after', '\nExample:\n  $ orthant info base.orthant')
    .action(async (path: string, flags: Common & InputOptions) => {
      const name = path.replace(/#[^#]*$/, '');
      const isVectors = flags.format !== undefined || name !== path || formatOf(path) !== undefined;
      if (isVectors) {
        const source = await openInput(path, flags);
        try {
          const { format, dimensions, distance } = source;
          let { rows } = source;
          if (rows === undefined) {
            rows = 0;
            for await (const page of source.pages()) rows += page.rows;
          }
          const about = { file: path, format, rows, dimensions, ...(distance !== undefined && { distance }) };
          if (flags.json) await print(`${JSON.stringify(about)}\n`);
          else
            await print(
              table(
                Object.entries(about).map(([key, value]) => [
                  key,
                  typeof value === 'number' ? count(value) : value,
                ]),
              ),
            );
        } finally {
          await source.close();
        }
        return;
      }
      const snapshot = read(path);
      await print(flags.json ? `${JSON.stringify(snapshot)}\n` : words(path, snapshot));
    });
}

/** Reads the front of a snapshot, and the small parts that are told about. */
function read(path: string): Snapshot {
  const view = readPart(path, 0, HEADER_BYTES);
  if (MAGIC.some((byte, i) => i >= view.byteLength || view.getUint8(i) !== byte)) {
    throw new Error(`${path}: expected a snapshot or a file of vectors, got other first bytes`);
  }
  if (view.byteLength < HEADER_BYTES) {
    throw new Error(`${path}: expected a header of ${HEADER_BYTES} bytes, got ${view.byteLength}`);
  }
  const bytes = statSync(path).size;
  const kind = KINDS[view.getUint32(12, true) - 1] ?? `kind ${view.getUint32(12, true)}`;
  const sections = view.getUint32(32, true);
  const wanted = Number(view.getBigUint64(24, true));
  if (wanted !== bytes || HEADER_BYTES + ENTRY_BYTES * sections > bytes) {
    throw new Error(`${path}: expected ${wanted} bytes, got ${bytes}`);
  }
  const entries = readPart(path, HEADER_BYTES, ENTRY_BYTES * sections);
  const parts = Array.from({ length: sections }, (_, i): Part => {
    const at = ENTRY_BYTES * i;
    const tag = entries.getUint32(at, true);
    const part = {
      tag,
      name: PARTS[kind]?.[tag] ?? `part ${tag}`,
      offset: Number(entries.getBigUint64(at + 8, true)),
      bytes: Number(entries.getBigUint64(at + 16, true)),
    };
    if (part.offset + part.bytes <= bytes) return part;
    const got = `byte ${part.offset + part.bytes}`;
    throw new Error(`${path}: expected ${part.name} within ${bytes} bytes, got ${got}`);
  });
  const viewOf = (tag: number): DataView | undefined => {
    const part = parts.find((each) => each.tag === tag);
    return part && readPart(path, part.offset, part.bytes);
  };
  const snapshot: Snapshot = { kind, formatVersion: view.getUint32(8, true), bytes, about: {}, parts };
  const parameters = viewOf(1);
  if (parameters === undefined || parameters.byteLength < 64) return snapshot;
  const parameter = (place: number): number => parameters.getUint32(place, true);
  if (kind === 'VectorIndex') {
    snapshot.about = {
      rows: parameter(16),
      dimensions: parameter(0),
      metric: METRICS[parameter(4)] ?? parameter(4),
      storage: parameter(8) === 1 ? 'int8' : 'f32',
      cells: parameter(28),
      ids: ID_KINDS[parameter(48)] ?? parameter(48),
    };
    const slots = viewOf(3);
    if (slots) {
      const sizes = Array.from({ length: slots.byteLength >>> 2 }, (_, i) => slots.getUint32(4 * i, true));
      if (sizes.length > 0) snapshot.cells = histogram(sizes);
    }
    const tuned = viewOf(2);
    if (tuned) {
      snapshot.tuned = Array.from({ length: Math.floor(tuned.byteLength / TUNED_BYTES) }, (_, i) => {
        const place = TUNED_BYTES * i;
        const float = (offset: number): number => tuned.getFloat64(place + offset, true);
        return {
          k: tuned.getUint32(place, true),
          target: float(32),
          recall: float(40),
          atLeast: float(48),
          met: tuned.getUint32(place + 16, true) === 1,
          probes: tuned.getUint32(place + 4, true),
          epsilon: float(24),
        };
      });
    }
  } else if (kind === 'HyperplaneLsh') {
    snapshot.about = {
      rows: parameter(20),
      dimensions: parameter(0),
      metric: METRICS[parameter(4)] ?? parameter(4),
      tables: parameter(8),
      bits: parameter(12),
    };
  }
  return snapshot;
}

function histogram(sizes: number[]): NonNullable<Snapshot['cells']> {
  const sorted = sizes.sort((a, b) => a - b);
  const largest = sorted[sorted.length - 1];
  const width = Math.max(1, Math.ceil((largest + 1) / HISTOGRAM_BARS));
  const bars = Array.from({ length: Math.ceil((largest + 1) / width) }, (_, i) => ({
    to: (i + 1) * width - 1,
    cells: 0,
  }));
  for (const size of sorted) bars[Math.floor(size / width)].cells++;
  return {
    count: sizes.length,
    smallest: sorted[0],
    median: sorted[sorted.length >> 1],
    largest,
    histogram: bars,
  };
}

function words(path: string, snapshot: Snapshot): string {
  const { kind, formatVersion, bytes, about, parts, cells, tuned } = snapshot;
  const lines = [
    ['file', path],
    ['kind', `${kind}, format ${formatVersion}`],
    ['size', shortBytes(bytes)],
    ...Object.entries(about).map(([key, value]) => [key, typeof value === 'number' ? count(value) : value]),
  ].map(([key, value]) => `${key.padEnd(10)}  ${value}\n`);
  const rows = Number(about.rows ?? 0);
  const sizes = parts.map(({ name, bytes: size }) => [
    name,
    shortBytes(size),
    rows > 0 ? (size / rows).toFixed(1) : '-',
  ]);
  let text = `${lines.join('')}\n${table([['part', 'size', 'bytes a row'], ...sizes])}`;
  if (cells) {
    const most = Math.max(...cells.histogram.map((bar) => bar.cells));
    const digits = String(cells.largest).length;
    text += `\nrows a cell: ${cells.smallest} to ${cells.largest}, half of the cells up to ${cells.median}\n`;
    cells.histogram.forEach((bar, i) => {
      const from = i === 0 ? 0 : cells.histogram[i - 1].to + 1;
      const length = most === 0 ? 0 : Math.ceil((bar.cells / most) * BAR_WIDTH);
      const range = `${String(from).padStart(digits + 1)} – ${String(bar.to).padStart(digits + 1)}`;
      text += `${range}  ${'█'.repeat(length)}${length > 0 ? ' ' : ''}${bar.cells}\n`;
    });
  }
  if (tuned && tuned.length > 0) {
    text += `\n${table([
      ['tuned for recall', 'k', 'measured', 'at least', 'cells probed', 'epsilon'],
      ...tuned.map(({ k, target, recall, atLeast, met, probes, epsilon }) => [
        `${target}${met ? '' : ' (not met: exact)'}`,
        String(k),
        recall.toFixed(3),
        atLeast.toFixed(3),
        count(probes),
        epsilon.toFixed(2),
      ]),
    ])}`;
  }
  return text;
}
