/** What is wrong with a file, as a stable string. */
export type FileErrorCode =
  | 'ERR_FILE_UNREADABLE'
  | 'ERR_FILE_UNWRITABLE'
  | 'ERR_FILE_FORMAT'
  | 'ERR_FILE_MAGIC'
  | 'ERR_FILE_HEADER'
  | 'ERR_FILE_DTYPE'
  | 'ERR_FILE_ORDER'
  | 'ERR_FILE_SHAPE'
  | 'ERR_FILE_TRUNCATED'
  | 'ERR_FILE_TRAILING'
  | 'ERR_FILE_DIMENSIONS'
  | 'ERR_FILE_VALUE'
  | 'ERR_FILE_FIELD'
  | 'ERR_FILE_COMPRESSION'
  | 'ERR_FILE_TOO_LARGE'
  | 'ERR_PACKAGE_MISSING';

/**
 * A file that could not be read as vectors or labels, or not be written. The message is one line,
 * `name: expected …, got …`; `code` says which expectation failed.
 */
export class FileFormatError extends Error {
  readonly code: FileErrorCode;

  constructor(
    code: FileErrorCode,
    name: string,
    expected: string,
    got: string,
    options?: { cause?: unknown },
  ) {
    // Names and header text come from outside: a control character in them must not split or paint the line.
    super(`${name}: expected ${expected}, got ${got}`.replace(/\p{Cc}/gu, '?'), options);
    this.name = 'FileFormatError';
    this.code = code;
  }
}

/** The operating system's reason, such as `ENOENT (no such file or directory)`; undefined for every other error. */
export function systemReason(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('syscall' in error) || !('code' in error)) return undefined;
  const text = /^\w+: (.*?), /.exec(error.message)?.[1];
  return text === undefined ? String(error.code) : `${error.code} (${text})`;
}

/** The same error, or one of ours where the operating system refused. */
export function unreadable(name: string, error: unknown): unknown {
  const reason = systemReason(error);
  if (reason === undefined) return error;
  return new FileFormatError('ERR_FILE_UNREADABLE', name, 'a readable file', reason, { cause: error });
}

/** A file that ends before it should. */
export function truncated(name: string, expected: string, got: number): FileFormatError {
  return new FileFormatError('ERR_FILE_TRUNCATED', name, expected, `${got} (truncated)`);
}

/** A file that goes on after it should have ended. */
export function trailing(name: string, expected: string, got: number, over: number): FileFormatError {
  const text = `${got} (${over} trailing byte${over === 1 ? '' : 's'})`;
  return new FileFormatError('ERR_FILE_TRAILING', name, expected, text);
}

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
}

export function shorten(text: string): string {
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}
