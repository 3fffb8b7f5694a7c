import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { IdSet } from '../src/id-set.js';
import { thrownBy } from './answers.js';

const sorted = (ids: Iterable<number>): number[] => [...new Set(ids)].sort((a, b) => a - b);
const someIds = fc.array(fc.integer({ min: 0, max: 300 }), { maxLength: 60 });

describe('an IdSet', () => {
  it('does what a plain Set does, through any sequence of adding and deleting', () => {
    const step = fc.tuple(fc.boolean(), someIds);
    fc.assert(
      fc.property(someIds, fc.array(step, { maxLength: 12 }), (first, steps) => {
        const set = new IdSet(first);
        const plain = new Set(first);
        const versions = new Set([set.version]);
        for (const [add, ids] of steps) {
          if (add) {
            expect(set.add(ids)).toBe(set);
            for (const id of ids) plain.add(id);
          } else {
            const there = sorted(ids).filter((id) => plain.delete(id)).length;
            expect(set.delete(Uint32Array.from(ids))).toBe(there);
          }
          expect(versions.has(set.version)).toBe(false);
          versions.add(set.version);
          expect(set.size).toBe(plain.size);
          expect([...set]).toEqual(sorted(plain));
          for (let id = 0; id < 320; id += 7) expect(set.has(id)).toBe(plain.has(id));
        }
      }),
    );
  });

  it('is joined, cut and turned over as sets are, into new sets', () => {
    fc.assert(
      fc.property(someIds, someIds, fc.integer({ min: 0, max: 330 }), (a, b, n) => {
        const one = new IdSet(a);
        const two = new IdSet(b);
        expect([...one.and(two)]).toEqual(sorted(a.filter((id) => b.includes(id))));
        expect([...one.or(two)]).toEqual(sorted([...a, ...b]));
        expect([...one.andNot(two)]).toEqual(sorted(a.filter((id) => !b.includes(id))));
        const rest = one.not(n);
        expect([...rest]).toEqual(Array.from({ length: n }, (_, i) => i).filter((id) => !a.includes(id)));
        for (const made of [one.and(two), one.or(two), one.andNot(two), rest]) {
          expect(made.size).toBe([...made].length);
        }
        expect([...one]).toEqual(sorted(a));
      }),
    );
  });

  it('is the same after a way through a bitmap', () => {
    fc.assert(
      fc.property(someIds, (ids) => {
        const bitmap = new IdSet(ids).toBitmap();
        for (const id of ids) expect((bitmap[id >> 3] >> (id & 7)) & 1).toBe(1);
        const again = IdSet.fromBitmap(bitmap);
        bitmap.fill(0); // a copy was taken
        expect([...again]).toEqual(sorted(ids));
        expect(again.size).toBe(new Set(ids).size);
      }),
    );
  });

  it('is made of what a function says', () => {
    const asked: number[] = [];
    const set = IdSet.where(11, (id) => {
      asked.push(id);
      return id % 3 === 0;
    });
    expect([...set]).toEqual([0, 3, 6, 9]);
    expect(asked).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(IdSet.where(0, () => true).size).toBe(0);
    expect(set.toBitmap()).toEqual(Uint8Array.of(0b01001001, 0b10));
  });

  it('gives its bitmap away as a copy', () => {
    const set = new IdSet([1, 9]);
    set.toBitmap().fill(255);
    expect([...set]).toEqual([1, 9]);
  });

  it('grows to twice its bytes at least, so that many small additions copy each a few times', () => {
    const set = new IdSet([63]);
    const { bytes } = set;
    expect(set.add(62).bytes).toBe(bytes);
    expect(set.add(64).bytes).toEqual(Uint8Array.from({ length: 16 }, (_, i) => [0xc0, 1][i - 7] ?? 0));
    expect(set.add(1000).bytes.length).toBe(126);
  });

  it('takes bitmaps of 2^29 bytes and no longer ones', () => {
    class Pretended extends Uint8Array {
      pretended = 0;
      override get length(): number {
        return this.pretended;
      }
    }
    const bitmap = Object.assign(new Pretended(0), { pretended: 2 ** 29 + 1 });
    const error = thrownBy(() => IdSet.fromBitmap(bitmap));
    expect([error.code, error.message]).toEqual([
      'ERR_ARGUMENT_RANGE',
      'bytes: expected at most 2^29 bytes, got 536870913',
    ]);
    bitmap.pretended = 2 ** 29;
    expect(IdSet.fromBitmap(bitmap).size).toBe(0);
  });

  it('has no id that is none', () => {
    const set = new IdSet([0, 1, 2]);
    for (const id of [-1, 1.5, Number.NaN, 2 ** 32, 3, '1', undefined]) {
      expect(set.has(id as number)).toBe(false);
    }
  });

  it.each<[string, () => unknown, string, string]>([
    [
      'a number',
      () => new IdSet(5 as never),
      'ERR_ARGUMENT_TYPE',
      'ids: expected something to iterate over, got 5',
    ],
    [
      'null',
      () => new IdSet(null as never),
      'ERR_ARGUMENT_TYPE',
      'ids: expected something to iterate over, got null',
    ],
    [
      'what only has a length',
      () => new IdSet({ length: 1, 0: 5 } as never),
      'ERR_ARGUMENT_TYPE',
      'ids: expected something to iterate over, got Object',
    ],
    [
      'text',
      () => new IdSet('12' as never),
      'ERR_ARGUMENT_TYPE',
      'ids: expected something to iterate over, got "12"',
    ],
    [
      'a function',
      () => new IdSet(Object.assign(() => 0, { [Symbol.iterator]: () => [1].values() }) as never),
      'ERR_ARGUMENT_TYPE',
      'ids: expected something to iterate over, got',
    ],
    ['a word', () => new IdSet(['a'] as never), 'ERR_ARGUMENT_TYPE', '"a"'],
    ['a fraction', () => new IdSet([0.5]), 'ERR_ARGUMENT_RANGE', '0.5'],
    ['a negative id', () => new IdSet().add([-1]), 'ERR_ARGUMENT_RANGE', 'ids: expected'],
    ['too large an id', () => new IdSet().delete(2 ** 32), 'ERR_ARGUMENT_RANGE', 'ids: expected'],
    [
      'a plain Set',
      () => new IdSet().and(new Set() as never),
      'ERR_ARGUMENT_TYPE',
      'other: expected an IdSet, got Set',
    ],
    ['nothing', () => new IdSet().or(undefined as never), 'ERR_ARGUMENT_TYPE', 'other: expected an IdSet'],
    [
      'a bitmap',
      () => new IdSet().andNot(new Uint8Array(1) as never),
      'ERR_ARGUMENT_TYPE',
      'other: expected',
    ],
    ['a negative number', () => IdSet.where(-1, () => true), 'ERR_ARGUMENT_RANGE', 'n: expected an integer'],
    [
      'words',
      () => IdSet.fromBitmap(new Uint32Array(1) as never),
      'ERR_ARGUMENT_TYPE',
      'bytes: expected a Uint8Array',
    ],
    ['half a row', () => new IdSet().not(1.5), 'ERR_ARGUMENT_RANGE', 'n: expected an integer'],
    [
      'no function',
      () => IdSet.where(5, true as never),
      'ERR_ARGUMENT_TYPE',
      'predicate: expected a function, got true',
    ],
  ])('refuses %s', (_, call, code, words) => {
    const error = thrownBy(call);
    expect(error.code).toBe(code);
    expect(error.message).toContain(words);
  });
});
