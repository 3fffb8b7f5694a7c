import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type Binary, engineBinary, tableBinary } from '../src/binary.js';
import { exactSearch, HyperplaneLsh, init, VectorIndex } from '../src/index.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), 'orthant-package-'));
/** A user's project that has the packed package installed, and nothing else of this repository. */
const project = path.join(folder, 'project');
const installed = path.join(project, 'node_modules/orthant');
const tarball = path.join(folder, 'orthant.tgz');
let packed: string[] = [];

beforeAll(() => {
  const printed = execFileSync('npm', ['pack', '--json', '--pack-destination', folder], {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    shell: process.platform === 'win32',
  });
  const [pack] = JSON.parse(printed);
  packed = pack.files.map((file: { path: string }) => file.path).sort();
  cpSync(path.join(folder, pack.filename), tarball);
  mkdirSync(installed, { recursive: true });
  execFileSync('tar', ['-xzf', tarball, '-C', installed, '--strip-components', '1']);
  for (const name of ['@assemblyscript/loader', '@types/node', 'undici-types']) {
    mkdirSync(path.dirname(path.join(project, 'node_modules', name)), { recursive: true });
    symlinkSync(path.join(root, 'node_modules', name), path.join(project, 'node_modules', name), 'dir');
  }
  writeFileSync(path.join(project, 'package.json'), '{ "type": "module" }');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the packed package', () => {
  it('is what the sources are compiled to, in one file too, three texts and package.json', () => {
    const sources = readdirSync(path.join(root, 'src'), { recursive: true, encoding: 'utf8' })
      .map((file) => file.replaceAll('\\', '/'))
      // What src/js/ has is bundled into its one file.
      .filter((file) => file.endsWith('.ts') && (!file.startsWith('js/') || file === 'js/index.ts'))
      .map((file) => `dist/${file.replace(/\.ts$/, '')}`)
      .concat('dist/orthant');
    const expected = [
      ...sources.map((name) => `${name}.js`),
      // The command cannot be imported.
      ...sources.filter((name) => !name.startsWith('dist/cli/')).map((name) => `${name}.d.ts`),
      'dist/orthant.wasm',
      'CHANGELOG.md',
      'LICENSE',
      'README.md',
      'package.json',
    ];
    expect(packed).toEqual(expected.sort());
  });

  it('has no script that runs when it is installed', () => {
    const { scripts } = JSON.parse(readFileSync(path.join(installed, 'package.json'), 'utf8'));
    const names = ['preinstall', 'install', 'postinstall', 'prepare', 'prepublish', 'prepack', 'postpack'];
    expect(Object.keys(scripts).filter((name) => names.includes(name))).toEqual([]);
  });

  it('is right in the eyes of publint', async () => {
    const { messages, pkg } = await publint({
      pkgDir: installed,
      pack: false,
      strict: true,
      level: 'suggestion',
    });
    expect(messages.map((message) => formatMessage(message, pkg))).toEqual([]);
  });

  it('has types that every way of resolving ES modules finds', () => {
    const attw = path.join(root, 'node_modules/@arethetypeswrong/cli/dist/index.js');
    // The binary has no types: what importing it gives is up to the bundler or platform.
    const args = [tarball, '--profile', 'esm-only', '--exclude-entrypoints', './orthant.wasm'];
    const { status, stdout } = spawnSync(process.execPath, [attw, ...args], { encoding: 'utf8' });
    expect(`${status} ${stdout}`).toMatch(/^0 /);
  });

  it('searches, in a project that has nothing else', () => {
    const program = `
      import { HyperplaneLsh, VectorIndex } from 'orthant';
      import { readVectors } from 'orthant/node';
      const vectors = Float32Array.from({ length: 400 }, (_, i) => Math.cos(i * i));
      const index = VectorIndex.from(vectors, { dimensions: 4 });
      const lsh = new HyperplaneLsh({ dimensions: 4, tables: 2, bits: 2 });
      lsh.add(vectors);
      const query = vectors.subarray(40, 44);
      console.log(index.search(query, { k: 1 }).ids[0], lsh.search(query, { k: 1 }).ids[0], typeof readVectors);`;
    const args = ['--input-type=module', '--eval', program];
    expect(execFileSync(process.execPath, args, { cwd: project, encoding: 'utf8' })).toBe('10 10 function\n');
  });

  describe('has a command', () => {
    const run = (...args: string[]): { status: number | null; stdout: string; stderr: string } => {
      const { bin } = JSON.parse(readFileSync(path.join(installed, 'package.json'), 'utf8'));
      const main = path.join(installed, bin.orthant);
      return spawnSync(process.execPath, [main, ...args], { cwd: project, encoding: 'utf8' });
    };

    it('that works in a project that has nothing else', () => {
      cpSync(path.join(root, 'examples/data/digits.npy'), path.join(project, 'digits.npy'));
      expect(run('build', 'digits.npy', '-o', 'digits.orthant', '-q').stderr).toBe('');
      const { stdout, stderr } = run('search', 'digits.orthant', 'digits.npy', '-k', '1', '--exact', '-q');
      expect(stderr).toBe('');
      expect(stdout.startsWith('0\t0\t0\n1\t1\t0\n')).toBe(true);
    });

    it('whose file can be run', () => {
      expect(statSync(path.join(installed, 'dist/cli/main.js')).mode & 0o111).toBe(0o111);
      expect(readFileSync(path.join(installed, 'dist/cli/main.js'), 'utf8')).toMatch(
        /^#!\/usr\/bin\/env node\n/,
      );
    });

    it('that names the package that a format or a plot needs', () => {
      const row = `PAR1${'\0'.repeat(12)}PAR1`;
      writeFileSync(path.join(project, 'rows.parquet'), row);
      writeFileSync(path.join(project, 'rows.hdf5'), Uint8Array.of(0x89, 72, 68, 70, 13, 10, 26, 10));
      for (const [name, args] of [
        ['hyparquet', ['info', 'rows.parquet']],
        ['h5wasm', ['info', 'rows.hdf5']],
        ['vega vega-lite', ['bench', '--plot', 'curve.svg']],
      ] as const) {
        const { status, stderr } = run(...args);
        expect([status, stderr]).toEqual([1, expect.stringContaining(`(npm install ${name})`)]);
      }
    });

    it('with the licences of the packages that are in it', () => {
      const text = readFileSync(path.join(installed, 'dist/cli/packages.js'), 'utf8');
      for (const name of ['commander', 'cli-progress', 'string-width', 'strip-ansi', 'emoji-regex']) {
        expect(text).toMatch(new RegExp(`^${name} \\d+\\.\\d+\\.\\d+\\n\\n[^]*?MIT`, 'm'));
      }
      expect(text.match(/Permission is hereby granted/g)?.length).toBeGreaterThanOrEqual(5);
    });
  });

  const platforms: [string, { lib: string[]; types: string[]; files: string[] }][] = [
    ['a page', { lib: ['lib.es2022.d.ts', 'lib.dom.d.ts'], types: [], files: ['page.ts'] }],
    ['a page of 2020', { lib: ['lib.es2020.d.ts', 'lib.dom.d.ts'], types: [], files: ['page.ts'] }],
    ['a service', { lib: ['lib.es2022.d.ts'], types: ['node'], files: ['page.ts', 'service.ts'] }],
  ];
  it.each(platforms)('compiles in %s whose own libraries lack Symbol.dispose or the DOM', (_, about) => {
    writeFileSync(
      path.join(project, 'page.ts'),
      `import { HyperplaneLsh, init, type Neighbors, VectorIndex } from 'orthant';
       await init({ bytes: new Uint8Array(8) });
       const index = VectorIndex.from(new Float32Array(8), { dimensions: 4, metric: 'cosine' });
       export const neighbors: Neighbors = index.search(new Float32Array(4), { k: 1 });
       new HyperplaneLsh({ dimensions: 4, tables: 1, bits: 2 })[Symbol.dispose]();
       // @ts-expect-error: there is no such metric
       new VectorIndex({ dimensions: 4, metric: 'manhattan' });`,
    );
    writeFileSync(
      path.join(project, 'service.ts'),
      `import { FileFormatError, readVectors } from 'orthant/node';
       export const rows: number = readVectors('rows.npy').rows;
       export const isOurs = (error: unknown) => error instanceof FileFormatError && error.code === 'ERR_FILE_SHAPE';`,
    );
    const program = ts.createProgram(
      about.files.map((file) => path.join(project, file)),
      {
        lib: about.lib,
        types: about.types,
        typeRoots: [path.join(project, 'node_modules/@types')],
        module: ts.ModuleKind.NodeNext,
        target: ts.ScriptTarget.ES2022,
        strict: true,
        noEmit: true,
        skipDefaultLibCheck: true,
      },
    );
    // The package's own declarations and the program: checking those of Node and the DOM takes seconds.
    const complaints = program
      .getSourceFiles()
      .filter(({ fileName }) => /orthant|page|service/.test(path.relative(project, fileName)))
      .flatMap((file) => [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)])
      .concat(program.getGlobalDiagnostics())
      .map(({ file, messageText }) => {
        const text = ts.flattenDiagnosticMessageText(messageText, '\n');
        return `${file && path.relative(project, file.fileName)}: ${text}`;
      });
    expect(complaints).toEqual([]);
  });
});

