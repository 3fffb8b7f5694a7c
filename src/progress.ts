import { checkFunction, checkNumber, checkOptions, describe, typeError } from './check.js';

/** How far a long piece of work has come. `done` and `total` count rows, or queries where the phase looks at those. */
export interface Progress {
  phase: 'train' | 'assign' | 'encode' | 'refine' | 'tune' | 'load' | 'save' | 'search' | 'join';
  done: number;
  total: number;
}

/** How long work lets others run in between. */
export interface AsyncOptions {
  /** Called after a slice of work, with how far it has come. */
  onProgress?: (progress: Progress) => void;
  /** Ends the work between two slices: the promise rejects with the signal's reason, and all is as it was before. */
  signal?: AbortSignal;
  /** Milliseconds that work may hold the thread; default 8, half of a frame. */
  sliceMs?: number;
}

/** Runs work to its end; returns what it gives. */
export function finish<T>(work: Generator<Progress, T>): T {
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
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
  try {
    signal?.throwIfAborted();
    let end = performance.now() + sliceMs;
    for (;;) {
      const step = work.next();
      if (step.done) return step.value;
      if (performance.now() < end) continue;
      onProgress?.(step.value);
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

/** Lets the event loop turn once: by a message, since a nested setTimeout waits 4 ms and more in a page. */
export class Turn {
  #channel: MessageChannel | null = new MessageChannel();
  #resume: (() => void) | null = null;

  constructor() {
    this.#channel!.port1.onmessage = () => this.#resume?.();
  }

  pass(): Promise<void> {
    return new Promise((resolve) => {
      this.#resume = resolve;
      this.#channel?.port2.postMessage(null);
    });
  }

  /** An open port would keep a process of Node alive. */
  close(): void {
    this.#channel?.port1.close();
    this.#channel = null;
  }
}
