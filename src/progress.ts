import { checkFunction, checkNumber, checkOptions, describe, typeError } from './check.js';

/** How far a long piece of work has come. `done` and `total` count rows, or queries where the phase looks at those. */
export interface Progress {
  phase: 'train' | 'assign' | 'encode' | 'refine' | 'tune' | 'load' | 'save' | 'search' | 'join';
  done: number;
  total: number;
}

/** How long work lets others run in between. */
export interface AsyncOptions {
  /** Called after a slice of work and at the end of a phase, with how far it has come. */
  onProgress?: (progress: Progress) => void;
  /** Ends the work between two slices: the promise rejects with the signal's reason, and all is as it was before. */
  signal?: AbortSignal;
  /** Milliseconds that work may hold the thread; default 8, half of a frame. */
  sliceMs?: number;
}

/** Milliseconds of work between two steps of it. */
const STEP_MS = 1;

/**
 * Tells work when its next step is due. To end one after every few rows costs more than the rows: each generator on the way
 * to whoever runs the work does something then, and JavaScript's compilers, which judge by how often, take them all for hot
 * (a build of 200,000 rows of 100 floats: 20,000 steps and 0.4 s of compiling, beside 1.4 s of work).
 */
export class StepClock {
  #next = 0;

  isDue(): boolean {
    const now = performance.now();
    if (now < this.#next) return false;
    this.#next = now + STEP_MS;
    return true;
  }
}

/** Runs work to its end; returns what it gives. */
export function finish<T>(work: Generator<Progress, T>): T {
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
  }
}

/** Runs work that is a part of other work, whose progress stands still meanwhile. */
export function* under<T>(progress: Progress, work: Generator<Progress, T>): Generator<Progress, T> {
  try {
    for (;;) {
      const step = work.next();
      if (step.done) return step.value;
      yield progress;
    }
  } finally {
    work.return(undefined as never);
  }
}

/**
 * Runs work to its end in slices, with the event loop in between. Work that is given up is told so by its `return`: what
 * it must put back stands in its `finally`.
 */
export async function finishInSlices<T>(
  work: Generator<Progress, T>,
  options: AsyncOptions = {},
): Promise<T> {
  const { onProgress, signal, sliceMs } = checkAsync(options);
  const turn = new Turn();
  let last: Progress | undefined;
  const endPhase = (): void => {
    if (last !== undefined) onProgress?.({ ...last, done: last.total });
  };
  try {
    signal?.throwIfAborted();
    let end = performance.now() + sliceMs;
    for (;;) {
      const step = work.next();
      if (step.done) {
        endPhase();
        signal?.throwIfAborted();
        return step.value;
      }
      if (step.value.phase !== last?.phase) endPhase();
      last = step.value;
      if (performance.now() < end) continue;
      onProgress?.({ ...last });
      await turn.pass();
      signal?.throwIfAborted();
      end = performance.now() + sliceMs;
    }
  } finally {
    turn.close();
    work.return(undefined as never); // no effect on work that has ended
  }
}

/** The options of an asynchronous call, checked. */
export function checkAsync(options: AsyncOptions): AsyncOptions & { sliceMs: number } {
  checkOptions('options', options);
  const { onProgress, signal } = options;
  if (onProgress !== undefined) checkFunction('onProgress', onProgress);
  if (signal !== undefined && !(signal instanceof AbortSignal))
    throw typeError('ERR_ARGUMENT_TYPE', `signal: expected an AbortSignal, got ${describe(signal)}`);
  const sliceMs = checkNumber('sliceMs', options.sliceMs ?? 8, 0, 10_000);
  return { onProgress, signal, sliceMs };
}

/**
 * Lets the event loop turn once. By setImmediate where there is one (Node): there a chain of messages keeps timers and
 * input waiting to its end. Else by a message, since a nested setTimeout waits 4 ms and more in a page.
 */
export class Turn {
  #channel: MessageChannel | null = null;
  #resume: (() => void) | null = null;

  pass(): Promise<void> {
    return new Promise((resolve) => {
      if (typeof setImmediate === 'function') {
        setImmediate(resolve);
        return;
      }
      this.#channel ??= this.#open();
      this.#resume = resolve;
      this.#channel.port2.postMessage(null);
    });
  }

  /** An open port would keep a worker alive. */
  close(): void {
    this.#channel?.port1.close();
    this.#channel = null;
  }

  #open(): MessageChannel {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => this.#resume?.();
    return channel;
  }
}