describe('a bundle', () => {
  /** Minified, from the built package, and the modules that are in it. How large it may be stands in .size-limit.json. */
  async function bundle(code: string): Promise<{ modules: string[]; text: string }> {
    const { outputFiles, metafile } = await build({
      stdin: { contents: code, resolveDir: root },
      bundle: true,
      minify: true,
      format: 'esm',
      platform: 'browser',
      target: 'es2022',
      metafile: true,
      write: false,
      logLevel: 'error', // an import without effects gives a warning
    });
    const [{ inputs }] = Object.values(metafile.outputs);
    const modules = Object.keys(inputs).filter((name) => inputs[name].bytesInOutput > 0);
    return { modules, text: outputFiles[0].text };
  }

  it('of HyperplaneLsh or exact search has none of the engine in it', async () => {
    const { modules } = await bundle("export { classify, exactSearch, HyperplaneLsh } from 'orthant'");
    const engine = ['vector-index', 'engine', 'tuning', 'cells', 'space', 'rows', 'plan'];
    expect(modules).toContain('dist/hyperplane-lsh.js');
    expect(modules.filter((name) => engine.includes(path.basename(name, '.js')))).toEqual([]);
  });

  it.each([
    ['exactSearch, HyperplaneLsh, BitSamplingLsh, MinHashLsh', [tableBinary]],
    ['VectorIndex', [engineBinary]],
    ['HyperplaneLsh, VectorIndex', [tableBinary, engineBinary]],
  ])('of %s has the binaries that it needs and no other', async (names, binaries) => {
    const { text } = await bundle(`export { ${names} } from 'orthant'`);
    const relaxed = Array.from(text.matchAll(/relaxed:\[([\d,e]*)\]/g), ([, list]) =>
      list.split(',').filter(Boolean).map(Number),
    );
    expect(relaxed).toEqual(binaries.map((binary) => binary.relaxed));
  });

  it('of nothing is empty: importing the package alone does nothing', async () => {
    expect((await bundle("import 'orthant'")).modules).toEqual([]);
  });
});

