import { afterEach, describe, expect, it, vi } from 'vitest';
import {
  checkAsync,
  finish,
  finishInSlices,
  type Progress,
  StepClock,
  Turn,
  under,
} from '../src/progress.js';

/** Work of `total` steps in two phases that each take `ms`; `log` is told how it ends. */
function* work(total: number, ms: number, log: string[] = []): Generator<Progress, string> {
  try {
    for (const phase of ['train', 'assign'] as const) {
      for (let done = 1; done <= total; done++) {
        for (const end = performance.now() + ms; performance.now() < end; );
        yield { phase, done, total };
      }
    }
    log.push('done');
    return 'result';
  } finally {
    log.push('closed');
  }
}

afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

describe('finish', () => {
  it('runs work to its end and gives what it gives', () => {
    expect(finish(work(3, 0))).toBe('result');
  });
});

describe('StepClock', () => {
  it('ends a step once it has taken a millisecond, and the first at once', () => {
    let now = 100;
    vi.spyOn(performance, 'now').mockImplementation(() => now);
    const clock = new StepClock();
    const times = [100, 100.5, 100.9, 101, 101.9, 102.1, 110, 110.2, 111];
    const due = times.filter((time) => {
      now = time;
      return clock.isDue();
    });
    expect(due).toEqual([100, 101, 102.1, 110, 111]);
  });
});

describe('under', () => {
  it('reports the steps of a part as those of the whole, and gives what the part gives', () => {
    const steps: Progress[] = [];
    const whole = under({ phase: 'encode', done: 1, total: 2 }, work(3, 0));
    let step = whole.next();
    for (; !step.done; step = whole.next()) steps.push(step.value);
    expect(step.value).toBe('result');
    expect(steps).toEqual(Array(6).fill({ phase: 'encode', done: 1, total: 2 }));
  });

  it('tells the part when the whole is given up', () => {
    const log: string[] = [];
    const whole = under({ phase: 'encode', done: 1, total: 2 }, work(3, 0, log));
    whole.next();
    whole.return('never');
    expect(log).toEqual(['closed']);
  });
});

describe('finishInSlices', () => {
  it('gives what the work gives', async () => {
    expect(await finishInSlices(work(3, 0))).toBe('result');
  });

  it('lets the event loop turn between slices of the length asked for', async () => {
    let longest = 0;
    let turns = 0;
    let last = performance.now();
    const timer = setInterval(() => {
      turns++;
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }, 1);
    await finishInSlices(work(100, 1), { sliceMs: 5 });
    clearInterval(timer);
    expect(turns).toBeGreaterThan(10);
    expect(longest).toBeLessThan(100); // 5 ms of work; the rest is the machine's
  });

  it('works on to the end of every slice, not of the first one only', async () => {
    const reports: Progress[] = [];
    const begin = performance.now();
    await finishInSlices(work(100, 1), { sliceMs: 10, onProgress: (progress) => reports.push(progress) });
    // a report for each 10 ms, and one at the end of each of two phases
    expect(reports.length).toBeLessThanOrEqual((performance.now() - begin) / 10 + 2);
  });

  it('reports progress that only grows, and the end of every phase', async () => {
    const reports: Progress[] = [];
    await finishInSlices(work(20, 1), { sliceMs: 3, onProgress: (progress) => reports.push(progress) });
    for (const phase of ['train', 'assign']) {
      const done = reports.filter((report) => report.phase === phase).map((report) => report.done);
      expect(done).toEqual([...done].sort((a, b) => a - b));
      expect(done.at(-1)).toBe(20);
      expect(done.length).toBeGreaterThan(3);
    }
  });

  it('reports the end of each phase also where all fits in one slice', async () => {
    const reports: Progress[] = [];
    await finishInSlices(work(2, 0), { sliceMs: 1000, onProgress: (progress) => reports.push(progress) });
    expect(reports).toEqual([
      { phase: 'train', done: 2, total: 2 },
      { phase: 'assign', done: 2, total: 2 },
    ]);
  });

  it('does not begin work whose signal has already been given', async () => {
    const log: string[] = [];
    const signal = AbortSignal.abort(new Error('no'));
    await expect(finishInSlices(work(2, 0, log), { signal })).rejects.toThrow('no');
    expect(log).toEqual([]);
  });

  it('ends within 50 ms of a signal, with its reason, and tells the work', async () => {
    const log: string[] = [];
    const controller = new AbortController();
    let given = 0;
    setTimeout(() => {
      given = performance.now();
      controller.abort(new Error('enough'));
    }, 30);
    const running = finishInSlices(work(1000, 1, log), { signal: controller.signal });
    await expect(running).rejects.toThrow('enough');
    expect(performance.now() - given).toBeLessThan(50);
    expect(log).toEqual(['closed']);
  });

  it('rejects when the last report gives the signal', async () => {
    const controller = new AbortController();
    const onProgress = ({ phase, done, total }: Progress): void => {
      if (phase === 'assign' && done === total) controller.abort(new Error('late'));
    };
    const running = finishInSlices(work(2, 0), { sliceMs: 1000, onProgress, signal: controller.signal });
    await expect(running).rejects.toThrow('late');
  });

  it('ends, and tells the work, when onProgress throws', async () => {
    const log: string[] = [];
    const onProgress = (): never => {
      throw new Error('mine');
    };
    await expect(finishInSlices(work(5, 1, log), { sliceMs: 0, onProgress })).rejects.toThrow('mine');
    expect(log).toEqual(['closed']);
  });

  it('passes on what the work throws', async () => {
    // biome-ignore lint/correctness/useYield: it fails before its first step
    const failing = (function* (): Generator<Progress> {
      throw new RangeError('out of room');
    })();
    await expect(finishInSlices(failing)).rejects.toThrow(new RangeError('out of room'));
  });
});

describe('checkAsync', () => {
  it.each([
    ['options', 5, 'options: expected an options object such as { k: 10 }, got 5'],
    ['onProgress', { onProgress: 1 }, 'onProgress: expected a function, got 1'],
    ['signal', { signal: {} }, 'signal: expected an AbortSignal, got Object'],
    ['sliceMs', { sliceMs: '1' }, 'sliceMs: expected a number from 0 to 10000, got "1"'],
  ])('refuses wrong %s', (_, options, message) => {
    const expected = expect.objectContaining({ name: 'TypeError', message, code: 'ERR_ARGUMENT_TYPE' });
    expect(() => checkAsync(options as never)).toThrow(expected);
  });

  it('refuses slices of less than nothing', () => {
    expect(() => checkAsync({ sliceMs: -1 })).toThrow('sliceMs: expected a number from 0 to 10000, got -1');
  });

  it('takes half a frame by default', () => {
    expect(checkAsync({}).sliceMs).toBe(8);
  });
});

describe('Turn', () => {
  it.each(['setImmediate', 'messages'])('passes many times by %s, and is quiet once closed', async (way) => {
    const messages = way === 'messages';
    if (messages) vi.stubGlobal('setImmediate', undefined);
    const closed = vi.spyOn(MessagePort.prototype, 'close');
    const turn = new Turn();
    for (let i = 0; i < 100; i++) await turn.pass();
    turn.close();
    expect(closed).toHaveBeenCalledTimes(messages ? 1 : 0); // an open port would keep a worker alive
    turn.close();
    closed.mockRestore();
  });
});
