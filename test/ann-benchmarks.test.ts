import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { RandomGenerator, VectorIndex } from '../src/index.js';

const SERVER = fileURLToPath(new URL('../contrib/ann-benchmarks/orthant/server.mjs', import.meta.url));

/** A call as module.py writes it. */
function call(name: string, options: object, vectors: Float32Array = new Float32Array(0)): Buffer {
  const text = Buffer.from(JSON.stringify({ ...options, call: name }));
  const head = Buffer.from(Uint32Array.of(text.length, vectors.byteLength).buffer);
  return Buffer.concat([head, text, Buffer.from(vectors.buffer, vectors.byteOffset, vectors.byteLength)]);
}

it('the server of the ann-benchmarks adapter answers as the index does, and tells of a call that failed', () => {
  const dimensions = 16;
  const vectors = new Float32Array(3000 * dimensions);
  new RandomGenerator(0).normals(vectors);
  const queries = vectors.slice(0, 5 * dimensions);
  const { stdout, status } = spawnSync(process.execPath, [SERVER], {
    input: Buffer.concat([
      // the runner asks before and after the build, and takes the difference
      call('memory', {}),
      call('fit', { dimensions, metric: 'euclidean', storage: 'f32' }, vectors),
      call('prepare', { recall: 0.9 }),
      call('search', { dimensions, k: 7, recall: 0.9 }, queries.subarray(0, dimensions)),
      call('search', { dimensions, k: 7, recall: 0.9 }, queries),
      call('search', { dimensions: 3, k: 7, recall: 0.9 }, queries.subarray(0, 3)),
      call('memory', {}),
    ]),
  });
  expect(status).toBe(0);
  const index = VectorIndex.from(vectors, { dimensions });
  index.tune({ recall: 0.9, k: 10 });
  const expected = [...index.searchBatch(queries, { k: 7, recall: 0.9 }).ids];

  let at = 0;
  const answers: (number[] | string)[] = [];
  while (at < stdout.length) {
    const count = stdout.readInt32LE(at);
    at += 4;
    const bytes = count < 0 ? -count : 4 * count;
    const answer = stdout.subarray(at, at + bytes);
    answers.push(count < 0 ? answer.toString() : [...new Int32Array(new Uint8Array(answer).buffer)]);
    at += bytes;
  }
  expect(answers).toEqual([
    [0],
    [],
    [],
    expected.slice(0, 7),
    expected,
    'queries: expected a multiple of 16 floats (one row each), got 3',
    [Math.round(index.memoryUsage().total / 1024)],
  ]);
});
