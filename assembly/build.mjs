// Compiles the kernels, inlines the binary, and translates it to JavaScript: assembly/ → dist/orthant.wasm,
// src/binary.ts and src/js/translated.js (none is in git).
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { translate } from './javascript.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const asc = path.join(
  path.dirname(createRequire(import.meta.url).resolve('assemblyscript/package.json')),
  'bin',
  'asc.js',
);
mkdirSync(path.join(root, 'assembly/build'), { recursive: true });
mkdirSync(path.join(root, 'dist'), { recursive: true });
execFileSync(process.execPath, [asc, '--config', 'asconfig.json', '--target', 'release'], {
  cwd: root,
  stdio: 'inherit',
});

const wat = readFileSync(path.join(root, 'assembly/build/orthant.wat'), 'utf8');
const { bytes, relaxed } = plain(readFileSync(path.join(root, 'assembly/build/orthant.wasm')), wat);
writeFileSync(path.join(root, 'src/js/translated.js'), translate(wat));
writeFileSync(path.join(root, 'dist/orthant.wasm'), bytes);
const { order, text } = encode(bytes);
writeFileSync(
  path.join(root, 'src/binary.ts'),
  `/** The compiled kernels (assembly/) as text; kernels.ts reads it. Written by assembly/build.mjs. */\n` +
    `export const binary: { order: string; text: string; relaxed: number[] } = {\n` +
    `  order: '${order}',\n  text: '${text}',\n  relaxed: [${relaxed}],\n};\n`,
);

/**
 * The plain form of a binary with relaxed swizzles, and where they are: the opcodes differ in two bytes only when the
 * plain one is padded (fd 0e, as the LEB128 number fd 8e 00; relaxed: fd 80 02). One binary so serves both kinds of
 * engine, and a hundred bytes tell the way from one to the other.
 */
function plain(bytes, wat) {
  const opcode = Buffer.from([0xfd, 0x80, 0x02]);
  const relaxed = [];
  for (let at = bytes.indexOf(opcode); at >= 0; at = bytes.indexOf(opcode, at + 3)) relaxed.push(at);
  const expected = wat.split('i8x16.relaxed_swizzle').length - 1;
  if (relaxed.length !== expected)
    throw new Error(`expected ${expected} relaxed swizzles, got ${relaxed.length}`);
  for (const at of relaxed) bytes.set([0x8e, 0x00], at + 1);
  if (!WebAssembly.validate(bytes)) throw new Error('expected a valid plain binary, got an invalid one');
  return { bytes, relaxed };
}

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
