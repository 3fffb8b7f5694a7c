import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** Debian's package `redis-server`; the set-up of `npm test` installs it. */
const PROGRAM = process.env.REDIS_PATH ?? 'redis-server';

/** A Redis of the test's own: a free port of loopback, a folder that goes with it, ended by its process. */
export class RedisServer {
  readonly url: string;
  readonly port: number;
  readonly #folder: string;
  readonly #arguments: string[];
  #process: ChildProcess | null = null;

  private constructor(port: number, folder: string, more: string[]) {
    this.port = port;
    this.url = `redis://127.0.0.1:${port}`;
    this.#folder = folder;
    this.#arguments = [
      ...[
        '--port',
        String(port),
        '--bind',
        '127.0.0.1',
        '--dir',
        folder,
        '--save',
        '',
        '--appendonly',
        'yes',
      ],
      ...['--appendfsync', 'always', '--maxmemory-policy', 'noeviction', ...more],
    ];
  }

  /** @param more options of redis-server. */
  static async start(...more: string[]): Promise<RedisServer> {
    const server = new RedisServer(
      await freePort(),
      mkdtempSync(path.join(tmpdir(), 'orthant-redis-')),
      more,
    );
    await server.resume();
    return server;
  }

  /** Starts it again on its port, with what it had on disk. */
  async resume(): Promise<void> {
    try {
      execFileSync(PROGRAM, ['--version'], { stdio: 'ignore' });
    } catch {
      throw new Error(
        `redis-server: expected the program ${PROGRAM}, got none; install the package redis-server or set REDIS_PATH`,
      );
    }
    const child = spawn(PROGRAM, this.#arguments, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#process = child;
    await new Promise<void>((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`redis-server: ended with ${code} at its start`)));
      child.stdout.on('data', (text) => {
        if (String(text).includes('Ready to accept connections')) resolve();
      });
    });
  }

  /** Ends it without a word, as a lost machine would. */
  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = null;
    if (!child || child.exitCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** A port of loopback that nobody listens on. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
