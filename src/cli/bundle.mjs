// The last step of the build: puts the packages of src/cli/packages.ts, with their licences, into dist/cli/packages.js, and
// removes declarations that nobody can import.
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = path.join(root, 'dist/cli');
const file = path.join(folder, 'packages.js');
const options = {
  entryPoints: [file],
  outfile: file,
  allowOverwrite: true,
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  absWorkingDir: root,
};
const { metafile } = await build({ ...options, write: false, metafile: true });
const packages = new Set(
  Object.keys(metafile.inputs).flatMap((input) => /^node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input)?.[0] ?? []),
);
const notices = [...packages].sort().map((place) => {
  const { name, version, license } = JSON.parse(readFileSync(path.join(root, place, 'package.json'), 'utf8'));
  const text = readdirSync(path.join(root, place)).find((entry) => /^licen[cs]e/i.test(entry));
  if (text === undefined || license !== 'MIT')
    throw new Error(`${name}: expected an MIT licence and its text`);
  return `${name} ${version}\n\n${readFileSync(path.join(root, place, text), 'utf8').trim()}\n`;
});
const banner = `/*!\nThis file holds the following packages.\n\n${notices.join('\n').replaceAll('*/', '* /')}*/
import { createRequire } from 'node:module';
const require = createRequire(import.meta.url);`;
await build({ ...options, banner: { js: banner } });

for (const name of readdirSync(folder)) if (name.endsWith('.d.ts')) rmSync(path.join(folder, name));
const main = path.join(folder, 'main.js');
if (existsSync(main)) chmodSync(main, 0o755);
