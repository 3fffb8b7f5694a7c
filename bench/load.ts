/**
 * Milliseconds from the call of `loadFile` to the first answer, in a fresh process: `npm run bench:load`. Makes an index of
 * a million rows of 128 floats around a thousand centers, saves it, and loads it three times.
 */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { VectorIndex } from '../src/index.js';
import { loadFile, saveFile } from '../src/node/index.js';

const [task, file] = process.argv.slice(2);
if (task === 'load') {
  const before = process.cpuUsage();
  const start = performance.now();
  const index = loadFile(file, { as: VectorIndex });
  const loaded = performance.now();
  const { ids } = index.search(index.vector(0), { k: 10 });
  const answered = performance.now();
  const { user, system } = process.cpuUsage(before);
  if (ids[0] !== 0) throw new Error(`search: expected row 0 to find itself, got ${ids[0]}`);
  const peak = Number(/VmHWM:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 2 ** 10;
  const [load, first] = [loaded - start, answered - loaded].map((ms) => ms.toFixed(0));
  console.log(
    `load ${load} ms, first answer ${first} ms later (${((user + system) / 1000).toFixed(0)} ms of CPU time); the process at most ${peak.toFixed(0)} MiB`,
  );
} else {
  const [n, d] = [1_000_000, 128];
  let state = 1;
  const uniform = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32 - 0.5;
  };
  const centers = Float32Array.from({ length: 1000 * d }, uniform);
  const rows = new Float32Array(n * d);
  for (let i = 0; i < rows.length; i++) {
    rows[i] = centers[(Math.floor(i / d) % 1000) * d + (i % d)] + 0.2 * uniform();
  }
  const folder = mkdtempSync(path.join(tmpdir(), 'orthant-load-'));
  try {
    // Trained and tuned or not, it is as many bytes.
    const index = VectorIndex.from(rows, { dimensions: d, training: 'none', tune: false });
    const name = path.join(folder, 'index.orthant');
    const start = performance.now();
    saveFile(index, name);
    const { size } = statSync(name);
    const seconds = (performance.now() - start) / 1000;
    console.log(`${n} x ${d}, ${(size / 2 ** 20).toFixed(0)} MiB saved in ${seconds.toFixed(2)} s`);
    const script = fileURLToPath(import.meta.url);
    for (let i = 0; i < 3; i++) {
      console.log(
        execFileSync(process.execPath, ['--import', 'tsx', script, 'load', name], {
          encoding: 'utf8',
        }).trim(),
      );
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
