import { createReadStream } from 'node:fs';
import { type FileHandle, mkdtemp, open, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createInflateRaw } from 'node:zlib';
import { FileFormatError, unreadable } from './file-error.js';

/** Bytes that are read once, from front to back. */
export interface Bytes {
  /** Bytes that were read or skipped so far, of the unpacked file. */
  readonly position: number;
  /** Fills `target`; returns how many bytes there were, fewer only at the end. */
  read(target: Uint8Array): Promise<number>;
  /** Leaves out bytes; returns how many there were, fewer only at the end. */
  skip(count: number): Promise<number>;
  close(): Promise<void>;
}

const SKIP_BYTES = 1 << 18;
/** The largest file that is unpacked to disk: formats that are read from their end cannot be read from a stream. */
const MOST_UNPACKED_BYTES = 2 ** 36;

/** A part of a file as it lies on disk. */
class FileBytes implements Bytes {
  position = 0;
  #handle: FileHandle;
  #name: string;
  #start: number;
  #length: number;

  constructor(handle: FileHandle, name: string, start: number, length: number) {
    this.#handle = handle;
    this.#name = name;
    this.#start = start;
    this.#length = length;
  }

  async read(target: Uint8Array): Promise<number> {
    const wanted = Math.min(target.length, this.#length - this.position);
    let done = 0;
    while (done < wanted) {
      const at = this.#start + this.position;
      const { bytesRead } = await this.#handle
        .read(target, done, wanted - done, at)
        .catch((error: unknown) => Promise.reject(unreadable(this.#name, error)));
      if (bytesRead === 0) break;
      done += bytesRead;
      this.position += bytesRead;
    }
    return done;
  }

  async skip(count: number): Promise<number> {
    const skipped = Math.min(count, this.#length - this.position);
    this.position += skipped;
    return skipped;
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/** What comes out of a stream, such as one that unpacks. */
class StreamBytes implements Bytes {
  position = 0;
  #name: string;
  #stream: Readable;
  #chunks: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(name: string, stream: Readable) {
    this.#name = name;
    this.#stream = stream;
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  async read(target: Uint8Array): Promise<number> {
    let done = 0;
    while (done < target.length) {
      if (this.#rest.length === 0 && !(await this.#more())) break;
      const part = this.#rest.subarray(0, target.length - done);
      target.set(part, done);
      done += part.length;
      this.position += part.length;
      this.#rest = this.#rest.subarray(part.length);
    }
    return done;
  }

  async skip(count: number): Promise<number> {
    const waste = new Uint8Array(Math.min(count, SKIP_BYTES));
    let done = 0;
    while (done < count) {
      const got = await this.read(waste.subarray(0, count - done));
      if (got === 0) break;
      done += got;
    }
    return done;
  }

  async close(): Promise<void> {
    this.#stream.destroy();
  }

  async #more(): Promise<boolean> {
    try {
      const { done, value } = await this.#chunks.next();
      if (done) return false;
      this.#rest = value;
      return true;
    } catch (error) {
      const { code, message } = error as { code?: string; message: string };
      if (!code?.startsWith('Z_')) throw unreadable(this.#name, error);
      throw new FileFormatError(
        'ERR_FILE_COMPRESSION',
        this.#name,
        'sound compressed data',
        `${message} after ${this.position + this.#rest.length} unpacked bytes`,
        { cause: error },
      );
    }
  }
}

/** A file on disk, unpacked on the way where it is gzip. */
export class SourceFile {
  /** The path as the user gave it. */
  readonly name: string;
  readonly isCompressed: boolean;
  /** Of the file on disk. */
  readonly storedBytes: number;
  #unpacked: Promise<{ folder: string; path: string; bytes: number }> | undefined;

  private constructor(name: string, storedBytes: number, isCompressed: boolean) {
    this.name = name;
    this.storedBytes = storedBytes;
    this.isCompressed = isCompressed;
  }

  /** Looks at the first bytes. */
  static async open(path: string): Promise<SourceFile> {
    try {
      const handle = await open(path, 'r');
      try {
        const { size } = await handle.stat();
        const magic = new Uint8Array(2);
        const { bytesRead } = await handle.read(magic, 0, 2, 0);
        return new SourceFile(path, size, bytesRead === 2 && magic[0] === 0x1f && magic[1] === 0x8b);
      } finally {
        await handle.close();
      }
    } catch (error) {
      throw unreadable(path, error);
    }
  }

  /** Bytes of the unpacked file; undefined where only unpacking would tell. */
  get bytes(): number | undefined {
    return this.isCompressed ? undefined : this.storedBytes;
  }

  /** All bytes, unpacked, from front to back. */
  async stream(): Promise<Bytes> {
    if (!this.isCompressed) return this.part(0, this.storedBytes);
    const gunzip = createGunzip();
    const raw = createReadStream(this.name, { highWaterMark: SKIP_BYTES });
    raw.on('error', (error) => gunzip.destroy(error));
    gunzip.on('close', () => raw.destroy());
    return new StreamBytes(this.name, raw.pipe(gunzip));
  }

  /** Some bytes of a file that is not gzip. */
  async part(start: number, length: number): Promise<Bytes> {
    try {
      return new FileBytes(await open(this.name, 'r'), this.name, start, length);
    } catch (error) {
      throw unreadable(this.name, error);
    }
  }

  /** Some bytes of a file that are a deflate stream, unpacked. */
  inflatedPart(start: number, length: number): Bytes {
    const inflate = createInflateRaw();
    const raw = createReadStream(this.name, { start, end: Math.max(start, start + length - 1) });
    raw.on('error', (error) => inflate.destroy(error));
    inflate.on('close', () => raw.destroy());
    return new StreamBytes(this.name, raw.pipe(inflate));
  }

  /** The unpacked file on disk, for formats that are read from their end: the file itself, or a temporary one. */
  async onDisk(): Promise<{ path: string; bytes: number }> {
    if (!this.isCompressed) return { path: this.name, bytes: this.storedBytes };
    this.#unpacked ??= this.#unpack();
    return this.#unpacked;
  }

  async close(): Promise<void> {
    if (this.#unpacked === undefined) return;
    const { folder } = await this.#unpacked;
    this.#unpacked = undefined;
    await rm(folder, { recursive: true, force: true });
  }

  async #unpack(): Promise<{ folder: string; path: string; bytes: number }> {
    const folder = await mkdtemp(join(tmpdir(), 'orthant-'));
    const path = join(folder, 'unpacked');
    const bytes = await this.stream();
    try {
      const handle = await open(path, 'w');
      await pipeline(chunksOf(this.name, bytes), handle.createWriteStream());
      return { folder, path, bytes: (await stat(path)).size };
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw unreadable(this.name, error);
    } finally {
      await bytes.close();
    }
  }
}

async function* chunksOf(name: string, bytes: Bytes): AsyncGenerator<Uint8Array> {
  for (;;) {
    const chunk = new Uint8Array(SKIP_BYTES);
    const got = await bytes.read(chunk);
    if (bytes.position > MOST_UNPACKED_BYTES) {
      const most = `at most ${MOST_UNPACKED_BYTES} bytes when unpacked`;
      throw new FileFormatError('ERR_FILE_TOO_LARGE', name, most, 'more');
    }
    if (got > 0) yield chunk.subarray(0, got);
    if (got < chunk.length) return;
  }
}
