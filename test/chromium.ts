import { existsSync, readFileSync, statSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';

/** Debian's package `chromium`; the set-up of `npm test` installs it. */
const PROGRAM = process.env.CHROMIUM_PATH ?? '/usr/bin/chromium';
/** Nothing that opens a connection of its own, and nothing that a container without a screen lacks. */
const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Response headers under which a page may share memory with its workers. */
export const CROSS_ORIGIN_ISOLATED: Readonly<Record<string, string>> = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
};

const MIME_TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.map': 'application/json',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.wasm': 'application/wasm',
};

/** What a server on loopback answers with. */
export interface SiteOptions {
  /** Sent with every response. */
  headers?: Readonly<Record<string, string>>;
  /** Further folders by the path that they are served under: `{ '/orthant/': 'dist' }`. */
  mounts?: Readonly<Record<string, string>>;
  /** Files that exist in memory only, by path: `{ '/index.html': '<!doctype html>…' }`. They come first. */
  files?: Readonly<Record<string, string>>;
}

/** A folder on a free port of loopback. */
export class Site {
  readonly url: string;
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  }

  /** Serves `folder` (none: only mounts and files in memory). */
  static async serve(folder: string | null, options: SiteOptions = {}): Promise<Site> {
    const mounts = Object.entries({ ...options.mounts, ...(folder === null ? {} : { '/': folder }) }).sort(
      ([a], [b]) => b.length - a.length,
    );
    const server = createServer((request, response) => {
      const name = decodeURIComponent(new URL(request.url ?? '/', 'http://localhost').pathname);
      const wanted = name.endsWith('/') ? `${name}index.html` : name;
      const type = MIME_TYPES[path.extname(wanted)] ?? 'application/octet-stream';
      const body = options.files?.[wanted] ?? readMounted(mounts, wanted);
      const headers = { ...options.headers, 'Cache-Control': 'no-store' };
      if (body !== null) response.writeHead(200, { ...headers, 'Content-Type': type }).end(body);
      else if (wanted === '/favicon.ico') response.writeHead(204, headers).end();
      else response.writeHead(404, { ...headers, 'Content-Type': 'text/plain' }).end(`no file ${wanted}`);
    });
    await new Promise<void>((listening, failed) => {
      server.once('error', failed).listen(0, '127.0.0.1', listening);
    });
    return new Site(server);
  }

  close(): Promise<void> {
    this.#server.closeAllConnections();
    return new Promise((closed) => this.#server.close(() => closed()));
  }
}

/** The bytes of a file below the mount with the longest fitting path; null where there is no such file. */
function readMounted(mounts: readonly [string, string][], name: string): Buffer | null {
  for (const [prefix, folder] of mounts) {
    if (!name.startsWith(prefix)) continue;
    const file = path.resolve(folder, name.slice(prefix.length));
    if (!file.startsWith(path.resolve(folder) + path.sep)) return null;
    if (statSync(file, { throwIfNoEntry: false })?.isFile()) return readFileSync(file);
  }
  return null;
}

/**
 * Starts Chromium without a window. Call `close()` when done.
 *
 * Throws an Error that names the program where it is missing: such a test fails, it is never passed over.
 */
export async function launchChromium(flags: readonly string[] = []): Promise<Browser> {
  return chromium.launch({ executablePath: expectProgram(), args: [...FLAGS, ...flags] });
}

/** The same with a profile on disk, in a folder of its own: only there storage has a real quota. */
export async function launchWithProfile(folder: string): Promise<BrowserContext> {
  return chromium.launchPersistentContext(folder, { executablePath: expectProgram(), args: FLAGS });
}

function expectProgram(): string {
  if (existsSync(PROGRAM)) return PROGRAM;
  throw new Error(
    `chromium: expected the program ${PROGRAM}, got none there; install the package chromium or set CHROMIUM_PATH`,
  );
}

/** A page and what it complained about: errors on its console, uncaught errors, requests that failed. */
export interface OpenPage {
  page: Page;
  /** Grows while the page lives. */
  errors: string[];
  close(): Promise<void>;
}

/** Opens an address in a context of its own: storage and caches are empty and end with it. */
export async function openPage(browser: Browser, url: string): Promise<OpenPage> {
  const context = await browser.newContext();
  const page = await context.newPage();
  const errors: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text());
  });
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('requestfailed', (request) => errors.push(`${request.url()}: ${request.failure()?.errorText}`));
  await page.goto(url);
  return { page, errors, close: () => context.close() };
}
