import { describe, expect, it, vi } from 'vitest';
import { BitSamplingLsh } from '../src/bit-sampling-lsh.js';
import { HyperplaneLsh } from '../src/hyperplane-lsh.js';
import { MinHashLsh } from '../src/min-hash-lsh.js';
import type { Progress } from '../src/progress.js';
import { SnapshotError } from '../src/snapshot.js';
import { VectorIndex } from '../src/vector-index.js';
import { rejectionOf } from './answers.js';
import { expectSameBits, uniform } from './arena.js';
import { clumpedRows, normals } from './data.js';
import { CLASSES, loadAs, randomCodes, randomSets, seeds } from './mutations.js';

/** A stream of bytes in chunks of sizes that `next` draws; then nothing more, more bytes, an error, or a standstill. */
function streamOf(
  bytes: Uint8Array,
  size: () => number = () => 1000,
  end: 'close' | 'fail' | 'stall' = 'close',
): ReadableStream<Uint8Array> & { canceled?: unknown } {
  let at = 0;
  const stream: ReadableStream<Uint8Array> & { canceled?: unknown } = new ReadableStream({
    pull(controller): Promise<void> | undefined {
      if (at < bytes.length) {
        const to = at + size();
        controller.enqueue(bytes.slice(at, to));
        at = to;
      } else if (end === 'close') controller.close();
      else if (end === 'fail') controller.error(new Error('the line is cut'));
      else return new Promise(() => {});
      return undefined;
    },
    cancel(reason) {
      stream.canceled = reason;
    },
  });
  return stream;
}

/** A stream that keeps what it is given. */
function sink(): { stream: WritableStream<Uint8Array>; chunks: Uint8Array[]; ends: unknown[] } {
  const chunks: Uint8Array[] = [];
  const ends: unknown[] = [];
  const stream = new WritableStream<Uint8Array>({
    write: (chunk) => void chunks.push(chunk),
    close: () => void ends.push('closed'),
    abort: (reason) => void ends.push(reason),
  });
  return { stream, chunks, ends };
}

function joined(chunks: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(chunks));
}

const SNAPSHOTS = seeds();

describe.each(SNAPSHOTS)('a stream of a %s: %s', (kind, _, bytes) => {
  const Class = CLASSES[kind];

  it('is written as save writes, and closed', async () => {
    const { stream, chunks, ends } = sink();
    await loadAs(kind, bytes).saveTo(stream);
    expectSameBits(joined(chunks), bytes, 'the bytes');
    expect(ends).toEqual(['closed']);
  });

  it('is read in chunks of any size, empty ones included', async () => {
    const next = uniform(bytes.length);
    let single = 0;
    const sizes = [
      () => (single++ < 5000 ? 1 : 100_000),
      () => 1 + Math.floor(300 * next()),
      () => Math.floor(3 * next()) * 64,
      () => 1e9,
    ];
    for (const size of sizes) {
      const index = await Class.loadFrom(streamOf(bytes, size));
      expectSameBits(index.save(), bytes, 'the bytes');
    }
  });

  it('is refused when it ends early or goes on', async () => {
    const next = uniform(bytes.length);
    for (let i = 0; i < 40; i++) {
      const length = i < 3 ? i : Math.floor(bytes.length * next());
      const error = await rejectionOf(Class.loadFrom(streamOf(bytes.slice(0, length))));
      expect(error).toBeInstanceOf(SnapshotError);
      expect(error.reason).toBe('length');
      expect(error.message).toContain(`got ${length}`);
    }
    for (const chunk of [1, 1000, 1e9]) {
      const longer = new Uint8Array(bytes.length + 1);
      longer.set(bytes);
      const error = await rejectionOf(Class.loadFrom(streamOf(longer, () => chunk)));
      expect([error.name, error.reason]).toEqual(['SnapshotError', 'length']);
      expect(error.message).toContain(`got ${bytes.length + 1}`);
    }
  });

  it('is refused and canceled when a byte has changed', async () => {
    const next = uniform(bytes.length);
    for (let i = 0; i < 40; i++) {
      const changed = bytes.slice();
      changed[Math.floor(bytes.length * next())] ^= 1 << Math.floor(8 * next());
      const stream = streamOf(changed);
      const error = await rejectionOf(Class.loadFrom(stream));
      expect(error).toBeInstanceOf(SnapshotError);
      expect(stream.locked).toBe(false);
    }
  });

  it('that fails or stands still leaves the caller its reason', async () => {
    for (const length of [0, 30, 100, bytes.length - 1, bytes.length]) {
      const failing = streamOf(bytes.slice(0, length), () => 50, 'fail');
      expect((await rejectionOf(Class.loadFrom(failing))).message).toBe('the line is cut');
      const still = streamOf(bytes.slice(0, length), () => 50, 'stall');
      const controller = new AbortController();
      const loading = rejectionOf(Class.loadFrom(still, { signal: controller.signal }));
      await new Promise((resolve) => setTimeout(resolve, 2));
      const reason = new Error('no patience');
      controller.abort(reason);
      expect(await loading).toBe(reason);
      expect(still.canceled).toBe(reason);
      expect(still.locked).toBe(false);
    }
  });

  it('has limits', async () => {
    const error = await rejectionOf(Class.loadFrom(streamOf(bytes), { maxBytes: bytes.length - 1 }));
    expect(error).toMatchObject({ code: 'ERR_SNAPSHOT', reason: 'limit' });
  });
});

