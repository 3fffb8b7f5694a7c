import { describe, expect, it } from 'vitest';
import { VectorIndex } from '../src/vector-index.js';
import { thrownBy } from './answers.js';
import { normals } from './data.js';

/** Codes of values of the wrong kind; the others are of wrong values. */
const KINDS: Record<string, typeof TypeError> = { ERR_ARGUMENT_TYPE: TypeError, ERR_DETACHED: TypeError };

function detached(length: number): Float32Array {
  const vector = new Float32Array(length);
  structuredClone(vector.buffer, { transfer: [vector.buffer] });
  return vector;
}

describe('the door', () => {
  const index = VectorIndex.from(normals(300, 140), { dimensions: 3 });
  const query = normals(3, 141);
  const none = undefined as never;
  const cases: Record<string, [what: string, call: () => unknown, text: string][]> = {
    ERR_ARGUMENT_TYPE: [
      ['no options', () => new VectorIndex(none), 'options: expected { dimensions }, got undefined'],
      ['a number for options', () => new VectorIndex(3 as never), 'got 3'],
      [
        'no dimensions',
        () => new VectorIndex({} as never),
        'dimensions: expected an integer from 1 to 4096, got undefined',
      ],
      [
        'a number for a metric',
        () => new VectorIndex({ dimensions: 3, metric: 1 as never }),
        'metric: expected one of',
      ],
      [
        'an array of rows',
        () => index.add([1, 2, 3] as never),
        'vectors: expected a Float32Array, got Array of 3',
      ],
      [
        'a query of doubles',
        () => index.search(new Float64Array(3) as never),
        'query: expected a Float32Array, got Float64Array of 3',
      ],
      ['k as text', () => index.search(query, { k: '5' as never }), 'got "5"'],
      [
        'k in place of options',
        () => index.search(query, 5 as never),
        'options: expected an options object such as { k: 10 }, got 5',
      ],
      ['tune with null', () => index.tune(null as never), 'got null'],
      [
        'a truth of another kind',
        () => index.evaluate(normals(6, 1), { truth: [1, 2] as never }),
        'truth: expected a Uint32Array or an Int32Array, got Array of 2',
      ],
    ],
    ERR_ARGUMENT_RANGE: [
      [
        '0 dimensions',
        () => new VectorIndex({ dimensions: 0 }),
        'dimensions: expected an integer from 1 to 4096, got 0',
      ],
      [
        '4,097 dimensions',
        () => new VectorIndex({ dimensions: 4097 }),
        'dimensions: expected an integer from 1 to 4096, got 4097',
      ],
      ['half a dimension', () => new VectorIndex({ dimensions: 1.5 }), 'got 1.5'],
      [
        'an unknown metric',
        () => new VectorIndex({ dimensions: 3, metric: 'manhattan' as never }),
        "metric: expected one of 'euclidean', 'cosine', 'inner-product', got \"manhattan\"",
      ],
      [
        'an unknown storage',
        () => new VectorIndex({ dimensions: 3, storage: 'f16' as never }),
        "storage: expected one of 'f32', 'int8', got \"f16\"",
      ],
      ['a negative seed', () => new VectorIndex({ dimensions: 3, seed: -1 }), 'got -1'],
      [
        'no bytes',
        () => new VectorIndex({ dimensions: 3, maxBytes: 0 }),
        'maxBytes: expected a number from 1 to 4294967296, got 0',
      ],
      [
        'from with 0 cells',
        () => VectorIndex.from(normals(9, 1), { dimensions: 3, cells: 0 }),
        'cells: expected an integer from 1 to 16384, got 0',
      ],
      [
        '16,385 cells',
        () => index.build({ cells: 16385 }),
        'cells: expected an integer from 1 to 16384, got 16385',
      ],
      [
        'an unknown training',
        () => index.build({ training: 'kmeans' as never }),
        "training: expected one of 'lloyd', 'none'",
      ],
      ['k of 0', () => index.search(query, { k: 0 }), 'k: expected an integer from 1 to 4294967294, got 0'],
      ['k of 2.5', () => index.search(query, { k: 2.5 }), 'got 2.5'],
      [
        'a recall above 1',
        () => index.search(query, { recall: 1.1 }),
        'recall: expected a number from 0 to 1, got 1.1',
      ],
      ['a recall of NaN', () => index.search(query, { recall: Number.NaN }), 'got NaN'],
      [
        '0 probes',
        () => index.search(query, { probes: 0 }),
        'probes: expected an integer from 1 to 4294967295, got 0',
      ],
      [
        'a negative epsilon',
        () => index.search(query, { epsilon: -1 }),
        'epsilon: expected a number from 0 to Infinity, got -1',
      ],
      [
        'a negative patience',
        () => index.search(query, { patience: -1 }),
        'patience: expected an integer from 0 to 4294967295, got -1',
      ],
      [
        'an id that is not there',
        () => index.explain(query, { id: 100 }),
        'id: expected an integer from 0 to 99, got 100',
      ],
      [
        'vector of an id that is not there',
        () => index.vector(100),
        'id: expected an integer from 0 to 99, got 100',
      ],
      ['vector of an empty index', () => new VectorIndex({ dimensions: 3 }).vector(0), 'got 0'],
      [
        'an id of an empty index',
        () => new VectorIndex({ dimensions: 3 }).explain(query, { id: 0 }),
        'got 0',
      ],
      [
        'tune to a recall above 1',
        () => index.tune({ recall: 2 }),
        'recall: expected a number from 0 to 1, got 2',
      ],
      [
        'tune for no neighbors',
        () => index.tune({ k: 0 }),
        'k: expected an integer from 1 to 4294967294, got 0',
      ],
      [
        'tune on no rows',
        () => index.tune({ sample: 0 }),
        'sample: expected an integer from 1 to 4294967294, got 0',
      ],
    ],
    ERR_OUT_OF_MEMORY: [
      ['too few bytes', () => new VectorIndex({ dimensions: 3, maxBytes: 1000 }), 'limit 1000'],
    ],
    ERR_LENGTH: [
      [
        'a part of a row',
        () => index.add(new Float32Array(4)),
        'vectors: expected a multiple of 3 floats (one row each), got 4',
      ],
      ['from with a part of a row', () => VectorIndex.from(new Float32Array(4), { dimensions: 3 }), 'got 4'],
      ['a short query', () => index.search(new Float32Array(2)), 'query: expected 3 floats, got 2'],
      [
        'short ids',
        () => index.searchInto(query, new Uint32Array(9), new Float32Array(10)),
        'ids: expected 10 places or more, got 9',
      ],
      [
        'short distances',
        () => index.searchInto(query, new Uint32Array(10), new Float32Array(9)),
        'distances: expected 10 places or more, got 9',
      ],
      [
        'a batch with a part of a query',
        () => index.searchBatch(new Float32Array(5)),
        'queries: expected a multiple of 3 floats (one row each), got 5',
      ],
      [
        'tune on a part of a query',
        () => index.tune({ queries: new Float32Array(4) }),
        'queries: expected a multiple of 3 floats (one row each), got 4',
      ],
      [
        'a truth of another length',
        () => index.evaluate(normals(6, 1), { truth: new Uint32Array(7) }),
        'truth: expected a multiple of 2 ids (as many a query), got 7',
      ],
    ],
    ERR_TOO_LARGE: [
      [
        'a batch with more places than an array has',
        () => index.searchBatch(new Float32Array(6), { k: 2 ** 31 }),
        'k: expected at most 536870912 places (queries × k), got 4294967296; search in parts',
      ],
    ],
    ERR_DETACHED: [
      [
        'rows on a detached buffer',
        () => index.add(detached(3)),
        'vectors: expected a Float32Array on a live buffer',
      ],
    ],
    ERR_NOT_FINITE: [
      [
        'from with NaN',
        () => VectorIndex.from(Float32Array.of(1, Number.NaN), { dimensions: 1 }),
        'got NaN in row 1, column 0',
      ],
      [
        'a query with infinity',
        () => index.search(Float32Array.of(1, 2, Number.NEGATIVE_INFINITY)),
        'got -Infinity in row 0, column 2',
      ],
      [
        'a batch with NaN',
        () => index.searchBatch(Float32Array.of(1, 2, 3, 4, Number.NaN, 6)),
        'queries: expected finite numbers of at most 1e16, got NaN in row 1, column 1',
      ],
    ],
  };

  for (const [code, calls] of Object.entries(cases)) {
    it.each(calls)('refuses %s', (_, call, text) => {
      const error = thrownBy(call);
      expect(error.code).toBe(code);
      expect(error).toBeInstanceOf(KINDS[code] ?? RangeError);
      expect(error.message).toContain(text);
    });
  }

  it('refuses zero vectors under cosine, on add and on query', () => {
    const cosine = VectorIndex.from(normals(300, 142), { dimensions: 3, metric: 'cosine' });
    for (const call of [
      () => cosine.add(Float32Array.of(1, 2, 3, 0, 0, 0)),
      () => cosine.search(new Float32Array(3)),
      () => cosine.search(new Float32Array(3), { exact: true }),
      () => cosine.searchBatch(new Float32Array(3)),
      () => cosine.explain(new Float32Array(3), { id: 1 }),
    ]) {
      expect(thrownBy(call).code).toBe('ERR_ZERO_VECTOR');
    }
    expect(cosine.size).toBe(100);
    expect(cosine.search(query).ids.length).toBe(10);
  });

  it('leaves the index as it was after all that', () => {
    expect(index.size).toBe(100);
    expect(index.search(query).ids.length).toBe(10);
  });
});

