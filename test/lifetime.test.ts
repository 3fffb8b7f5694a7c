import { describe, expect, it } from 'vitest';
import { Lifetime } from '../src/lifetime.js';
import type { Progress } from '../src/progress.js';
import { thrownBy } from './answers.js';

const BUSY = ['ERR_BUSY', 'index: expected no other work under way, got one of build'];
const OVER = ['ERR_DISPOSED', 'index: expected a live index, got a disposed one'];
const told = ({ code, message }: { code?: string; message: string }): (string | undefined)[] => [
  code,
  message,
];

/** Work in a few steps; notes how it ended. */
function* work(steps: number, notes: string[], each: () => void = () => {}): Generator<Progress, string> {
  try {
    for (let done = 0; done < steps; done++) {
      each();
      yield { phase: 'train', done, total: steps };
    }
    notes.push('done');
    return 'result';
  } finally {
    notes.push('left');
  }
}

describe('an index that may be used', () => {
  it('may be read and changed until it is disposed of', () => {
    const life = new Lifetime();
    life.checkAlive();
    life.checkIdle();
    life.end();
    expect(told(thrownBy(() => life.checkAlive()))).toEqual(OVER);
    expect(told(thrownBy(() => life.checkIdle()))).toEqual(OVER);
  });

  it('may be read and not changed while asynchronous work is under way, and changed after it', async () => {
    const life = new Lifetime();
    const notes: string[] = [];
    const settled: string[] = [];
    const promise = life.alone('build', {}, work(3, notes), (result) => settled.push(result));
    life.checkAlive();
    expect(told(thrownBy(() => life.checkIdle()))).toEqual(BUSY);
    expect(await promise).toBe('result');
    expect([notes, settled]).toEqual([['done', 'left'], ['result']]);
    life.checkIdle();
    expect(await life.alone('build', {}, work(1, notes))).toBe('result'); // with nothing to settle
  });

  it('may be changed again after work that failed', async () => {
    const life = new Lifetime();
    const notes: string[] = [];
    const failing = work(3, notes, () => {
      throw new Error('no');
    });
    await expect(life.alone('build', {}, failing)).rejects.toThrow('no');
    expect(notes).toEqual(['left']);
    life.checkIdle();
  });

  it('ends work that is under way when it is disposed of, before its result settles', async () => {
    for (const last of [0, 2]) {
      const life = new Lifetime();
      const notes: string[] = [];
      let step = 0;
      const promise = life.alone(
        'build',
        {},
        work(3, notes, () => {
          if (step++ === last) life.end();
        }),
        () => notes.push('settled'),
      );
      await expect(promise).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
      expect(notes).toEqual(['left']);
    }
  });

  it('refuses options of asynchronous work that are none, and stays idle', async () => {
    const life = new Lifetime();
    await expect(life.alone('build', { signal: 5 } as never, work(1, []))).rejects.toBeInstanceOf(TypeError);
    life.checkIdle();
  });

  it('is held while parts of something are handed out', () => {
    const life = new Lifetime();
    const parts = life.hold('build', () => [1, 2, 3]);
    life.checkIdle(); // nothing has begun
    expect(parts.next().value).toBe(1);
    expect(told(thrownBy(() => life.checkIdle()))).toEqual(BUSY);
    expect(told(thrownBy(() => life.hold('another', () => []).next()))).toEqual(BUSY);
    parts.return();
    life.checkIdle();
    expect([...life.hold('build', () => [1, 2])]).toEqual([1, 2]);
    life.checkIdle();

    const again = life.hold('build', () => [1, 2]);
    again.next();
    life.end();
    expect(told(thrownBy(() => again.next()))).toEqual(OVER);
  });
});
