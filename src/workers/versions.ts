import type { AsyncOptions } from '../index.js';
import { CHANGED, checkAsync, failure, packOptions, Windows } from '../parallel.js';
import { type Member, Members } from './members.js';
import type { About, Make, Request, Response, Version } from './messages.js';
import { PoolNames } from './names.js';

/** A window grows as often as it takes, up to this. */
const MOST_WINDOW_BYTES = 2 ** 31;

type ChangeOfRows = Extract<Make, { given: unknown }>;
type Result = Extract<Response, { kind: 'result' }>;

/**
 * The index of a pool: the version that its threads read now, and the changes, one after the other, to the next.
 *
 * A version never changes. One thread makes the next, with the help of the others where it is a build over shared memory;
 * then all are told of it at once, between two calls of each.
 */
export class Versions {
  readonly members: Members;
  readonly isShared: boolean;
  /** The user's ids of the rows, where there are such ids. */
  names: PoolNames | undefined;
  #present: Version | null = null;
  #about: About | null = null;
  /** Room for what threads write on their way, over shared memory, and how much of it each has. */
  #windows: Windows | null = null;
  #windowBytes: number[] = [];
  #leastWindow = 0;
  /** What an index may take; a snapshot does not tell. */
  readonly #maxBytes: number | undefined;
  /** The last change that was asked for: the next one waits for it. */
  #changes: Promise<unknown> = Promise.resolve();
  /** Ends the change under way, and the threads that are at it. */
  #endChange: ((error: Error) => void) | null = null;
  #changing: readonly Member[] = [];
  /** Calls that are handed out in parts, which must all go to one version. */
  readonly #held: Set<Promise<unknown>> = new Set();
  #publishing: Promise<unknown> | null = null;

