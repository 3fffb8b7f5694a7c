import type { Redis } from 'ioredis';

/** Seconds that the list is waited on at a time, and how much later the connection counts as dead. */
const LISTEN_S = 5;
const DEAD_MS = 5000;
/** Characters of an id. */
const ID_CHARS = 36;

/**
 * Puts an answer into a list that goes after a while: KEYS[1]; ARGV: answer, milliseconds. A script, since each pipeline of
 * ioredis takes all scripts of BullMQ over that its connection knows, which cost a block of two answers 0.5 ms of CPU.
 */
const REPLY = `redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])`;

/** Puts an answer into a client's list. Not waited for: it goes the way of the word that the job has ended, ahead of it. */
export function reply(
  redis: Redis,
  { replies, answer, bytes, ms }: { replies: string; answer: string; bytes: Uint8Array; ms: number },
): void {
  const message = Buffer.concat([Buffer.from(answer, 'latin1'), bytes]);
  redis.eval(REPLY, 1, replies, message, ms).catch(() => {});
}

/**
 * Where the answers to one client come in: a list in Redis that a connection of its own waits on. An answer that is lost with
 * the connection is asked for again by those who wait, whom `onLoss` tells.
 */
export class Replies {
  readonly key: string;
  readonly #connection: Redis;
  /** Who waits, by the id of the answer. */
  readonly #expected = new Map<string, (bytes: Buffer) => void>();
  #isClosed = false;

  constructor(redis: Redis, key: string, onLoss: () => void) {
    this.key = key;
    this.#connection = redis.duplicate();
    this.#connection.on('error', () => {});
    this.#connection.on('ready', onLoss);
    void this.#listen();
  }

  expect(id: string, take: (bytes: Buffer) => void): void {
    this.#expected.set(id, take);
  }

  forget(id: string): void {
    this.#expected.delete(id);
  }

  close(): void {
    this.#isClosed = true;
    this.#connection.disconnect();
  }

  async #listen(): Promise<void> {
    while (!this.#isClosed) {
      // A machine that vanished says nothing: the answer to a wait is overdue then.
      const dead = setTimeout(() => this.#connection.disconnect(true), 1000 * LISTEN_S + DEAD_MS);
      try {
        const message = (await this.#connection.blpopBuffer(this.key, LISTEN_S))?.[1];
        if (message) {
          const id = message.toString('latin1', 0, ID_CHARS);
          const take = this.#expected.get(id);
          this.#expected.delete(id);
          take?.(message.subarray(ID_CHARS));
        }
      } catch {
        // The connection was ended, by `close` or as dead; it comes back by itself.
        await new Promise((resolve) => setTimeout(resolve, 50).unref());
      } finally {
        clearTimeout(dead);
      }
    }
  }
}
