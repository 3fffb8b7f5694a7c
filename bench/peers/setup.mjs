/**
 * Installs the peers: npm run setup. What cannot be compiled here is left out, and its row of the table says so.
 *
 * faiss-node brings no source of Faiss and fetches it when it is installed. Where the machine has Faiss (on Debian the
 * packages libfaiss-dev and libopenblas-dev), the binding is compiled against that instead.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const cwd = fileURLToPath(new URL('.', import.meta.url));
const npm = (...args) =>
  execFileSync('npm', args, { cwd, stdio: 'inherit', shell: process.platform === 'win32' });

function attempt(peer, work) {
  try {
    work();
  } catch (error) {
    console.error(`${peer}: not compiled (${error.message.split('\n')[0]})`);
  }
}

/** Faiss 1.7.3 names the type of an id otherwise than 1.7.4, which the binding is written for. */
function compileFaiss() {
  const folder = path.join(cwd, 'node_modules/faiss-node');
  const release = path.join(folder, 'build/Release');
  mkdirSync(release, { recursive: true });
  const source = readFileSync(path.join(folder, 'src/faiss.cc'), 'utf8');
  const isOld = /using idx_t = /.test(readFileSync('/usr/include/faiss/Index.h', 'utf8'));
  const patched = path.join(release, 'faiss.cc');
  writeFileSync(patched, isOld ? source.replace('= faiss::idx_t', '= faiss::Index::idx_t') : source);
  const headers = [
    path.join(path.dirname(process.execPath), '../include/node'),
    path.join(cwd, 'node_modules/node-addon-api'),
  ];
  const flags = [
    '-O2',
    '-std=c++17',
    '-fPIC',
    '-shared',
    '-fopenmp',
    '-DNAPI_VERSION=6',
    '-DNAPI_CPP_EXCEPTIONS',
  ];
  const output = ['-lfaiss', '-lopenblas', '-o', path.join(release, 'faiss-node.node')];
  execFileSync('g++', [...flags, ...headers.map((header) => `-I${header}`), patched, ...output], {
    stdio: ['ignore', 'inherit', 'pipe'],
  });
}

npm('ci', '--ignore-scripts', '--no-audit', '--no-fund');
attempt('hnswlib-node', () => npm('rebuild', 'hnswlib-node'));
attempt(
  'faiss-node',
  existsSync('/usr/include/faiss/Index.h') ? compileFaiss : () => npm('rebuild', 'faiss-node'),
);
