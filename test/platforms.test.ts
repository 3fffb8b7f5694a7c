import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import vm from 'node:vm';
import { build } from 'esbuild';
import type { Browser } from 'playwright-core';
import { build as buildWithVite, createServer as createViteServer } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as orthant from '../src/index.js';
import { launchChromium, openPage, Site, type SiteOptions } from './chromium.js';
import { digest } from './digest.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const inRoot = (name: string): string => path.join(root, name);
/** Programs that only these tests need have a package.json of their own; the set-up of `npm test` installs them. */
const requireHere = createRequire(inRoot('test/platforms/package.json'));

const folder = mkdtempSync(path.join(tmpdir(), 'orthant-platforms-'));
const inProject = (name: string): string => path.join(folder, name);
/** What every platform must print. */
const expected = digest(orthant);
/** A program as a user writes it, whose answer ends up where each platform can show it. */
const PROGRAM = `
  import * as orthant from 'orthant';
  import { digest } from './digest.mjs';
  globalThis.answer = digest(orthant);
  if (typeof document === 'undefined') console.log(globalThis.answer);
`;
const page = (head: string): string => `<!doctype html><title>answer</title>${head}`;
const ANSWER = 'globalThis.answer';

let browser: Browser;

beforeAll(async () => {
  mkdirSync(inProject('node_modules/@assemblyscript'), { recursive: true });
  mkdirSync(inProject('node_modules/orthant'));
  for (const name of ['dist', 'package.json']) {
    cpSync(inRoot(name), inProject(`node_modules/orthant/${name}`), { recursive: true });
  }
  const loader = 'node_modules/@assemblyscript/loader';
  symlinkSync(inRoot(loader), inProject(loader), 'dir');
  cpSync(inRoot('test/digest.mjs'), inProject('digest.mjs'));
  writeFileSync(inProject('package.json'), '{ "type": "module", "private": true }');
  writeFileSync(inProject('main.js'), PROGRAM);
  writeFileSync(inProject('index.html'), page('<script type="module" src="./main.js"></script>'));
  browser = await launchChromium();
});
afterAll(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** The answer of a page that a folder and files in memory make, and what the page complained about. */
async function answerOf(
  served: string | null,
  options: SiteOptions,
): Promise<{ answer: string; errors: string[] }> {
  const site = await Site.serve(served, options);
  const { page: tab, errors, close } = await openPage(browser, site.url);
  try {
    await tab.waitForFunction(`${ANSWER} !== undefined`, undefined, { timeout: 60_000 });
    return { answer: await tab.evaluate(ANSWER), errors };
  } catch (error) {
    throw new Error(`the page gave no answer: ${errors.join('; ')}`, { cause: error });
  } finally {
    await close();
    await site.close();
  }
}

describe('in Chromium', () => {
  const mounts = { '/dist/': inRoot('dist'), '/test/': inRoot('test') };
  const program = (entry: string): string => `
    import * as orthant from '${entry}';
    import { digest } from '/test/digest.mjs';
    globalThis.answer = digest(orthant);`;
  const script = page('<script type="module" src="/main.js"></script>');

  it.each(['/dist/orthant.js', '/dist/js/index.js'])('a page without a bundler runs %s', async (entry) => {
    const files = { '/index.html': script, '/main.js': program(entry) };
    expect(await answerOf(null, { mounts, files })).toEqual({ answer: expected, errors: [] });
  });

  it('a page without a bundler runs dist/index.js, by an import map', async () => {
    const map = '{ "imports": { "@assemblyscript/loader": "/loader/index.js" } }';
    const head = `<script type="importmap">${map}</script><script type="module" src="/main.js"></script>`;
    const files = { '/index.html': page(head), '/main.js': program('/dist/index.js') };
    const loader = { '/loader/': inRoot('node_modules/@assemblyscript/loader') };
    const answer = await answerOf(null, { mounts: { ...mounts, ...loader }, files });
    expect(answer).toEqual({ answer: expected, errors: [] });
  });

  it("a page runs it under the policy script-src 'self' 'wasm-unsafe-eval'", async () => {
    const headers = { 'Content-Security-Policy': "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'" };
    const files = { '/index.html': script, '/main.js': program('/dist/orthant.js') };
    expect(await answerOf(null, { mounts, files, headers })).toEqual({ answer: expected, errors: [] });
  });

  describe("under the policy script-src 'self'", () => {
    const headers = { 'Content-Security-Policy': "default-src 'self'; script-src 'self'" };

    it('a page gets an error with a code, from constructing and from init', async () => {
      const main = `
        import { init, VectorIndex } from '/dist/orthant.js';
        const codes = [];
        try { new VectorIndex({ dimensions: 4 }); } catch (error) { codes.push(error.code); }
        try { await init(); } catch (error) { codes.push(error.code); }
        globalThis.answer = codes.join(' ');`;
      const { answer } = await answerOf(null, {
        mounts,
        headers,
        files: { '/index.html': script, '/main.js': main },
      });
      expect(answer).toBe('ERR_COMPILE_FORBIDDEN ERR_COMPILE_FORBIDDEN');
    });

    it('orthant/js gives the same answers', async () => {
      const files = { '/index.html': script, '/main.js': program('/dist/js/index.js') };
      expect(await answerOf(null, { mounts, files, headers })).toEqual({ answer: expected, errors: [] });
    });
  });

  it('the bundle of Vite runs', async () => {
    const outDir = inProject('vite');
    await buildWithVite({ root: folder, configFile: false, logLevel: 'silent', build: { outDir } });
    expect(await answerOf(outDir, {})).toEqual({ answer: expected, errors: [] });
  });

  it('the development server of Vite serves it', async () => {
    const server = await createViteServer({
      root: folder,
      configFile: false,
      logLevel: 'silent',
      server: { port: 0, host: '127.0.0.1', hmr: false, watch: null },
    });
    await server.listen();
    const { page: tab, close } = await openPage(browser, server.resolvedUrls?.local[0] as string);
    try {
      await tab.waitForFunction(`${ANSWER} !== undefined`, undefined, { timeout: 60_000 });
      expect(await tab.evaluate(ANSWER)).toBe(expected);
    } finally {
      await close();
      await server.close();
    }
  });

  it('the bundle of webpack runs', async () => {
    const { default: webpack } = await import(pathToFileURL(requireHere.resolve('webpack')).href);
    const complaints = await new Promise<unknown[]>((done, fail) => {
      webpack(
        {
          context: folder,
          entry: './main.js',
          mode: 'production',
          output: { path: inProject('webpack'), filename: 'main.js' },
          performance: { hints: false },
        },
        (error: Error | null, stats: { toJson(): { errors: unknown[]; warnings: unknown[] } }) => {
          if (error) return fail(error);
          const { errors, warnings } = stats.toJson();
          done([...errors, ...warnings]);
        },
      );
    });
    expect(complaints).toEqual([]);
    const files = { '/index.html': page('<script defer src="/main.js"></script>') };
    expect(await answerOf(inProject('webpack'), { files })).toEqual({ answer: expected, errors: [] });
  });

  it('the bundle of Rollup runs', async () => {
    const [{ rollup }, { default: resolve }] = await Promise.all(
      ['rollup', '@rollup/plugin-node-resolve'].map(
        (name) => import(pathToFileURL(requireHere.resolve(name)).href),
      ),
    );
    const warnings: string[] = [];
    const bundle = await rollup({
      input: inProject('main.js'),
      plugins: [resolve({ browser: true })],
      onwarn: (warning: { message: string }) => warnings.push(warning.message),
    });
    await bundle.write({ file: inProject('rollup/main.js'), format: 'es' });
    await bundle.close();
    expect(warnings).toEqual([]);
    const files = { '/index.html': script };
    expect(await answerOf(inProject('rollup'), { files })).toEqual({ answer: expected, errors: [] });
  });

  it.each(['esm', 'iife'] as const)('the bundle of esbuild runs, as %s', async (format) => {
    const outfile = inProject(`esbuild-${format}/main.js`);
    await build({ entryPoints: [inProject('main.js')], bundle: true, format, outfile, logLevel: 'error' });
    const type = format === 'esm' ? 'type="module"' : 'defer';
    const files = { '/index.html': page(`<script ${type} src="/main.js"></script>`) };
    expect(await answerOf(path.dirname(outfile), { files })).toEqual({ answer: expected, errors: [] });
  });
});

describe('on the command line', () => {
  const programs: [name: string, program: string, args: string[]][] = [
    [`Node ${process.versions.node}`, process.execPath, []],
    ['Node 22', requireHere.resolve('node-22/bin/node'), []],
    ['Node 24', requireHere.resolve('node-24/bin/node'), []],
    ['Deno', requireHere.resolve('@deno/linux-x64-glibc/deno'), ['run', '--no-prompt']],
    ['Bun', requireHere.resolve('@oven/bun-linux-x64/bin/bun'), []],
  ];

  it.each(programs)('%s gives the same answers', (name, program, args) => {
    if (program !== process.execPath) chmodSync(program, 0o755); // a package may come without the bit
    const version = execFileSync(program, ['--version'], { encoding: 'utf8' });
    if (name.startsWith('Node')) expect(version).toContain(`v${name.slice(5)}`);
    const printed = execFileSync(program, [...args, 'main.js'], { cwd: folder, encoding: 'utf8' });
    expect(printed.trim()).toBe(expected);
  });

  it('workerd, where no bytes may be compiled, gives a code, and the same answers by init({ module })', () => {
    const worker = `
      import * as orthant from './orthant.js';
      import module from './orthant.wasm';
      import { digest } from './digest.mjs';
      export default {
        async test() {
          let code;
          try { new orthant.VectorIndex({ dimensions: 4 }); } catch (error) { code = error.code; }
          await orthant.init({ module });
          console.log(code + '\\n' + digest(orthant));
        },
      };`;
    const config = `
      using Workerd = import "/workerd/workerd.capnp";
      const config :Workerd.Config = (services = [(name = "main", worker = .worker)]);
      const worker :Workerd.Worker = (
        compatibilityDate = "2024-09-01",
        modules = [
          (name = "main.js", esModule = embed "main.js"),
          (name = "orthant.js", esModule = embed "orthant.js"),
          (name = "digest.mjs", esModule = embed "digest.mjs"),
          (name = "orthant.wasm", wasm = embed "orthant.wasm"),
        ],
      );`;
    const place = inProject('workerd');
    mkdirSync(place);
    writeFileSync(path.join(place, 'main.js'), worker);
    writeFileSync(path.join(place, 'config.capnp'), config);
    cpSync(inRoot('test/digest.mjs'), path.join(place, 'digest.mjs'));
    for (const name of ['orthant.js', 'orthant.wasm']) cpSync(inRoot(`dist/${name}`), path.join(place, name));
    const workerd = requireHere.resolve('@cloudflare/workerd-linux-64/bin/workerd');
    chmodSync(workerd, 0o755);
    const printed = execFileSync(workerd, ['test', 'config.capnp'], {
      cwd: place,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    expect(printed.trim()).toBe(`ERR_COMPILE_FORBIDDEN\n${expected}`);
  });

  it('a program that may compile no bytes takes the module that its platform compiled', () => {
    const program = `
      const module = await WebAssembly.compile((await import('node:fs')).readFileSync('${inRoot('dist/orthant.wasm')}'));
      const { Module } = WebAssembly;
      const refuse = () => { throw new WebAssembly.CompileError('Wasm code generation disallowed by embedder'); };
      WebAssembly.Module = new Proxy(Module, { construct: refuse });
      WebAssembly.compile = async () => refuse();
      WebAssembly.instantiate = async (given) => (given instanceof Module ? undefined : refuse());
      const orthant = await import('orthant');
      const { digest } = await import('./digest.mjs');
      let code;
      try { new orthant.VectorIndex({ dimensions: 4 }); } catch (error) { code = error.code; }
      await orthant.init({ module });
      console.log(code + '\\n' + digest(orthant));`;
    const args = ['--input-type=module', '--eval', program];
    const printed = execFileSync(process.execPath, args, { cwd: folder, encoding: 'utf8' });
    expect(printed.trim()).toBe(`ERR_COMPILE_FORBIDDEN\n${expected}`);
  });
});

describe('importing', () => {
  it.each(['orthant.js', 'js/index.js'])(
    'dist/%s needs and touches no global of a platform',
    async (name) => {
      // A realm with the language in it and nothing else, but for TextDecoder, of which the loader makes one. Every name
      // that is not the language's is noted.
      const asked = new Set<string>();
      const sandbox = new Proxy(Object.assign(Object.create(null), { TextDecoder }), {
        has: (_, key) => {
          if (typeof key === 'string' && !(key in globalsOfTheLanguage) && key !== 'TextDecoder')
            asked.add(key);
          return key === 'TextDecoder';
        },
        set: (_, key) => {
          throw new Error(`a global was written: ${String(key)}`);
        },
      });
      const globalsOfTheLanguage = vm.runInNewContext(
        'Object.fromEntries(Object.getOwnPropertyNames(globalThis).map((name) => [name, true]))',
      ) as Record<string, boolean>;
      const { outputFiles } = await build({
        entryPoints: [inRoot(`dist/${name}`)],
        bundle: true,
        format: 'iife',
        globalName: 'orthant',
        write: false,
      });
      const context = vm.createContext(sandbox);
      const names = vm.runInContext(
        `(() => { 'use strict'; ${outputFiles[0].text.replace(/^"use strict";/, '')}; return Object.keys(orthant); })()`,
        context,
      ) as string[];
      expect([...names].sort()).toEqual(Object.keys(orthant).sort());
      expect([...asked]).toEqual([]);
    },
  );

  it('leaves the global object of Node as it was', () => {
    const program = `
      const before = Reflect.ownKeys(globalThis).length;
      const { Module } = WebAssembly;
      let compiled = 0;
      WebAssembly.Module = new Proxy(Module, { construct: () => { compiled++; } });
      await import('orthant');
      await import('orthant/js');
      await import('orthant/orthant.js');
      console.log(Reflect.ownKeys(globalThis).length - before, compiled);`;
    const args = ['--input-type=module', '--eval', program];
    expect(execFileSync(process.execPath, args, { cwd: folder, encoding: 'utf8' })).toBe('0 0\n');
  });
});

describe('the README', () => {
  it('names every place that is tested here', () => {
    const readme = readFileSync(inRoot('README.md'), 'utf8');
    const section = /## Where it runs\n([\s\S]*?)\n## /.exec(readme)?.[1] ?? '';
    const places = 'Chromium Vite webpack Rollup esbuild Node 20 22 24 Deno Bun workerd'.split(' ');
    for (const name of places) {
      expect(section).toContain(name);
    }
  });
});
