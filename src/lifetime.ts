import { rangeError, typeError } from './check.js';
import { type AsyncOptions, checkAsync, finishInSlices, type Progress } from './progress.js';

/** Whether an index may be used: not once it is disposed of; and not changed while an asynchronous call is under way. */
export class Lifetime {
  #isOver = false;
  /** The call under way: until it ends, others may read and nothing may change. */
  #busy: string | undefined;

  end(): void {
    this.#isOver = true;
  }

  checkAlive(): void {
    if (this.#isOver) throw typeError('ERR_DISPOSED', 'index: expected a live index, got a disposed one');
  }

  /** Refuses a change while an asynchronous call is under way. */
  checkIdle(): void {
    this.checkAlive();
    if (this.#busy === undefined) return;
    throw rangeError('ERR_BUSY', `index: expected no other work under way, got one of ${this.#busy}`);
  }

  /** Runs work in slices, and `settle` with what it gives; nothing else may change the index meanwhile. */
  async alone<T>(
    name: string,
    options: AsyncOptions,
    work: Generator<Progress, T>,
    settle?: (result: T) => void,
  ): Promise<T> {
    checkAsync(options);
    this.#busy = name;
    try {
      const result = await finishInSlices(this.#whileAlive(work), options);
      this.checkAlive();
      settle?.(result);
      return result;
    } finally {
      this.#busy = undefined;
    }
  }

  /** What work gives, one after another; nothing may change the index from the first to the last. */
  *hold<Part>(name: string, work: () => Iterable<Part>): Generator<Part, void, void> {
    this.checkIdle();
    this.#busy = name;
    try {
      for (const part of work()) {
        yield part;
        this.checkAlive();
      }
    } finally {
      this.#busy = undefined;
    }
  }

  /** Work that ends with ERR_DISPOSED once the index is disposed of. */
  *#whileAlive<T>(work: Generator<Progress, T>): Generator<Progress, T> {
    try {
      for (;;) {
        this.checkAlive();
        const step = work.next();
        if (step.done) return step.value;
        yield step.value;
      }
    } finally {
      work.return(undefined as never);
    }
  }
}
