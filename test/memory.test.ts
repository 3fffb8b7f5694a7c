import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isOutOfMemory, LinearMemory } from '../src/memory.js';
import { expectSameBits, floats, instantiate } from './arena.js';
import * as reference from './reference.js';

const PAGE = 65536;
const GIB = 2 ** 30;
const NAMES = ['rows', 'ids', 'keys', 'heap', 'scratch'] as const;

interface Place {
  name: string;
  ptr: number;
  end: number;
}

/** Every region that the memory has, in order of address. */
function places(memory: LinearMemory): Place[] {
  return NAMES.filter((name) => memory.ptr(name) !== 0)
    .map((name) => ({ name, ptr: memory.ptr(name), end: memory.ptr(name) + memory.capacity(name) }))
    .sort((a, b) => a.ptr - b.ptr);
}

function contents(memory: LinearMemory, name: string): Uint8Array {
  return memory.u8.slice(memory.ptr(name), memory.ptr(name) + memory.capacity(name));
}

/** Calls what must be refused for want of memory, and returns the error's numbers. */
function refusal(call: () => unknown): { needed: number; available: number; message: string } {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(RangeError);
    expect(error).toMatchObject({ name: 'OutOfMemoryError', code: 'ERR_OUT_OF_MEMORY' });
    return error as RangeError & { needed: number; available: number };
  }
  throw new Error('expected a refusal for want of memory, got none');
}

