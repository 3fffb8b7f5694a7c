import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import fs, {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { BitSamplingLsh, HyperplaneLsh, MinHashLsh, SnapshotError, VectorIndex } from '../src/index.js';
import { loadFile, type SavableIndex, saveFile } from '../src/node/index.js';
import { normals } from './data.js';

/** Calls of node:fs that `saveFile` makes, so that any of them can be made to fail. */
const faults = vi.hoisted(() => ({ calls: [] as string[], failAt: -1, code: 'ENOSPC', shortWrites: false }));

vi.mock('node:fs', async (original) => {
  const real = await original<typeof import('node:fs')>();
  const wrapped: Record<string, unknown> = { ...real };
  const names = [
    'openSync',
    'writeSync',
    'fsyncSync',
    'fchmodSync',
    'closeSync',
    'renameSync',
    'linkSync',
    'copyFileSync',
    'unlinkSync',
    'statSync',
    'lstatSync',
    'readdirSync',
  ] as const;
  for (const name of names) {
    const call = real[name] as (...args: unknown[]) => unknown;
    wrapped[name] = (...args: unknown[]) => {
      faults.calls.push(name);
      if (faults.calls.length - 1 === faults.failAt) {
        if (name === 'closeSync') call(...args); // a descriptor that fails to close is closed all the same
        throw Object.assign(new Error(`${faults.code}: made to fail`), { code: faults.code });
      }
      if (name === 'writeSync' && faults.shortWrites) {
        const [file, bytes, at, length] = args as [number, Uint8Array, number, number];
        return call(file, bytes, at, Math.max(1, length >> 1));
      }
      return call(...args);
    };
  }
  return { ...wrapped, default: real };
});

const folder = mkdtempSync(path.join(tmpdir(), 'orthant-save-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const file = path.join(folder, 'index.orthant');
beforeEach(() => {
  Object.assign(faults, { failAt: -1, shortWrites: false });
  for (const entry of fs.readdirSync(folder)) fs.rmSync(path.join(folder, entry), { recursive: true });
  faults.calls.length = 0;
});

const dimensions = 12;
const vectors = normals(900 * dimensions, 1);
const query = normals(dimensions, 2);
const older = VectorIndex.from(vectors, { dimensions, cells: 8 });
const newer = VectorIndex.from(vectors.subarray(dimensions), { dimensions, cells: 9, seed: 5 });
const [olderBytes, newerBytes] = [older.save(), newer.save()];

/** Which of the two a file holds, all of it. */
function holds(name: string): 'older' | 'newer' {
  const bytes = new Uint8Array(fs.readFileSync(name));
  loadFile(name, { as: VectorIndex }).search(query);
  if (Buffer.compare(bytes, olderBytes) === 0) return 'older';
  expect(Buffer.compare(bytes, newerBytes)).toBe(0);
  return 'newer';
}

const temporaries = (): string[] => fs.readdirSync(folder).filter((name) => name.endsWith('.orthant-tmp'));

describe('saveFile and loadFile', () => {
  it('keep every class, which is known by the file', () => {
    const lsh = new HyperplaneLsh({ dimensions, tables: 3, bits: 4 });
    lsh.add(vectors);
    const bits = new BitSamplingLsh({ bits: 64, sampledBits: 6, tables: 3 });
    const codes = new Uint8Array(vectors.buffer).slice(0, 800);
    bits.add(codes);
    const sets = new MinHashLsh({ bands: 3, rows: 2 });
    const some = [Uint32Array.of(1, 2, 3), Uint32Array.of(2, 3, 4)];
    sets.add(some);
    const cases: [SavableIndex, (index: never) => unknown][] = [
      [older, (index: VectorIndex) => index.searchBatch(vectors, { k: 3 })],
      [lsh, (index: HyperplaneLsh) => index.searchBatch(vectors, { k: 3 })],
      [bits, (index: BitSamplingLsh) => index.searchBatch(codes, { k: 3 })],
      [sets, (index: MinHashLsh) => index.searchBatch(some, { k: 2 })],
    ];
    for (const [index, answers] of cases) {
      saveFile(index, file);
      const loaded = loadFile(file);
      expect(loaded).toBeInstanceOf(index.constructor);
      expect(answers(loaded as never)).toEqual(answers(index as never));
      expect(new Uint8Array(readFileSync(file))).toEqual(index.save());
      expect(temporaries()).toEqual([]);
    }
  });

  it('take URLs, and refuse another class than was asked for', () => {
    saveFile(older, pathToFileURL(file));
    const loaded: VectorIndex = loadFile(pathToFileURL(file), { as: VectorIndex });
    expect(loaded.search(query)).toEqual(older.search(query));
    expect(() => loadFile(file, { as: HyperplaneLsh })).toThrow(expect.objectContaining({ reason: 'kind' }));
  });

  it('refuse files that are none, were cut off or changed, or are beyond the limits', () => {
    const refusal = (limits?: object): string => {
      try {
        loadFile(file, limits);
      } catch (error) {
        expect(error).toBeInstanceOf(SnapshotError);
        return (error as SnapshotError).reason;
      }
      throw new Error('expected a refusal');
    };
    for (const bytes of [0, 3, 15, 16, 63]) {
      writeFileSync(file, olderBytes.subarray(0, bytes));
      expect(['format', 'length']).toContain(refusal());
    }
    writeFileSync(file, 'something else, and long enough to be one');
    expect(refusal()).toBe('format');
    saveFile(older, file);
    expect(refusal({ maxBytes: 1000 })).toBe('limit');
    expect(refusal({ maxRows: 100 })).toBe('limit');
    expect(refusal({ maxDimensions: 4 })).toBe('limit');
    truncateSync(file, olderBytes.length - 1);
    expect(refusal()).toBe('length');
    const changed = olderBytes.slice();
    changed[changed.length >> 1] ^= 4;
    writeFileSync(file, changed);
    expect(refusal()).toBe('checksum');
    expect(() => loadFile(path.join(folder, 'none'))).toThrow(expect.objectContaining({ code: 'ENOENT' }));
  });

  it('write on where the system takes fewer bytes than it was given', () => {
    faults.shortWrites = true;
    saveFile(older, file);
    expect(holds(file)).toBe('older');
  });

  it('keep the previous file on request, and only the last', () => {
    saveFile(older, file, { keepPrevious: true });
    expect(fs.readdirSync(folder)).toEqual(['index.orthant']);
    saveFile(newer, file, { keepPrevious: true });
    expect([holds(file), holds(`${file}.previous`)]).toEqual(['newer', 'older']);
    saveFile(older, file, { keepPrevious: true });
    expect([holds(file), holds(`${file}.previous`)]).toEqual(['older', 'newer']);
    saveFile(newer, file);
    expect([holds(file), holds(`${file}.previous`)]).toEqual(['newer', 'newer']);
    // As after a crash between the renames: both names are of one file.
    fs.rmSync(`${file}.previous`);
    fs.linkSync(file, `${file}.previous`);
    saveFile(older, file, { keepPrevious: true });
    expect([holds(file), holds(`${file}.previous`)]).toEqual(['older', 'newer']);
    expect(temporaries()).toEqual([]);
  });

  it('keep the previous file by a copy where there are no hard links', () => {
    saveFile(older, file);
    faults.calls.length = 0;
    saveFile(newer, file, { keepPrevious: true });
    const link = faults.calls.indexOf('linkSync');
    saveFile(older, file);
    fs.rmSync(`${file}.previous`);
    Object.assign(faults, { failAt: link, code: 'EPERM' });
    faults.calls.length = 0;
    saveFile(newer, file, { keepPrevious: true });
    expect(faults.calls).toContain('copyFileSync');
    expect([holds(file), holds(`${file}.previous`)]).toEqual(['newer', 'older']);
    expect(temporaries()).toEqual([]);
  });

  it.skipIf(process.platform === 'win32')('keep permissions and symbolic links', () => {
    saveFile(older, file);
    chmodSync(file, 0o640);
    saveFile(newer, file);
    expect(statSync(file).mode & 0o777).toBe(0o640);
    const link = path.join(folder, 'link');
    symlinkSync('index.orthant', link);
    saveFile(older, link);
    expect(readlinkSync(link)).toBe('index.orthant');
    expect([holds(file), holds(link)]).toEqual(['older', 'older']);
    const dangling = path.join(folder, 'dangling');
    symlinkSync('to-come', dangling);
    saveFile(newer, dangling);
    expect(readlinkSync(dangling)).toBe('to-come');
    expect(holds(path.join(folder, 'to-come'))).toBe('newer');
  });

  it('remove temporary files that are long out of use, and no others', () => {
    const stale = path.join(folder, '.index.orthant.0123456789ab.orthant-tmp');
    const fresh = path.join(folder, '.index.orthant.ba9876543210.orthant-tmp');
    const others = path.join(folder, '.other.0123456789ab.orthant-tmp');
    for (const name of [stale, fresh, others]) writeFileSync(name, 'half of an index');
    for (const name of [stale, others]) utimesSync(name, new Date(0), new Date(0));
    saveFile(older, file);
    expect([stale, fresh, others].map((name) => existsSync(name))).toEqual([false, true, true]);
  });
});

describe('a save of which any step fails', () => {
  it.each([
    ['alone', false],
    ['with the previous file kept', true],
  ])('leaves the old file whole, and no other behind (%s)', (_, keepPrevious) => {
    saveFile(older, file);
    faults.calls.length = 0;
    saveFile(newer, file, { keepPrevious });
    const steps = faults.calls.slice();
    const renamed = steps.lastIndexOf('renameSync');
    expect(steps.filter((name) => name === 'fsyncSync').length).toBe(2);
    expect(steps.indexOf('fsyncSync')).toBeLessThan(steps.indexOf('renameSync'));
    expect(steps.lastIndexOf('fsyncSync')).toBeGreaterThan(renamed);
    for (const code of ['ENOSPC', 'EIO']) {
      for (let step = 0; step < steps.length; step++) {
        faults.failAt = -1;
        saveFile(older, file);
        Object.assign(faults, { failAt: step, code });
        faults.calls.length = 0;
        let error: unknown;
        try {
          saveFile(newer, file, { keepPrevious });
        } catch (caught) {
          error = caught;
        }
        faults.failAt = -1;
        const where = `step ${step}, ${steps[step]}, ${code}`;
        // Before the file has its name it is the old one; afterwards the new one.
        expect(holds(file), where).toBe(error && step <= renamed ? 'older' : 'newer');
        if (error) expect(error, where).toMatchObject({ code });
        // Without hard links there is a copy, and what is only tidied up may fail.
        else expect(['linkSync', 'unlinkSync', 'readdirSync', 'lstatSync'], where).toContain(steps[step]);
        expect(temporaries(), where).toEqual([]);
        if (keepPrevious && !error) expect(holds(`${file}.previous`), where).toBe('older');
      }
    }
  });

  it('leaves no file where there was none', () => {
    saveFile(older, file);
    const steps = faults.calls.slice();
    for (let step = 0; step < steps.lastIndexOf('renameSync'); step++) {
      fs.rmSync(file);
      Object.assign(faults, { failAt: step, code: 'ENOSPC' });
      faults.calls.length = 0;
      expect(() => saveFile(older, file), steps[step]).toThrow('ENOSPC');
      expect(fs.readdirSync(folder), steps[step]).toEqual([]);
      faults.failAt = -1;
      saveFile(older, file);
    }
  });
});

/** A process that saves, of the one function alone, so that it starts fast. Snapshots stand in for their indexes. */
const program = path.join(folder, '..', `${path.basename(folder)}-writer.mjs`);
const apart = mkdtempSync(path.join(tmpdir(), 'orthant-apart-'));
const snapshots = ['older', 'newer'].map((name) => path.join(apart, name));
beforeAll(async () => {
  const source = `
    import { saveFile } from './src/node/save.js';
    import { copyFileSync, readdirSync, readFileSync } from 'node:fs';
    import { dirname } from 'node:path';
    const [task, target, ...names] = process.argv.slice(2);
    const contents = names.map((name) => readFileSync(name));
    const indexes = contents.map((bytes) => ({
      *snapshotParts() {
        for (let at = 0; at < bytes.length; at += 8192) yield bytes.subarray(at, at + 8192);
      },
    }));
    if (task === 'again and again') {
      process.stdout.write('ready');
      process.stdin.once('data', (first) => {
        for (let i = Number(first); ; i++) saveFile(indexes[i % 2], target, { keepPrevious: i % 3 === 0 });
      });
    } else {
      if (task === 'where there is no room') copyFileSync(names[0], target);
      let code = 'none';
      try {
        saveFile(indexes[1], target);
      } catch (error) {
        code = error.code;
      }
      const isOld = readFileSync(target).equals(contents[0]);
      console.log(JSON.stringify({ code, isOld, files: readdirSync(dirname(target)) }));
    }`;
  await build({
    stdin: { contents: source, resolveDir: fileURLToPath(new URL('..', import.meta.url)), loader: 'ts' },
    bundle: true,
    format: 'esm',
    platform: 'node',
    outfile: program,
  });
  for (const [i, bytes] of [olderBytes, newerBytes].entries()) fs.writeFileSync(snapshots[i], bytes);
});
afterAll(() => {
  fs.rmSync(apart, { recursive: true, force: true });
  fs.rmSync(program, { force: true });
});

describe.skipIf(process.platform === 'win32')('a save that the system itself refuses', () => {
  /** Runs a shell command that starts the program ("$@") for a file in a folder. */
  const run = (command: string, task: string, target: string): unknown => {
    const args = [process.execPath, program, task, target, ...snapshots];
    return JSON.parse(
      execFileSync('sh', ['-c', command, path.dirname(target), ...args], { encoding: 'utf8' }),
    );
  };

  it('leaves the old file whole, and no other behind, where a file may not grow so large', () => {
    saveFile(older, file);
    // Blocks of 512 or 1,024 bytes: half-way through at most.
    const blocks = Math.floor(newerBytes.length / 2048);
    expect(run(`ulimit -f ${blocks}; exec "$@"`, 'once', file)).toEqual({
      code: 'EFBIG',
      isOld: true,
      files: ['index.orthant'],
    });
    expect(holds(file)).toBe('older');
  });

  const mount = 'mount -t tmpfs -o size="$SIZE"k tmpfs "$0"';
  const canMount =
    spawnSync('unshare', ['-rm', 'sh', '-c', mount, tmpdir()], { env: { ...process.env, SIZE: '64' } })
      .status === 0;
  it.skipIf(!canMount)(
    'leaves the old file whole, and no other behind, on a file system that is full',
    () => {
      const place = path.join(apart, 'full');
      fs.mkdirSync(place);
      const kilobytes = Math.ceil((olderBytes.length + newerBytes.length / 2) / 1024);
      // A file system that only this command sees.
      const command = `export SIZE=${kilobytes}; exec unshare -rm sh -c '${mount} && exec "$@"' "$0" "$@"`;
      expect(run(command, 'where there is no room', path.join(place, 'index.orthant'))).toEqual({
        code: 'ENOSPC',
        isOld: true,
        files: ['index.orthant'],
      });
    },
  );
});

describe('a writer that is killed', () => {
  const ROUNDS = 200;
  const killed = path.join(apart, 'killed');
  it('leaves a whole file, 200 times, while a reader verifies', async () => {
    fs.mkdirSync(killed);
    const target = path.join(killed, 'index.orthant');
    saveFile(older, target);
    const start = (): { child: ChildProcess; ready: Promise<unknown>; gone: Promise<unknown> } => {
      const child = spawn(process.execPath, [program, 'again and again', target, ...snapshots], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      const ready = new Promise((done) => void child.stdout?.once('data', done));
      return { child, ready, gone: new Promise((done) => void child.once('exit', done)) };
    };
    const waiting = [start(), start(), start()];
    const seen = { older: 0, newer: 0, reads: 0, leftovers: 0 };
    for (let round = 0; round < ROUNDS; round++) {
      const { child, ready, gone } = waiting.shift() as ReturnType<typeof start>;
      if (round + waiting.length + 1 < ROUNDS) waiting.push(start());
      await ready;
      child.stdin?.write(`${round % 2}`); // which of the two comes first
      // A few milliseconds, another number each time, in which the reader reads.
      const end = performance.now() + 2 + ((round * 7) % 19);
      do {
        await new Promise((done) => void setImmediate(done));
        holds(target);
        seen.reads++;
      } while (performance.now() < end);
      child.kill('SIGKILL');
      await gone;
      seen[holds(target)]++;
      const previous = `${target}.previous`;
      if (fs.existsSync(previous)) holds(previous);
    }
    seen.leftovers = fs.readdirSync(killed).filter((name) => name.endsWith('.orthant-tmp')).length;
    expect(seen.older + seen.newer).toBe(ROUNDS);
    expect(Math.min(seen.older, seen.newer)).toBeGreaterThan(ROUNDS / 10);
    expect(seen.leftovers).toBeGreaterThan(ROUNDS / 10); // writers really were killed while they wrote
    // Harmless, and gone once they are old.
    for (const name of fs.readdirSync(killed))
      fs.utimesSync(path.join(killed, name), new Date(0), new Date(0));
    saveFile(newer, target);
    expect(fs.readdirSync(killed).filter((name) => name.endsWith('.orthant-tmp'))).toEqual([]);
    expect(holds(target)).toBe('newer');
  });
});
