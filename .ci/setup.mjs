// Makes a fresh clone ready, once: installs the locked packages and builds dist/. Needs nothing but Node and npm.
// Skips whatever is up to date, so that a repeated start neither installs nor builds.
// With --test also what only the tests need: Chromium, Redis, bundlers and other versions of Node (test/platforms).
import { execSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const cache = path.join(root, 'node_modules', '.cache', 'orthant');

/** Digest of the named files and folders: their paths and contents. */
function digest(names) {
  const hash = createHash('sha256');
  const visit = (name) => {
    const full = path.join(root, name);
    if (['src/binary.ts', 'src/js/translated.js', 'assembly/build'].includes(name)) return; // written by the build itself
    let entries = null;
    try {
      entries = readdirSync(full).sort();
    } catch {}
    if (entries) for (const entry of entries) visit(`${name}/${entry}`);
    else hash.update(name).update('\0').update(readFileSync(full)).update('\0');
  };
  names.forEach(visit);
  return hash.digest('hex');
}

function once(step, names, present, command) {
  const stamp = path.join(cache, step);
  const now = digest(names);
  if (
    present.every((file) => existsSync(path.join(root, file))) &&
    existsSync(stamp) &&
    readFileSync(stamp, 'utf8') === now
  )
    return;
  console.error(`orthant: ${command}`);
  execSync(command, { cwd: root, stdio: ['ignore', 2, 2] });
  mkdirSync(cache, { recursive: true });
  writeFileSync(stamp, now);
}

/** Whether a program of this name is on the path. */
function isOnPath(name) {
  return (process.env.PATH ?? '').split(path.delimiter).some((folder) => {
    try {
      accessSync(path.join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Programs that the tests run, by the Debian package that they come from; installs what is missing where that can be. */
function installPrograms() {
  const missing = [];
  if (!existsSync(process.env.CHROMIUM_PATH ?? '/usr/bin/chromium')) missing.push('chromium');
  if (!isOnPath('redis-server')) missing.push('redis-server');
  if (missing.length === 0) return;
  const command = `apt-get install --yes --no-install-recommends ${missing.join(' ')}`;
  if (process.getuid?.() !== 0 || !isOnPath('apt-get')) {
    throw new Error(
      `the tests need ${missing.join(' and ')}: install them (Debian: ${command}); CHROMIUM_PATH names another Chromium`,
    );
  }
  console.error(`orthant: ${command}`);
  const options = { stdio: ['ignore', 2, 2], env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } };
  execSync(`apt-get update && ${command}`, options);
}

try {
  if (process.argv.includes('--test')) installPrograms();
  once(
    'install',
    ['package-lock.json'],
    ['node_modules/assemblyscript', 'node_modules/typescript'],
    'npm ci --no-audit --no-fund',
  );
  once(
    'build',
    ['assembly', 'src', 'asconfig.json', 'tsconfig.json', 'package-lock.json'],
    ['dist/index.js', 'dist/orthant.wasm', 'dist/orthant.js', 'dist/js/index.js'],
    'npm run --silent build',
  );
  if (process.argv.includes('--test')) {
    once(
      'platforms',
      ['test/platforms/package-lock.json'],
      ['test/platforms/node_modules/webpack', 'test/platforms/node_modules/node-24'],
      'npm ci --prefix test/platforms --ignore-scripts --no-audit --no-fund',
    );
  }
} catch (error) {
  console.error(`orthant: set-up stopped: ${error.message}`);
  process.exit(1);
}
