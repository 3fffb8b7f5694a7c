import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  Cluster,
  ClusterError,
  type ClusterPage,
  ClusterWorker,
  DirectoryStore,
} from '../src/cluster/index.js';
import { isSurplus, segmentToTake, shareOut } from '../src/cluster/placement.js';
import { exactSearchBatch, RandomGenerator, VectorIndex } from '../src/index.js';
import { RedisServer } from './redis-server.js';

const PROGRAM = fileURLToPath(new URL('./cluster-worker.mjs', import.meta.url));
/** Soon enough for a test to wait for a worker that was killed. */
const GONE_MS = 1000;
const DIMENSIONS = 12;

let server: RedisServer;
let redis: Redis;
let clusters = 0;
const open: { close(): Promise<unknown> }[] = [];
const processes = new Set<ChildProcess>();

beforeAll(async () => {
  server = await RedisServer.start();
  redis = new Redis(server.url, { maxRetriesPerRequest: null });
  redis.on('error', () => {});
});
afterEach(async () => {
  for (const each of open.splice(0).reverse()) await each.close();
  for (const child of processes) child.kill('SIGKILL');
  processes.clear();
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

function draw(rows: number, seed: number, dimensions = DIMENSIONS): Float32Array {
  const vectors = new Float32Array(rows * dimensions);
  new RandomGenerator(seed).normals(vectors);
  return vectors;
}

/** A cluster of its own on the shared Redis. */
async function connect(more: { folder?: string } = {}): Promise<{ cluster: Cluster; name: string }> {
  const name = `test-${++clusters}`;
  const cluster = await Cluster.connect({
    redis: server.url,
    name,
    ...(more.folder ? { store: new DirectoryStore(more.folder) } : {}),
  });
  open.push(cluster);
  return { cluster, name };
}

async function startWorker(
  name: string,
  options: { memoryBytes?: number; copies?: number; folder?: string } = {},
): Promise<ClusterWorker> {
  const { folder, ...rest } = options;
  const worker = await ClusterWorker.start({
    redis: server.url,
    name,
    goneAfterMs: GONE_MS,
    ...rest,
    ...(folder ? { store: new DirectoryStore(folder) } : {}),
  });
  worker.on('problem', () => {});
  open.push(worker);
  return worker;
}

/** A worker in a process of its own; resolves when it serves. */
async function spawnWorker(name: string, options: object = {}): Promise<ChildProcess & { id: string }> {
  const child = spawn(
    process.execPath,
    [PROGRAM, JSON.stringify({ redis: server.url, name, goneAfterMs: GONE_MS, ...options })],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  processes.add(child);
  for await (const line of createInterface({ input: child.stdout! })) {
    const { id } = JSON.parse(line);
    if (id) {
      child.stdout!.resume();
      return Object.assign(child, { id });
    }
  }
  throw new Error('worker: ended before it served');
}

async function until(what: string, isSo: () => Promise<boolean> | boolean, ms = 20_000): Promise<void> {
  const end = Date.now() + ms;
  while (!(await isSo())) {
    if (Date.now() > end) throw new Error(`expected within ${ms} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function served(cluster: Cluster): Promise<void> {
  await until('every segment has a holder', async () =>
    (await cluster.status()).segments.every(({ holders }) => holders > 0),
  );
}

async function all(
  pages: AsyncIterable<ClusterPage>,
): Promise<{ row: number; ids: number[]; distances: number[] }[]> {
  const rows: { row: number; ids: number[]; distances: number[] }[] = [];
  for await (const page of pages) {
    let at = 0;
    page.rows.forEach((row, i) => {
      const end = at + page.counts[i];
      rows.push({
        row,
        ids: [...page.ids.subarray(at, end)],
        distances: [...page.distances.subarray(at, end)],
      });
      at = end;
    });
  }
  return rows;
}

describe('segments together', () => {
  it('answer as one index of all rows does, to the digit, for a thousand queries', async () => {
    const vectors = draw(2000, 1);
    vectors.copyWithin(1500 * DIMENSIONS, 0, 50 * DIMENSIONS); // equal rows in different segments: ties by id
    const queries = draw(1000, 2);
    queries.set(vectors.subarray(0, 50 * DIMENSIONS));
    const { cluster, name } = await connect();
    await cluster.publish(vectors, { dimensions: DIMENSIONS, segmentRows: 450 });
    await startWorker(name);
    await startWorker(name);
    await served(cluster);
    const found = await cluster.searchBatch(queries, { k: 10, exact: true });
    const truth = exactSearchBatch(vectors, queries, { dimensions: DIMENSIONS, k: 10 });
    expect([...found.ids]).toEqual([...truth.ids]);
    expect(new Uint32Array(found.distances.buffer)).toEqual(new Uint32Array(truth.distances.buffer));
    expect([...found.counts]).toEqual([...truth.counts]);
    expect(found.missing).toEqual([]);
    // Every cell probed, without a bound: the same by another way.
    const one = VectorIndex.from(vectors, { dimensions: DIMENSIONS });
    const alone = one.search(queries.subarray(0, DIMENSIONS), { k: 10, exact: true });
    const first = await cluster.search(queries.subarray(0, DIMENSIONS), { k: 10, exact: true });
    expect([...first.ids]).toEqual([...alone.ids]);
  });

  it.each(['cosine', 'inner-product'] as const)('agree under %s', async (metric) => {
    const vectors = draw(300, 3);
    const queries = draw(20, 4);
    const { cluster, name } = await connect();
    await cluster.publish(vectors, { dimensions: DIMENSIONS, metric, segmentRows: 100 });
    await startWorker(name);
    const found = await cluster.searchBatch(queries, { k: 5, exact: true });
    const one = VectorIndex.from(vectors, { dimensions: DIMENSIONS, metric }).searchBatch(queries, {
      k: 5,
      exact: true,
    });
    expect([...found.ids]).toEqual([...one.ids]);
    found.distances.forEach((distance, i) => {
      expect(distance).toBeCloseTo(one.distances[i], 5);
    });
  });

  it('find a share of the neighbors that was asked for', async () => {
    const vectors = draw(6000, 5, 32);
    const queries = draw(200, 6, 32);
    const { cluster, name } = await connect();
    await cluster.publish(vectors, { dimensions: 32, segmentRows: 3000 });
    await startWorker(name);
    const found = await cluster.searchBatch(queries, { k: 10, recall: 0.9 });
    const truth = exactSearchBatch(vectors, queries, { dimensions: 32, k: 10 });
    let hits = 0;
    for (let i = 0; i < 200; i++) {
      const near = new Set(truth.ids.subarray(i * 10, i * 10 + 10));
      hits += [...found.ids.subarray(i * 10, i * 10 + 10)].filter((id) => near.has(id)).length;
    }
    expect(hits / 2000).toBeGreaterThan(0.88);
  });

  it('may be snapshots, come in pages, and lie in a folder', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'orthant-segments-'));
    try {
      const vectors = draw(500, 7);
      const cut = 200 * DIMENSIONS;
      const { cluster, name } = await connect({ folder });
      const pages = async function* (): AsyncGenerator<Float32Array | Uint8Array> {
        yield VectorIndex.from(vectors.subarray(0, cut), { dimensions: DIMENSIONS }).save();
        yield vectors.subarray(cut, cut + 36);
        yield vectors.subarray(cut + 36);
      };
      await cluster.publish(pages(), { dimensions: DIMENSIONS, segmentRows: 180 });
      expect((await cluster.status()).segments.map(({ rows }) => rows)).toEqual([200, 180, 120]);
      await startWorker(name, { folder });
      const queries = draw(30, 8);
      const found = await cluster.searchBatch(queries, { k: 3, exact: true });
      expect([...found.ids]).toEqual([
        ...exactSearchBatch(vectors, queries, { dimensions: DIMENSIONS, k: 3 }).ids,
      ]);
      expect(readdirSync(folder).length).toBe(3);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('give fewer than k neighbors where there are fewer, and none of nothing', async () => {
    const { cluster, name } = await connect();
    await cluster.publish(draw(3, 9), { dimensions: DIMENSIONS, segmentRows: 2 });
    await startWorker(name);
    const { ids, counts } = await cluster.searchBatch(draw(2, 10), { k: 5, exact: true });
    expect([...counts]).toEqual([3, 3]);
    expect(ids[3]).toBeNaN();
    await cluster.publish([], { dimensions: DIMENSIONS });
    expect((await cluster.search(draw(1, 11), { k: 5 })).ids.length).toBe(0);
  });
});

describe('joins', () => {
  const vectors = draw(700, 20);
  vectors.copyWithin(600 * DIMENSIONS, 0, 30 * DIMENSIONS);
  const rows = draw(90, 21);

  it('give each row of the source its neighbors, in order, page by page', async () => {
    const { cluster, name } = await connect();
    await cluster.publish(vectors, { dimensions: DIMENSIONS, segmentRows: 200 });
    await startWorker(name);
    const progress: number[] = [];
    const found = await all(
      cluster.join([rows.subarray(0, 120), rows.subarray(120)], {
        k: 4,
        exact: true,
        block: 7,
        onProgress: ({ done }) => progress.push(done),
      }),
    );
    const truth = exactSearchBatch(vectors, rows, { dimensions: DIMENSIONS, k: 4 });
    expect(found.map(({ row }) => row)).toEqual(Array.from({ length: 90 }, (_, i) => i));
    expect(found.flatMap(({ ids }) => ids)).toEqual([...truth.ids]);
    expect(progress.at(-1)).toBe(90);
    expect(progress).toEqual([...progress].sort((a, b) => a - b));
  });

  it('give all within a radius, however many', async () => {
    const { cluster, name } = await connect();
    await cluster.publish(vectors, { dimensions: DIMENSIONS, segmentRows: 300 });
    await startWorker(name);
    const radius = 3.5;
    const found = await all(cluster.join(rows, { radius, exact: true }));
    const truth = exactSearchBatch(vectors, rows, { dimensions: DIMENSIONS, k: 700 });
    found.forEach(({ ids, distances }, i) => {
      const near = [...truth.distances.subarray(i * 700, (i + 1) * 700)].filter(
        (distance) => distance <= radius,
      ).length;
      expect(ids).toEqual([...truth.ids.subarray(i * 700, i * 700 + near)]);
      expect(distances.every((distance) => distance <= radius)).toBe(true);
    });
    expect(found.some(({ ids }) => ids.length > 20)).toBe(true);
  });

  it('make the graph of all rows, and groups of equal ones', async () => {
    const { cluster, name } = await connect();
    await cluster.publish(vectors, { dimensions: DIMENSIONS, segmentRows: 250 });
    await startWorker(name);
    await cluster.remove([5]);
    const graph = await all(cluster.neighborGraph({ k: 3, exact: true, block: 64 }));
    expect(graph.length).toBe(699);
    const truth = exactSearchBatch(vectors, vectors, { dimensions: DIMENSIONS, k: 5 });
    for (const { row, ids } of graph) {
      const others = [...truth.ids.subarray(row * 5, row * 5 + 5)].filter((id) => id !== row && id !== 5);
      expect(ids, `row ${row}`).toEqual(others.slice(0, 3));
    }
    const groups = await cluster.duplicates({ radius: 0, exact: true });
    const expected = Array.from({ length: 30 }, (_, i) => [i, 600 + i]).filter(([id]) => id !== 5);
    expect(groups.map((group) => [...group])).toEqual(expected);
  });

  it('are the same when a worker is killed in the middle', async () => {
    const { cluster, name } = await connect();
    await cluster.publish(vectors, { dimensions: DIMENSIONS, segmentRows: 200 });
    const first = await spawnWorker(name);
    await spawnWorker(name);
    await served(cluster);
    const many = draw(1500, 22);
    const found: ClusterPage[] = [];
    let killed = false;
    for await (const page of cluster.join(many, { k: 5, exact: true, block: 20 })) {
      found.push(page);
      if (found.length === 8 && !killed) {
        killed = true;
        first.kill('SIGKILL');
      }
    }
    const truth = exactSearchBatch(vectors, many, { dimensions: DIMENSIONS, k: 5 });
    expect(found.flatMap(({ rows }) => [...rows])).toEqual(Array.from({ length: 1500 }, (_, i) => i));
    expect(found.flatMap(({ ids }) => [...ids])).toEqual([...truth.ids]);
  });

  it('end with the reason of a signal', async () => {
    const { cluster, name } = await connect();
    await cluster.publish(vectors, { dimensions: DIMENSIONS, segmentRows: 200 });
    await startWorker(name);
    const controller = new AbortController();
    const pages = cluster.join(draw(400, 23), { k: 3, block: 10, signal: controller.signal });
    await pages.next();
    controller.abort(new Error('enough'));
    await expect(all(pages)).rejects.toThrow('enough');
  });

  it('go on after Redis was killed and came back', async () => {
    const { cluster, name } = await connect();
    await cluster.publish(vectors, { dimensions: DIMENSIONS, segmentRows: 350 });
    await startWorker(name);
    await served(cluster);
    const many = draw(600, 24);
    const found: ClusterPage[] = [];
    for await (const page of cluster.join(many, { k: 5, exact: true, block: 20, deadlineMs: 60_000 })) {
      found.push(page);
      if (found.length === 6) {
        await server.kill();
        await server.resume();
      }
    }
    const truth = exactSearchBatch(vectors, many, { dimensions: DIMENSIONS, k: 5 });
    expect(found.flatMap(({ ids }) => [...ids])).toEqual([...truth.ids]);
  });
});

describe('a long call', () => {
  const vectors = draw(300, 70);
  const options = { dimensions: DIMENSIONS, segmentRows: 100 };
  /** Longer than workers hold what nobody reads. */
  const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 4 * GONE_MS));

  it('keeps to the generation that it began with, as long as it takes', async () => {
    const { cluster, name } = await connect();
    await cluster.publish(vectors, options);
    const worker = await startWorker(name);
    const many = draw(60, 71);
    const source = async function* (): AsyncGenerator<Float32Array> {
      for (let i = 0; i < 60; i += 10) {
        if (i === 20) await cluster.publish(draw(300, 72), options);
        if (i >= 20 && i <= 40) await pause();
        yield many.subarray(i * DIMENSIONS, (i + 10) * DIMENSIONS);
      }
    };
    const found = await all(cluster.join(source(), { k: 5, exact: true, deadlineMs: 5000 }));
    const truth = exactSearchBatch(vectors, many, { dimensions: DIMENSIONS, k: 5 });
    expect(found.flatMap(({ ids }) => ids)).toEqual([...truth.ids]);
    expect(worker.status.segments.length).toBe(6);
    // Once nobody reads it, it goes.
    const readers = `{orthant-${name}}:readers`;
    await redis.zadd(readers, 0, (await redis.zrange(readers, '0', '-1'))[0]);
    await until('the old generation is gone', () => worker.status.segments.length === 3);
  });

  it('ends with a word about the newer generation where there is no room for both', async () => {
    const { cluster, name } = await connect();
    await cluster.publish(vectors, options);
    const [{ bytes }] = (await cluster.status()).segments;
    await startWorker(name, { memoryBytes: 3.5 * bytes });
    const source = async function* (): AsyncGenerator<Float32Array> {
      for (let i = 0; i < 6; i++) {
        if (i === 5) {
          await cluster.publish(draw(300, 73), options);
          await served(cluster);
        }
        yield draw(10, 74 + i);
      }
    };
    await expect(all(cluster.join(source(), { k: 5, deadlineMs: 2000 }))).rejects.toThrow(
      /got none from segment .* \(workers gave generation \S+ up for a newer one\)/,
    );
  });

  it('makes the graph of the rows that it began with, though some are sealed and removed meanwhile', async () => {
    const { cluster, name } = await connect();
    await cluster.publish(vectors, options);
    const worker = await startWorker(name);
    await cluster.append(draw(60, 80));
    const [pages, rows]: [AsyncGenerator<ClusterPage>, number[]] = [
      cluster.neighborGraph({ k: 3, exact: true, block: 10, deadlineMs: 5000 }),
      [],
    ];
    for await (const page of pages) {
      if (rows.length === 0) {
        const open = worker.status.segments.length;
        await cluster.append(draw(60, 81)); // seals what was open
        await cluster.remove([355]);
        await pause();
        await until('the open segment is forgotten', () => worker.status.segments.length === open);
      }
      rows.push(...page.rows);
    }
    expect(rows).toEqual(Array.from({ length: 360 }, (_, i) => i).filter((id) => id !== 355));
  });
});

describe('answers', () => {
  const vectors = draw(400, 25);
  const options = { dimensions: DIMENSIONS, segmentRows: 100 };

  it('come where all connections are cut again and again', async () => {
    const { cluster, name } = await connect();
    await cluster.publish(vectors, options);
    await startWorker(name);
    const many = draw(400, 26);
    const found: ClusterPage[] = [];
    for await (const page of cluster.join(many, { k: 5, exact: true, block: 20 })) {
      found.push(page);
      if (found.length % 5 === 0) await redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    }
    const truth = exactSearchBatch(vectors, many, { dimensions: DIMENSIONS, k: 5 });
    expect(found.flatMap(({ ids }) => [...ids])).toEqual([...truth.ids]);
  });

  it('that a worker cannot give, since what was asked was lost, are asked for again', async () => {
    const { cluster, name } = await connect();
    await cluster.publish(vectors, options);
    const worker = await spawnWorker(name, { goneAfterMs: 60_000 });
    await served(cluster);
    worker.kill('SIGSTOP');
    const queries = draw(3, 27);
    const found = cluster.searchBatch(queries, { k: 5, exact: true });
    await until('it is asked', async () => (await redis.keys(`{orthant-${name}}:request:*`)).length > 0);
    await redis.unlink(...(await redis.keys(`{orthant-${name}}:request:*`)));
    worker.kill('SIGCONT');
    const { ids } = await found;
    expect([...ids]).toEqual([...exactSearchBatch(vectors, queries, { dimensions: DIMENSIONS, k: 5 }).ids]);
  });

  it('leave little behind while a client goes on', async () => {
    const { cluster, name } = await connect();
    await cluster.publish(vectors, options);
    await startWorker(name);
    await cluster.searchBatch(draw(450, 28), { block: 1 });
    const keys = await redis.keys(`{orthant-${name}}:*`);
    expect(keys.filter((key) => /request|answers/.test(key))).toEqual([]);
    const [wait] = keys.filter((key) => /gather-.*:wait$/.test(key));
    expect(wait ? await redis.llen(wait) : 0).toBeLessThan(150);
  });
});

describe('a segment that is not what it should be', () => {
  it.each([
    [
      'has a byte flipped',
      (bytes: Buffer) => bytes.writeUInt8(bytes.readUInt8(bytes.length >> 1) ^ 4, bytes.length >> 1),
      /SHA-256/,
    ],
    ['is cut short', (bytes: Buffer) => bytes.subarray(0, bytes.length - 64), /expected \d+ bytes, got \d+/],
  ])('%s: refused by name', async (_, change, message) => {
    const folder = mkdtempSync(path.join(tmpdir(), 'orthant-segments-'));
    try {
      const { cluster, name } = await connect({ folder });
      await cluster.publish(draw(300, 30), { dimensions: DIMENSIONS, segmentRows: 150 });
      const bad = readdirSync(folder)[0];
      const file = path.join(folder, bad);
      const bytes = readFileSync(file);
      const changed = change(bytes);
      writeFileSync(file, typeof changed === 'number' ? bytes : changed);
      const worker = await startWorker(name, { folder });
      const [[digest, reason]] = Object.entries(worker.status.refused);
      expect(reason).toMatch(message);
      expect(reason).toContain(digest.slice(0, 12));
      expect(worker.status.segments.length).toBe(1);
      const query = draw(1, 31);
      const late = await cluster.search(query, { deadlineMs: 700 }).catch((error) => error);
      expect(late).toBeInstanceOf(ClusterError);
      expect(late.code).toBe('ERR_CLUSTER_DEADLINE');
      expect(late.segments).toEqual([digest]);
      expect(late.message).toMatch(message);
      const { missing, ids } = await cluster.search(query, { deadlineMs: 700, partial: true, k: 4 });
      expect(missing).toEqual([digest]);
      expect(ids.length).toBe(4);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('has another fingerprint: publishing refuses it, and so does a worker', async () => {
    const { cluster, name } = await connect();
    const build = (seed: number) =>
      VectorIndex.from(draw(100, seed), { dimensions: DIMENSIONS, seed }).save();
    await expect(cluster.publish([build(0), build(1)], { dimensions: DIMENSIONS })).rejects.toThrow(
      /expected fingerprint/,
    );
    expect((await cluster.status()).generation).toBe(null);
    expect(await redis.keys(`*orthant-${name}*part*`)).toEqual([]);

    await cluster.publish([build(0)], { dimensions: DIMENSIONS });
    const head = await redis.get(`{orthant-${name}}:head`);
    const key = `{orthant-${name}}:manifest:${head!.split(' ').slice(0, 2).join(':')}`;
    const manifest = JSON.parse((await redis.get(key))!);
    await redis.set(key, JSON.stringify({ ...manifest, fingerprint: 'f'.repeat(64) }));
    const worker = await startWorker(name);
    expect(Object.values(worker.status.refused)[0]).toMatch(/expected fingerprint ffff/);
    expect(worker.status.segments).toEqual([]);
  });
});

describe('a change', () => {
  it('is seen by the next search: rows that are appended, sealed, and removed', async () => {
    const vectors = draw(260, 40);
    const { cluster, name } = await connect();
    await cluster.publish(vectors.subarray(0, 100 * DIMENSIONS), {
      dimensions: DIMENSIONS,
      segmentRows: 100,
    });
    await startWorker(name);
    const other = await Cluster.connect({ redis: server.url, name });
    open.push(other);
    const queries = draw(10, 41);
    for (let rows = 100; rows < 260; rows += 40) {
      const page = vectors.subarray(rows * DIMENSIONS, (rows + 40) * DIMENSIONS);
      expect(await cluster.append(page)).toBe(rows);
      const { ids } = await other.searchBatch(queries, { k: 6, exact: true });
      const known = vectors.subarray(0, (rows + 40) * DIMENSIONS);
      expect([...ids]).toEqual([...exactSearchBatch(known, queries, { dimensions: DIMENSIONS, k: 6 }).ids]);
    }
    const { segments } = await cluster.status();
    expect(segments.map(({ rows, isOpen }) => [rows, isOpen])).toEqual([
      [100, false],
      [120, false],
      [40, true],
    ]);

    const truth = exactSearchBatch(vectors, queries, { dimensions: DIMENSIONS, k: 12 });
    const gone = [...new Set([...truth.ids.filter((_, i) => i % 12 < 3), 250, 3])];
    expect(await cluster.remove(gone)).toBe(gone.length);
    expect(await cluster.remove(gone.slice(0, 4))).toBe(0);
    const left = await other.searchBatch(queries, { k: 4, exact: true });
    for (let i = 0; i < 10; i++) {
      const near = [...truth.ids.subarray(i * 12, i * 12 + 12)]
        .filter((id) => !gone.includes(id))
        .slice(0, 4);
      expect([...left.ids.subarray(i * 4, i * 4 + near.length)]).toEqual(near);
    }
    // A worker that comes later knows of the removals too.
    await startWorker(name, { copies: 2 });
    expect([...(await other.searchBatch(queries, { k: 4, exact: true })).ids]).toEqual([...left.ids]);
  });

  it('waits for the writer before it, and nothing is lost', async () => {
    const { cluster, name } = await connect();
    await cluster.publish(draw(10, 42), { dimensions: DIMENSIONS });
    const clients = await Promise.all([1, 2, 3].map(() => Cluster.connect({ redis: server.url, name })));
    open.push(...clients);
    const firsts = await Promise.all(
      clients.flatMap((client, i) => [0, 1].map((j) => client.append(draw(5, 50 + i * 2 + j)))),
    );
    expect(firsts.sort((a, b) => a - b)).toEqual([10, 15, 20, 25, 30, 35]);
    expect((await cluster.status()).rows).toBe(40);
  });

  it('of generation shows all of it or nothing, and an old one can be dropped', async () => {
    const { cluster, name } = await connect();
    const old = await cluster.publish(draw(60, 43), { dimensions: DIMENSIONS, segmentRows: 20 });
    await startWorker(name);
    const query = draw(1, 44);
    const before = await cluster.search(query, { exact: true });
    const failing = async function* (): AsyncGenerator<Float32Array> {
      yield draw(50, 45);
      throw new Error('the source broke');
    };
    const parts = (await redis.keys(`orthant-${name}:part:*`)).length;
    await expect(cluster.publish(failing(), { dimensions: DIMENSIONS, segmentRows: 20 })).rejects.toThrow(
      'the source broke',
    );
    expect((await redis.keys(`orthant-${name}:part:*`)).length).toBe(parts);
    expect([...(await cluster.search(query, { exact: true })).ids]).toEqual([...before.ids]);
    await expect(cluster.dropGeneration(old)).rejects.toThrow(/current/);

    const vectors = draw(30, 46);
    await cluster.publish(vectors, { dimensions: DIMENSIONS, segmentRows: 15 });
    await cluster.dropGeneration(old);
    expect((await cluster.generations()).length).toBe(1);
    expect((await redis.keys(`orthant-${name}:part:*`)).length).toBe(2);
    const { ids } = await cluster.search(query, { k: 5, exact: true });
    expect([...ids]).toEqual([...exactSearchBatch(vectors, query, { dimensions: DIMENSIONS, k: 5 }).ids]);
  });
});

describe('what is stored', () => {
  const vectors = draw(60, 47);
  const options = { dimensions: DIMENSIONS, segmentRows: 20 };
  const parts = async (name: string): Promise<number> => (await redis.keys(`orthant-${name}:part:*`)).length;

  it('is shared by generations of the same rows; removed rows of one are there in another', async () => {
    const { cluster, name } = await connect();
    await cluster.publish(vectors, options);
    await startWorker(name);
    const query = vectors.subarray(0, DIMENSIONS);
    expect((await cluster.search(query, { k: 1, exact: true })).ids[0]).toBe(0);
    await cluster.remove([0]);
    expect((await cluster.search(query, { k: 1, exact: true })).ids[0]).not.toBe(0);
    const breaking = async function* (): AsyncGenerator<Float32Array> {
      yield vectors;
      throw new Error('the source broke');
    };
    await expect(cluster.publish(breaking(), options)).rejects.toThrow('the source broke');
    expect(await parts(name)).toBe(3);
    await cluster.publish(vectors, options);
    expect(await parts(name)).toBe(3);
    expect((await cluster.search(query, { k: 1, exact: true })).ids[0]).toBe(0);
    const [old] = (await cluster.generations()).filter(({ isCurrent }) => !isCurrent);
    await cluster.dropGeneration(old.generation);
    expect(await parts(name)).toBe(3);
    await startWorker(name, { copies: 2 }); // reads them
    const { workers } = await cluster.status();
    expect(workers.map(({ refused }) => refused)).toEqual([{}, {}]);
  });

  it('of an open segment is given back when it was sealed', async () => {
    const { cluster, name } = await connect();
    await cluster.publish(vectors, options);
    for (let i = 0; i < 5; i++) await cluster.append(draw(10, 48 + i));
    const { segments } = await cluster.status();
    expect(segments.map(({ rows, isOpen }) => [rows, isOpen])).toEqual([
      ...Array.from({ length: 5 }, () => [20, false]),
      [10, true],
    ]);
    expect(await parts(name)).toBe(6);
  });

  it('of jobs is nothing when all have left, nor of those who died', async () => {
    const { cluster, name } = await connect();
    await cluster.publish(vectors, options);
    const worker = await startWorker(name);
    await cluster.searchBatch(vectors, { block: 7 });
    const queues = (): Promise<string[]> => redis.keys(`{orthant-${name}}:*-*-*-*-*`);
    expect((await queues()).length).toBeGreaterThan(0);
    const killed = await spawnWorker(name, { copies: 2 });
    killed.kill('SIGKILL');
    await redis.zadd(`{orthant-${name}}:queues`, 0, `worker-${killed.id}`); // as if long ago
    const other = await startWorker(name);
    await until('the queue of the killed worker is gone', async () =>
      (await redis.keys(`{orthant-${name}}:worker-${killed.id}:*`)).every((key) => key.endsWith('events')),
    );
    await worker.close();
    await other.close();
    await cluster.close();
    await redis.unlink(`{orthant-${name}}:worker:${killed.id}`);
    const left = await redis.keys(`{orthant-${name}}:*`);
    expect(left.filter((key) => /worker-|gather-|request|answer/.test(key))).toEqual([]);
  });
});

describe('shares of a question', () => {
  const segments = new Map(['a', 'b', 'c', 'd'].map((digest) => [digest, 10]));

  it('are one for each worker, of the segments that it holds', () => {
    const shares = shareOut(
      segments,
      [
        { id: 'x', segments: ['a', 'b'] },
        { id: 'y', segments: ['c', 'old'] },
      ],
      0,
    );
    expect([...shares]).toEqual([
      ['x', ['a', 'b']],
      ['y', ['c']],
    ]);
  });

  it('are even by rows among several holders, who take turns', () => {
    const all = [...segments.keys()];
    const workers = ['x', 'y', 'z'].map((id) => ({ id, segments: all }));
    const firsts = [0, 1, 2].map((turn) => {
      const shares = shareOut(segments, workers, turn);
      expect([...shares.values()].flat().sort()).toEqual(all);
      expect([...shares.values()].map(({ length }) => length).sort()).toEqual([1, 1, 2]);
      return [...shares.keys()][0];
    });
    expect(firsts).toEqual(['x', 'y', 'z']);
    const large = new Map([...segments, ['e', 40]]);
    const shares = shareOut(large, [workers[0], { id: 'y', segments: ['e'] }], 0);
    expect(shares.get('y')).toEqual(['e']);
  });
});

describe('a worker that comes later', () => {
  const sizes = new Map(['a', 'b', 'c', 'd'].map((digest) => [digest, 10]));
  const placed = (id: string, segments: string, memoryBytes = 100, copies = 1) => ({
    ...{ id, segments: [...segments], memoryBytes, copies },
  });

  it('takes from the fullest until nothing is gained, and nothing ever goes back', () => {
    expect(segmentToTake('new', [placed('old', 'abcd'), placed('new', '')], sizes)).toBe('a');
    expect(segmentToTake('new', [placed('old', 'bcd'), placed('new', 'a')], sizes)).toBe('b');
    expect(segmentToTake('new', [placed('old', 'cd'), placed('new', 'ab')], sizes)).toBe(null);
    expect(segmentToTake('old', [placed('old', 'cd'), placed('new', 'ab')], sizes)).toBe(null);
    // One that is three parts full gives up nothing that would make the other fuller than it.
    expect(segmentToTake('new', [placed('old', 'abc'), placed('new', 'd')], sizes)).toBe('a');
    expect(segmentToTake('new', [placed('old', 'abc', 400), placed('new', 'd')], sizes)).toBe(null);
    // Random moves end, and no worker is past its memory.
    const random = new RandomGenerator(64);
    for (let round = 0; round < 200; round++) {
      const bytes = new Map([...'abcdefghij'].map((digest) => [digest, 1 + (random.nextUint32() % 20)]));
      const total = [...bytes.values()].reduce((sum, size) => sum + size, 0);
      const workers = [
        placed('0', 'abcdefghij', total),
        placed('1', '', total / 2),
        placed('2', '', total / 4),
      ];
      let moves = 0;
      for (let idle = 0, turn = 0; idle < 3; turn++) {
        const worker = workers[turn % 3];
        const digest = segmentToTake(worker.id, workers, bytes);
        idle = digest === null ? idle + 1 : 0;
        if (digest === null) continue;
        worker.segments.push(digest);
        const [giver, ...more] = workers.filter(({ id }) => isSurplus(id, digest, workers, bytes));
        expect(more).toEqual([]);
        expect(giver).not.toBe(worker);
        giver.segments.splice(giver.segments.indexOf(digest), 1);
        expect(++moves).toBeLessThan(30);
        const fill = worker.segments.reduce((sum, held) => sum + bytes.get(held)!, 0);
        expect(fill).toBeLessThanOrEqual(worker.memoryBytes);
      }
      expect(moves).toBeGreaterThan(0);
      expect(workers.flatMap(({ segments }) => segments).sort()).toEqual([...bytes.keys()]);
    }
  });

  it('takes nothing while a segment has too few holders, or too many; only the fullest gives up', () => {
    const workers = [placed('old', 'abc'), placed('new', '')];
    expect(segmentToTake('new', workers, sizes)).toBe(null);
    const both = [placed('old', 'abcd'), placed('new', 'a'), placed('third', '')];
    expect(segmentToTake('third', both, sizes)).toBe(null);
    expect(['old', 'new', 'third'].map((id) => isSurplus(id, 'a', both, sizes))).toEqual([
      true,
      false,
      false,
    ]);
    const copies = [placed('old', 'abcd', 100, 2), placed('new', 'a', 100, 2)];
    expect(isSurplus('old', 'a', copies, sizes)).toBe(false);
    expect(segmentToTake('stranger', both, sizes)).toBe(null);
  });

  it('is given half of the segments while every search is answered at once, and gives them back as it leaves', async () => {
    const { cluster, name } = await connect();
    const vectors = draw(800, 65);
    await cluster.publish(vectors, { dimensions: DIMENSIONS, segmentRows: 200 });
    const [{ bytes }] = (await cluster.status()).segments;
    const first = await startWorker(name, { memoryBytes: bytes * 4.5 });
    expect(first.status.segments.length).toBe(4);
    const queries = draw(10, 66);
    const truth = [...exactSearchBatch(vectors, queries, { dimensions: DIMENSIONS, k: 5 }).ids];
    let isOver = false;
    const searching = (async () => {
      for (let searches = 1; ; searches++) {
        const { ids } = await cluster.searchBatch(queries, { k: 5, exact: true, deadlineMs: 3000 });
        expect([...ids]).toEqual(truth);
        const { segments } = await cluster.status();
        expect(segments.every(({ holders }) => holders > 0)).toBe(true);
        if (isOver) return searches;
      }
    })();
    const late = await startWorker(name, { memoryBytes: bytes * 4.5 });
    await until('each has two, and nothing else is in memory', () =>
      [first, late].every(({ status }) => status.segments.length === 2 && status.bytes < 2.5 * bytes),
    );
    expect(new Set([...first.status.segments, ...late.status.segments]).size).toBe(4);
    isOver = true;
    expect(await searching).toBeGreaterThan(3);
    await late.close();
    await until('the first has all again', () => first.status.segments.length === 4);
  });

  it('and dies: who gave its segments up takes them back', async () => {
    const { cluster, name } = await connect();
    await cluster.publish(draw(400, 67), { dimensions: DIMENSIONS, segmentRows: 100 });
    const [{ bytes }] = (await cluster.status()).segments;
    const first = await startWorker(name, { memoryBytes: bytes * 4.5 });
    const late = await spawnWorker(name, { memoryBytes: bytes * 4.5 });
    await until('one was given up', () => first.status.segments.length < 4);
    late.kill('SIGKILL');
    await until('the first has all again', () => first.status.segments.length === 4);
    expect((await cluster.search(draw(1, 68), { exact: true })).ids.length).toBe(10);
  });
});

describe('workers', () => {
  it('share segments by memory and copies, and take over from one that leaves or dies', async () => {
    const { cluster, name } = await connect();
    await cluster.publish(draw(800, 60), { dimensions: DIMENSIONS, segmentRows: 200 });
    const [{ bytes }] = (await cluster.status()).segments;
    const half = bytes * 2.5;
    const first = await startWorker(name, { memoryBytes: half });
    expect(first.status.segments.length).toBe(2);
    const second = await startWorker(name, { memoryBytes: half });
    expect(new Set([...first.status.segments, ...second.status.segments]).size).toBe(4);
    await first.close();
    const third = await spawnWorker(name, { memoryBytes: half });
    await served(cluster);
    third.kill('SIGKILL');
    await startWorker(name, { memoryBytes: half });
    await until('the segments of the killed worker are served', async () => {
      const { segments, workers } = await cluster.status();
      return segments.every(({ holders }) => holders === 1) && workers.length === 2;
    });
    const query = draw(1, 61);
    expect((await cluster.search(query, { exact: true })).ids.length).toBe(10);
  });

  it('do a job that is delivered twice without changing anything', async () => {
    const { cluster, name } = await connect();
    const vectors = draw(200, 62);
    await cluster.publish(vectors, { dimensions: DIMENSIONS, segmentRows: 100 });
    const queries = draw(50, 63);
    // A worker that sleeps: its jobs wait, and every one is put into its queue a second time.
    const worker = await spawnWorker(name, { goneAfterMs: 60_000 });
    await served(cluster);
    worker.kill('SIGSTOP');
    const answer = cluster.searchBatch(queries, { k: 5, exact: true, block: 10 });
    const queue = new Queue(`worker-${worker.id}`, { connection: redis, prefix: `{orthant-${name}}` });
    await until('the jobs wait', async () => (await queue.getJobs(['wait'])).length >= 4);
    for (const job of await queue.getJobs(['wait'])) await queue.add('search', job.data);
    expect((await queue.getJobs(['wait'])).length).toBe(8);
    await queue.close();
    worker.kill('SIGCONT');
    const { ids } = await answer;
    expect([...ids]).toEqual([...exactSearchBatch(vectors, queries, { dimensions: DIMENSIONS, k: 5 }).ids]);
  });
});

describe('the door', () => {
  it('refuses what cannot be, with both numbers', async () => {
    const { cluster } = await connect();
    await expect(cluster.search(draw(1, 70))).rejects.toThrow(/expected a published generation/);
    await cluster.publish(draw(20, 71), { dimensions: DIMENSIONS });
    await expect(cluster.search(new Float32Array(5))).rejects.toThrow(
      /expected a multiple of 12 floats, got 5/,
    );
    await expect(cluster.search(draw(1, 70), { k: 0 })).rejects.toThrow(/k: expected .* got 0/);
    await expect(cluster.remove([20])).rejects.toThrow(/expected ids from 0 to 19, got 20/);
    await expect(cluster.append(new Float32Array(12).fill(Number.NaN))).rejects.toThrow(/row 0, column 0/);
    await expect(cluster.publish(draw(1, 1), { dimensions: 0 })).rejects.toThrow(/dimensions: expected/);
    expect((await cluster.status()).rows).toBe(20);
    await cluster.close();
    await expect(cluster.search(draw(1, 70))).rejects.toMatchObject({ code: 'ERR_CLUSTER_CLOSED' });
  });

  it('names Redis where it does not answer', async () => {
    const gone = await RedisServer.start();
    const cluster = await Cluster.connect({ redis: gone.url, name: 'x' });
    await gone.stop();
    await expect(cluster.search(draw(1, 72))).rejects.toMatchObject({ code: 'ERR_CLUSTER_REDIS' });
    await expect(Cluster.connect({ redis: gone.url, name: 'x' })).rejects.toThrow(/Redis at 127\.0\.0\.1/);
    await cluster.close();
  });

  it('refuses names that would leave the cluster’s own keys', async () => {
    await expect(Cluster.connect({ redis: server.url, name: 'a}b' })).rejects.toMatchObject({
      code: 'ERR_CLUSTER_ARGUMENT',
    });
  });
});
