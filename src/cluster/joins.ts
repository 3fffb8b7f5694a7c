import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import {
  type Block,
  type ClusterPage,
  type ClusterSearchOptions,
  checkQueries,
  checkSearch,
  type Question,
} from './calls.js';
import type { Catalog, View } from './catalog.js';
import { type Gather, keepMs } from './gather.js';
import { allSegments, rowsOf } from './manifest.js';
import type { Names } from './redis.js';
import { readRequestHead, writeRequest } from './wire.js';

/** Blocks of a long call that are under way at a time. */
const IN_FLIGHT = 4;
/** How old what a long call sees may be; segments that are not shown any more are held for longer. */
const VIEW_MS = 1000;
/** How long after it last said so a call counts as one that reads its generation. */
const READER_MS = 10_000;

/** Calls of many blocks: a few of them are under way at a time, and pages come in the order of the blocks. */
export class Joins {
  readonly #redis: Redis;
  readonly #names: Names;
  readonly #catalog: Catalog;
  readonly #gather: Gather;

  constructor(redis: Redis, names: Names, catalog: Catalog, gather: Gather) {
    this.#redis = redis;
    this.#names = names;
    this.#catalog = catalog;
    this.#gather = gather;
  }

  /**
   * Asks all segments for the neighbors of block after block. `view`: what is shown now; `total`: of all rows, 0 where that is
   * not known.
   */
  async *blocks(
    blocks: Iterable<Block> | AsyncIterable<Block>,
    question: Question,
    options: ClusterSearchOptions,
    { view, total }: { view: View; total: number },
  ): AsyncGenerator<ClusterPage> {
    const reading = new Reading(this.#redis, this.#names, this.#catalog, view);
    const { dimensions } = view.manifest;
    const ask = async ({ rows, queries }: Block): Promise<ClusterPage> => {
      const request = this.#names.key('request', randomUUID());
      const bytes = writeRequest({ ...question, dimensions, queries, ids: new Float64Array(0), next: null });
      // Not waited for: it goes the way of the jobs, ahead of them.
      const prepare = (): void => {
        this.#redis.set(request, bytes, 'PX', keepMs(options)).catch(() => {});
      };
      const asked = { request, queries: rows.length, prepare };
      const { lists, missing } = await this.#gather.ask(await reading.view(), asked, question, options);
      return { rows, ...lists, missing };
    };
    try {
      yield* inOrder(blocks, ask, options, total);
    } finally {
      reading.end();
    }
  }

  /** As `blocks`, for the cluster's own rows of this moment, which workers read: they never come here. */
  async *ownRows(question: Question, options: ClusterSearchOptions): AsyncGenerator<ClusterPage> {
    const { block } = checkSearch(options);
    const view = await this.#catalog.view();
    const reading = new Reading(this.#redis, this.#names, this.#catalog, view);
    const end = rowsOf(view.manifest);
    const rows = this.#rowRequests(reading, end, question, { ...options, block });
    const ask = async ({ request, ids }: { request: string; ids: Float64Array }): Promise<ClusterPage> => {
      const asked = { request, queries: ids.length, prepare: () => {} };
      const { lists, missing } = await this.#gather.ask(await reading.view(), asked, question, options);
      return { rows: ids, ...lists, missing };
    };
    try {
      yield* inOrder(rows, ask, options, end);
    } finally {
      reading.end();
    }
  }

  /** Requests for the rows before global id `end`: ids stay what they are as the open segment is sealed. */
  async *#rowRequests(
    reading: Reading,
    end: number,
    question: Question,
    options: ClusterSearchOptions & { block: number },
  ): AsyncGenerator<{ request: string; ids: Float64Array }> {
    for (let at = 0; at < end; ) {
      const { manifest, head } = await reading.view();
      const segment = allSegments(manifest).find(({ base, rows }) => at < base + rows)!;
      const { base } = segment;
      const to = Math.min(segment.rows, end - base);
      const request = this.#names.key('request', randomUUID());
      const job = { ...question, head, request, from: at - base, to, count: options.block };
      const { ids, next } = readRequestHead(await this.#gather.rows(segment, job, options));
      if (ids.length > 0) yield { request, ids };
      at = base + (next ?? to);
    }
  }
}

/**
 * What a long call sees: the generation that it began with, since ids mean nothing in another, and in that the changes until
 * lately. While it goes on, workers are told that this generation is read, though another may be shown by then.
 */
class Reading {
  readonly #catalog: Catalog;
  readonly #generation: string;
  readonly #renewal: NodeJS.Timeout;
  #seen: { at: number; view: Promise<View> };

  constructor(redis: Redis, names: Names, catalog: Catalog, view: View) {
    this.#catalog = catalog;
    this.#generation = view.head.generation;
    this.#seen = { at: Date.now(), view: Promise.resolve(view) };
    this.#renewal = setInterval(() => {
      redis.zadd(names.key('readers'), Date.now() + READER_MS, this.#generation).catch(() => {});
    }, VIEW_MS).unref();
  }

  view(): Promise<View> {
    if (Date.now() - this.#seen.at > VIEW_MS)
      this.#seen = { at: Date.now(), view: this.#look(this.#seen.view) };
    return this.#seen.view;
  }

  async #look(before: Promise<View>): Promise<View> {
    const now = await this.#catalog.view();
    return now.head.generation === this.#generation ? now : before;
  }

  end(): void {
    clearInterval(this.#renewal);
  }
}

/** Runs `ask` on a few items at a time; gives the answers in order. */
async function* inOrder<Item>(
  items: Iterable<Item> | AsyncIterable<Item>,
  ask: (item: Item) => Promise<ClusterPage>,
  { signal, onProgress }: ClusterSearchOptions,
  total: number,
): AsyncGenerator<ClusterPage> {
  const pending: Promise<ClusterPage>[] = [];
  let done = 0;
  const next = async (): Promise<ClusterPage> => {
    const page = await (pending.shift() as Promise<ClusterPage>);
    done += page.rows.length;
    onProgress?.({ phase: total > 0 ? 'search' : 'join', done, total });
    return page;
  };
  try {
    for await (const item of items) {
      signal?.throwIfAborted();
      const answer = ask(item);
      answer.catch(() => {}); // told when its turn comes
      pending.push(answer);
      if (pending.length >= IN_FLIGHT) yield await next();
    }
    while (pending.length > 0) {
      signal?.throwIfAborted();
      yield await next();
    }
  } finally {
    await Promise.allSettled(pending);
  }
}

/** Blocks of a source that comes in pages, of numbered rows. */
export async function* blocksOfPages(
  pages: Iterable<Float32Array> | AsyncIterable<Float32Array>,
  dimensions: number,
  cut: (page: Float32Array) => Iterable<Block>,
): AsyncGenerator<Block> {
  let first = 0;
  for await (const page of pages) {
    const count = checkQueries(page, dimensions);
    for (const { rows, queries } of cut(page)) yield { rows: rows.map((row) => row + first), queries };
    first += count;
  }
}

/** Takes each row out of its own list; at most k others stay. */
export function withoutSelf(page: ClusterPage, k: number): ClusterPage {
  const ids: number[] = [];
  const distances: number[] = [];
  const counts = new Uint32Array(page.rows.length);
  let at = 0;
  page.rows.forEach((row, i) => {
    for (let j = at; j < at + page.counts[i]; j++) {
      if (page.ids[j] === row || counts[i] === k) continue;
      ids.push(page.ids[j]);
      distances.push(page.distances[j]);
      counts[i]++;
    }
    at += page.counts[i];
  });
  return { ...page, counts, ids: Float64Array.from(ids), distances: Float32Array.from(distances) };
}

/** Rows that are linked by pairs: each group ascending, groups by their smallest id. */
export class Groups {
  /** Of each linked id one that is smaller, or itself. */
  readonly #parent = new Map<number, number>();

  /** Links each row of a page to all that its list has. */
  link(page: ClusterPage): void {
    let at = 0;
    page.rows.forEach((row, i) => {
      for (const id of page.ids.subarray(at, at + page.counts[i])) {
        if (id === row) continue;
        for (const each of [id, row]) if (!this.#parent.has(each)) this.#parent.set(each, each);
        const [a, b] = [this.#find(id), this.#find(row)];
        this.#parent.set(Math.max(a, b), Math.min(a, b));
      }
      at += page.counts[i];
    });
  }

  all(): Float64Array[] {
    const groups = new Map<number, number[]>();
    for (const id of [...this.#parent.keys()].sort((a, b) => a - b)) {
      const root = this.#find(id);
      const group = groups.get(root);
      if (group) group.push(id);
      else groups.set(root, [id]);
    }
    // The smallest id of each comes first of its group, so the groups are in order already.
    return [...groups.values()].map((ids) => Float64Array.from(ids));
  }

  #find(id: number): number {
    let root = id;
    for (let up = this.#parent.get(root)!; up !== root; up = this.#parent.get(root)!) root = up;
    for (let at = id; at !== root; ) {
      const up = this.#parent.get(at)!;
      this.#parent.set(at, root);
      at = up;
    }
    return root;
  }
}
