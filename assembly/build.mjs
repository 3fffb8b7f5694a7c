// Compiles the kernels, inlines them, and translates them to JavaScript: assembly/ → dist/orthant.wasm,
// src/binary.ts and src/js/translated.js (none is in git).
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { OPTIONS, translate } from './javascript.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const asc = path.join(
  path.dirname(createRequire(import.meta.url).resolve('assemblyscript/package.json')),
  'bin',
  'asc.js',
);
mkdirSync(path.join(root, 'assembly/build'), { recursive: true });
/** Compiles one export list; gives the path of what comes out, without its ending. */
async function compile(list, name = list, more = []) {
  const file = path.join(root, 'assembly/build', name);
  const outputs = ['--outFile', `${file}.wasm`, '--textFile', `${file}.wat`];
  const options = ['--config', 'asconfig.json', ...outputs, ...more];
  const run = spawn(process.execPath, [asc, `assembly/${list}.ts`, ...options], {
    cwd: root,
    stdio: 'inherit',
  });
  const [code] = await once(run, 'exit');
  if (code !== 0) throw new Error(`assembly/${list}.ts: expected asc to end with 0, got ${code}`);
  return file;
}

// orthant.wasm has every kernel, for init(). Inlined is what one kind of index needs, so that a bundle has no more.
const lists = ['index', 'tables', 'engine'].map((list) => compile(list));
const [translatable, ...files] = await Promise.all([compile('index', 'javascript', OPTIONS), ...lists]);
const [all, tables, engine] = files.map((file) =>
  plain(readFileSync(`${file}.wasm`), readFileSync(`${file}.wat`, 'utf8')),
);
// Anew: the files of a module that is gone would be packed.
rmSync(path.join(root, 'dist'), { recursive: true, force: true });
mkdirSync(path.join(root, 'dist'), { recursive: true });
writeFileSync(path.join(root, 'dist/orthant.wasm'), all.bytes);
writeFileSync(
  path.join(root, 'src/js/translated.js'),
  translate(readFileSync(`${translatable}.wat`, 'utf8'), {
    tables: readFileSync(`${files[1]}.wat`, 'utf8'),
    engine: readFileSync(`${files[2]}.wat`, 'utf8'),
  }),
);
const inlined = Object.entries({ tableBinary: tables, engineBinary: engine }).map(
  ([name, { bytes, relaxed }]) => {
    const { order, text } = encode(bytes);
    return `export const ${name}: Binary = {\n  order: '${order}',\n  text: '${text}',\n  relaxed: [${relaxed}],\n};\n`;
  },
);
writeFileSync(
  path.join(root, 'src/binary.ts'),
  `/** Compiled kernels (assembly/) as text; kernels.ts reads it. Written by assembly/build.mjs. */\n` +
    `export interface Binary {\n  order: string;\n  text: string;\n  relaxed: number[];\n}\n\n${inlined.join('\n')}`,
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
