import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { createGzip, type Gzip } from 'node:zlib';
import { FileFormatError, systemReason } from './file-error.js';

const unfinished = new Set<string>();

/** Removes what was written of files that are not finished: for a process that must end now. */
export function abandonFiles(): void {
  for (const path of unfinished) rmSync(path, { force: true });
  unfinished.clear();
}

/**
 * A file that is written beside the one that it will replace, and takes its place when it is whole and on the disk: a
 * reader finds the old file or the new one, also after a crash. A name that ends in `.gz` is packed.
 */
export class FileReplacement {
  readonly path: string;
  readonly isPacked: boolean;
  #temporary: string | undefined;
  #handle: FileHandle;
  #gzip: Gzip | undefined;
  /** What comes out of gzip on its way to the file. */
  #packing: Promise<void> | undefined;
  #failure: unknown;

  private constructor(path: string, temporary: string | undefined, handle: FileHandle) {
    this.path = path;
    this.isPacked = /\.gz$/i.test(path);
    this.#temporary = temporary;
    this.#handle = handle;
    if (!this.isPacked) return;
    const gzip = createGzip();
    this.#gzip = gzip;
    this.#packing = (async () => {
      for await (const chunk of gzip) await this.#append(chunk);
    })().catch((error: unknown) => {
      this.#failure ??= error;
      gzip.destroy();
    });
  }

  /** Begins a file that `finish` will put in the place of `path`. */
  static async create(path: string): Promise<FileReplacement> {
    try {
      const present = await stat(path).catch(() => undefined);
      if (present?.isDirectory())
        throw new FileFormatError('ERR_FILE_UNWRITABLE', path, 'a file', 'a folder');
      // A pipe or a device is written as it is: replacing it would not reach who reads it.
      if (present !== undefined && !present.isFile()) {
        return new FileReplacement(path, undefined, await open(path, 'w'));
      }
      const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
      const handle = await open(temporary, 'w', present?.mode ?? 0o666);
      unfinished.add(temporary);
      return new FileReplacement(path, temporary, handle);
    } catch (error) {
      throw unwritable(path, error);
    }
  }

  /** Appends bytes or text, packed where the name ends in `.gz`. */
  async write(data: Uint8Array | string): Promise<void> {
    const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data;
    try {
      if (this.#gzip === undefined) await this.#append(bytes);
      else if (!this.#gzip.write(bytes)) await Promise.race([once(this.#gzip, 'drain'), this.#packing]);
    } catch (error) {
      this.#failure ??= error;
    }
    this.#check();
  }

  /** Overwrites bytes at the front, before `finish`; not of a packed file. */
  async rewrite(bytes: Uint8Array): Promise<void> {
    try {
      await this.#handle.write(bytes, 0, bytes.length, 0);
    } catch (error) {
      throw unwritable(this.path, error);
    }
  }

  /** Puts the file in its place. */
  async finish(): Promise<void> {
    try {
      this.#gzip?.end();
      await this.#packing;
      this.#check();
      if (this.#temporary === undefined) {
        await this.#handle.close();
        return;
      }
      await this.#handle.sync();
      await this.#handle.close();
      await rename(this.#temporary, this.path);
      unfinished.delete(this.#temporary);
      this.#temporary = undefined;
      await syncFolder(dirname(this.path));
    } catch (error) {
      await this.abandon();
      throw unwritable(this.path, error);
    }
  }

  /** Leaves the old file as it is. */
  async abandon(): Promise<void> {
    this.#gzip?.destroy();
    await this.#packing;
    await this.#handle.close().catch(() => undefined);
    if (this.#temporary === undefined) return;
    await rm(this.#temporary, { force: true });
    unfinished.delete(this.#temporary);
    this.#temporary = undefined;
  }

  async #append(bytes: Uint8Array): Promise<void> {
    let done = 0;
    while (done < bytes.length) done += (await this.#handle.write(bytes, done)).bytesWritten;
  }

  #check(): void {
    if (this.#failure !== undefined) throw unwritable(this.path, this.#failure);
  }
}

/** A renamed file is only safe once its folder is on the disk too; some systems cannot do that. */
async function syncFolder(path: string): Promise<void> {
  try {
    const folder = await open(path, 'r');
    await folder.sync().finally(() => folder.close());
  } catch {
    // Windows opens no folders.
  }
}

function unwritable(path: string, error: unknown): unknown {
  const reason = systemReason(error);
  if (reason === undefined) return error;
  return new FileFormatError('ERR_FILE_UNWRITABLE', path, 'a writable file', reason, { cause: error });
}