describe('LinearMemory', () => {
  it('never lets regions overlap and keeps what they hold, whatever the order of reserving and giving back', () => {
    const action = fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({ verb: fc.constant('reserve'), bytes: fc.integer({ min: 0, max: 90_000 }) }),
      },
      { weight: 2, arbitrary: fc.record({ verb: fc.constant('release'), bytes: fc.constant(0) }) },
      { weight: 1, arbitrary: fc.record({ verb: fc.constant('rename'), bytes: fc.constant(0) }) },
    );
    const step = fc.tuple(action, fc.constantFrom(...NAMES), fc.constantFrom(...NAMES));
    let refusals = 0;
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 40 }),
        fc.integer({ min: 64, max: 400_000 }),
        (steps, maxBytes) => {
          const memory = new LinearMemory(maxBytes);
          const held = new Map<string, Uint8Array>();
          let mark = 0;
          for (const [{ verb, bytes }, name, other] of steps) {
            if (verb === 'release') {
              memory.release(name);
              held.delete(name);
            } else if (verb === 'rename' && name !== other) {
              memory.rename(name, other);
              const moved = held.get(name);
              held.delete(name);
              if (moved) held.set(other, moved);
              else held.delete(other);
            } else if (verb === 'reserve') {
              const before = JSON.stringify(places(memory));
              try {
                const ptr = memory.reserve(name, bytes);
                expect(ptr).toBe(memory.ptr(name));
                expect(memory.capacity(name)).toBeGreaterThanOrEqual(bytes);
                const old = held.get(name) ?? new Uint8Array(0);
                const now = contents(memory, name);
                expectSameBits(now.subarray(0, old.length), old, `${name} after it grew`);
                mark += 37;
                for (let i = 0; i < now.length; i++) now[i] = mark + i * 31;
                memory.u8.set(now, ptr);
                held.set(name, now);
              } catch (error) {
                refusals++;
                const { needed, available } = refusal(() => {
                  throw error;
                });
                expect(needed).toBeGreaterThanOrEqual(bytes);
                expect(available).toBeLessThan(needed);
                expect(JSON.stringify(places(memory))).toBe(before);
              }
            }

            let end = 1; // byte 0 stays free
            for (const place of places(memory)) {
              expect(place.ptr).toBeGreaterThanOrEqual(end);
              expect(place.ptr % 64).toBe(0);
              expect(place.end).toBeLessThanOrEqual(Math.min(maxBytes, memory.memory.buffer.byteLength));
              end = place.end;
            }
            expect([...held.keys()].sort()).toEqual(
              places(memory)
                .map((place) => place.name)
                .sort(),
            );
            for (const [region, data] of held) expectSameBits(contents(memory, region), data, region);
          }
        },
      ),
      { numRuns: 150, seed: 1 },
    );
    expect(refusals).toBeGreaterThan(20);
  });

  it('gives a region its place again while it has room, and at least a quarter more when it has not', () => {
    const memory = new LinearMemory();
    const ptr = memory.reserve('rows', 1000);
    expect(memory.reserve('rows', 10)).toBe(ptr);
    expect(memory.reserve('rows', 1024)).toBe(ptr);
    expect(memory.capacity('rows')).toBe(1024);
    memory.reserve('rows', 1025);
    expect(memory.capacity('rows')).toBeGreaterThanOrEqual(1280);
  });

  it('lets the last region grow in place', () => {
    const memory = new LinearMemory();
    memory.reserve('ids', 100);
    const ptr = memory.reserve('rows', 1000);
    expect(memory.reserve('rows', 10_000_000)).toBe(ptr);
  });

  it('uses the bytes of a region that was given back', () => {
    const memory = new LinearMemory();
    const ptr = memory.reserve('rows', 4096);
    memory.reserve('ids', 64);
    memory.release('rows');
    expect(memory.ptr('rows')).toBe(0);
    expect(memory.capacity('rows')).toBe(0);
    expect(memory.reserve('keys', 4096)).toBe(ptr);
  });

  it('tells the bytes of each region and of the whole', () => {
    const memory = new LinearMemory();
    memory.reserve('rows', 1000);
    memory.reserve('ids', 1);
    expect(memory.usage()).toEqual({ rows: 1024, ids: 64, total: memory.memory.buffer.byteLength });
  });

  it('returns live views over the whole memory after it grew', () => {
    const memory = new LinearMemory();
    const ptr = memory.reserve('rows', 64);
    const before = { f32: memory.f32, u32: memory.u32, u8: memory.u8 };
    expect(memory.f32).toBe(before.f32);
    before.f32[ptr >>> 2] = 1.5;
    memory.reserve('ids', 10 * PAGE);
    expect(before.f32.length).toBe(0); // the engine took the old buffer away
    for (const view of [memory.f32, memory.u32, memory.u8]) expect(view.buffer).toBe(memory.memory.buffer);
    expect(memory.f32[ptr >>> 2]).toBe(1.5);
    expect(memory.u32[ptr >>> 2]).toBe(0x3fc00000);
    expect(memory.u8[ptr + 3]).toBe(0x3f);
  });

  it('keeps its views for as long as the memory does not grow, whichever of them was asked for', () => {
    for (const name of ['f32', 'u32', 'u8'] as const) {
      const memory = new LinearMemory();
      memory.reserve('rows', 64);
      const view = memory[name];
      memory.reserve('ids', 64);
      memory.reserve('ids', 256);
      memory.release('rows');
      memory.reserve('keys', 1024);
      expect(memory[name] === view).toBe(true);
      memory.reserve('blocks', memory.memory.buffer.byteLength);
      expect(memory[name] === view).toBe(false);
    }
  });

  it('refuses what passes its limit, tells the bytes needed and available, and stays as it was', () => {
    const memory = new LinearMemory(200_000);
    memory.reserve('rows', 100_000);
    memory.u8.fill(7, memory.ptr('rows'), memory.ptr('rows') + memory.capacity('rows'));
    const usage = memory.usage();
    const { needed, available, message } = refusal(() => memory.reserve('ids', 150_000));
    expect(needed).toBe(150_016);
    expect(available).toBe(200_000 - 64 - 100_032);
    expect(message).toBe(
      'memory: expected 150016 bytes in one piece for ids, got at most 99904 (limit 200000); split the rows over several indexes',
    );
    expect(memory.usage()).toEqual(usage);
    expect(memory.ptr('ids')).toBe(0);
    expect(contents(memory, 'rows').every((byte) => byte === 7)).toBe(true);
    memory.reserve('ids', 90_000);
  });

  it('takes the exact size where a quarter more would pass the limit', () => {
    const memory = new LinearMemory(100_000);
    memory.reserve('rows', 90_000);
    memory.reserve('rows', 95_000);
    expect(memory.capacity('rows')).toBe(95_040);
  });

  it('refuses when the engine has no more memory to give, and stays as it was', () => {
    const memory = new LinearMemory();
    memory.reserve('rows', 1000);
    memory.memory.grow = () => {
      throw new RangeError('WebAssembly.Memory.grow(): Unable to grow instance memory');
    };
    const { needed, available } = refusal(() => memory.reserve('ids', 10 * PAGE));
    expect([needed, available]).toEqual([10 * PAGE, PAGE - 64 - 1024]);
    expect(memory.ptr('ids')).toBe(0);
    memory.reserve('ids', available);
  });

  it('ends a page before 4 GiB, so that no end of a region wraps to address 0', () => {
    expect(new LinearMemory().maxBytes).toBe(2 ** 32 - PAGE);
    expect(new LinearMemory(2 ** 33).maxBytes).toBe(2 ** 32 - PAGE);
    const { available } = refusal(() => new LinearMemory().reserve('rows', 2 ** 32));
    expect(available).toBe(2 ** 32 - PAGE - 64);
  });

  it('holds regions above 2 GiB, where kernels give the same bits as below', () => {
    const memory = new LinearMemory(2.3 * GIB);
    memory.reserve('low', 2.1 * GIB);
    const kernels = instantiate(memory.memory);
    const [count, dimensions, planeCount, k] = [11, 20, 9, 4];
    const at = (name: string, bytes: number, data?: Float32Array | Uint32Array): number => {
      const ptr = memory.reserve(name, bytes);
      expect(ptr).toBeGreaterThan(2 ** 31);
      if (data) memory.u8.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), ptr);
      return ptr;
    };
    const rows = floats(count * dimensions, 1);
    const query = floats(dimensions, 2);
    const planes = floats(planeCount * dimensions, 3);
    const ids = new Uint32Array([10, 3, 7, 0, 5]);
    const packedRows = at('packedRows', rows.byteLength, rows);
    const rowsPtr = at('rows', rows.byteLength);
    const queryPtr = at('query', query.byteLength, query);
    const idsPtr = at('ids', ids.byteLength, ids);
    const planesPtr = at('planes', planes.byteLength, planes);
    const packed = at('packed', 2 * dimensions * 8 * 4);
    const margins = at('margins', count * 16 * 4);
    const signs = at('signs', count * 2 + 8);
    const keys = at('keys', count * 4);
    const out = at('out', count * 4);
    const heap = at('heap', k * 8);
    const scratch = at('scratch', 260 * 4);
    const neighbors = at('neighbors', k * 4);
    const distances = at('distances', k * 4);
    const codes = at('codes', rows.byteLength, rows);
    const rotated = at('rotated', rows.byteLength);
    const mean = at('mean', dimensions * 4, query);
    const turns = at('turns', 2 * dimensions * 4, new Float32Array(2 * dimensions).fill(-0.25));
    const read = (ptr: number, length: number): Float32Array =>
      memory.f32.slice(ptr >>> 2, (ptr >>> 2) + length);

    kernels.padRows(packedRows, count, dimensions, dimensions, rowsPtr);
    expectSameBits(read(rowsPtr, rows.length), rows, 'padRows');

    const scores = Float32Array.from({ length: count }, (_, r) =>
      reference.squaredL2(reference.rowOf(rows, r, dimensions), query),
    );
    kernels.squaredL2(queryPtr, rowsPtr, count, dimensions, out);
    expectSameBits(read(out, count), scores, 'squaredL2');
    kernels.squaredL2Gathered(queryPtr, rowsPtr, idsPtr, ids.length, dimensions, out);
    expectSameBits(
      read(out, ids.length),
      Float32Array.from(ids, (id) => scores[id]),
      'squaredL2Gathered',
    );

    const expected = reference.rank(scores, Uint32Array.from(scores.keys()), k);
    const size = kernels.rankRows(0, queryPtr, 1, rowsPtr, 0, 0, count, dimensions, k, heap, 0, scratch);
    kernels.drain(heap, size, neighbors, distances);
    expectSameBits(memory.u32.slice(neighbors >>> 2, (neighbors >>> 2) + k), expected.ids, 'rankRows: ids');
    expectSameBits(read(distances, k), expected.scores, 'rankRows: scores');

    kernels.packPlanes(planesPtr, planeCount, dimensions, dimensions, packed);
    kernels.margins(rowsPtr, count, dimensions, dimensions, packed, planeCount, margins);
    const expectedMargins = reference.margins(
      rows,
      count,
      dimensions,
      dimensions,
      planes,
      planeCount,
      dimensions,
    );
    expectSameBits(read(margins, count * 16), expectedMargins, 'margins');
    kernels.signBits(rowsPtr, count, dimensions, dimensions, packed, planeCount, signs);
    kernels.keys(signs, count, 2, 1, planeCount, count, keys);
    const bits = reference.signBits(expectedMargins);
    const expectedKeys = Uint32Array.from(
      { length: count },
      (_, r) => reference.keys(bits.subarray(2 * r, 2 * r + 2), 1, planeCount)[0],
    );
    expectSameBits(memory.u32.slice(keys >>> 2, (keys >>> 2) + count), expectedKeys, 'keys');

    kernels.hamming(codes, codes, count, (dimensions * 4) / 8, out);
    const bytes = new Uint8Array(rows.buffer);
    const rowBytes = dimensions * 4;
    const differing = Float32Array.from({ length: count }, (_, r) =>
      reference.hamming(bytes.subarray(r * rowBytes, (r + 1) * rowBytes), bytes.subarray(0, rowBytes)),
    );
    expectSameBits(read(out, count), differing, 'hamming');

    kernels.rotate(rowsPtr, count, dimensions, mean, turns, 2, dimensions, rotated);
    for (let r = 0; r < count; r++) {
      const row = reference.rowOf(rows, r, dimensions);
      const turned = reference.rotate(row, query, new Float32Array(2 * dimensions).fill(-0.25), 2);
      expectSameBits(read(rotated + r * rowBytes, dimensions), turned, `rotate, row ${r}`);
    }
  });

  it('gives the end of a region back, which keeps its place and can grow there again', () => {
    const memory = new LinearMemory();
    const rows = memory.reserve('rows', 10_000);
    memory.u8.fill(7, rows, rows + 10_000);
    memory.trim('rows', 1000);
    memory.trim('ids', 1000); // which there is not
    expect(memory.usage()).toMatchObject({ rows: 1024 });
    expect(memory.reserved).toBe(1024);
    expect(memory.reserve('rows', 5000)).toBe(rows);
    memory.trim('rows', 100_000);
    expect(memory.capacity('rows')).toBeGreaterThanOrEqual(5000);
    expect(memory.capacity('rows')).toBeLessThan(10_000);
    expect(contents(memory, 'rows').subarray(0, 1024)).toEqual(new Uint8Array(1024).fill(7));
    memory.trim('rows', 0);
    expect(memory.reserve('ids', 4000)).toBe(rows + 64);
  });

  it('lets a region grow over the gap before it, where no other gap is large enough', () => {
    for (const before of [[], ['keys']]) {
      const used = 64 + 64 * before.length;
      const memory = new LinearMemory(used + 6144);
      for (const name of before) memory.reserve(name, 64);
      const gap = memory.reserve('ids', 1024);
      const old = memory.reserve('rows', 2048);
      memory.reserve('heap', 3072);
      for (let i = 0; i < 2048; i++) memory.u8[old + i] = i * 31;
      const held = contents(memory, 'rows');
      memory.release('ids');
      expect(refusal(() => memory.reserve('rows', 3136)).available).toBe(3072);
      // not a quarter more than it had, which there is not, but just what fits
      expect(memory.reserve('rows', 3072)).toBe(gap);
      expectSameBits(contents(memory, 'rows').subarray(0, 2048), held, 'what the region held');
      expect(refusal(() => memory.reserve('scratch', 64)).available).toBe(0);
    }
  });

  it('grows by a mebibyte or a quarter at least, and never beyond its limit', () => {
    const memory = new LinearMemory(90 * 2 ** 20);
    const bytes = (): number => memory.memory.buffer.byteLength;
    memory.reserve('ids', PAGE);
    expect(bytes()).toBe(PAGE + 2 ** 20);
    memory.reserve('rows', 64 * 2 ** 20);
    const before = bytes();
    memory.reserve('keys', before - memory.reserved);
    expect(bytes()).toBe(Math.ceil((before * 1.25) / PAGE) * PAGE);
    memory.reserve('heap', 80 * 2 ** 20 - memory.reserved);
    memory.reserve('scratch', 9 * 2 ** 20);
    expect(bytes()).toBe(90 * 2 ** 20);
  });

  it('is made over a memory that is there, with the regions that others tell of', () => {
    const first = new LinearMemory();
    first.reserve('rows', 1000);
    first.reserve('ids', 100);
    first.u8.fill(7, first.ptr('rows'), first.ptr('rows') + 1000);
    expect(first.entries).toEqual([
      ['rows', 64, 1024],
      ['ids', 1088, 128],
    ]);
    const second = new LinearMemory(undefined, { memory: first.memory, regions: first.entries });
    expect(second.memory).toBe(first.memory);
    expect(second.entries).toEqual(first.entries);
    expect(
      contents(second, 'rows')
        .subarray(0, 1000)
        .every((byte) => byte === 7),
    ).toBe(true);
    expect(second.reserve('keys', 64)).toBe(1088 + 128);
    expect(second.maxBytes).toBe(2 ** 32 - PAGE);
  });

  it('leaves all that is outside its area alone, even where a region in it must grow', () => {
    const shared = new LinearMemory(undefined, 'shared');
    expect(shared.memory.buffer).toBeInstanceOf(SharedArrayBuffer);
    expect(new LinearMemory().memory.buffer).toBeInstanceOf(ArrayBuffer);
    shared.reserve('rows', 5 * PAGE);
    const start = shared.reserve('area', 8192);
    const area = [start, start + 8192] as const;
    shared.u8.fill(7);
    const { memory, entries } = shared;
    const part = new LinearMemory(undefined, { memory, regions: entries, area });
    expect([part.ptr('rows'), part.capacity('rows')]).toEqual([64, 5 * PAGE]);
    expect([part.entries, part.reserved]).toEqual([[], 0]);
    expect(part.usage()).toEqual({ total: memory.buffer.byteLength });
    expect(part.reserve('heap', 4096)).toBe(start);
    expect(part.reserve('keys', 2048)).toBe(start + 4096);
    // before the first region lies nothing that is its own, however much room there is from address 0 on
    expect(refusal(() => part.reserve('heap', 6000))).toMatchObject({ needed: 6016, available: 4096 });
    expect(refusal(() => part.reserve('ids', 2112)).available).toBe(2048);
    part.release('heap');
    expect(part.reserve('ids', 4096)).toBe(start);
    expect(shared.u8.every((byte) => byte === 7)).toBe(true);
  });

  it('has views of all of a shared memory after another has made it grow', () => {
    const one = new LinearMemory(undefined, 'shared');
    const [start, end] = [2 ** 20, 2 ** 24];
    const view = { memory: one.memory, regions: one.entries, area: [start, end] as const };
    for (const name of ['f32', 'u32', 'u8'] as const) {
      const two = new LinearMemory(undefined, view);
      const short = two[name];
      one.memory.grow(32);
      expect(two[name] === short).toBe(true); // nothing has told it
      const ptr = two.reserve('keys', 64);
      expect(two[name].byteLength).toBe(one.memory.buffer.byteLength);
      expect(ptr).toBe(start);
      const same = [two.f32, two.u32, two.u8];
      two.reserve('ids', 64);
      for (const [i, view] of [two.f32, two.u32, two.u8].entries()) expect(view === same[i]).toBe(true);
    }
  });

  it('knows its own refusals from other errors', () => {
    const error = refusal(() => new LinearMemory(100).reserve('rows', 1000));
    expect(isOutOfMemory(error)).toBe(true);
    for (const other of [new RangeError('memory'), null, undefined, { code: 'ERR_LENGTH' }])
      expect(isOutOfMemory(other)).toBe(false);
  });
});
