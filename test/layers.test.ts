import { readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const SOURCE = fileURLToPath(new URL('../src/', import.meta.url));

/** The core by layers, lowest first; a file imports from lower layers only, except for the pairs below. */
const LAYERS: readonly (readonly string[])[] = [
  [
    'binary',
    'check',
    'js/kernels',
    'js/translated',
    'js/translated.d',
    'kernels',
    'memory',
    'neighbors',
    'plan',
    'progress',
    'share',
    'workspace',
  ], // bytes, exports, arguments, results: nothing of hashing
  // one idea each
  [
    'buckets',
    'cells',
    'centres',
    'codes',
    'exact',
    'filter',
    'id-set',
    'labels',
    'lifetime',
    'prediction',
    'probability',
    'random',
    'reach',
    'rows',
    'sets',
    'settings',
    'snapshot',
    'space',
    'streams',
    'truth',
    'tuning',
    'undo',
    'user-ids',
  ],
  ['groups', 'join-queries', 'joinable', 'joins'], // streams of pages, over what an index can do
  ['records'], // of rows in the coded space, for the second stage
  ['engine'], // composes centres, cells, rows, space, records and the tuner's contract into the stages of a query
  ['engine-snapshot', 'named-rows', 'passing'], // an engine ⇄ bytes; rows by the user's ids; among rows that pass, and within a distance
  ['engine-search'], // all ways of searching an engine
  ['engine-build', 'engine-explain', 'engine-joins'], // building one; what a search did; one as joins see it
  ['engine-options'], // options of a new index
  ['tables'], // composes buckets into the stages of a query that all families of hash tables share
  ['table-joins', 'table-snapshot'], // tables as joins see them; hash tables ⇄ bytes
  ['bit-sampling-lsh', 'hyperplane-lsh', 'min-hash-lsh', 'vector-index'], // compose
  ['index', 'parallel'], // names only; what threads need to work on one index
  ['js/index'], // the same names over the kernels in JavaScript
];
/** Imports within a layer that are allowed: who may read whom. */
const WITHIN: Record<string, readonly string[]> = {
  cells: ['centres'],
  'js/kernels': ['js/translated', 'kernels'],
  'join-queries': ['joinable'],
  joins: ['groups', 'join-queries', 'joinable'],
  kernels: ['binary', 'check'],
  memory: ['check', 'kernels'],
  neighbors: ['check', 'kernels', 'memory'],
  plan: ['kernels', 'memory'],
  progress: ['check'],
  prediction: ['settings', 'truth'],
  reach: ['settings', 'snapshot'],
  settings: ['cells'],
  share: ['progress'],
  streams: ['snapshot'],
  truth: ['settings'],
  tuning: ['prediction', 'settings', 'truth'],
  'user-ids': ['snapshot'],
  workspace: ['kernels', 'memory'],
};
/** Layer 4: each reads the public door, its platform, and the doors of the others. */
const ADAPTERS = ['cli', 'cluster', 'node', 'storage', 'supported', 'workers'];
/** One seam besides the door: threads hand memory and addresses on, which are no one else's business. */
const SEAMS: Record<string, readonly string[]> = { workers: ['parallel'] };
const CORE_PACKAGES = ['@assemblyscript/loader'];
const PLATFORM_NAMES = ['process', 'Buffer', 'window', 'document'];

/** Every module that a source names in an import, an export, `import()`, or an import type. */
function importsOf(tree: ts.SourceFile): string[] {
  const imports: string[] = [];
  const visit = (node: ts.Node): void => {
    if ((ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier) {
      imports.push((node.moduleSpecifier as ts.StringLiteral).text);
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [module] = node.arguments;
      imports.push(ts.isStringLiteralLike(module) ? module.text : 'a computed name');
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      imports.push((node.argument.literal as ts.StringLiteral).text);
    }
    ts.forEachChild(node, visit);
  };
  visit(tree);
  return imports;
}

/** Names of a platform that a source uses, in code rather than in comments or strings. */
function platformNamesOf(tree: ts.SourceFile): string[] {
  const names = new Set<string>();
  const visit = (node: ts.Node): void => {
    if (ts.isIdentifier(node) && PLATFORM_NAMES.includes(node.text)) names.add(node.text);
    ts.forEachChild(node, visit);
  };
  visit(tree);
  return [...names];
}

function layerOf(name: string): number {
  return LAYERS.findIndex((names) => names.includes(name));
}

/** What a source breaks; `file` is its path below src/. */
function breaches(file: string, text: string): string[] {
  const tree = ts.createSourceFile(file, text, ts.ScriptTarget.ES2022, true);
  const found: string[] = [];
  const folder = posix.dirname(file);
  const name = file.replace(/\.ts$/, '');
  const isAdapter = ADAPTERS.includes(folder.split('/')[0]);
  const layer = layerOf(name);
  if (!isAdapter && layer < 0) found.push(`${file} is in no layer`);

  for (const module of importsOf(tree)) {
    if (!module.startsWith('.')) {
      if (!isAdapter && !CORE_PACKAGES.includes(module)) found.push(`${file} imports ${module}`);
      continue;
    }
    if (!module.endsWith('.js')) found.push(`${file} imports ${module}, which does not end in .js`);
    const target = posix.join(folder, module).replace(/\.js$/, '');
    const isAllowed = isAdapter
      ? target === 'index' ||
        SEAMS[folder.split('/')[0]]?.includes(target) ||
        target.startsWith(`${folder.split('/')[0]}/`) ||
        ADAPTERS.some((adapter) => target === `${adapter}/index`)
      : layerOf(target) >= 0 && (layerOf(target) < layer || WITHIN[name]?.includes(target));
    if (!isAllowed) found.push(`${file} imports ${target}`);
  }
  if (!isAdapter) for (const used of platformNamesOf(tree)) found.push(`${file} uses ${used}`);
  return found;
}

describe('the layers of src/', () => {
  const files = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' })
    .map((file) => file.replaceAll('\\', '/'))
    .filter((file) => file.endsWith('.ts'))
    .sort();

  it.each(files)('hold in %s', (file) => {
    expect(breaches(file, readFileSync(SOURCE + file, 'utf8'))).toEqual([]);
  });

  it('are read from the files that are there', () => {
    expect(files).toEqual(expect.arrayContaining(['check.ts', 'index.ts', 'memory.ts', 'node/index.ts']));
  });
});

describe('a breach of the layers is found when', () => {
  it.each([
    ['a file imports upward', 'memory.ts', "import { cells } from './cells.js';", 'memory.ts imports cells'],
    [
      'a file imports a peer',
      'exact.ts',
      "import { gather } from './buckets.js';",
      'exact.ts imports buckets',
    ],
    [
      'only a type is imported',
      'exact.ts',
      "import type { A } from './labels.js';",
      'exact.ts imports labels',
    ],
    ['a name is passed on', 'cells.ts', "export { a } from './index.js';", 'cells.ts imports index'],
    ['an import is dynamic', 'check.ts', "await import('./exact.js');", 'check.ts imports exact'],
    ['a type is imported in place', 'check.ts', "type A = import('./exact.js').A;", 'check.ts imports exact'],
    [
      'the core imports an adapter',
      'index.ts',
      "export * from './node/index.js';",
      'index.ts imports node/index',
    ],
    [
      'the core imports a module of Node',
      'exact.ts',
      "import fs from 'node:fs';",
      'exact.ts imports node:fs',
    ],
    ['the core imports a package', 'exact.ts', "import 'fast-check';", 'exact.ts imports fast-check'],
    [
      'an adapter reaches past the door',
      'node/files.ts',
      "import '../memory.js';",
      'node/files.ts imports memory',
    ],
    [
      'an adapter reads the inside of another',
      'cli/run.ts',
      "import '../node/files.js';",
      'cli/run.ts imports node/files',
    ],
    ['a file is unknown', 'utils.ts', '', 'utils.ts is in no layer'],
    [
      'an ending is missing',
      'exact.ts',
      "import './check';",
      'exact.ts imports ./check, which does not end in .js',
    ],
    ['the core reads the process', 'exact.ts', 'const { env } = process;', 'exact.ts uses process'],
    [
      'the core reads it through the global object',
      'exact.ts',
      'globalThis.process.exit();',
      'exact.ts uses process',
    ],
    ['the core uses Buffer', 'exact.ts', 'Buffer.from([]);', 'exact.ts uses Buffer'],
    ['the core uses window', 'exact.ts', 'window.alert();', 'exact.ts uses window'],
    ['the core uses document', 'exact.ts', 'document.body;', 'exact.ts uses document'],
  ])('%s', (_, file, text, breach) => {
    expect(breaches(file, text)).toEqual([breach]);
  });

  it('and what is allowed is not', () => {
    expect(breaches('tuning.ts', "import './truth.js'; import './memory.js';")).toEqual([]);
    expect(breaches('vector-index.ts', "import './exact.js'; // process, Buffer: 'window'")).toEqual([]);
    expect(breaches('workers/pool.ts', "import '../parallel.js'; import '../index.js';")).toEqual([]);
    expect(breaches('node/files.ts', "import '../parallel.js';")).toEqual(['node/files.ts imports parallel']);
    expect(breaches('kernels.ts', "import '@assemblyscript/loader'; import './binary.js';")).toEqual([]);
    expect(
      breaches('cli/main.ts', "import '../index.js'; import '../node/index.js'; import './x.js'; process;"),
    ).toEqual([]);
  });
});
