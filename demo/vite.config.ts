import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';

const here = fileURLToPath(new URL('.', import.meta.url));
const source = (file: string): string => fileURLToPath(new URL(`../src/${file}`, import.meta.url));

export default defineConfig({
  root: here,
  base: './',
  // A page with this origin policy has the finer of the two clocks. Nothing on it needs more.
  server: {
    headers: { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' },
  },
  resolve: {
    alias: [
      { find: /^orthant\/storage$/, replacement: source('storage/index.ts') },
      { find: /^orthant$/, replacement: source('index.ts') },
    ],
  },
  worker: { format: 'es' },
  build: {
    outDir: fileURLToPath(new URL('../demo-dist', import.meta.url)),
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0,
  },
});