  constructor(
    threads: number,
    isShared: boolean,
    maxBytes: number | undefined,
    worker: (() => unknown) | undefined,
  ) {
    this.isShared = isShared;
    this.#maxBytes = maxBytes;
    this.members = new Members(threads, worker, {
      replaced: (place, dead, error) => {
        this.#windowBytes[place] = 0;
        // A build may wait for parts that this one had taken.
        if (this.#changing.includes(dead)) this.#endChange?.(error);
        if (this.#present) this.#tell(place);
      },
      ended: () => {
        this.#present = null;
        this.#windows = null;
      },
    });
  }

  /** What there is to know of the present version without asking a thread. */
  get known(): About {
    this.members.check();
    return this.#about as About;
  }

  /** The present version: another after every change. */
  get present(): Version | null {
    return this.#present;
  }

  /** Options as they can be sent: with the filter as a bitmap. */
  packed<Options extends object | undefined>(options: Options): Options {
    const { names } = this;
    return packOptions(options, this.known.ids, names && ((row) => names.idOf(row)));
  }

  /* ---- asking ---- */

  /** Asks a thread; a window that turns out too small is made larger, and it is asked again. */
  async ask(member: Member, request: (id: number) => Request): Promise<Result> {
    for (;;) {
      this.members.check();
      try {
        return (await this.members.post(member, request)) as Result;
      } catch (error) {
        if (!this.widen(member, error)) throw error;
      }
    }
  }

  /** Calls a method of the index, on the thread with the fewest calls; `about`: ids of the user that it is about. */
  async call<T>(method: string, args: unknown[], about?: unknown[] | 'all'): Promise<T> {
    this.members.check();
    const answer = await this.ask(this.members.idlest, (id) => ({
      ...{ kind: 'call', id, method, args },
      known: about === 'all' ? this.names?.all(this.known.ids) : about && this.names?.knownOf(about),
    }));
    return answer.result as T;
  }

  /** What a call gives, if the version is the same before and after. */
  async unchanged<T>(version: Version | null, call: () => Promise<T>): Promise<T> {
    const check = (): void => {
      this.members.check();
      if (version !== this.#present) throw failure('ERR_CHANGED', CHANGED);
    };
    check();
    const result = await call();
    check();
    return result;
  }

  /** What a call in several parts gives, with no other version while it is under way. */
  async held<T>(call: () => Promise<T>): Promise<T> {
    while (this.#publishing) await this.#publishing;
    const result = call();
    const ended = result.catch(() => {});
    this.#held.add(ended);
    try {
      return await result;
    } finally {
      this.#held.delete(ended);
    }
  }

  /** Gives a thread a larger window if too small a one was the cause of an error; whether it did. */
  widen(member: Member, error: unknown): boolean {
    const { code, needed } = error as { code?: string; needed?: number };
    const place = this.members.all.indexOf(member);
    if (code !== 'ERR_OUT_OF_MEMORY' || this.#windows === null || place < 0) return false;
    const before = this.#windowBytes[place];
    const bytes = Math.max(2 * before, before + 2 * (needed ?? 0));
    if (bytes > MOST_WINDOW_BYTES) return false;
    this.#windowBytes[place] = bytes;
    this.#tell(place);
    return true;
  }

  /** Sends the present version to a thread, with a window of its own. */
  #tell(place: number): void {
    const version = this.#present as Version;
    this.#windowBytes[place] = Math.max(this.#windowBytes[place] ?? 0, this.#leastWindow);
    const window = this.#windows?.reserve(place, this.#windowBytes[place]);
    this.members.send(this.members.all[place], { kind: 'version', version, window });
  }

  /* ---- changing ---- */

  /** A change waits for those before it, whatever became of them; what it gives. */
  changed(make: () => Make, options: AsyncOptions = {}, transfer?: readonly object[]): Promise<unknown> {
    const run = (): Promise<unknown> => this.#change(make(), options, transfer);
    const changed = this.#changes.then(run, run);
    this.#changes = changed.catch(() => {});
    return changed;
  }

  /** Has a thread make the next version, and hands it to all. */
  async #change(make: Make, options: AsyncOptions, transfer: readonly object[] = []): Promise<unknown> {
    checkAsync(options);
    const { signal, onProgress } = options;
    signal?.throwIfAborted();
    const { members } = this;
    members.check();
    const [leader, ...others] = [...members.all].sort((a, b) => a.calls.size - b.calls.size);
    const helpers = this.isShared && (make.how === 'from' || make.how === 'build') ? others : [];
    const channels = helpers.map(() => new MessageChannel());
    helpers.forEach((member, thread) => {
      const port = channels[thread].port1;
      members.send(member, { kind: 'help', port, thread }, [port]);
    });
    const ports = channels.map(({ port2 }) => port2);
    let id = 0;
    const request = (given: number): Request => {
      id = given;
      return { kind: 'make', id, make, shared: this.isShared, from: this.#present, helpers: ports };
    };
    const abort = (): void => members.giveUp(leader, id, signal?.reason);
    this.#endChange = (reason) => members.giveUp(leader, id, reason);
    this.#changing = [leader, ...helpers];
    signal?.addEventListener('abort', abort, { once: true });
    try {
      const made = await members.post(leader, request, onProgress, [...transfer, ...ports]);
      this.#changing = [];
      return await this.#publish(make, made as Extract<Response, { kind: 'made' }>);
    } finally {
      this.#endChange = null;
      this.#changing = [];
      signal?.removeEventListener('abort', abort);
    }
  }

  /** Hands a new version to all threads, once no call needs the one before. */
  async #publish(make: Make, made: Extract<Response, { kind: 'made' }>): Promise<unknown> {
    const { version, about, windowBytes, result, named } = made;
    const windows = version.state ? new Windows(version.state) : null;
    while (this.#held.size > 0) {
      this.#publishing = Promise.all(this.#held);
      await this.#publishing;
    }
    this.#publishing = null;
    this.members.check();
    this.#present = version.state ? version : { ...version, maxBytes: this.#maxBytes };
    this.#windows = windows;
    this.#about = about;
    this.#leastWindow = windowBytes;
    for (let place = 0; place < this.members.all.length; place++) this.#tell(place);
    if (named instanceof Float64Array) this.names?.apply((make as ChangeOfRows).given, named);
    else if (named) this.names = new PoolNames(named);
    return result;
  }
}
