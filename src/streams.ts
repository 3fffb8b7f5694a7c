/**
 * Snapshots through arrays and web streams: drivers of the generators in snapshot.ts. An adapter for files is another one.
 */

import { checkBytes, describe, typeError } from './check.js';
import { type AsyncOptions, checkAsync, type Progress, Turn } from './progress.js';
import { allocate, type Reading, SnapshotError, totalOf, type Writing } from './snapshot.js';

/** All parts in one array. */
export function toBytes(parts: Writing): Uint8Array {
  let bytes: Uint8Array | undefined;
  let at = 0;
  for (const part of parts) {
    if (part.length === 0) continue;
    bytes ??= allocate(totalOf(part)); // the header is the first part
    bytes.set(part, at);
    at += part.length;
  }
  return bytes as Uint8Array;
}

/** What a reading gives, from bytes at hand; `start` is told how many there are. */
export function fromBytes<Result>(bytes: unknown, start: (length: number) => Reading<Result>): Result {
  const source = checkBytes('bytes', bytes);
  const reading = start(source.length);
  let at = 0;
  for (;;) {
    const step = reading.next();
    if (step.done) return step.value;
    step.value.set(source.subarray(at, at + step.value.length));
    at += step.value.length;
  }
}

/** Runs slices of work between turns of the event loop, and ends when a signal says so. */
class Slices {
  readonly #options: ReturnType<typeof checkAsync>;
  readonly #phase: Progress['phase'];
  readonly #turn: Turn = new Turn();
  /** Rejects when the signal does; never fulfilled. */
  readonly #aborted: Promise<never> | undefined;
  #onAbort: (() => void) | undefined;
  #end: number;
  done = 0;
  total = 0;

