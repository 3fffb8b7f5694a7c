import {
  type Backend,
  type OpfsFile,
  type OpfsFolder,
  platform,
  type Sink,
  type Source,
  type StoredIndex,
  totalOf,
} from './platform.js';

const ENDING = '.orthant';
const HEAD_BYTES = 64;

interface Entry extends StoredIndex {
  file: string;
  number: number;
  head: Uint8Array;
  isWhole: boolean;
  data: OpfsFile;
}

/** Whether this place has a file system of its own that can be written to. */
export function hasOpfs(): boolean {
  const methods = platform.FileSystemFileHandle?.prototype ?? {};
  const canWrite = 'createSyncAccessHandle' in methods || 'createWritable' in methods;
  return canWrite && typeof platform.navigator?.storage?.getDirectory === 'function';
}

/**
 * The origin-private file system. An index `name` is the file `name~number.orthant`; every save writes the next number and
 * then removes the one before. A file is whole when it is as long as its header says, so one that a crash has cut is
 * passed over, and the one before is still there.
 */
export class OpfsBackend implements Backend {
  readonly kind = 'opfs';
  readonly #folder: OpfsFolder;

  private constructor(folder: OpfsFolder) {
    this.#folder = folder;
  }

  static async open(folder: string): Promise<OpfsBackend> {
    const root = (await platform.navigator?.storage?.getDirectory?.()) as OpfsFolder;
    return new OpfsBackend(await root.getDirectoryHandle(folder, { create: true }));
  }

  async write(name: string): Promise<Sink> {
    const entries = await this.#entries(name);
    const number = entries.reduce((most, entry) => Math.max(most, entry.number), 0) + 1;
    const file = `${encode(name)}~${number}${ENDING}`;
    const handle = await this.#folder.getFileHandle(file, { create: true });
    const close = async (): Promise<void> => {
      // The new one is on the disk: what was before, and what a crash left, may go.
      for (const entry of entries) await this.#folder.removeEntry(entry.file);
    };
    if (handle.createSyncAccessHandle) {
      // In a worker: the only way with a flush.
      const access = await handle.createSyncAccessHandle();
      let at = 0;
      return {
        write: async (bytes) => {
          for (let done = 0; done < bytes.length; ) {
            const written = access.write(bytes.subarray(done), { at: at + done });
            if (written === 0) throw Object.assign(new Error('no room'), { name: 'QuotaExceededError' });
            done += written;
          }
          at += bytes.length;
        },
        commit: async () => {
          access.flush();
          access.close();
          await close();
        },
        abort: async () => {
          access.close();
          await this.#folder.removeEntry(file);
        },
      };
    }
    const writable = await handle.createWritable?.();
    return {
      write: async (bytes) => writable?.write(bytes),
      commit: async () => {
        await writable?.close();
        await close();
      },
      abort: async () => {
        await writable?.abort().catch(() => {}); // it may have failed by itself
        await this.#folder.removeEntry(file);
      },
    };
  }

  async read(name: string): Promise<Source[]> {
    const entries = (await this.#entries(name)).filter((entry) => entry.isWhole);
    return entries
      .sort((a, b) => b.number - a.number)
      .map(({ head, data }) => ({ head, stream: () => data.stream() }));
  }

  async list(): Promise<StoredIndex[]> {
    const newest = new Map<string, Entry>();
    for (const entry of await this.#entries()) {
      if (entry.isWhole && entry.number > (newest.get(entry.name)?.number ?? 0))
        newest.set(entry.name, entry);
    }
    return [...newest.values()].map(({ name, bytes, savedAt }) => ({ name, bytes, savedAt }));
  }

  async remove(name: string): Promise<boolean> {
    const entries = await this.#entries(name);
    for (const entry of entries) await this.#folder.removeEntry(entry.file);
    return entries.some((entry) => entry.isWhole);
  }

  /** The files of one name, or of all. */
  async #entries(only?: string): Promise<Entry[]> {
    const found: Entry[] = [];
    for await (const [file, handle] of this.#folder.entries()) {
      const [, encoded, digits] = /^(.*)~(\d+)\.orthant$/.exec(file) ?? [];
      if (encoded === undefined || handle.kind !== 'file') continue;
      const name = decodeURIComponent(encoded);
      if (only !== undefined && name !== only) continue;
      try {
        const data = await handle.getFile();
        const head = new Uint8Array(await data.slice(0, HEAD_BYTES).arrayBuffer());
        const isWhole = data.size === totalOf(head);
        const number = Number(digits);
        found.push({ name, file, number, head, isWhole, data, bytes: data.size, savedAt: data.lastModified });
      } catch (error) {
        // Replaced by another tab while the folder was read.
        if ((error as Error).name !== 'NotFoundError') throw error;
      }
    }
    return found;
  }
}

/** A name as a part of a file's name. */
function encode(name: string): string {
  return encodeURIComponent(name).replace(
    /[~*.]/g,
    (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
