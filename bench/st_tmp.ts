import { readFileSync } from 'node:fs';
import { VectorIndex } from '../src/index.js';
const D = new URL('./.data/', import.meta.url).pathname;
const [name, o, ...specs] = process.argv.slice(2);
const J = JSON.parse(readFileSync(D + name + '.json', 'utf8'));
const f32 = (f: string) => { const b = readFileSync(f); return new Float32Array(b.buffer, b.byteOffset, b.byteLength / 4); };
const base = f32(D + name + '.base.f32'), Q = f32(D + name + '.query.f32');
const tb = readFileSync(D + name + '.truth.i32'); const truth = new Int32Array(tb.buffer, tb.byteOffset, tb.byteLength / 4);
const { n, d, nq } = J;
const t0 = performance.now();
const ix = VectorIndex.from(base.subarray(0, n * d), { dimensions: d, metric: J.metric, tune: false, ...JSON.parse(o) });
console.log(name, o, 'build', ((performance.now() - t0) / 1e3).toFixed(2));
const qs = Array.from({ length: nq }, (_, i) => Q.slice(i * d, i * d + d));
for (const spec of specs) {
  const [probes, epsilon, patience = 0] = spec.split(',').map(Number);
  const e = ix.evaluate(Q.subarray(0, nq * d), { probes, epsilon, patience, truth });
  const st = Array.from({ length: 4 }, () => new Float64Array(nq).fill(1e9)); const tot = new Float64Array(nq).fill(1e9);
  const cn: any = {};
  for (let pass = 0; pass < 12; pass++) for (let i = 0; i < nq; i++) { const x = ix.explain(qs[i], { probes, epsilon, patience }); [x.times.prepareMs, x.times.cellsMs, x.times.scanMs, x.times.rankMs].forEach((t, j) => { if (t < st[j][i]) st[j][i] = t; }); if (pass === 0) for (const k of ['cellsProbed', 'codesScanned', 'survivors', 'rowsRefined', 'rowsRanked']) cn[k] = (cn[k] ?? 0) + (x as any)[k] / nq; }
  for (let pass = 0; pass < 12; pass++) for (let i = 0; i < nq; i++) { const a = performance.now(); ix.search(qs[i], { probes, epsilon, patience }); const b = performance.now() - a; if (b < tot[i]) tot[i] = b; }
  const av = (a: Float64Array) => a.reduce((x, y) => x + y, 0) / nq * 1e3;
  console.log(`  ${spec.padEnd(10)} recall ${e.recall.toFixed(4)} search ${av(tot).toFixed(1)} us (${(1e6 / av(tot)).toFixed(0)}/s) stages ${st.map((a) => av(a).toFixed(1)).join(' / ')}  ${Object.entries(cn).map(([k, v]: any) => k + ' ' + v.toFixed(0)).join(' ')}`);
}
