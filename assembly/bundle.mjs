// Makes the two files of dist/ that a page loads without a bundler, from what tsc has written there:
//   dist/orthant.js   all of `orthant` with what it imports, in one file
//   dist/js/index.js  all of it over the kernels in JavaScript, without the binary
import { rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const inRoot = (name) => path.join(root, name);
const options = {
  entryPoints: [inRoot('dist/index.js')],
  absWorkingDir: root,
  bundle: true,
  format: 'esm',
  platform: 'neutral',
  mainFields: ['module', 'main'],
  target: 'es2022',
  minify: true,
  legalComments: 'none',
};

await build({ ...options, outfile: inRoot('dist/orthant.js') });
writeFileSync(inRoot('dist/orthant.d.ts'), "export * from './index.js';\n");

/** Every import of kernels.js gets the kernels in JavaScript. */
const kernelsInJavaScript = {
  name: 'kernels-in-javascript',
  setup(bundler) {
    bundler.onResolve({ filter: /\/kernels\.js$/ }, () => ({ path: inRoot('dist/js/kernels.js') }));
    bundler.onResolve({ filter: /\/translated\.js$/ }, () => ({ path: inRoot('src/js/translated.js') }));
  },
};
await build({
  ...options,
  outfile: inRoot('dist/js/index.js'),
  allowOverwrite: true,
  plugins: [kernelsInJavaScript],
});
for (const name of ['kernels.js', 'kernels.d.ts']) rmSync(inRoot(`dist/js/${name}`));
