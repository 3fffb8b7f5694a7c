import type { SourceFile } from './bytes.js';
import { FileFormatError } from './file-error.js';

const BLOCK_BYTES = 1 << 20;
/** The longest line: 65,536 numbers of 25 characters, ten times over. */
const MOST_LINE_BYTES = 2 ** 24;

export interface Line {
  /** From 1. */
  number: number;
  text: string;
}

/** The lines of a text file in UTF-8, without their ends; lines that are empty are left out. */
export async function* linesOf(file: SourceFile): AsyncGenerator<Line> {
  const bytes = await file.stream();
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let number = 0;
  const line = (part: Uint8Array): Line | undefined => {
    number++;
    const end = part.at(-1) === 13 ? part.length - 1 : part.length;
    const from = number === 1 && part[0] === 0xef && part[1] === 0xbb && part[2] === 0xbf ? 3 : 0;
    if (end <= from) return undefined;
    try {
      return { number, text: decoder.decode(part.subarray(from, end)) };
    } catch (cause) {
      throw lineError(file.name, number, 'ERR_FILE_VALUE', 'text in UTF-8', 'other bytes', cause);
    }
  };
  try {
    let rest = new Uint8Array(0);
    for (;;) {
      const block = new Uint8Array(rest.length + BLOCK_BYTES);
      block.set(rest);
      const got = await bytes.read(block.subarray(rest.length));
      const held = block.subarray(0, rest.length + got);
      let from = 0;
      for (let end = held.indexOf(10); end >= 0; end = held.indexOf(10, from)) {
        const next = line(held.subarray(from, end));
        if (next !== undefined) yield next;
        from = end + 1;
      }
      rest = held.subarray(from);
      if (rest.length > MOST_LINE_BYTES) {
        const most = `a line of at most ${MOST_LINE_BYTES} bytes`;
        throw lineError(file.name, number + 1, 'ERR_FILE_TOO_LARGE', most, `${rest.length} or more`);
      }
      if (got < BLOCK_BYTES) {
        const last = rest.length === 0 ? undefined : line(rest);
        if (last !== undefined) yield last;
        return;
      }
    }
  } finally {
    await bytes.close();
  }
}

/** What is wrong in a line of a file. */
export function lineError(
  name: string,
  line: number,
  code: FileFormatError['code'],
  expected: string,
  got: string,
  cause?: unknown,
): FileFormatError {
  return new FileFormatError(code, `${name}:${line}`, expected, got, { cause });
}

/** The first line of a file, or a refusal. */
export async function firstLine(file: SourceFile): Promise<Line> {
  for await (const line of linesOf(file)) return line;
  throw new FileFormatError('ERR_FILE_SHAPE', file.name, 'at least 1 row', 'an empty file');
}
