import { readFileSync } from 'node:fs';
import { VectorIndex } from '../src/index.js';
const D = new URL('./.data/', import.meta.url).pathname;
const cpu = () => { const u = process.cpuUsage(); return (u.user + u.system) / 1e6; };
for (const name of process.argv[2].split(',')) {
  const opt = JSON.parse(process.argv[3] ?? '{}');
  const J = JSON.parse(readFileSync(D + name + '.json', 'utf8'));
  const f32 = (f: string) => { const b = readFileSync(f); return new Float32Array(b.buffer, b.byteOffset, b.byteLength / 4); };
  const base = f32(D + name + '.base.f32'), Q = f32(D + name + '.query.f32');
  const tb = readFileSync(D + name + '.truth.i32'); const truth = new Int32Array(tb.buffer, tb.byteOffset, tb.byteLength / 4);
  const { n, d, nq } = J;
  let c = cpu();
  const ix = VectorIndex.from(base.subarray(0, n * d), { dimensions: d, metric: J.metric, tune: false, ...opt });
  const b = cpu() - c; c = cpu();
  const rep = ix.tune(); const t = cpu() - c;
  console.log(name, 'build', b.toFixed(2), 'tune', t.toFixed(2), JSON.stringify(ix.stats()));
  console.log(rep.text);
  const u = ix.memoryUsage(); console.log('bytes/row beyond rows', ((Object.entries(u).filter(([k]) => !['total','rows','refine','refineNorms'].includes(k)).reduce((a, [, v]) => a + v, 0)) / n).toFixed(1), Object.entries(u).filter(([,v]) => v > n).map(([k, v]) => k + ' ' + (v / n).toFixed(1)).join(' '));
  const qs = Array.from({ length: nq }, (_, i) => Q.slice(i * d, i * d + d));
  for (const recall of [0.9, 0.95, 0.99]) {
    const e = ix.evaluate(Q.subarray(0, nq * d), { recall, truth });
    const best = new Float64Array(nq).fill(1e9);
    let cp = 0;
    for (let pass = 0; pass < 10; pass++) { const c0 = cpu(); for (let i = 0; i < nq; i++) { const t0 = performance.now(); ix.search(qs[i], { recall }); const t1 = performance.now() - t0; if (t1 < best[i]) best[i] = t1; } cp = Math.max(cp, nq / (cpu() - c0)); }
    console.log(`  asked ${recall} got ${e.recall.toFixed(4)}  clean ${(nq / best.reduce((x, y) => x + y) * 1e3).toFixed(0)} cpu-best ${cp.toFixed(0)}`);
  }
  ix.dispose();
}