describe('the binaries', () => {
  const wasm = path.join(root, 'dist/orthant.wasm');
  const all = readFileSync(wasm);
  /** The swizzles are relaxed where the engine has them (assembly/build.mjs): their places, and the plain form. */
  const relaxedIn = (bytes: Buffer): number[] => {
    const places: number[] = [];
    const next = (from: number): number => bytes.indexOf('fd8002', from, 'hex');
    for (let at = next(0); at >= 0; at = next(at + 3)) places.push(at);
    return places;
  };
  const plain = (bytes: Buffer): Buffer => {
    const copy = Buffer.from(bytes);
    for (const at of relaxedIn(bytes)) copy.set([0x8e, 0x00], at + 1);
    return copy;
  };
  /** What the compiler makes of an export list in another place. */
  const compile = (name: string): Buffer => {
    const place = path.join(folder, `another place for ${name}`);
    cpSync(path.join(root, 'assembly'), path.join(place, 'assembly'), {
      recursive: true,
      filter: (file) => path.basename(file) !== 'build',
    });
    cpSync(path.join(root, 'asconfig.json'), path.join(place, 'asconfig.json'));
    const asc = path.join(root, 'node_modules/assemblyscript/bin/asc.js');
    const args = [asc, `assembly/${name}.ts`, '--config', 'asconfig.json', '--outFile', 'again.wasm'];
    execFileSync(process.execPath, args, { cwd: place });
    return readFileSync(path.join(place, 'again.wasm'));
  };

  it('with all kernels is under 40 kB', () => {
    expect(all.length).toBeLessThan(40_000);
  });

  const carried: [string, Binary, () => unknown][] = [
    ['tables', tableBinary, () => exactSearch(new Float32Array(1), new Float32Array(1), { k: 1 })],
    ['engine', engineBinary, () => new VectorIndex({ dimensions: 1 })],
  ];
  it.each(carried)(
    'of the %s is under 40 kB, and in the JavaScript as the compiler makes it in any place',
    (name, binary, use) => {
      const validate = vi.spyOn(WebAssembly, 'validate');
      use();
      const [bytes] = validate.mock.calls[0];
      validate.mockRestore();
      const again = compile(name);
      expect(again.length).toBeLessThan(40_000);
      expect(relaxedIn(again)).toEqual(binary.relaxed);
      expect(plain(Buffer.from(bytes as Uint8Array)).equals(plain(again))).toBe(true);
    },
  );

  it('of all kernels comes out the same in another place', () => {
    expect(relaxedIn(all)).toEqual([]);
    expect(plain(compile('index')).equals(all)).toBe(true);
  });

  it('are one for init(), which serves every class', async () => {
    const validate = vi.spyOn(WebAssembly, 'validate');
    await init({ bytes: all });
    const rows = Float32Array.from({ length: 64 }, (_, i) => Math.cos(i * i));
    const lsh = new HyperplaneLsh({ dimensions: 4, tables: 2, bits: 1 });
    lsh.add(rows);
    const index = VectorIndex.from(rows, { dimensions: 4 });
    const query = rows.subarray(8, 12);
    const nearest = [
      lsh.search(query, { k: 1 }),
      index.search(query, { k: 1 }),
      exactSearch(rows, query, { k: 1 }),
    ];
    expect(nearest.map(({ ids }) => ids[0])).toEqual([2, 2, 2]);
    expect(validate).not.toHaveBeenCalled();
    validate.mockRestore();
  });
});