describe('dispose', () => {
  it('ends every use with an error that says so', () => {
    const index = VectorIndex.from(normals(30, 130), { dimensions: 3 });
    const query = normals(3, 131);
    index.dispose();
    index.dispose();
    const uses: Record<string, () => unknown> = {
      size: () => index.size,
      dimensions: () => index.dimensions,
      metric: () => index.metric,
      storage: () => index.storage,
      cells: () => index.cells,
      add: () => index.add(query),
      build: () => index.build(),
      remove: () => index.remove(0),
      update: () => index.update(0, query),
      has: () => index.has(0),
      compact: () => index.compact(),
      tune: () => index.tune(),
      evaluate: () => index.evaluate(query),
      search: () => index.search(query),
      searchInto: () => index.searchInto(query, new Uint32Array(10), new Float32Array(10)),
      searchBatch: () => index.searchBatch(query),
      explain: () => index.explain(query),
      vector: () => index.vector(0),
      memoryUsage: () => index.memoryUsage(),
      stats: () => index.stats(),
    };
    for (const [name, use] of Object.entries(uses)) {
      const error = thrownBy(use);
      expect(error.code, name).toBe('ERR_DISPOSED');
      expect(error, name).toBeInstanceOf(TypeError);
    }
  });

  it('happens at the end of a block with using', () => {
    let kept: VectorIndex;
    {
      using index = VectorIndex.from(normals(30, 130), { dimensions: 3 });
      kept = index;
      expect(index.size).toBe(10);
    }
    expect(thrownBy(() => kept.size).code).toBe('ERR_DISPOSED');
  });
});
