import { describe, expect, it } from 'vitest';
import { LinearMemory } from '../src/memory.js';
import { EnginePlan } from '../src/plan.js';
import { thrownBy } from './answers.js';

describe('the plan of an engine', () => {
  it('is zeros at first, wherever it comes to stand, and every field has a word of its own', () => {
    const other = new LinearMemory();
    other.u8.fill(0xff);
    const area = [4096, 65536] as const;
    const plan = new EnginePlan(undefined, { memory: other.memory, regions: [], area });
    expect(plan.address).toBe(4096);
    expect(plan.words.length).toBeGreaterThan(30);
    expect(plan.words.every((word) => word === 0)).toBe(true);
    // Nothing before it or behind it is touched.
    expect(other.u8[4095]).toBe(0xff);
    expect(other.u8[4096 + 4 * plan.words.length]).toBe(0xff);
    const fields = [
      'Stride',
      'RowCount',
      'Dims',
      'Cells',
      'K',
      'Probes',
      'RowsRanked',
      'FoundCapacity',
    ] as const;
    for (const [i, field] of fields.entries()) plan.set(field, 100 + i);
    expect(fields.map((field) => plan.get(field))).toEqual(fields.map((_, i) => 100 + i));
    expect(fields.map((field) => plan.memory.u32[plan.word(field)])).toEqual(fields.map((_, i) => 100 + i));
    expect(new Set(fields.map((field) => plan.word(field))).size).toBe(fields.length);
    for (const field of fields) {
      expect(plan.word(field)).toBeGreaterThanOrEqual(plan.address / 4);
      expect(plan.word(field)).toBeLessThan(plan.address / 4 + plan.words.length);
    }
  });

  it('keeps a float as its bits, and gives copies of its words', () => {
    const plan = new EnginePlan();
    plan.setFloat('Epsilon', 1.5);
    expect(plan.memory.f32[plan.word('Epsilon')]).toBe(1.5);
    expect(plan.get('Epsilon')).toBe(0x3fc00000);
    const copy = plan.words;
    plan.set('Probes', 7);
    copy.fill(9);
    expect([plan.get('Probes'), plan.get('K')]).toEqual([7, 0]);
  });

  it('begins with the words that it is given', () => {
    const plan = new EnginePlan();
    plan.set('Dims', 24);
    plan.set('Cells', 5);
    plan.setFloat('Epsilon', 0.25);
    const words = plan.words;
    const again = new EnginePlan(undefined, undefined, words);
    expect([again.get('Dims'), again.get('Cells'), again.get('Probes')]).toEqual([24, 5, 0]);
    expect(again.words).toEqual(words);
  });

  it('has the address of every region that is a field of it, also once the region has moved, and none afterwards', () => {
    const plan = new EnginePlan();
    const words = plan.words;
    const rows = plan.reserve('rows', 1000);
    expect(plan.ptr('rows')).toBe(rows);
    expect([...plan.words].filter((word, i) => word !== words[i])).toEqual([rows]);
    const field = plan.words.indexOf(rows);
    plan.reserve('notes', 64); // stands in the way, and is no field
    expect([...plan.words].filter((word, i) => word !== words[i])).toEqual([rows]);
    const moved = plan.reserve('rows', 50_000);
    expect(moved).not.toBe(rows);
    expect(plan.words[field]).toBe(moved);
    plan.release('notes');
    expect(plan.words[field]).toBe(moved);
    plan.release('rows');
    expect([plan.words[field], plan.ptr('rows')]).toEqual([0, 0]);
    plan.enter('rows', 4096);
    expect(plan.words[field]).toBe(4096);
  });

  it('obeys its limit', () => {
    const plan = new EnginePlan(100_000);
    expect(thrownBy(() => plan.reserve('rows', 200_000)).code).toBe('ERR_OUT_OF_MEMORY');
    expect(plan.ptr('rows')).toBe(0);
  });
});
