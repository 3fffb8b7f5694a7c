import { describe, expect, it } from 'vitest';
import {
  allocate,
  bitsOf,
  Checksums,
  checksumOf,
  countBits,
  expectContent,
  type Reading,
  type SectionSource,
  SnapshotError,
  type SnapshotLimits,
  SnapshotReader,
  seedBytes,
  seedFrom,
  writeSnapshot,
} from '../src/snapshot.js';
import { fromBytes, toBytes } from '../src/streams.js';
import { openWorkspace } from '../src/workspace.js';
import { thrownBy } from './answers.js';
import { uniform } from './arena.js';
import { repair, sectionsOf } from './mutations.js';

const { memory, kernels } = openWorkspace();
const random = uniform(1);
const bytes = (count: number): Uint8Array => Uint8Array.from({ length: count }, () => 256 * random());

const words = bytes(100);
const inMemory = bytes(600_001); // more than is read at a time, in two regions of the memory
const [first, second] = [memory.reserve('first', 600_000), memory.reserve('second', 64)];
memory.u8.set(inMemory.subarray(0, 600_000), first);
memory.u8.set(inMemory.subarray(600_000), second);
const optional = bytes(700_000);

const SECTIONS: readonly SectionSource[] = [
  { tag: 1, pieces: [words] },
  { tag: 2, pieces: [] }, // is left out
  {
    tag: 3,
    pieces: [
      { ptr: first, bytes: 600_000 },
      { ptr: second, bytes: 1 },
    ],
  },
  { tag: 1000, pieces: [optional.subarray(0, 10), optional.subarray(10)], isOptional: true },
];
const WRITTEN = toBytes(writeSnapshot('HyperplaneLsh', SECTIONS, memory, kernels));

function same(actual: Uint8Array, expected: Uint8Array): boolean {
  return Buffer.compare(actual, expected) === 0;
}

/** Reads the sections that a reader knows, 3 into the memory; what it had of each. */
function read(
  from: Uint8Array,
  known: readonly number[] = [1, 2, 3],
  limits?: SnapshotLimits,
): Map<number, Uint8Array> {
  return fromBytes(from, function* (length): Reading<Map<number, Uint8Array>> {
    const reader = new SnapshotReader('HyperplaneLsh', known, limits, length);
    yield* reader.open();
    const found = new Map<number, Uint8Array>();
    for (const tag of known) {
      if (!reader.has(tag)) continue;
      const size = reader.bytesOf(tag);
      reader.expectSection(tag, size);
      if (tag === 3) {
        const ptr = memory.reserve('copy', size);
        const checksums = new Checksums(memory, kernels);
        yield* reader.copy(tag, memory, ptr, checksums);
        checksums.release();
        found.set(tag, memory.u8.slice(ptr, ptr + size));
      } else found.set(tag, new Uint8Array((yield* reader.read(tag, size)).buffer));
    }
    yield* reader.close();
    return found;
  });
}

/** What a reading is refused with. */
function refusal(from: Uint8Array, known?: readonly number[], limits?: SnapshotLimits): SnapshotError {
  const error = thrownBy(() => read(from, known, limits));
  expect(error).toBeInstanceOf(SnapshotError);
  return error as SnapshotError;
}

/** A copy with other words, of which the header's checksum is right again. */
function forged(...changes: readonly [at: number, word: number][]): Uint8Array {
  const copy = WRITTEN.slice();
  const view = new DataView(copy.buffer);
  for (const [at, word] of changes) view.setUint32(at, word, true);
  view.setUint32(60, 0, true);
  view.setUint32(60, checksumOf(copy.subarray(0, view.getUint32(36, true))), true);
  return copy;
}

