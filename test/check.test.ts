import { describe, expect, it } from 'vitest';
import * as check from '../src/check.js';

interface Refusal {
  kind: typeof TypeError | typeof RangeError;
  code: check.ErrorCode;
  message: string;
}

function expectRefusal(call: () => unknown, { kind, code, message }: Refusal): void {
  let error: unknown;
  try {
    call();
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(kind);
  expect(error).toMatchObject({ code, message });
}

function wrongKind(message: string): Refusal {
  return { kind: TypeError, code: 'ERR_ARGUMENT_TYPE', message };
}

function wrongValue(message: string): Refusal {
  return { kind: RangeError, code: 'ERR_ARGUMENT_RANGE', message };
}

/** An array whose buffer now belongs to another. */
function detached<Kind extends Float32Array | Uint8Array | Uint32Array>(array: Kind): Kind {
  structuredClone(array.buffer, { transfer: [array.buffer as ArrayBuffer] });
  return array;
}

describe('describe', () => {
  it.each([
    [undefined, 'undefined'],
    [null, 'null'],
    [3.5, '3.5'],
    [NaN, 'NaN'],
    [true, 'true'],
    [12n, '12'],
    ['cosine', '"cosine"'],
    ['x'.repeat(40), `"${'x'.repeat(40)}"`],
    ['x'.repeat(41), `"${'x'.repeat(40)}…"`],
    [new Float64Array(7), 'Float64Array of 7'],
    [[1, 2, 3], 'Array of 3'],
    [new DataView(new ArrayBuffer(5)), 'DataView of 5'],
    [new Map(), 'Map'],
    [{}, 'Object'],
    [Object.create(null), 'object'],
    [() => 0, 'function'],
    [Symbol('x'), 'symbol'],
  ])('tells what %o is', (value, text) => {
    expect(check.describe(value)).toBe(text);
  });
});

describe('checkInteger', () => {
  it('returns an integer of the range, both ends included', () => {
    for (const value of [1, 2, 256]) expect(check.checkInteger('tables', value, 1, 256)).toBe(value);
  });

  it.each([0, 257, -1, 1.5, NaN, Infinity])('refuses %d outside of 1 to 256', (value) => {
    const message = `tables: expected an integer from 1 to 256, got ${value}`;
    expectRefusal(() => check.checkInteger('tables', value, 1, 256), wrongValue(message));
  });

  it.each([
    ['5', '"5"'],
    [null, 'null'],
    [undefined, 'undefined'],
    [5n, '5'],
    [[5], 'Array of 1'],
  ])('refuses %o, which is not a number', (value, text) => {
    const message = `k: expected an integer from 1 to 9, got ${text}`;
    expectRefusal(() => check.checkInteger('k', value, 1, 9), wrongKind(message));
  });
});

describe('checkIds', () => {
  it('gives back one id as a list of one, and a list of any kind as it is', () => {
    expect(check.checkIds('ids', 0, 1)).toEqual([0]);
    expect(check.checkIds('ids', 8, 9)).toEqual([8]);
    for (const ids of [[], [0, 8, 8], new Uint32Array([3, 0]), { length: 2, 0: 1, 1: 0 }])
      expect(check.checkIds('ids', ids, 9)).toBe(ids);
    expect(check.checkIds('ids', [], 0)).toEqual([]);
  });

  it.each([
    [undefined, 'undefined'],
    [null, 'null'],
    ['3', '"3"'],
    ['', '""'],
    [3n, '3'],
    [() => 0, 'function'],
    [{}, 'Object'],
    [{ length: -1 }, 'Object'],
    [{ length: 0.5 }, 'Object'],
    [{ length: '0' }, 'Object'],
    [new Set([1]), 'Set'],
    [new DataView(new ArrayBuffer(4)), 'DataView of 4'],
  ])('refuses %o, which is no id and no list', (value, text) => {
    const message = `ids: expected an id or an array of ids, got ${text}`;
    expectRefusal(() => check.checkIds('ids', value, 9), wrongKind(message));
  });

  it.each([9, 2 ** 32, -1, 0.5, NaN, Infinity])(
    'refuses %d of 9 ids, alone and in a list, with its place',
    (id) => {
      const message = `ids: expected ids from 0 to 8, got ${id}`;
      expectRefusal(() => check.checkIds('ids', id, 9), wrongValue(message));
      expectRefusal(() => check.checkIds('ids', [id, 1], 9), wrongValue(`${message} at place 0`));
      expectRefusal(() => check.checkIds('ids', [8, 0, id, -7], 9), wrongValue(`${message} at place 2`));
    },
  );

  it.each([
    ['1', '"1"'],
    [null, 'null'],
    [1n, '1'],
    [undefined, 'undefined'],
    [[1], 'Array of 1'],
  ])('refuses %o in a list as of another kind', (id, text) => {
    const message = `ids: expected ids from 0 to 8, got ${text} at place 1`;
    expectRefusal(() => check.checkIds('ids', [0, id], 9), wrongKind(message));
  });

  it('says so where no id has been given out', () => {
    const message = 'ids: expected an id of the index, which has given out none, got 0';
    expectRefusal(() => check.checkIds('ids', 0, 0), wrongValue(message));
  });
});

describe('checkFunction', () => {
  it('takes functions of any kind', () => {
    for (const value of [() => 0, function named() {}, async () => 0, Map])
      check.checkFunction('work', value);
  });

  it.each([
    [undefined, 'undefined'],
    [null, 'null'],
    ['() => 0', '"() => 0"'],
    [{ call() {} }, 'Object'],
  ])('refuses %o', (value, text) => {
    expectRefusal(
      () => check.checkFunction('work', value),
      wrongKind(`work: expected a function, got ${text}`),
    );
  });
});

describe('checkNumber', () => {
  it('returns a number of the range, both ends included', () => {
    for (const value of [0, 0.95, 1]) expect(check.checkNumber('recall', value, 0, 1)).toBe(value);
  });

  it.each([-0.1, 1.1, NaN, Infinity])('refuses %d outside of 0 to 1', (value) => {
    const message = `recall: expected a number from 0 to 1, got ${value}`;
    expectRefusal(() => check.checkNumber('recall', value, 0, 1), wrongValue(message));
  });

  it('refuses what is not a number', () => {
    const message = 'recall: expected a number from 0 to 1, got "0.9"';
    expectRefusal(() => check.checkNumber('recall', '0.9', 0, 1), wrongKind(message));
  });
});

describe('checkChoice', () => {
  const metrics = ['euclidean', 'cosine'] as const;

  it('returns a listed word', () => {
    expect(check.checkChoice('metric', 'cosine', metrics)).toBe('cosine');
  });

  it('refuses another word and another kind, and lists the words', () => {
    const expected = "metric: expected one of 'euclidean', 'cosine', got";
    expectRefusal(() => check.checkChoice('metric', 'l2', metrics), wrongValue(`${expected} "l2"`));
    expectRefusal(() => check.checkChoice('metric', 2, metrics), wrongKind(`${expected} 2`));
    expectRefusal(() => check.checkChoice('metric', undefined, metrics), wrongKind(`${expected} undefined`));
  });
});

describe('checkOptions', () => {
  it('takes an object or nothing', () => {
    for (const value of [undefined, {}, { k: 3 }]) check.checkOptions('options', value);
  });

  it.each([
    [5, '5'],
    [null, 'null'],
    ['k', '"k"'],
    [new Float32Array(2), 'Float32Array of 2'],
  ])('refuses %o', (value, text) => {
    const message = `options: expected an options object such as { k: 10 }, got ${text}`;
    expectRefusal(() => check.checkOptions('options', value), wrongKind(message));
  });
});

describe('checkFloats', () => {
  it('returns a Float32Array, also an empty one', () => {
    for (const floats of [
      new Float32Array(0),
      new Float32Array(3),
      new Float32Array(new ArrayBuffer(8), 4),
    ]) {
      expect(check.checkFloats('vectors', floats)).toBe(floats);
    }
  });

  it.each([
    [[1, 2], 'Array of 2'],
    [new Float64Array(4), 'Float64Array of 4'],
    [new ArrayBuffer(8), 'ArrayBuffer'],
    [undefined, 'undefined'],
  ])('refuses %o', (value, text) => {
    const message = `vectors: expected a Float32Array, got ${text}`;
    expectRefusal(() => check.checkFloats('vectors', value), wrongKind(message));
  });

  it('tells a detached array from an empty one', () => {
    expectRefusal(() => check.checkFloats('vectors', detached(new Float32Array(4))), {
      kind: TypeError,
      code: 'ERR_DETACHED',
      message: 'vectors: expected a Float32Array on a live buffer, got a detached one of 0 floats',
    });
  });
});

describe('checkBytes and checkWords', () => {
  const kinds = [
    ['Uint8Array', check.checkBytes, new Uint8Array(3), 'bytes'],
    ['Uint32Array', check.checkWords, new Uint32Array(3), 'words'],
  ] as const;

  it.each(kinds)(
    'take a %s as it is, and refuse others and detached ones',
    (name, checkKind, array, items) => {
      expect(checkKind('codes', array)).toBe(array);
      const floats = new Float32Array(2);
      const other = `codes: expected a ${name}, got Float32Array of 2`;
      expectRefusal(() => checkKind('codes', floats), wrongKind(other));
      expectRefusal(() => checkKind('codes', detached(array)), {
        kind: TypeError,
        code: 'ERR_DETACHED',
        message: `codes: expected a ${name} on a live buffer, got a detached one of 0 ${items}`,
      });
    },
  );
});

describe('checkVector', () => {
  it('returns a vector of the right length', () => {
    const vector = new Float32Array([1, -2, 3e-45]);
    expect(check.checkVector('query', vector, 3)).toBe(vector);
  });

  it.each([0, 100, 129])('refuses %i floats where 128 are due', (length) => {
    expectRefusal(() => check.checkVector('query', new Float32Array(length), 128), {
      kind: RangeError,
      code: 'ERR_LENGTH',
      message: `query: expected 128 floats, got ${length}`,
    });
  });

  it('refuses a number that is not finite', () => {
    expectRefusal(() => check.checkVector('query', new Float32Array([0, NaN]), 2), {
      kind: RangeError,
      code: 'ERR_NOT_FINITE',
      message: 'query: expected finite numbers of at most 1e16, got NaN in row 0, column 1',
    });
  });
});

describe('checkRows', () => {
  it('returns the number of rows, 0 for none', () => {
    expect(check.checkRows('vectors', new Float32Array(12), 4)).toBe(3);
    expect(check.checkRows('vectors', new Float32Array(0), 4)).toBe(0);
  });

  it('refuses a part of a row', () => {
    expectRefusal(() => check.checkRows('vectors', new Float32Array(10), 4), {
      kind: RangeError,
      code: 'ERR_LENGTH',
      message: 'vectors: expected a multiple of 4 floats (one row each), got 10',
    });
  });
});

describe('checkFinite', () => {
  it('takes every float of at most 1e16 in size, denormal numbers and zeros of both signs included', () => {
    check.checkFinite('vectors', new Float32Array([1e16, -1e16, 0, -0, 1e-45, -1e-45, 3.5, 1e-30]), 4);
  });

  // 1.1e16 is not a float: the nearest one is what the text shows.
  it.each([NaN, Infinity, -Infinity, 2 ** 54, -(2 ** 54), 3.4028234663852886e38])(
    'refuses %d and names its row and column',
    (value) => {
      for (const [row, column] of [
        [0, 0],
        [0, 6],
        [1, 0],
        [999, 3],
        [1499, 6],
      ]) {
        const vectors = new Float32Array(1500 * 7).fill(1);
        vectors[row * 7 + column] = value;
        expectRefusal(() => check.checkFinite('vectors', vectors, 7), {
          kind: RangeError,
          code: 'ERR_NOT_FINITE',
          message: `vectors: expected finite numbers of at most 1e16, got ${value} in row ${row}, column ${column}`,
        });
      }
    },
  );

  it('names the first of several', () => {
    const vectors = new Float32Array([1, 2, 3, NaN, Infinity, 6]);
    expect(() => check.checkFinite('vectors', vectors, 2)).toThrow('got NaN in row 1, column 1');
  });
});

describe('errors', () => {
  it('carry their code and are of the kind that their maker says', () => {
    expect(check.typeError('ERR_DISPOSED', 'index: text')).toMatchObject({
      name: 'TypeError',
      code: 'ERR_DISPOSED',
    });
    expect(check.rangeError('ERR_TOO_LARGE', 'n: text')).toMatchObject({
      name: 'RangeError',
      code: 'ERR_TOO_LARGE',
    });
  });
});
