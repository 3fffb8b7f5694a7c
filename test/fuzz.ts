// npm run fuzz [seconds] [seed]: mutated snapshots against load, for as long as you like.
import { fuzz, principalSeed, seeds } from './mutations.js';

const seconds = Number(process.argv[2] ?? 60);
let seed = Number(process.argv[3] ?? Date.now() % 2 ** 31);
const all = [...seeds(), ['VectorIndex', 'principal components', principalSeed()] as const];
console.log(`seed ${seed}, ${seconds} s, ${all.length} snapshots`);
const end = performance.now() + 1000 * seconds;
while (performance.now() < end) {
  for (const [kind, name, bytes] of all) {
    const { refused, taken } = fuzz(kind, bytes, seed, Math.min(5000, (1000 * seconds) / all.length));
    console.log(`${name} from seed ${seed}: ${refused} refused, ${taken} taken`);
    seed += refused + taken;
  }
}
