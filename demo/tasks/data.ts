import digitsUrl from '../../examples/data/digits.npy?url';
import labelsUrl from '../../examples/data/digits-labels.npy?url';
import wordsUrl from '../data/words.i8?url';
import listUrl from '../data/words.txt?url';
import { readNpy } from './read.js';

export const PIXELS = 64;
/** Darkest value of a pixel. */
export const INK = 16;
/** Digits that are indexed; the later ones are to search with. */
export const INDEXED = 1500;
export const WORD_DIMENSIONS = 100;

export interface Digits {
  /** 1,797 × 64 pixels of ink 0 to 16. */
  images: Uint8Array;
  labels: Uint8Array;
}

export interface Words {
  list: string[];
  /** words × 100 */
  vectors: Float32Array;
}

let digits: Promise<Digits> | undefined;
let words: Promise<Words> | undefined;

/** The bundled digits, fetched once. */
export function loadDigits(): Promise<Digits> {
  digits ??= Promise.all([bytesOf(digitsUrl), bytesOf(labelsUrl)]).then(([images, labels]) => ({
    images: Uint8Array.from(readNpy(images).vectors),
    labels: Uint8Array.from(readNpy(labels).vectors),
  }));
  return digits;
}

/** The bundled words, fetched once. */
export function loadWords(): Promise<Words> {
  words ??= Promise.all([bytesOf(wordsUrl), bytesOf(listUrl)]).then(([vectors, list]) => ({
    list: new TextDecoder().decode(list).trim().split('\n'),
    vectors: Float32Array.from(new Int8Array(vectors.buffer)),
  }));
  return words;
}

async function bytesOf(url: string): Promise<Uint8Array<ArrayBuffer>> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: expected the page's own data, got HTTP ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}
