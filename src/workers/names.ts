import { enterIds, type KnownIds, type UserId, UserIds } from '../parallel.js';

/** What carries row numbers and, beside them, the user's ids. */
interface Answer {
  ids: Uint32Array;
  userIds?: unknown;
}

/**
 * The user's ids of a pool's rows. They are kept once, on the thread of the pool: its workers know rows by their numbers,
 * and are sent the few ids that a call is about, so that an index there says what it would say without threads.
 */
export class PoolNames {
  readonly kind: UserIds['kind'];
  readonly #ids: UserIds;
  /** For each call under way the ids that were removed since it began: its answer may still have their rows. */
  readonly #gone: Set<Map<number, UserId>> = new Set();

  constructor(known: KnownIds) {
    this.kind = known.kind;
    this.#ids = new UserIds(known.kind);
    enterIds(this.#ids, known);
  }

  /** The id of a row, if it is there. */
  idOf(row: number): UserId | undefined {
    return this.#ids.idOf(row);
  }

  /** What is known of some ids; nothing of those that are none, for which the index has the right word. */
  knownOf(given: ArrayLike<unknown>): KnownIds {
    const known = { kind: this.kind, ids: [] as UserId[], rows: [] as number[] };
    const seen = new Set<number>();
    for (let i = 0; i < given.length; i++) {
      const row = this.#find(given[i]);
      if (row === undefined || seen.has(row)) continue;
      seen.add(row);
      known.ids.push(given[i] as UserId);
      known.rows.push(row);
    }
    return known;
  }

  /** All ids of rows below a number. */
  all(count: number): KnownIds {
    const known = { kind: this.kind, ids: [] as UserId[], rows: [] as number[] };
    for (let row = 0; row < count; row++) {
      const id = this.#ids.idOf(row);
      if (id === undefined) continue;
      known.ids.push(id);
      known.rows.push(row);
    }
    return known;
  }

  /** Takes in what a change made of the ids that it was given: their rows, below 0 for those that have none now. */
  apply(given: ArrayLike<unknown>, rows: ArrayLike<number>): void {
    const removed: number[] = [];
    const added = { ids: [] as UserId[], rows: [] as number[] };
    for (let i = 0; i < given.length; i++) {
      const before = this.#find(given[i]);
      if (before === undefined && rows[i] >= 0) {
        added.ids.push(given[i] as UserId);
        added.rows.push(rows[i]);
      } else if (before !== undefined && rows[i] < 0) {
        for (const gone of this.#gone) gone.set(before, this.#ids.idOf(before) as UserId);
        removed.push(before);
      }
    }
    this.#ids.remove(removed);
    enterIds(this.#ids, added);
  }

  /** What a call answers, with the user's ids. */
  async name<T>(call: () => Promise<T>): Promise<T> {
    const gone = new Map<number, UserId>();
    this.#gone.add(gone);
    try {
      const answer = await call();
      const named = answer as Answer | null | undefined;
      if (named?.ids instanceof Uint32Array)
        named.userIds = Array.from(named.ids, (row) => this.#ids.idOf(row) ?? gone.get(row));
      return answer;
    } finally {
      this.#gone.delete(gone);
    }
  }

  #find(id: unknown): number | undefined {
    try {
      return this.#ids.rowOf('id', id);
    } catch {
      return undefined;
    }
  }
}
