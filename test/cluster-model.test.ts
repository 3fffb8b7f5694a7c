import { describe, expect, it } from 'vitest';
import type { ClusterResult } from '../bench/cluster.js';
import { fitModel, predict } from '../bench/cluster-model.js';
import { report } from '../bench/report.js';

const [ROWS, DIMENSIONS, K, BLOCK] = [1e6, 100, 10, 100];
const searchMs = (segments: number): number => segments * 0.002 * (ROWS / segments) ** 0.6;

/** What a machine would measure that the model describes exactly. */
function run(segments: number, workers: number) {
  const jobs = Math.min(segments, workers);
  return {
    segments,
    ...(workers !== 2 && { workers }),
    publishSeconds: 1,
    bytesPerQuery: 4 * DIMENSIONS * (1 + jobs) + 24 * K * jobs + (20_000 + 9000 * jobs) / BLOCK,
    commandsPerBlock: 60 + 50 * jobs,
    blockCpuMs: 3 + 1.5 * jobs + searchMs(segments),
    redisCpuMs: 1,
    inProcessCpuMs: searchMs(segments),
    blockMs: 5 + jobs + Math.ceil(segments / workers) * (searchMs(segments) / segments),
    queriesPerSecond: 1000,
    recall: 0.95,
    inProcessRecall: 0.95,
  };
}

const result: ClusterResult = {
  machine: 'paper',
  node: 'v20',
  commit: '0',
  date: '2026-01-01',
  cluster: [
    run(1, 2),
    run(2, 2),
    run(4, 2),
    { ...run(4, 2), block: 500, blockCpuMs: 1e6 },
    run(8, 2),
    run(4, 4),
  ],
  data: 'words',
  rows: ROWS,
  dimensions: DIMENSIONS,
  k: K,
  block: BLOCK,
  workers: 2,
  segmentBytes: 469 * ROWS,
  recoverySeconds: 2,
  predicted: [],
};

describe('the model of a cluster', () => {
  it('predicts each run of its own kind from the others', () => {
    const runs = result.cluster.filter((f) => f.block === undefined);
    const predictions = predict(result);
    expect(predictions.map(({ segments, workers }) => [segments, workers])).toEqual([
      [1, 2],
      [2, 2],
      [4, 2],
      [8, 2],
      [4, 4],
    ]);
    predictions.forEach((prediction, i) => {
      for (const field of ['bytesPerQuery', 'commandsPerBlock', 'blockCpuMs', 'blockMs'] as const)
        expect(prediction[field] / runs[i][field], `${field} of run ${i}`).toBeCloseTo(1, 6);
    });
  });

  it('carries them on to more workers and rows', () => {
    const model = fitModel(result);
    expect(model.commands(250, 20)).toBeCloseTo(60 + 50 * 20, 6);
    expect(model.segmentMs(4e6)).toBeCloseTo(0.002 * 4e6 ** 0.6, 6);
    expect(model.cpuMs(250, 20, 1e9)).toBeCloseTo(3 + 30 + 250 * model.segmentMs(4e6), 4);
    expect(model.bytesPerRow).toBe(469);
  });

  it('predicts nothing from too few runs', () => {
    expect(predict({ ...result, cluster: result.cluster.slice(0, 2) })).toEqual([]);
  });
});

describe('the report of a cluster', () => {
  it('tells what it costs beside plain processes and beside one, by CPU time and by the clock', () => {
    const [first] = result.cluster;
    const measured = { sideBySideCpuMs: 25, inProcessCpuMs: 20, sideBySideMs: 14, inProcessMs: 19 };
    const figures = { ...first, publishSeconds: 6, bytesPerQuery: 1800, commandsPerBlock: 120 };
    const times = { blockCpuMs: 29, blockMs: 16, ...measured };
    const text = report([{ ...result, cluster: [{ ...figures, ...times }] }]);
    expect(text).toContain('| 6 | 1,800 | 120 | 29 | 25 | 16 % | 20 | 45 % | 16 | 14 | 19 | 0.950 |');
    expect(report([result])).toContain('| – | – |'); // an older result has no plain processes
  });
});