  constructor(phase: Progress['phase'], options: AsyncOptions) {
    this.#phase = phase;
    this.#options = checkAsync(options);
    const { signal, sliceMs } = this.#options;
    this.#end = performance.now() + sliceMs;
    if (signal === undefined) return;
    this.#aborted = new Promise((_, reject) => {
      this.#onAbort = () => reject(signal.reason);
      signal.addEventListener('abort', this.#onAbort);
      if (signal.aborted) this.#onAbort();
    });
    this.#aborted.catch(() => {}); // it may reject while nobody waits
  }

  /** What a promise gives, unless the signal comes first. */
  wait<T>(promise: Promise<T>): Promise<T> {
    return this.#aborted === undefined ? promise : Promise.race([promise, this.#aborted]);
  }

  /** Lets others run if the slice is over. */
  async pause(): Promise<void> {
    const { signal, sliceMs } = this.#options;
    signal?.throwIfAborted();
    if (performance.now() < this.#end) return;
    this.tell();
    await this.#turn.pass();
    signal?.throwIfAborted();
    this.#end = performance.now() + sliceMs;
  }

  /** Tells how far the work has come. */
  tell(): void {
    const { onProgress, signal } = this.#options;
    onProgress?.({ phase: this.#phase, done: this.done, total: this.total });
    signal?.throwIfAborted();
  }

  close(): void {
    this.#turn.close();
    if (this.#onAbort) this.#options.signal?.removeEventListener('abort', this.#onAbort);
  }
}

/** Writes all parts to a stream, as fast as it takes them, and closes it. A stream that cannot be finished is aborted. */
export async function toStream(
  parts: Writing,
  stream: WritableStream,
  options: AsyncOptions = {},
): Promise<void> {
  expectFree(stream, 'WritableStream', 'getWriter');
  const slices = new Slices('save', options);
  const writer = stream.getWriter();
  try {
    for (const part of parts) {
      await slices.pause();
      if (part.length === 0) continue;
      if (slices.done === 0) slices.total = totalOf(part);
      await slices.wait(writer.ready);
      // A copy: the stream may keep what it was given, and the memory may change or move.
      await slices.wait(writer.write(part.slice()));
      slices.done += part.length;
    }
    slices.tell();
    await slices.wait(writer.close());
  } catch (error) {
    // Not waited for: a stream that hangs would not end either.
    writer.abort(error).catch(() => {});
    throw error;
  } finally {
    writer.closed.catch(() => {});
    writer.releaseLock();
    slices.close();
  }
}

/** What a reading gives, from a stream that is read to its end. One that cannot be used to the end is canceled. */
export async function fromStream<Result>(
  stream: ReadableStream<Uint8Array>,
  reading: Reading<Result>,
  options: AsyncOptions = {},
): Promise<Result> {
  expectFree(stream, 'ReadableStream', 'getReader');
  const slices = new Slices('load', options);
  const source = new Source(stream, slices);
  try {
    for (;;) {
      const step = reading.next();
      if (step.done) {
        await source.expectEnd();
        slices.tell();
        return step.value;
      }
      await source.fill(step.value);
      if (slices.total === 0 && slices.done === 64) slices.total = source.total;
      await slices.pause();
    }
  } catch (error) {
    source.cancel(error);
    throw error;
  } finally {
    reading.return(undefined as never); // no effect on one that has ended
    source.close();
    slices.close();
  }
}

/** Fails unless this is a stream of a kind, which its method tells, and nobody else uses it. */
function expectFree<Method extends string>(
  stream: { locked: boolean } & Record<Method, unknown>,
  kind: string,
  method: Method,
): void {
  if (typeof stream?.[method] !== 'function')
    throw typeError('ERR_ARGUMENT_TYPE', `stream: expected a ${kind}, got ${describe(stream)}`);
  if (stream.locked)
    throw typeError('ERR_ARGUMENT_TYPE', 'stream: expected one that nobody else uses, got a locked one');
}

/** Bytes of a stream, in pieces of any size. */
class Source {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #slices: Slices;
  #chunk: Uint8Array = new Uint8Array(0);
  #used = 0;
  /** The first 64 bytes, which say how many there are in all. */
  readonly #header: Uint8Array = new Uint8Array(64);

  constructor(stream: ReadableStream<Uint8Array>, slices: Slices) {
    this.#reader = stream.getReader();
    this.#slices = slices;
  }

  get total(): number {
    return totalOf(this.#header);
  }

  async fill(place: Uint8Array): Promise<void> {
    const slices = this.#slices;
    for (let at = 0; at < place.length; ) {
      if (this.#used === this.#chunk.length && !(await this.#pull())) {
        const expected = slices.done < 64 ? 'at least 64' : `${this.total}`;
        throw new SnapshotError(
          'length',
          `expected ${expected} bytes, got ${slices.done} and the end of the stream`,
        );
      }
      const part = this.#chunk.subarray(this.#used, this.#used + place.length - at);
      place.set(part, at);
      if (slices.done < 64) this.#header.set(part.subarray(0, 64 - slices.done), slices.done);
      slices.done += part.length;
      this.#used += part.length;
      at += part.length;
    }
  }

  async expectEnd(): Promise<void> {
    const { done } = this.#slices;
    if (this.#used < this.#chunk.length || (await this.#pull())) {
      const got = done + this.#chunk.length - this.#used;
      throw new SnapshotError('length', `expected ${done} bytes, got ${got} or more`);
    }
  }

  /** Takes the next chunk that is not empty; false at the end. */
  async #pull(): Promise<boolean> {
    for (;;) {
      const { done, value } = await this.#slices.wait(this.#reader.read());
      if (done) return false;
      if (!(value instanceof Uint8Array)) {
        throw typeError('ERR_ARGUMENT_TYPE', `stream: expected Uint8Arrays, got ${describe(value)}`);
      }
      this.#chunk = value;
      this.#used = 0;
      if (value.length > 0) return true;
    }
  }

  cancel(reason: unknown): void {
    this.#reader.cancel(reason).catch(() => {}); // not waited for: a stream that hangs would not end either
  }

  close(): void {
    this.#reader.releaseLock();
  }
}