describe('the sections of a snapshot', () => {
  it('are written in their order, from places of 64 bytes on, and read back, as far as they are known', () => {
    const sections = sectionsOf(WRITTEN);
    expect(sections.map(({ tag, bytes }) => [tag, bytes])).toEqual([
      [1, 100],
      [3, 600_001],
      [1000, 700_000],
    ]);
    for (const { offset } of sections) expect(offset % 64).toBe(0);
    expect(WRITTEN.length).toBe(sections[2].offset + 700_000);
    const found = read(WRITTEN);
    expect([...found.keys()]).toEqual([1, 3]);
    expect(same(found.get(1) as Uint8Array, words)).toBe(true);
    expect(same(found.get(3) as Uint8Array, inMemory)).toBe(true);
    const all = read(WRITTEN, [1, 3, 1000]);
    expect(same(all.get(1000) as Uint8Array, optional)).toBe(true);
    // One that is optional and larger than a step is passed over, before others too.
    expect(same(read(forged([64 + 24, 1]), [3]).get(3) as Uint8Array, inMemory)).toBe(true);
  });

  it('leave nothing in the memory but what they are read to', () => {
    const before = Object.keys(memory.usage()).filter((name) => name !== 'copy');
    read(WRITTEN);
    memory.release('copy');
    expect(Object.keys(memory.usage())).toEqual(before);
  });

  it('are proved by their checksums, known or not, with both sums in the words of a refusal', () => {
    const hex = (sum: number): string => `0x${sum.toString(16).padStart(8, '0')}`;
    for (const { tag, offset, bytes: size, entry } of sectionsOf(WRITTEN)) {
      for (const at of [offset, offset + size - 1]) {
        const changed = WRITTEN.slice();
        changed[at] ^= 16;
        const [is, was] = [changed, WRITTEN].map((all) =>
          hex(checksumOf(all.subarray(offset, offset + size))),
        );
        expect(refusal(changed)).toMatchObject({
          reason: 'checksum',
          message: `snapshot: expected checksum ${was} of the section ${tag}, got ${is}`,
        });
        // Shorter numbers have zeros before them.
        const small = forged([entry + 4, 0xab]);
        expect(refusal(small).message).toContain('expected checksum 0x000000ab of the section');
      }
    }
    const changed = WRITTEN.slice();
    changed[20] ^= 1;
    expect(refusal(changed).message).toMatch(
      /^snapshot: expected checksum 0x[0-9a-f]{8} of the header, got 0x[0-9a-f]{8}$/,
    );
  });

  it('are refused in words that tell what is wrong with each', () => {
    const [one, three, thousand] = sectionsOf(WRITTEN).map(({ entry }) => entry);
    const gap = sectionsOf(WRITTEN)[0].offset + 100;
    const filled = WRITTEN.slice();
    filled[gap] = 7;
    const cases: [from: Uint8Array, reason: string, message: string][] = [
      [
        forged([12, 9]),
        'kind',
        'expected one of a HyperplaneLsh, got one of kind 9; load it with that class',
      ],
      [
        forged([16, 0x80000010]),
        'feature',
        'expected features that this version has, got bits 0x80000010 more; load it with a newer one',
      ],
      [forged([thousand + 24, 0]), 'feature', 'expected sections that this version knows, got 1000'],
      [forged([one, 3], [three, 1]), 'content', 'expected section 1 before section 3, got it behind'],
      [forged([three, 1]), 'content', 'expected section 1 once, got 2'],
      [forged([three + 24, 6]), 'content', 'expected section 3 without flags, got 6'],
      [forged([three + 28, 1]), 'content', 'expected section 3 without flags, got 0'],
      [forged([44, 5]), 'content', 'expected zeros between the parts, got 5'],
      [filled, 'content', 'expected zeros between the parts, got 7'],
      [forged([32, 65]), 'content', 'expected at most 64 sections, got 65'],
    ];
    for (const [from, reason, message] of cases) {
      const error = refusal(from);
      expect([error.reason, error.message]).toEqual([reason, `snapshot: ${message}`]);
    }
    // A section that the caller knows and leaves out.
    const skip = (from: Uint8Array): void =>
      fromBytes(from, function* (length): Reading<void> {
        const reader = new SnapshotReader('HyperplaneLsh', [1, 3, 1000], undefined, length);
        yield* reader.open();
        yield* reader.close();
      });
    expect(thrownBy(() => skip(WRITTEN)).message).toBe('snapshot: expected no section 1, got one');
  });

  it('are asked for with the number of bytes that they must have', () => {
    const ask = (how: (reader: SnapshotReader) => Reading<unknown> | undefined): void =>
      fromBytes(WRITTEN, function* (length): Reading<void> {
        const reader = new SnapshotReader('HyperplaneLsh', [1, 2, 3], undefined, length);
        yield* reader.open();
        const reading = how(reader);
        if (reading) yield* reading;
      });
    const expecting =
      (tag: number, size: number) =>
      (reader: SnapshotReader): undefined =>
        void reader.expectSection(tag, size);
    for (const [tag, size, got] of [
      [1, 99, 100],
      [1, 101, 100],
      [2, 0, 0],
      [2, 5, 0],
    ]) {
      const error = thrownBy(() => ask(expecting(tag, size)));
      expect(error.message).toBe(`snapshot: expected section ${tag} of ${size} bytes, got ${got}`);
    }
    expect(() => ask(expecting(1, 100))).not.toThrow();
    expect(() => ask((reader) => reader.read(1, 100))).not.toThrow();
    expect(thrownBy(() => ask((reader) => reader.read(1, 99))).message).toBe(
      'snapshot: expected section 1 of 99 bytes, got 100',
    );
    expect(thrownBy(() => ask((reader) => reader.read(2, 99))).message).toBe(
      'snapshot: expected section 2 of 99 bytes, got 0',
    );
  });
});

