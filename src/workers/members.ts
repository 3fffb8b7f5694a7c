import type { Progress } from '../index.js';
import { failure } from '../parallel.js';
import { packError, type Request, type Response, unpackError } from './messages.js';
import { startThread, type Thread } from './threads.js';

interface Call {
  resolve(response: Response): void;
  reject(error: unknown): void;
  onProgress?: (progress: Progress) => void;
}

/** A thread and what it has been asked and not answered. */
export interface Member {
  readonly thread: Thread;
  readonly calls: Map<number, Call>;
  isReady: boolean;
}

/** What becomes of threads. */
interface MemberEvents {
  /** A thread died of an error, and a fresh one that knows nothing is in its place. */
  replaced(place: number, dead: Member, error: Error): void;
  /** All have ended, for good. */
  ended(): void;
}

/**
 * The threads of a pool: what each was asked and has not answered, and another in the place of one that dies.
 *
 * A thread that dies rejects its calls (ERR_WORKER). One that never came to run ends all, since another would fare no
 * better.
 */
export class Members {
  readonly #all: Member[] = [];
  readonly #make: (() => unknown) | undefined;
  readonly #events: MemberEvents;
  #nextId = 1;
  #end: Error | null = null;

  constructor(threads: number, make: (() => unknown) | undefined, events: MemberEvents) {
    this.#make = make;
    this.#events = events;
    for (let place = 0; place < threads; place++) this.#start(place);
  }

  /** All of them, by place. */
  get all(): readonly Member[] {
    return this.#all;
  }

  /** The thread with the fewest calls. */
  get idlest(): Member {
    return this.#all.reduce((a, b) => (b.calls.size < a.calls.size ? b : a));
  }

  /** Throws what ended them, once they have ended. */
  check(): void {
    if (this.#end) throw this.#end;
  }

  /** Ends all threads at once; their calls reject. */
  stop(error: Error): void {
    if (this.#end) return;
    this.#end = error;
    for (const { thread, calls } of this.#all) {
      thread.end();
      for (const call of calls.values()) call.reject(error);
      calls.clear();
    }
    this.#events.ended();
  }

  /** Asks a thread; its answer. */
  post(
    member: Member,
    request: (id: number) => Request,
    onProgress?: Call['onProgress'],
    transfer?: readonly object[],
  ): Promise<Response> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      member.calls.set(id, { resolve, reject, onProgress });
      try {
        this.send(member, request(id), transfer);
      } catch (error) {
        member.calls.delete(id);
        reject(error);
      }
    });
  }

  /** Gives a call up for a reason, and tells the thread so, if it still lives. */
  giveUp(member: Member, id: number, reason: unknown): void {
    const call = member.calls.get(id);
    if (call === undefined) return;
    member.calls.delete(id);
    if (!this.#end && this.#all.includes(member))
      this.send(member, { kind: 'abort', id, reason: packError(reason) });
    call.reject(reason);
  }

  /** Tells a thread something that it does not answer. */
  send(member: Member, request: Request, transfer: readonly object[] = []): void {
    try {
      member.thread.post(request, transfer);
    } catch (error) {
      const message = `arguments: expected what can be sent to a worker (no functions, live arrays), got ${(error as Error).message}`;
      throw Object.assign(new TypeError(message), { code: 'ERR_ARGUMENT_TYPE' });
    }
  }

  #start(place: number): void {
    const member: Member = {
      thread: startThread(
        {
          message: (data) => this.#receive(member, data as Response),
          crash: (error) => this.#replace(place, member, error),
        },
        this.#make,
      ),
      calls: new Map(),
      isReady: false,
    };
    this.#all[place] = member;
  }

  #replace(place: number, member: Member, cause: Error): void {
    if (this.#end || this.#all[place] !== member) return;
    const message = `worker: expected it to answer, got its end: ${cause.message}`;
    const error = Object.assign(failure('ERR_WORKER', message), { cause });
    if (!member.isReady) {
      this.stop(error);
      return;
    }
    this.#start(place);
    for (const call of member.calls.values()) call.reject(error);
    this.#events.replaced(place, member, error);
  }

  #receive(member: Member, response: Response): void {
    if (response.kind === 'ready') {
      member.isReady = true;
      return;
    }
    const call = member.calls.get(response.id);
    if (call === undefined) return;
    if (response.kind === 'progress') {
      try {
        call.onProgress?.(response.progress as Progress);
      } catch (error) {
        call.reject(error);
      }
      return;
    }
    member.calls.delete(response.id);
    if (response.kind === 'error') call.reject(unpackError(response.error));
    else call.resolve(response);
  }
}
