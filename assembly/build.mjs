// Compiles the kernels and inlines the binary: assembly/ → dist/orthant.wasm and src/binary.ts (neither is in git).
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const asc = path.join(
  path.dirname(createRequire(import.meta.url).resolve('assemblyscript/package.json')),
  'bin',
  'asc.js',
);
mkdirSync(path.join(root, 'assembly/build'), { recursive: true });
mkdirSync(path.join(root, 'dist'), { recursive: true });
execFileSync(process.execPath, [asc, '--config', 'asconfig.json', '--target', 'plain'], {
  cwd: root,
  stdio: 'inherit',
});

const wasm = path.join(root, 'assembly/build/orthant.wasm');
copyFileSync(wasm, path.join(root, 'dist/orthant.wasm'));
const base64 = readFileSync(wasm).toString('base64');
writeFileSync(
  path.join(root, 'src/binary.ts'),
  `/** The compiled kernels (assembly/), base64. Written by assembly/build.mjs. */\nexport const binary: string =\n  '${base64}';\n`,
);
