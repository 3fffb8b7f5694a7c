import { describe, expect, it } from 'vitest';
import { Engine } from '../src/engine.js';
import { type Grid, predict } from '../src/prediction.js';
import { finish } from '../src/progress.js';
import { RandomGenerator } from '../src/random.js';
import { costOf, type Settings } from '../src/settings.js';
import { lowerBound, mean, type Sample, Sampler, Steps } from '../src/truth.js';
import { clumpedRows, rowAt } from './data.js';

describe('predictions', () => {
  const engine = new Engine(16, 'euclidean', 'f32', 5n, 2 ** 32);
  let made: { sample: Sample; grid: Grid } | undefined;

  /** Made by the first test that asks: what a hook does belongs to no test, and mutants of it would be run by none. */
  const parts = (): { sample: Sample; grid: Grid } => {
    if (made) return made;
    engine.append(clumpedRows(20_000, 16, 300, 1.2, 31), 20_000, true);
    finish(engine.start(false));
    finish(engine.sort(256, true, false));
    finish(engine.refine());
    const sample = finish(new Sampler(engine, () => new RandomGenerator(7n), new Steps()).draw(10, 200));
    made = { sample, grid: finish(predict(sample)) };
    return made;
  };

  const measured = (settings: Settings): Float64Array => finish(parts().sample.measure(settings)).recalls;

  it.each([
    [30, 3, 0],
    [12, 1.8, 0],
    [100, 3, 6],
    [100, 2.2, 12],
    [256, 3.3, 25],
    [60, 1.4, 40],
  ])('of %d probes, epsilon %d and patience %d are what a search finds', (probes, epsilon, patience) => {
    const settings = { probes, epsilon, patience };
    const predicted = mean(parts().grid.recalls(settings));
    // A narrow bound finds a little more: the limit of few cells is not as low yet as that of many.
    expect(Math.abs(predicted - mean(measured(settings)))).toBeLessThan(epsilon < 2 ? 0.04 : 0.01);
    if (patience > 0 && patience < 20)
      expect(predicted).toBeLessThan(mean(parts().grid.recalls({ ...settings, patience: 0 })) - 0.02);
    expect(predicted).toBeLessThan(1);
    expect(predicted).toBeGreaterThan(0.5);
  });

  it.each([
    [10, 2, 0],
    [30, 3, 0],
    [150, 3.6, 0],
    [100, 3, 6],
    [256, 2.45, 20],
  ])(
    'of what %d probes, epsilon %d and patience %d cost are near to what it is',
    (probes, epsilon, patience) => {
      const settings = { probes, epsilon, patience };
      const cost = costOf(finish(parts().sample.measure(settings)).counters, engine);
      // Survivors are taken to grow as those of words do, which these rows are not.
      expect(Math.abs(parts().grid.cost(settings) / cost - 1)).toBeLessThan(0.5);
      // Codes alone are weighed.
      const codes = parts().grid.cost(settings, 3) - parts().grid.cost(settings, 2);
      expect(parts().grid.cost(settings, 2) - parts().grid.cost(settings)).toBeCloseTo(codes, 9);
      expect(codes).toBeGreaterThan(0);
    },
  );

  it('lead to settings that reach a target, cheaper than any others that are tried', () => {
    for (const target of [0.9, 0.97]) {
      const [best, ...others] = parts().grid.choose(target);
      expect(others.length).toBeGreaterThan(2);
      expect(best.patience).toBeGreaterThan(0);
      expect(lowerBound(measured(best))).toBeGreaterThan(target - 0.02);
      expect(lowerBound(parts().grid.recalls(best))).toBeGreaterThanOrEqual(target);
      for (const other of others)
        expect(parts().grid.cost(other)).toBeGreaterThanOrEqual(parts().grid.cost(best));
      for (const epsilon of parts().grid.epsilons)
        for (const patience of [0, 3, 6, 12, 24, 48])
          for (let probes = 4; probes <= 256; probes *= 1.3) {
            const settings = { probes: Math.floor(probes), epsilon, patience };
            if (lowerBound(parts().grid.recalls(settings)) < target) continue;
            // Patience is tried in steps of a quarter.
            expect(parts().grid.cost(settings)).toBeGreaterThan(0.98 * parts().grid.cost(best));
          }
    }
  });

  it('are none where no cells and no bound reach a target', () => {
    expect(parts().grid.choose(1.01)).toEqual([]);
  });

  it('ask for the changes of a search whose truth came from exact ones, and remember those of wide ones', () => {
    const changes = finish(parts().sample.changes());
    expect(changes.length).toBe(200);
    const query = rowAt(Float32Array.from(parts().sample.queries[3]), 0, 16);
    engine.run(query, 11, { probes: 256, epsilon: 3.7, patience: 0 });
    const bits = engine.counters().changes;
    const places = Array.from({ length: 256 }, (_, i) => i).filter((i) => (bits[i >> 5] >>> (i & 31)) & 1);
    expect([...changes[3]]).toEqual(places);
  });
});