describe('what git tracks', () => {
  const files = execFileSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' })
    .split('\0')
    .filter((name) => name !== '' && statSync(path.join(root, name), { throwIfNoEntry: false })?.isFile());
  /** What NumPy wrote, and how: make.py beside it. */
  const fromNumpy = (name: string): boolean => name.startsWith('test/fixtures/numpy/');
  const texts = files
    .filter((name) => !/\.(npy|snapshot|i8|png)$/.test(name) && !fromNumpy(name))
    .map((name) => [name, readFileSync(path.join(root, name), 'latin1')] as const);
  const having = (pattern: RegExp): string[] =>
    texts.flatMap(([name, text]) => (pattern.test(text) ? [`${name}: ${pattern.exec(text)?.[0]}`] : []));

  it('are texts, the bundled digits and words, a snapshot of each class, little files of NumPy, pictures', () => {
    expect(having(/\0/)).toEqual([]);
    const sizes = files.filter(fromNumpy).map((name) => statSync(path.join(root, name)).size);
    expect(Math.max(...sizes)).toBeLessThan(2000);
    const others = files.filter((name) => /\.(npy|snapshot|i8|png)$/.test(name) && !fromNumpy(name));
    expect(others).toEqual([
      'demo/data/words.i8',
      // Of the page, for the README: demo/screenshots.ts takes them.
      ...['curve', 'digits', 'words'].map((name) => `docs/pictures/demo-${name}.png`),
      'examples/data/digits-labels.npy',
      'examples/data/digits.npy',
      ...[
        'bit-sampling-lsh',
        'hyperplane-lsh',
        'min-hash-lsh',
        'vector-index',
        'vector-index-bigints',
        'vector-index-numbers',
        'vector-index-reach',
        'vector-index-removed',
        'vector-index-strings',
      ].map((name) => `test/fixtures/${name}-1.snapshot`),
    ]);
  });

  it('is nothing that is built, installed or left over', () => {
    const made =
      /(^|\/)(node_modules|dist|build)\/|(^|\/)\.data(\/|$)|^src\/binary\.ts$|\.(wasm|wat|tgz|log)$|_tmp\./;
    expect(files.filter((name) => made.test(name))).toEqual([]);
  });

  it('names no machine and no registry', () => {
    expect(having(/\/(?:home|Users|root|work)\/\w+|[A-Z]:\\Users\\/)).toEqual([]);
    expect(having(/https?:[/]{2}[^\s"'`)]*(?:registry|npmjs|npmmirror)[^\s"'`)]*/i)).toEqual([]);
    expect(having(/"resolved"[:]/)).toEqual([]);
  });
});
