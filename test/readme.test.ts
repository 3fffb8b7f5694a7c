import { execFileSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fill, pictures, readResults, report } from '../bench/report.js';
import { VectorIndex } from '../src/index.js';
import { RedisServer } from './redis-server.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const readme = readFileSync(path.join(root, 'README.md'), 'utf8');

/** What stands before an example in a reader's mind: the names that several of them use. */
const SETTING = `
import { RandomGenerator, VectorIndex } from 'orthant';
const draw = (rows) => {
  const out = new Float32Array(rows * 128);
  new RandomGenerator(rows).normals(out);
  return out;
};
const vectors = draw(3000);
Object.assign(globalThis, {
  vectors,
  query: draw(1),
  queries: draw(40),
  moreQueries: draw(41),
  index: VectorIndex.from(vectors, { dimensions: 128 }),
  labels: Array.from({ length: 3000 }, (_, id) => String(id % 10)),
  values: Array.from({ length: 3000 }, (_, id) => id % 10),
});
`;
const SETTING_TYPES = `
import type { VectorIndex as Index } from 'orthant';
declare global {
  var vectors: Float32Array, query: Float32Array, queries: Float32Array, moreQueries: Float32Array;
  var index: Index;
  var labels: string[], values: number[];
}
`;

interface Block {
  line: number;
  language: string;
  isRun: boolean;
  /** It talks to a Redis, which must be there. */
  needsRedis: boolean;
  code: string;
}

function blocksOf(markdown: string): Block[] {
  return [...markdown.matchAll(/^```(\w*)(.*)\n([\s\S]*?)^```$/gm)].map((match) => ({
    line: markdown.slice(0, match.index).split('\n').length,
    language: match[1],
    isRun: match[2].trim() !== 'no-run',
    needsRedis: match[2].trim() === 'redis',
    code: match[3],
  }));
}

const blocks = blocksOf(readme);
const programs = programsOf(blocks);
const guides = readdirSync(path.join(root, 'docs/guides')).map((name) => ({
  name,
  programs: programsOf(blocksOf(readFileSync(path.join(root, 'docs/guides', name), 'utf8'))),
}));

function programsOf(all: Block[]): Block[] {
  return all.filter(({ language }) => language === 'ts' || language === 'js');
}

/** A block may leave out the imports that a reader has seen before. */
function withImports(code: string): string {
  const names = ['VectorIndex', 'HyperplaneLsh'].filter(
    (name) => code.includes(name) && !new RegExp(`(import[^;]*|const \\{[^}]*)\\b${name}\\b`).test(code),
  );
  return `${names.map((name) => `import { ${name} } from 'orthant';\n`).join('')}${code}\nexport {};\n`;
}

