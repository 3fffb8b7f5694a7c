/** What `npm start` prints: plain text in columns, the same on a terminal and in a file. */
import { countVotes, type Neighbors } from 'orthant';

const shownNeighbors = 10;

/** One query and what the tables answered. */
export interface Answer {
  /** Number of the query within its file. */
  number: number;
  neighbors: Neighbors;
  /** Rows in its united buckets. */
  candidates: number;
  recall: number;
  /** Its own label, and the labels that its approximate and its exact neighbors vote for. */
  vote?: { label: number; found: number | undefined; exact: number | undefined };
}

export interface IndexReport {
  name: string;
  rows: number;
  dimensions: number;
  tables: number;
  bits: number;
  buildMs: number;
  queryCount: number;
  firstQuery: number;
}

export interface Speed {
  name: string;
  /** Queries per second. */
  wasm: number;
  javaScript: number;
}

export function printIndex(report: IndexReport): void {
  const { name, rows, dimensions, tables, bits, buildMs, queryCount, firstQuery } = report;
  console.log(`${name}\n`);
  console.log(`  index     ${count(rows)} rows of ${count(dimensions)} dimensions`);
  console.log(`            ${tables} tables of ${bits} hyperplane${bits === 1 ? '' : 's'}`);
  console.log(`  build     ${buildMs.toFixed(1)} ms, compiling WebAssembly included`);
  console.log(
    `  queries   ${count(queryCount)}, rows ${count(firstQuery)} to ${count(firstQuery + queryCount - 1)}`,
  );
}

export function printAnswers(answers: Answer[], labels: ArrayLike<number> | undefined): void {
  for (const { number, neighbors, candidates, vote } of answers) {
    const digit = vote === undefined ? '' : ` (a ${vote.label})`;
    console.log(`\nquery ${count(number)}${digit}: ${count(candidates)} candidates`);
    const rows = Array.from(neighbors.ids.subarray(0, shownNeighbors), (id, i) => [
      '',
      String(id),
      neighbors.distances[i].toFixed(3),
      ...(labels === undefined ? [] : [String(labels[id])]),
    ]);
    printColumns([['', 'id', 'distance', ...(labels === undefined ? [] : ['label'])], ...rows]);
    const more = neighbors.ids.length - rows.length;
    if (more > 0) console.log(`  and ${count(more)} more`);
    if (labels !== undefined && vote !== undefined) {
      const list = [...countVotes(neighbors, labels)]
        .sort((a, b) => b[1] - a[1])
        .map(([label, times]) => `${times} for ${label}`);
      console.log(`  vote: ${list.join(', ') || 'none'} -> ${vote.found ?? 'no label'}`);
    }
  }
}

export function printQuality(answers: Answer[], rows: number, k: number): void {
  const mean = (of: (answer: Answer) => number): number =>
    answers.reduce((sum, answer) => sum + of(answer), 0) / answers.length;
  const candidates = mean((answer) => answer.candidates);
  console.log(`\nover all ${count(answers.length)} queries\n`);
  const lines = [
    [`recall@${k} against exact search`, mean((answer) => answer.recall).toFixed(3)],
    [
      'candidates examined, on average',
      `${candidates.toFixed(1)} of ${count(rows)} rows (${percent(candidates / rows)})`,
    ],
  ];
  if (answers[0].vote !== undefined) {
    const found = mean(({ vote }) => Number(vote?.found === vote?.label));
    const exact = mean(({ vote }) => Number(vote?.exact === vote?.label));
    lines.push(['classification accuracy', `${percent(found)} (with exact neighbors ${percent(exact)})`]);
  }
  for (const [name, value] of lines) console.log(`  ${name.padEnd(31)}  ${value}`);
}

export function printSpeed(speeds: Speed[]): void {
  console.log('\nqueries per second, one at a time\n');
  printColumns([
    ['', 'WASM', 'pure JavaScript', 'ratio'],
    ...speeds.map(({ name, wasm, javaScript }) => [
      name,
      count(Math.round(wasm)),
      count(Math.round(javaScript)),
      `${(wasm / javaScript).toFixed(1)}x`,
    ]),
  ]);
}

/** The first column to the left, the others to the right. */
function printColumns(rows: string[][]): void {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  for (const row of rows) {
    const cells = row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])));
    console.log(`  ${cells.join('   ')}`.trimEnd());
  }
}

function count(value: number): string {
  return value.toLocaleString('en-US');
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}
