import { describe, expect, it } from 'vitest';
import { EnginePlan } from '../src/plan.js';
import { Undo } from '../src/undo.js';
import { thrownBy } from './answers.js';

/** A plan with three regions, of which `rows` and `centres` are fields too, and a few settings. */
function filled(maxBytes?: number): EnginePlan {
  const plan = new EnginePlan(maxBytes);
  for (const [i, name] of ['rows', 'centres', 'notes'].entries()) {
    const at = plan.reserve(name, 1024);
    plan.memory.u8.fill(i + 1, at, at + 1024);
  }
  plan.set('Dims', 16);
  plan.set('Cells', 5);
  return plan;
}

const bytesOf = (plan: EnginePlan, name: string): Set<number> =>
  new Set(plan.memory.u8.subarray(plan.ptr(name), plan.ptr(name) + plan.memory.capacity(name)));

/** The plan's own words, where fields of regions have addresses. */
const wordsOf = (plan: EnginePlan): number[] => [...plan.words];

describe('a build that may be taken back', () => {
  it('finds no regions where it puts its own, and gives up the old ones when it has ended', () => {
    const plan = filled();
    const { reserved } = plan.memory;
    const rows = plan.ptr('rows');
    const undo = new Undo(plan, ['centres', 'nowhere'], ['Dims'], [['chunk', 512]]);
    expect([plan.ptr('centres'), plan.ptr('nowhere'), plan.ptr('rows')]).toEqual([0, 0, rows]);
    expect(plan.memory.reserved).toBe(reserved + 512);
    const field = plan.words.indexOf(plan.ptr('kept centres'));
    expect(field).toBe(-1); // the plan does not have it any more
    plan.reserve('centres', 2048);
    plan.set('Dims', 32);
    undo.forget();
    expect(Object.keys(plan.memory.usage())).toEqual(['plan', 'rows', 'notes', 'centres', 'total']);
    expect([plan.memory.capacity('centres'), plan.get('Dims')]).toEqual([2048, 32]);
  });

  it('brings every region and setting back, where they were, and leaves nothing of the build', () => {
    const plan = filled();
    const before = { words: wordsOf(plan), usage: plan.memory.usage() };
    const undo = new Undo(plan, ['centres'], ['Dims', 'Cells'], [['chunk', 512]]);
    plan.memory.u8.fill(9, plan.reserve('centres', 2048), plan.ptr('centres') + 2048);
    plan.reserve('blocks', 100); // new with the build, a field too
    plan.reserve('sample', 100);
    plan.set('Dims', 32);
    plan.set('Cells', 7);
    undo.takeBack();
    const spare = plan.memory.capacity('chunk');
    expect(spare).toBe(512);
    plan.release('chunk');
    expect(wordsOf(plan)).toEqual(before.words);
    expect(plan.memory.usage()).toEqual({ ...before.usage, total: plan.memory.usage().total });
    expect(['rows', 'centres', 'notes'].map((name) => [...bytesOf(plan, name)])).toEqual([[1], [2], [3]]);
  });

  it('does not begin without the room that taking it back needs', () => {
    const plan = filled(8192);
    const before = { words: wordsOf(plan), usage: plan.memory.usage() };
    const spare = [
      ['chunk', 64],
      ['order', 100_000],
    ] as const;
    expect(thrownBy(() => new Undo(plan, ['centres'], ['Dims'], spare)).code).toBe('ERR_OUT_OF_MEMORY');
    expect(wordsOf(plan)).toEqual(before.words);
    expect(plan.memory.usage()).toEqual(before.usage);
  });
});
