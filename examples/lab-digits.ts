/**
 * The lab's cells replayed: bit sampling over images of handwritten digits.
 *
 *     npx tsx examples/lab-digits.ts        image 1, as in the lab
 *     npx tsx examples/lab-digits.ts 42     another of the images 0 to 296
 *
 * The first 1,500 digits are indexed, the later ones are the images to search with. A pixel of ink 0 to 16 becomes 16 bits,
 * so that the Hamming distance of two images is the sum of their pixels' differences. Which bits are sampled depends on the
 * random generator, so candidates differ from the lab's in number, not in kind.
 */
import { fileURLToPath } from 'node:url';
import { BitSamplingLsh, exactHamming, exactHammingBatch, unaryCode } from 'orthant';
import { readVectors } from 'orthant/node';

const indexed = 1500;
const pixels = 64;
const ink = 16;
const bits = pixels * ink;
const cells = [
  { sampledBits: 20, tables: 5 },
  { sampledBits: 20, tables: 15 },
  { sampledBits: 40, tables: 5 },
  { sampledBits: 40, tables: 15 },
];
/** How dark a pixel is printed, from no ink to all. */
const shades = [' ', '░', '▒', '▓', '█'];

interface Found {
  id: number;
  distance: number;
}

export interface Cell {
  sampledBits: number;
  tables: number;
  buildMs: number;
  /** Of the image, by id. */
  candidates: Uint32Array;
  searchMs: number;
  /** The candidate with the lowest id, which need not be near. */
  first?: Found;
  nearest?: Found;
  /** Of all later images. */
  overall: { candidates: number; searchMs: number; nearestFound: number };
}

export interface LabDigits {
  /** Number of the image within the file. */
  query: number;
  exact: Found;
  exactMs: number;
  cells: Cell[];
  /** 1,797 × 64 pixels. */
  images: Uint8Array;
}

export function labDigits(image: number): LabDigits {
  const images = Uint8Array.from(
    readVectors(fileURLToPath(new URL('./data/digits.npy', import.meta.url))).vectors,
  );
  const codes = unaryCode(images, ink);
  const rows = codes.subarray(0, (indexed * bits) / 8);
  const queries = codes.subarray(rows.length);
  const queryCount = queries.length / (bits / 8);
  const code = (id: number): Uint8Array => codes.subarray((id * bits) / 8, ((id + 1) * bits) / 8);
  const query = code(indexed + image);

  const truth = exactHammingBatch(rows, queries, { bits, k: 1 });
  const results = cells.map(({ sampledBits, tables }): Cell => {
    let lsh!: BitSamplingLsh;
    const buildMs = milliseconds(() => {
      lsh = new BitSamplingLsh({ bits, sampledBits, tables, seed: 0 });
      lsh.add(rows);
    });
    const candidates = lsh.candidates(query);
    const nearest = lsh.search(query, { k: 1 });
    let total = 0;
    let nearestFound = 0;
    for (let q = 0; q < queryCount; q++) {
      total += lsh.candidates(code(indexed + q)).length;
      const { distances } = lsh.search(code(indexed + q), { k: 1 });
      if (distances[0] === truth.distances[q]) nearestFound++;
    }
    const cell: Cell = {
      sampledBits,
      tables,
      buildMs,
      candidates,
      searchMs: quickest(() => lsh.search(query, { k: 1 })),
      overall: {
        candidates: total / queryCount,
        searchMs: quickest(() => lsh.searchBatch(queries, { k: 1 })) / queryCount,
        nearestFound: nearestFound / queryCount,
      },
    };
    lsh.dispose();
    if (candidates.length > 0) {
      const [id] = candidates;
      cell.first = { id, distance: exactHamming(code(id), query, { k: 1 }).distances[0] };
      cell.nearest = { id: nearest.ids[0], distance: nearest.distances[0] };
    }
    return cell;
  });
  const exact = { id: truth.ids[image], distance: truth.distances[image] };
  const exactMs = quickest(() => exactHamming(rows, query, { k: 1 }));
  return { query: indexed + image, exact, exactMs, cells: results, images };
}

function milliseconds(run: () => unknown): number {
  const start = performance.now();
  run();
  return performance.now() - start;
}

/** The first runs are slower: the engine has not compiled them yet. */
function quickest(run: () => unknown): number {
  return Math.min(...Array.from({ length: 20 }, () => milliseconds(run)));
}

function print({ query, exact, exactMs, cells, images }: LabDigits): void {
  console.log(
    `image ${query}: its exact nearest of ${indexed} is ${exact.id} at Hamming distance ${exact.distance},`,
  );
  console.log(`found in ${microseconds(exactMs)}`);
  for (const { sampledBits, tables, candidates, buildMs, searchMs, first, nearest, overall } of cells) {
    console.log(`\n${tables} tables of ${sampledBits} sampled bits, built in ${buildMs.toFixed(2)} ms`);
    console.log(
      `there are ${candidates.length} candidates for image ${query}, ranked in ${microseconds(searchMs)}`,
    );
    const mean = overall.candidates.toFixed(1);
    console.log(
      `over all later images: ${mean} candidates, ${microseconds(overall.searchMs)}, nearest found for ${(100 * overall.nearestFound).toFixed(0)} %\n`,
    );
    const shown: [string, number, number?][] = [['image', query]];
    if (first) shown.push(['first candidate', first.id, first.distance]);
    if (nearest) shown.push(['nearest of them', nearest.id, nearest.distance]);
    shown.push(['exact nearest', exact.id, exact.distance]);
    printSideBySide(shown.map(([title, id, distance]) => pictureOf(images, title, id, distance)));
  }
}

function microseconds(ms: number): string {
  return `${(1000 * ms).toFixed(1)} microseconds`;
}

/** A title, number and distance, and the digit, in lines of equal width. */
function pictureOf(images: Uint8Array, title: string, id: number, distance?: number): string[] {
  const lines = [title, distance === undefined ? `${id}` : `${id} at ${distance}`];
  for (let y = 0; y < 8; y++) {
    const row = images.subarray(id * pixels + 8 * y, id * pixels + 8 * y + 8);
    lines.push(Array.from(row, (value) => shades[Math.ceil(value / 4)].repeat(2)).join(''));
  }
  return lines.map((line) => line.padEnd(16));
}

function printSideBySide(pictures: string[][]): void {
  for (let line = 0; line < pictures[0].length; line++) {
    console.log(`  ${pictures.map((picture) => picture[line]).join('   ')}`.trimEnd());
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const image = Number(process.argv[2] ?? 1);
  if (!Number.isInteger(image) || image < 0 || image > 296) {
    console.error(`image: expected an integer from 0 to 296, got ${process.argv[2]}`);
    process.exit(2);
  }
  print(labDigits(image));
}
