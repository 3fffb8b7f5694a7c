import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  copyFileSync,
  fchmodSync,
  fstatSync,
  fsyncSync,
  linkSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  realpathSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  BitSamplingLsh,
  HyperplaneLsh,
  type IdKind,
  MinHashLsh,
  SnapshotError,
  type SnapshotLimits,
  VectorIndex,
} from '../index.js';

/** Every class that can be saved. */
// biome-ignore lint/suspicious/noExplicitAny: an index with ids of any kind, and a union of the kinds is no constraint
export type SavableIndex = VectorIndex<any> | HyperplaneLsh | BitSamplingLsh | MinHashLsh;

/** Static methods that every class has, and no user sees. */
interface LoadableClass {
  fromParts(limits: SnapshotLimits, bytes: number): Generator<Uint8Array, SavableIndex, void>;
}

/** The classes by the number that a snapshot's header has for them (docs/snapshot-format.md), less 1. */
const CLASSES: readonly LoadableClass[] = [VectorIndex, HyperplaneLsh, BitSamplingLsh, MinHashLsh];
const KIND_AT = 12;

/** A temporary file that was not touched for so long belongs to a writer that is gone. */
const STALE_MS = 3_600_000;
const TEMPORARY = '.orthant-tmp';

/** Options of `saveFile`. */
export interface SaveFileOptions {
  /** Whether the file that is replaced stays, as `<path>.previous`; default false. */
  keepPrevious?: boolean;
}

/**
 * Saves an index as a file, which at any moment holds either the whole old index or the whole new one: also when the
 * program or the machine stops half-way, or the disk is full. When the call returns, the new one is on the disk.
 *
 * Writes a temporary file in the same folder, flushes it (fsync), renames it over `path`, and flushes the folder; so the
 * folder must have room for both. Permissions of the file that is replaced are kept; where `path` is a symbolic link, the
 * file that it points to is replaced. What a killed writer left behind (`.<name>.….orthant-tmp`) does no harm, and is
 * removed by the next call that is an hour younger. Of several writers at once the last one wins.
 *
 * Works on the calling thread, so that the index cannot change meanwhile. On Windows folders cannot be flushed, and a file
 * that another program has open cannot be replaced: the call throws, and the old file stays.
 *
 * @throws what `node:fs` throws, with its `code` (`ENOSPC`, `EACCES`, …). The old file is then whole and, unless the
 * last flush failed, in place; the temporary one is removed.
 */
export function saveFile(index: SavableIndex, path: string | URL, options: SaveFileOptions = {}): void {
  const target = targetOf(pathOf(path));
  const folder = dirname(target);
  const old = statSync(target, { throwIfNoEntry: false });
  const temporary = join(folder, `.${basename(target)}.${randomBytes(6).toString('hex')}${TEMPORARY}`);
  // Nobody may read more than was allowed before, not even for a moment.
  const file = openSync(temporary, 'wx', old ? old.mode & 0o777 : 0o666);
  let isOpen = true;
  try {
    if (old) fchmodSync(file, old.mode & 0o7777);
    for (const part of index.snapshotParts()) writeAll(file, part);
    fsyncSync(file);
    isOpen = false;
    closeSync(file);
    if (old && options.keepPrevious) keep(target, `${temporary.slice(0, -TEMPORARY.length)}.old${TEMPORARY}`);
    renameSync(temporary, target);
  } catch (error) {
    attempt(() => isOpen && closeSync(file));
    attempt(() => unlinkSync(temporary));
    throw error;
  }
  flushFolder(folder);
  attempt(() => removeStale(folder, basename(target)));
}

/**
 * The index of a file that `saveFile` wrote, or any other that holds the bytes of `save`; of whatever class it is.
 *
 * The bytes go straight into the memory of the index, without a copy beside it, and are proven there as `load` proves
 * them.
 *
 * @param limits as for `load`; and `as`, the class that it must be.
 * @throws SnapshotError (ERR_SNAPSHOT) with a `reason`; what `node:fs` throws for a file that cannot be read.
 */
export function loadFile<Kind extends IdKind = 'row'>(
  path: string | URL,
  limits: SnapshotLimits & { as: typeof VectorIndex },
): VectorIndex<Kind>;
export function loadFile<Index extends SavableIndex>(
  path: string | URL,
  limits: SnapshotLimits & { as: new (options: never) => Index },
): Index;
export function loadFile(path: string | URL, limits?: SnapshotLimits): SavableIndex;
export function loadFile(path: string | URL, limits: SnapshotLimits & { as?: unknown } = {}): SavableIndex {
  const file = openSync(pathOf(path), 'r');
  try {
    const { as, ...rest } = limits;
    const start = new Uint8Array(KIND_AT + 4);
    readSync(file, start, 0, start.length, 0);
    const kind = new DataView(start.buffer).getUint32(KIND_AT, true);
    // What is no snapshot at all, any class tells.
    const loadable = as ?? CLASSES[kind - 1] ?? VectorIndex;
    const { size } = fstatSync(file);
    return fill(file, (loadable as LoadableClass).fromParts(rest, size));
  } finally {
    closeSync(file);
  }
}

function fill(file: number, parts: Generator<Uint8Array, SavableIndex, void>): SavableIndex {
  let at = 0;
  for (;;) {
    const { done, value } = parts.next();
    if (done) return value;
    for (let filled = 0; filled < value.length; ) {
      const got = readSync(file, value, filled, value.length - filled, at);
      // It became shorter since it was opened.
      if (got === 0)
        throw new SnapshotError('length', `expected ${value.length - filled} bytes at ${at}, got 0`);
      filled += got;
      at += got;
    }
  }
}

function pathOf(path: string | URL): string {
  return typeof path === 'string' ? path : fileURLToPath(path);
}

/** Where a path leads, through symbolic links; also when the file itself is not there yet. */
function targetOf(path: string): string {
  const entry = lstatSync(path, { throwIfNoEntry: false });
  if (!entry?.isSymbolicLink()) return resolve(path);
  if (statSync(path, { throwIfNoEntry: false })) return realpathSync(path);
  return targetOf(resolve(dirname(path), readlinkSync(path)));
}

function writeAll(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at, bytes.length - at);
}

/** Gives the file its second name, `<path>.previous`, under which it stays when the first goes to another. */
function keep(target: string, temporary: string): void {
  try {
    try {
      linkSync(target, temporary);
    } catch {
      // A file system without hard links: a copy.
      copyFileSync(target, temporary, constants.COPYFILE_EXCL);
      const copy = openSync(temporary, 'r+');
      try {
        fsyncSync(copy);
      } finally {
        closeSync(copy);
      }
    }
    renameSync(temporary, `${target}.previous`);
  } finally {
    // Renaming a file to another name of itself leaves both: after a crash between the two renames.
    attempt(() => unlinkSync(temporary));
  }
}

/** Makes the renaming itself survive a power failure. */
function flushFolder(folder: string): void {
  if (process.platform === 'win32') return;
  const handle = openSync(folder, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

/** Removes temporary files of writers that were killed. */
function removeStale(folder: string, name: string): void {
  for (const entry of readdirSync(folder)) {
    if (!entry.startsWith(`.${name}.`) || !entry.endsWith(TEMPORARY)) continue;
    const path = join(folder, entry);
    attempt(() => Date.now() - lstatSync(path).mtimeMs > STALE_MS && unlinkSync(path));
  }
}

/** Does what may fail without harm. */
function attempt(action: () => unknown): void {
  try {
    action();
  } catch {}
}