describe('the room for a snapshot', () => {
  it('is limited by the caller, who is told of the limit where memory runs out', () => {
    const run = (maxBytes: number | undefined, error: unknown): void =>
      fromBytes(new Uint8Array(0), function* (): Reading<void> {
        const reader = new SnapshotReader('VectorIndex', [], maxBytes === undefined ? {} : { maxBytes });
        yield* reader.within(function* (): Reading<void> {
          yield new Uint8Array(0);
          throw error;
        });
      });
    const full = Object.assign(new RangeError('memory: expected 99 bytes'), { code: 'ERR_OUT_OF_MEMORY' });
    expect(thrownBy(() => run(5000, full))).toMatchObject({
      reason: 'limit',
      message: 'snapshot: expected an index of at most 5000 bytes; memory: expected 99 bytes',
    });
    expect(thrownBy(() => run(undefined, full))).toBe(full);
    expect(thrownBy(() => run(2 ** 32, full))).toBe(full);
    const other = new Error('other');
    expect(thrownBy(() => run(5000, other))).toBe(other);
    expect(refusal(WRITTEN, undefined, { maxBytes: WRITTEN.length - 1 }).message).toBe(
      `snapshot: expected at most ${WRITTEN.length - 1} (maxBytes), got ${WRITTEN.length}`,
    );
    expect(() => read(WRITTEN, undefined, { maxBytes: WRITTEN.length })).not.toThrow();
  });

  it('outside of the memory is refused in words where there is none', () => {
    expect(same(allocate(5), new Uint8Array(5))).toBe(true);
    expect(thrownBy(() => allocate(2 ** 53))).toMatchObject({
      name: 'RangeError',
      code: 'ERR_OUT_OF_MEMORY',
      message: `snapshot: expected ${2 ** 53} bytes for a copy, got no room for them`,
    });
  });
});

describe('bits of ids', () => {
  it('are set where they hold, counted, and refused behind the last', () => {
    for (let count = 0; count < 40; count++) {
      const holds = Array.from({ length: count }, () => random() < 0.5);
      const bits = bitsOf(count, (id) => holds[id]);
      expect(bits.length).toBe(Math.ceil(count / 8));
      expect(holds.map((_, id) => ((bits[id >> 3] >> (id & 7)) & 1) === 1)).toEqual(holds);
      expect(countBits(bits, count)).toBe(holds.filter(Boolean).length);
      if (count % 8 === 0) continue;
      for (let bit = count % 8; bit < 8; bit++) {
        const more = bits.slice();
        more[more.length - 1] |= 1 << bit;
        const error = thrownBy(() => countBits(more, count));
        expect(error.message).toBe(
          `snapshot: expected zeros behind bit ${count - 1}, got ${1 << (bit - (count % 8))}`,
        );
      }
    }
    expect(countBits(new Uint8Array(4).fill(255), 32)).toBe(32);
  });
});

describe('the bytes of a seed', () => {
  it('are the least that hold it, little end first, and give it back', () => {
    const seeds = [0n, 1n, 255n, 256n, 0xabcdefn, 2n ** 64n, 2n ** 128n - 1n, 2n ** 8191n];
    for (const seed of seeds) {
      const stored = seedBytes(seed);
      expect(stored.reduceRight((sum, byte) => 256n * sum + BigInt(byte), 0n)).toBe(seed);
      expect(stored.length === 0 || stored[stored.length - 1] > 0).toBe(true);
      const behind = new Uint8Array([9, 9, ...stored]);
      expect(seedFrom(new DataView(behind.buffer), 2)).toBe(seed);
    }
  });

  it('are refused with zeros at their end, and where there are more than 1024', () => {
    const view = (...some: number[]): DataView => new DataView(Uint8Array.from(some).buffer);
    expect(thrownBy(() => seedFrom(view(1, 2, 3, 4, 5, 0), 0)).message).toBe(
      'snapshot: expected a seed without zeros before it, got 0x00050403…',
    );
    expect(thrownBy(() => seedFrom(view(0), 0)).message).toContain('got 0x00…');
    expect(thrownBy(() => seedFrom(new DataView(new ArrayBuffer(1025)), 0)).message).toBe(
      'snapshot: expected a seed of at most 1024 bytes, got 1025',
    );
    expect(() => seedBytes(2n ** 8192n - 1n)).not.toThrow();
    expect(thrownBy(() => seedBytes(2n ** 8192n))).toMatchObject({
      code: 'ERR_TOO_LARGE',
      message: 'seed: expected at most 1024 bytes in a snapshot, got 1025',
    });
  });
});

it('what holds is taken, and what does not is refused with both in words', () => {
  expect(() => expectContent(true, 'this', 'that')).not.toThrow();
  expect(thrownBy(() => expectContent(false, 'this', 'that'))).toMatchObject({
    name: 'SnapshotError',
    code: 'ERR_SNAPSHOT',
    reason: 'content',
    message: 'snapshot: expected this, got that',
  });
  // A repaired copy is the same again.
  expect(same(repair(WRITTEN.slice()), WRITTEN)).toBe(true);
});