// A folder of a user's: the package is installed, and the bundled files lie beside the program.
const folder = mkdtempSync(path.join(tmpdir(), 'orthant-readme-'));
beforeAll(() => {
  mkdirSync(path.join(folder, 'node_modules/@types'), { recursive: true });
  symlinkSync(root, path.join(folder, 'node_modules/orthant'), 'dir');
  symlinkSync(
    path.join(root, 'node_modules/@types/node'),
    path.join(folder, 'node_modules/@types/node'),
    'dir',
  );
  cpSync(path.join(root, 'examples/data'), folder, { recursive: true });
  writeFileSync(path.join(folder, 'package.json'), '{ "type": "module" }');
  writeFileSync(path.join(folder, 'setting.js'), SETTING);
  writeFileSync(path.join(folder, 'setting-types.ts'), SETTING_TYPES);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a block as a program of its own. */
function run(name: string, code: string): void {
  const options = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 };
  const file = path.join(folder, `${name}.js`);
  writeFileSync(
    file,
    `import './setting.js';\n${ts.transpile(code, { ...options, verbatimModuleSyntax: true })}`,
  );
  execFileSync(process.execPath, [file], { cwd: folder, stdio: 'pipe' });
}

/** What the compiler says against blocks, each as a file of its own. */
function complaintsOf(sources: { name: string; code: string }[]): string[] {
  const files = sources.map(({ name, code }) => {
    const file = path.join(folder, `${name}.ts`);
    writeFileSync(file, code);
    return file;
  });
  const program = ts.createProgram([...files, path.join(folder, 'setting-types.ts')], {
    module: ts.ModuleKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
    lib: ['lib.es2022.d.ts', 'lib.dom.d.ts'],
    types: ['node'],
    strict: true,
    noEmit: true,
    skipLibCheck: true, // declarations are checked in package.test.ts
  });
  return ts.getPreEmitDiagnostics(program).map(({ file, messageText }) => {
    const text = ts.flattenDiagnosticMessageText(messageText, '\n');
    return `${file && path.basename(file.fileName)}: ${text}`;
  });
}

describe('a guide', () => {
  it.each(
    guides
      .flatMap(({ name, programs }) => programs.map((block) => ({ name, ...block })))
      .filter(({ isRun }) => isRun),
  )('$name has in line $line an example that runs', ({ name, line, code }) => {
    // A guide's examples stand alone: each imports what it uses.
    expect(() => run(`${name}-${line}`, `${code}\nexport {};\n`)).not.toThrow();
  });

  it.each(guides)('$name has examples whose types are right', ({ name, programs }) => {
    const sources = programs
      .filter(({ language, isRun }) => language === 'ts' && isRun)
      .map(({ line, code }) => ({ name: `${name}-${line}`, code: `${code}\nexport {};\n` }));
    expect(complaintsOf(sources)).toEqual([]);
  });

  it.each(guides)('$name is named in the README', ({ name }) => {
    expect(readme).toContain(`docs/guides/${name}`);
  });
});

describe('the README', () => {
  it.each(programs.filter(({ isRun }) => isRun))(
    'has in line $line an example that runs',
    async ({ line, code, needsRedis }) => {
      const server = needsRedis ? await RedisServer.start() : null;
      try {
        const program = server ? code.replaceAll('redis://localhost', server.url) : code;
        expect(() => run(`line-${line}`, withImports(program))).not.toThrow();
      } finally {
        await server?.stop();
      }
    },
  );

  it('has examples whose types are right', () => {
    const sources = programs
      .filter(({ language, isRun }) => language === 'ts' && isRun)
      .map(({ line, code }) => ({ name: `line-${line}`, code: withImports(code) }));
    expect(complaintsOf(sources)).toEqual([]);
  });

  it('begins with the everyday index, the hash tables and exact search, in this order', () => {
    const [first, second, third] = programs.map(({ code }) => code);
    expect(first).toContain('VectorIndex.from');
    expect(first.trim().split('\n')).toHaveLength(8);
    expect(second).toContain('new HyperplaneLsh');
    expect(third).toContain('exactSearch(');
  });

  it('leaves out of the run only what Node cannot do: importing a .wasm file, the storage of a browser', () => {
    const left = blocks.filter(({ isRun }) => !isRun);
    expect(left.map(({ code }) => code.split('\n')[0]).sort()).toEqual([
      "import module from 'orthant/orthant.wasm';",
      "import { openStorage } from 'orthant/storage';",
    ]);
  });

  it('names only commands that package.json has', () => {
    const { scripts } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
    const named = [...readme.matchAll(/npm (?:run )?(start|test|bench[:\w]*)/g)].map((match) => match[1]);
    expect(Object.keys(scripts)).toEqual(expect.arrayContaining(named));
  });

  it('names the recalls that an index is tuned for', () => {
    const targets = new VectorIndex({ dimensions: 2 }).tune().settings.map(({ target }) => target);
    expect(readme).toContain(
      `a recall of ${targets.slice(0, -1).join(', ')} and ${targets.at(-1)} for k = 10`,
    );
  });

  it('names every error code that the package throws', () => {
    const source = readFileSync(path.join(root, 'src/check.ts'), 'utf8');
    const codes = new Set(source.match(/'ERR_\w+'/g)?.map((code) => code.slice(1, -1)));
    for (const code of codes) expect(readme).toContain(`\`${code}\``);
  });

  it('has the figures that the results of the benchmarks give, where there are results', () => {
    const results = readResults(path.join(root, 'bench/results'));
    if (results.length > 0) expect(fill(readme, report(results))).toBe(readme);
    expect(readme.split('figures -->')).toHaveLength(3);
  });
});

/** Elements of an SVG that are not closed, or closed and never opened. */
function unbalanced(svg: string): string[] {
  const open: string[] = [];
  const wrong: string[] = [];
  for (const [tag, end, name, rest] of svg.matchAll(/<(\/?)([a-z]+)([^<>]*)>/gi)) {
    if (end === '') {
      if (!rest.endsWith('/')) open.push(name);
    } else if (open.pop() !== name) wrong.push(tag);
  }
  return [...wrong, ...open];
}

describe('the pictures of the benchmarks', () => {
  const folder = path.join(root, 'docs/pictures');
  const drawn = pictures(readResults(path.join(root, 'bench/results')));

  it('are what the committed results give, to the byte, and all that there are', async () => {
    const files = readdirSync(folder).filter((name) => name.endsWith('.svg'));
    expect([...(await drawn).keys()].sort()).toEqual(files.sort());
    for (const [name, svg] of await drawn) {
      expect(svg === readFileSync(path.join(folder, name), 'utf8'), `${name}: npm run bench:report`).toBe(
        true,
      );
    }
  });

  it('are small, well-formed, named in the README, light and dark', async () => {
    for (const [name, svg] of await drawn) {
      expect(svg.length).toBeLessThan(60_000);
      expect(unbalanced(svg)).toEqual([]);
      expect(readme).toContain(`docs/pictures/${name}`);
      const other = name.replace(
        /-(light|dark)\.svg$/,
        (_, theme) => `-${theme === 'dark' ? 'light' : 'dark'}.svg`,
      );
      expect([...(await drawn).keys()]).toContain(other);
    }
  });

  it('tell versions, machine, commit and date', async () => {
    const svg = (await drawn).get('speed-light.svg');
    expect(svg).toMatch(/orthant \d+\.\d+\.\d+, hnswlib-node .*, Node v\d+.*, commit \w+, \d{4}-\d\d-\d\d/);
  });
});

describe('the report of the benchmarks', () => {
  const about = { machine: 'a machine', node: 'v20.0.0', commit: 'abc1234' };
  const search = (date: string, qps: number) => ({
    ...about,
    date,
    data: 'words',
    n: 1000,
    d: 100,
    metric: 'cosine',
    k: 10,
    queries: 50,
    contestants: [
      {
        ready: { name: 'orthant', version: '0.1.0', buildSeconds: 1.5 },
        curve: [],
        qps: [qps, 2000, 1000],
      },
      {
        ready: { name: 'another', version: '2.0.0', buildSeconds: 30, built: 'elsewhere' },
        curve: [{ recall: 0.97, qps: 321 }],
        qps: [9000, 400, null],
      },
    ],
    tuned: [0.91, 0.96, 0.992].map((recall) => ({ recall, qps: 3 })),
    batch: [0.91, 0.96, 0.992].map((recall) => ({ recall, qps: 4 })),
    exact: { qps: 100 },
    bytesBeyondRows: 40,
    bytesOfSecondStage: 0,
  });

  it('states machine, version, commit and date, and keeps what another package wins', () => {
    const text = report([[search('2026-01-02T00:00:00Z', 3000)]]);
    expect(text).toContain(
      'a machine, Node v20.0.0, commit abc1234, 2026-01-02; another was built before (elsewhere).',
    );
    expect(text).toContain('| **orthant** | 3,000 | 2,000 | 1,000 | 1.5 s |');
    expect(text).toContain('| another 2.0.0 | 9,000 | 400 | 321 (0.970) | 30 s |');
  });

  it('takes the latest of several results about one data set', () => {
    const text = report([[search('2026-01-03T00:00:00Z', 5000)], [search('2026-01-02T00:00:00Z', 3000)]]);
    expect(text.match(/\*\*orthant\*\* \| [\d,]+/g)).toEqual(['**orthant** | 5,000']);
  });

  it('keeps in the table of all packages who failed, with the reason and what was measured', () => {
    const peers = [
      {
        peer: 'orthant',
        set: 'digits',
        k: 10,
        version: '0.1.0',
        kind: 'wasm',
        n: 1500,
        d: 64,
        metric: 'euclidean',
      },
      { peer: 'slow', set: 'digits', k: 10, version: '1.0.0', kind: 'js', error: 'not done within 60 s' },
    ].map((row, i) => ({
      ...row,
      build: { seconds: 1 + i, residentBytes: 1, builtAt: '', cached: false },
      curve: [{ value: 10, recall: 0.91, qps: 500, queries: 10 }],
      qpsAt: { '0.90': 500, '0.95': null, '0.99': null },
    }));
    const broken = { peer: 'broken', set: 'digits', k: 10, error: 'unreachable' };
    const text = report([{ ...about, date: '2026-01-02T00:00:00Z', peers: [...peers, broken] }]);
    expect(text).toContain('| digits: 1,500 × 64, euclidean | kind | 0.90 | 0.95 | 0.99 | build |');
    expect(text).toContain('| **orthant** | wasm | 500 | 500 (0.910) | 500 (0.910) | 1 s |  |');
    expect(text).toContain(
      '| slow 1.0.0 | js | 500 | 500 (0.910) | 500 (0.910) | 2 s | failed: not done within 60 s |',
    );
    expect(text).toContain('| broken |  |  |  |  |  | failed: unreachable |');
    expect(text).toContain('a machine, Node v20.0.0, commit abc1234, 2026-01-02.');
  });

  it('replaces what stands between the markers and nothing else', () => {
    const before = 'a\n<!-- figures -->\nold\n<!-- /figures -->\nz';
    expect(fill(before, 'new')).toBe('a\n<!-- figures -->\n\nnew\n\n<!-- /figures -->\nz');
    expect(() => fill('nothing', 'new')).toThrow('README.md: expected <!-- figures -->');
  });
});
