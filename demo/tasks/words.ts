import { VectorIndex } from 'orthant';
import { loadWords, WORD_DIMENSIONS } from './data.js';
import { timed } from './timing.js';

export interface WordsAnswer {
  /** Nearest first. */
  words: string[];
  /** 1 minus the cosine of the angle. */
  distances: Float32Array;
  micros: number;
  exactMicros: number;
  /** Share of the exact neighbors among them. */
  recall: number;
  /** Words whose distance was computed. */
  ranked: number;
}

/** Semantic neighbors among common words. */
export class WordsWork {
  #index!: VectorIndex;
  #list: string[] = [];
  #places = new Map<string, number>();
  #vectors!: Float32Array;

  async open(): Promise<{ words: string[]; buildMs: number }> {
    const { list, vectors } = await loadWords();
    const start = performance.now();
    this.#index = VectorIndex.from(vectors, {
      dimensions: WORD_DIMENSIONS,
      metric: 'cosine',
      storage: 'int8',
    });
    const buildMs = performance.now() - start;
    this.#list = list;
    this.#vectors = vectors;
    list.forEach((word, place) => {
      this.#places.set(word, place);
    });
    return { words: list, buildMs };
  }

  /**
   * @param text a word, or words with + and - between: `king - man + woman`.
   * @throws Error that names the first word that is not known.
   */
  search(text: string, options: { k: number; recall: number }): WordsAnswer {
    const terms = parse(text);
    if (terms.length === 0) throw new Error('Type a word.');
    const query = new Float32Array(WORD_DIMENSIONS);
    const own = new Set<number>();
    for (const { word, sign } of terms) {
      const place = this.#places.get(word);
      if (place === undefined) throw new Error(`“${word}” is not among the 10,000 words.`);
      own.add(place);
      const vector = this.#vectors.subarray(place * WORD_DIMENSIONS, (place + 1) * WORD_DIMENSIONS);
      const scale = sign / Math.hypot(...vector);
      vector.forEach((value, i) => {
        query[i] += value * scale;
      });
    }
    if (query.every((value) => value === 0)) throw new Error('These words cancel out.');
    const k = options.k + own.size;
    const found = timed(() => this.#index.search(query, { k, recall: options.recall }));
    const exact = timed(() => this.#index.search(query, { k, exact: true }));
    const truth = new Set(exact.value.ids);
    const hits = [...found.value.ids].filter((id) => truth.has(id)).length;
    const places = [...found.value.ids.keys()]
      .filter((i) => !own.has(found.value.ids[i]))
      .slice(0, options.k);
    return {
      words: places.map((i) => this.#list[found.value.ids[i]]),
      distances: Float32Array.from(places, (i) => found.value.distances[i]),
      micros: found.micros,
      exactMicros: exact.micros,
      recall: hits / truth.size,
      ranked: this.#index.explain(query, { k, recall: options.recall }).rowsRanked,
    };
  }
}

function parse(text: string): { word: string; sign: number }[] {
  const terms: { word: string; sign: number }[] = [];
  let sign = 1;
  for (const [token] of text.toLowerCase().matchAll(/[+\-−–]|[^\s+\-−–]+/g)) {
    if (token === '+') sign = 1;
    else if (/^[-−–]$/.test(token)) sign = -1;
    else {
      terms.push({ word: token, sign });
      sign = 1;
    }
  }
  return terms;
}