describe('while an index is written to a stream', () => {
  const vectors = normals(300 * 4, 1);
  const index = VectorIndex.from(vectors, { dimensions: 4, cells: 3, tune: false });
  const tables = new HyperplaneLsh({ dimensions: 4, tables: 3, bits: 3 });
  tables.add(vectors);
  const codes = new BitSamplingLsh({ bits: 20, sampledBits: 3, tables: 3 });
  codes.add(randomCodes(50, 20, 1));
  const sets = new MinHashLsh({ bands: 3, rows: 2 });
  sets.add(randomSets(50, 2));

  const cases: [
    name: string,
    index: VectorIndex | HyperplaneLsh | BitSamplingLsh | MinHashLsh,
    changes: (() => void)[],
    search: () => unknown,
  ][] = [
    [
      'VectorIndex',
      index,
      [
        () => index.add(vectors),
        () => index.remove(1),
        () => index.update(1, vectors.subarray(0, 4)),
        () => index.build(),
        () => index.compact(),
        () => index.tune(),
        () => index.save(),
      ],
      () => index.searchBatch(vectors, { k: 3 }),
    ],
    [
      'HyperplaneLsh',
      tables,
      [() => tables.add(vectors), () => tables.remove(1), () => tables.save()],
      () => tables.searchBatch(vectors, { k: 3 }),
    ],
    [
      'BitSamplingLsh',
      codes,
      [() => codes.add(randomCodes(1, 20, 2)), () => codes.remove(1), () => codes.save()],
      () => codes.searchBatch(randomCodes(1, 20, 3), { k: 3 }),
    ],
    [
      'MinHashLsh',
      sets,
      [() => sets.add(randomSets(1, 4)), () => sets.remove(1), () => sets.save()],
      () => sets.searchBatch(randomSets(5, 6), { k: 3 }),
    ],
  ];

  it.each(cases)('a %s may be searched and not changed', async (_, saved, changes, search) => {
    const bytes = saved.save();
    const before = search();
    const { stream, chunks } = sink();
    let turns = 0;
    const saving = saved.saveTo(stream, { sliceMs: 0, onProgress: () => void turns++ });
    let isOver = false;
    void saving.then(() => {
      isOver = true;
    });
    while (!isOver) {
      expect(search()).toEqual(before);
      if (!isOver) {
        for (const change of changes) expect(change).toThrow(expect.objectContaining({ code: 'ERR_BUSY' }));
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(turns).toBeGreaterThan(0);
    expectSameBits(joined(chunks), bytes, 'the bytes');
    for (const change of changes.slice(0, 2)) change();
  });

  it.each(cases)('a %s that is disposed of ends the writing', async (_, saved) => {
    const { stream, ends } = sink();
    const saving = rejectionOf(saved.saveTo(stream, { sliceMs: 0 }));
    saved.dispose();
    expect((await saving).code).toBe('ERR_DISPOSED');
    expect(ends).toHaveLength(1);
  });
});

describe('the proof of what was read', () => {
  const rows = 100_000;
  const floats = Float32Array.from(clumpedRows(rows, 16, 300, 0.3, 1));
  const makers: [name: string, make: () => Uint8Array][] = [
    ['VectorIndex', () => VectorIndex.from(floats, { dimensions: 16, cells: 300, tune: false }).save()],
    [
      'VectorIndex of 8-bit rows under cosine, some of them removed',
      () => {
        const index = VectorIndex.from(floats, {
          dimensions: 16,
          cells: 300,
          metric: 'cosine',
          storage: 'int8',
          tune: false,
        });
        index.remove(Uint32Array.from({ length: 20_000 }, (_, i) => 3 * i));
        return index.save();
      },
    ],
    [
      'HyperplaneLsh',
      () => {
        const index = new HyperplaneLsh({ dimensions: 16, tables: 16, bits: 14, metric: 'cosine' });
        index.add(floats);
        index.remove(Uint32Array.from({ length: 20_000 }, (_, i) => 3 * i));
        return index.save();
      },
    ],
    [
      'BitSamplingLsh',
      () => {
        const index = new BitSamplingLsh({ bits: 64, sampledBits: 20, tables: 16 });
        index.add(randomCodes(rows, 64, 1));
        return index.save();
      },
    ],
    [
      'MinHashLsh',
      () => {
        const index = new MinHashLsh({ bands: 16, rows: 2 });
        index.add(randomSets(rows, 2));
        return index.save();
      },
    ],
  ];

  it.each(makers)('of a %s comes in short steps, and may be given up between them', async (name, make) => {
    const bytes = make();
    const Class = CLASSES[name.split(' ')[0] as keyof typeof CLASSES];
    // The longest step in milliseconds of this process's time; the least of some tries, for what else it does meanwhile.
    let longest = Infinity;
    let steps = 0;
    for (let attempt = 0; attempt < 4 && longest > 25; attempt++) {
      let most = 0;
      steps = 0;
      const reading = Class.fromParts(undefined, bytes.length);
      for (let at = 0; ; ) {
        const before = process.cpuUsage();
        const step = reading.next();
        const { user, system } = process.cpuUsage(before);
        most = Math.max(most, (user + system) / 1000);
        if (step.done) break;
        step.value.set(bytes.subarray(at, at + step.value.length));
        at += step.value.length;
        if (at === bytes.length) steps++;
      }
      longest = Math.min(longest, most);
    }
    expect(longest).toBeLessThan(25);
    expect(steps).toBeGreaterThan(15);

    const controller = new AbortController();
    const reason = new Error('no patience');
    let left = 0;
    const loading = Class.loadFrom(
      streamOf(bytes, () => 1e6),
      {
        sliceMs: 0,
        signal: controller.signal,
        onProgress: ({ done, total }) => {
          if (done < total) return;
          left++;
          controller.abort(reason);
        },
      },
    );
    expect(await rejectionOf(loading)).toBe(reason);
    expect(left).toBe(1);
  });
});

describe('saveTo', () => {
  const index = VectorIndex.from(normals(3000 * 100, 1), { dimensions: 100, cells: 9, tune: false });
  const bytes = index.save();

  it('makes no second copy: parts are views of the memory, chunks are small', async () => {
    const { stream, chunks } = sink();
    await index.saveTo(stream);
    expect(Math.max(...chunks.map((chunk) => chunk.length))).toBeLessThanOrEqual(2 ** 20);
    let own = 0;
    for (const part of index.snapshotParts()) if (part.buffer.byteLength < 2 ** 20) own += part.length;
    expect(own).toBeLessThan(4096);
  });

  it('obeys a signal, before and in the middle, also where the stream takes nothing', async () => {
    const reason = new Error('enough');
    expect(await rejectionOf(index.saveTo(sink().stream, { signal: AbortSignal.abort(reason) }))).toBe(
      reason,
    );
    const controller = new AbortController();
    const stalled = new WritableStream<Uint8Array>({ write: () => new Promise(() => {}) });
    const saving = rejectionOf(index.saveTo(stalled, { signal: controller.signal }));
    await new Promise((resolve) => setTimeout(resolve, 5));
    controller.abort(reason);
    expect(await saving).toBe(reason);
    expectSameBits(index.save(), bytes, 'the bytes'); // not busy any more
  });

  it('fails with the stream, and leaves the index as it was', async () => {
    let written = 0;
    const full = new WritableStream<Uint8Array>({
      write(chunk) {
        written += chunk.length;
        if (written > 500_000) throw new Error('no space left');
      },
    });
    expect((await rejectionOf(index.saveTo(full))).message).toBe('no space left');
    expectSameBits(index.save(), bytes, 'the bytes');
  });

  it('tells its progress in bytes, and lets others run', async () => {
    const seen: Progress[] = [];
    let turns = 0;
    const timer = setInterval(() => turns++, 0);
    await index.saveTo(sink().stream, { sliceMs: 0, onProgress: (progress) => void seen.push(progress) });
    const again = await VectorIndex.loadFrom(streamOf(bytes), {
      sliceMs: 0,
      onProgress: (progress) => void seen.push(progress),
    });
    clearInterval(timer);
    expect(turns).toBeGreaterThan(1);
    for (const phase of ['save', 'load'] as const) {
      const done = seen.filter((progress) => progress.phase === phase);
      expect(done.map((progress) => progress.done)).toEqual(
        done.map((progress) => progress.done).sort((a, b) => a - b),
      );
      expect(done[done.length - 1]).toEqual({ phase, done: expect.any(Number), total: bytes.length });
    }
    expectSameBits(again.save(), bytes, 'the bytes');
  });

  it('and loadFrom tell at the end that all is done, and in between only where a slice is over', async () => {
    for (const sliceMs of [10_000, 0]) {
      const [saved, loaded]: Progress[][] = [[], []];
      await index.saveTo(sink().stream, { sliceMs, onProgress: (progress) => void saved.push(progress) });
      await VectorIndex.loadFrom(streamOf(bytes), {
        sliceMs,
        onProgress: (progress) => void loaded.push(progress),
      });
      for (const [phase, seen] of [
        ['save', saved],
        ['load', loaded],
      ] as const) {
        expect(seen[seen.length - 1]).toEqual({ phase, done: bytes.length, total: bytes.length });
        if (sliceMs > 0) expect(seen).toHaveLength(1);
        else expect(seen.length).toBeGreaterThan(2);
        // The total is known from the header, which is the first that is read.
        for (const { done, total } of seen) expect(total).toBe(done >= 64 ? bytes.length : 0);
      }
    }
    // Who gives up at the very end has no index, and no file.
    const reason = new Error('not any more');
    const controller = new AbortController();
    const options = {
      sliceMs: 10_000,
      signal: controller.signal,
      onProgress: () => controller.abort(reason),
    };
    const { stream, ends } = sink();
    expect(await rejectionOf(index.saveTo(stream, options))).toBe(reason);
    expect(ends).toEqual([reason]);
  });

  it('and loadFrom leave streams and signals as they were', async () => {
    const { signal } = new AbortController();
    const counts = { added: 0, removed: 0 };
    const listeners = new Set<unknown>();
    vi.spyOn(signal, 'addEventListener').mockImplementation((kind, listener) => {
      counts.added++;
      listeners.add(`${kind}`).add(listener);
    });
    vi.spyOn(signal, 'removeEventListener').mockImplementation((kind, listener) => {
      counts.removed++;
      expect([listeners.has(`${kind}`), listeners.has(listener)]).toEqual([true, true]);
    });
    const broken = bytes.slice();
    broken[100] ^= 1;
    const full = new WritableStream<Uint8Array>({
      write() {
        throw new Error('no space left');
      },
    });
    const [to, from, changed] = [sink().stream, streamOf(bytes), streamOf(broken)];
    await index.saveTo(to, { signal });
    await VectorIndex.loadFrom(from, { signal });
    await rejectionOf(index.saveTo(full, { signal }));
    await rejectionOf(VectorIndex.loadFrom(changed, { signal }));
    expect(counts).toEqual({ added: 4, removed: 4 });
    for (const stream of [to, from, full, changed]) expect(stream.locked).toBe(false);
    // Without setImmediate turns go by a channel, which is closed as well.
    const close = vi.spyOn(MessagePort.prototype, 'close');
    vi.stubGlobal('setImmediate', undefined);
    try {
      await index.saveTo(sink().stream, { sliceMs: 0 });
      expect(close).toHaveBeenCalled();
      close.mockClear();
      await VectorIndex.loadFrom(streamOf(bytes), { sliceMs: 0 });
      expect(close).toHaveBeenCalled();
    } finally {
      vi.unstubAllGlobals();
      close.mockRestore();
    }
  });

  it('loads a stream with nothing behind its end in empty chunks', async () => {
    const chunks = [bytes, new Uint8Array(0), new Uint8Array(0)];
    const stream = new ReadableStream<Uint8Array>({
      start(controller) {
        for (const chunk of chunks) controller.enqueue(chunk);
        controller.close();
      },
    });
    expectSameBits((await VectorIndex.loadFrom(stream)).save(), bytes, 'the bytes');
  });

  it('tells how many bytes there must be, where a stream ends early', async () => {
    const said = async (length: number): Promise<string> =>
      (await rejectionOf(VectorIndex.loadFrom(streamOf(bytes.slice(0, length))))).message;
    for (const length of [0, 1, 63])
      expect(await said(length)).toContain(
        `expected at least 64 bytes, got ${length} and the end of the stream`,
      );
    for (const length of [64, 65, bytes.length - 1])
      expect(await said(length)).toContain(
        `expected ${bytes.length} bytes, got ${length} and the end of the stream`,
      );
  });

  it('and loadFrom take streams that nobody else uses, of Uint8Arrays', async () => {
    for (const [call, message] of [
      [index.saveTo('no' as never), 'stream: expected a WritableStream, got "no"'],
      [index.saveTo(null as never), 'stream: expected a WritableStream, got null'],
      [VectorIndex.loadFrom(undefined as never), 'stream: expected a ReadableStream, got undefined'],
      [VectorIndex.loadFrom({} as never), 'stream: expected a ReadableStream, got Object'],
    ] as const) {
      expect(await rejectionOf(call)).toMatchObject({ code: 'ERR_ARGUMENT_TYPE', message });
    }
    expect(() => VectorIndex.load('no' as never)).toThrow(/^bytes: expected /);
    const [from, to] = [streamOf(bytes), sink().stream];
    from.getReader();
    to.getWriter();
    for (const call of [index.saveTo(to), VectorIndex.loadFrom(from)]) {
      const error = await rejectionOf(call);
      expect(error.message).toBe('stream: expected one that nobody else uses, got a locked one');
      expect(error.code).toBe('ERR_ARGUMENT_TYPE');
    }
    const texts = new ReadableStream({ start: (controller) => controller.enqueue('text') });
    expect(await rejectionOf(VectorIndex.loadFrom(texts as never))).toMatchObject({
      code: 'ERR_ARGUMENT_TYPE',
      message: 'stream: expected Uint8Arrays, got "text"',
    });
    expect((await rejectionOf(VectorIndex.loadFrom(streamOf(bytes), { maxRows: -1 }))).code).toBe(
      'ERR_ARGUMENT_RANGE',
    );
    expect((await rejectionOf(VectorIndex.loadFrom(streamOf(bytes), { sliceMs: -1 }))).code).toBe(
      'ERR_ARGUMENT_RANGE',
    );
  });
});
