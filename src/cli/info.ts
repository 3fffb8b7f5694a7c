import { formatOf } from '../node/index.js';
import type { Common } from './build.js';
import { IDS_TAG } from './ids.js';
import { type InputOptions, inputOptions, openInput, readBytes } from './inputs.js';
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
  },
  HyperplaneLsh: { 1: 'parameters', 2: 'hyperplanes', 3: 'rows', 4: 'keys' },
};
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
      'Explains a snapshot: parts and their bytes, how full its cells are, which settings were tuned. Of a file of vectors it\n' +
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
      const snapshot = read(path, readBytes(path));
      await print(flags.json ? `${JSON.stringify(snapshot)}\n` : words(path, snapshot));
    });
}

function read(path: string, bytes: Uint8Array): Snapshot {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < HEADER_BYTES || MAGIC.some((byte, i) => bytes[i] !== byte)) {
    throw new Error(`${path}: expected a snapshot or a file of vectors, got other first bytes`);
  }
  const word = (at: number): number => view.getUint32(at, true);
  const long = (at: number): number => Number(view.getBigUint64(at, true));
  const kind = KINDS[word(12) - 1] ?? `kind ${word(12)}`;
  const sections = word(32);
  if (long(24) !== bytes.length || HEADER_BYTES + ENTRY_BYTES * sections > bytes.length) {
    throw new Error(`${path}: expected ${long(24)} bytes, got ${bytes.length}`);
  }
  const parts = Array.from({ length: sections }, (_, i): Part => {
    const at = HEADER_BYTES + ENTRY_BYTES * i;
    const tag = word(at);
    const part = {
      tag,
      name: tag === IDS_TAG ? 'ids of yours' : (PARTS[kind]?.[tag] ?? `part ${tag}`),
      offset: long(at + 8),
      bytes: long(at + 16),
    };
    if (part.offset + part.bytes > bytes.length) {
      throw new Error(
        `${path}: expected ${part.name} within ${bytes.length} bytes, got byte ${part.offset + part.bytes}`,
      );
    }
    return part;
  });
  const snapshot: Snapshot = { kind, formatVersion: word(8), bytes: bytes.length, about: {}, parts };
  const at = parts.find(({ tag }) => tag === 1);
  if (at === undefined || at.bytes < 64) return snapshot;
  const parameter = (place: number): number => word(at.offset + place);
  if (kind === 'VectorIndex') {
    snapshot.about = {
      rows: parameter(16),
      dimensions: parameter(0),
      metric: METRICS[parameter(4)] ?? parameter(4),
      storage: parameter(8) === 1 ? 'int8' : 'f32',
      cells: parameter(28),
    };
    const slots = parts.find(({ tag }) => tag === 3);
    if (slots) {
      const sizes = Array.from({ length: slots.bytes / 4 }, (_, i) => word(slots.offset + 4 * i));
      if (sizes.length > 0) snapshot.cells = histogram(sizes);
    }
    const tuned = parts.find(({ tag }) => tag === 2);
    if (tuned) {
      snapshot.tuned = Array.from({ length: Math.floor(tuned.bytes / TUNED_BYTES) }, (_, i) => {
        const place = tuned.offset + TUNED_BYTES * i;
        const float = (offset: number): number => view.getFloat64(place + offset, true);
        return {
          k: word(place),
          target: float(32),
          recall: float(40),
          atLeast: float(48),
          met: word(place + 16) === 1,
          probes: word(place + 4),
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
