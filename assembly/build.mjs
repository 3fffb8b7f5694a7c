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
const { order, text } = encode(readFileSync(wasm));
writeFileSync(
  path.join(root, 'src/binary.ts'),
  `/** The compiled kernels (assembly/) as text; kernels.ts reads it. Written by assembly/build.mjs. */\n` +
    `export const binary: { order: string; text: string } = {\n  order: '${order}',\n  text: '${text}',\n};\n`,
);

/**
 * Bytes as printable ASCII, short after gzip: the 89 most frequent bytes are one character each, the others two. Base64
 * hides repetitions from gzip, because the same bytes look different at each of three offsets: a quarter more.
 *
 * order  the bytes by falling frequency, in hexadecimal
 */
function encode(bytes) {
  const counts = new Array(256).fill(0);
  for (const byte of bytes) counts[byte]++;
  const order = counts.map((_, byte) => byte).sort((a, b) => counts[b] - counts[a] || a - b);
  const letters = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).filter(
    (c) => !"'\\`$".includes(c),
  );
  const shifts = ['', ...letters.splice(-2)];
  const words = [];
  order.forEach((byte, i) => {
    words[byte] = shifts[Math.floor(i / letters.length)] + letters[i % letters.length];
  });
  const hex = order.map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return { order: hex, text: Array.from(bytes, (byte) => words[byte]).join('') };
}
