/** Groups of rows: group i has the ids offsets[i] … offsets[i + 1] - 1, ascending. */
export interface GroupPage {
  offsets: Uint32Array;
  ids: Uint32Array;
}

/** Ids that are looked at in a step where that takes nanoseconds each. */
const STRETCH = 2 ** 18;

type Words = (id: number) => Uint32Array;

/** Sets of ids that are united pair by pair: R. Tarjan, Efficiency of a Good But Not Linear Set Union Algorithm (1975). */
export class Groups {
  /** The next id on the way to the least of the group, which has itself. */
  readonly #parents: Uint32Array;

  constructor(count: number) {
    this.#parents = new Uint32Array(count).map((_, id) => id);
  }

  unite(a: number, b: number): void {
    const [first, second] = [this.#leastOf(a), this.#leastOf(b)];
    // The least id leads, so that the order of the pairs leaves no trace. Halved ways keep it nearly as short.
    if (first < second) this.#parents[second] = first;
    else this.#parents[first] = second;
  }

  areOne(a: number, b: number): boolean {
    return this.#leastOf(a) === this.#leastOf(b);
  }

  /** Groups of two ids and more by their least id; `ids` ascend. Nothing instead of a page lets others run in between. */
  *pages(ids: Uint32Array, pageIds: number): Generator<GroupPage | undefined> {
    const sizes = new Uint32Array(this.#parents.length);
    for (let i = 0; i < ids.length; i++) {
      sizes[this.#leastOf(ids[i])]++;
      if (i % STRETCH === 0) yield;
    }
    // Where the next id of each group goes, groups in the order of their least ids.
    const next = new Uint32Array(sizes.length);
    let places = 0;
    for (const id of ids) {
      if (sizes[id] < 2) continue;
      next[id] = places;
      places += sizes[id];
    }
    const sorted = new Uint32Array(places);
    for (let i = 0; i < ids.length; i++) {
      const least = this.#leastOf(ids[i]);
      if (sizes[least] > 1) sorted[next[least]++] = ids[i];
      if (i % STRETCH === 0) yield;
    }
    for (let start = 0; start < places; ) {
      const offsets: number[] = [];
      let end = start;
      for (; end < places && end - start < pageIds; end += sizes[sorted[end]]) offsets.push(end - start);
      offsets.push(end - start);
      yield { offsets: Uint32Array.from(offsets), ids: sorted.slice(start, end) };
      start = end;
    }
  }

  #leastOf(id: number): number {
    const parents = this.#parents;
    while (parents[id] !== id) {
      parents[id] = parents[parents[id]];
      id = parents[id];
    }
    return id;
  }
}

/** Finds equal rows: a hash table of the first row of each kind, with linear probing. */
export class Distinct {
  readonly #words: Words;
  /** 1 + the id of a first row, or 0; at most half of them are taken. */
  readonly #slots: Uint32Array;
  readonly #shift: number;
  /** By id. */
  readonly #hashes: Uint32Array;
  readonly #repeated: Uint8Array;

  /** For so many rows with ids below `idCount`; `words` gives what is kept of a row. */
  constructor(rows: number, idCount: number, words: Words) {
    this.#words = words;
    const bits = Math.max(1, 33 - Math.clz32(rows));
    this.#slots = new Uint32Array(2 ** bits);
    this.#shift = 32 - bits;
    this.#hashes = new Uint32Array(idCount);
    this.#repeated = new Uint8Array(idCount);
  }

  /** The first row so far that equals a row; itself where there was none. */
  firstEqual(id: number): number {
    const words = this.#words(id);
    let hash = 0;
    for (let i = 0; i < words.length; i++) {
      hash = Math.imul(hash ^ words[i], 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    hash >>>= 0;
    this.#hashes[id] = hash;
    const slots = this.#slots;
    let at = Math.imul(hash, 0x85ebca6b) >>> this.#shift;
    for (; slots[at] !== 0; at = (at + 1) % slots.length) {
      const first = slots[at] - 1;
      if (this.#hashes[first] !== hash) continue;
      const others = this.#words(first);
      if (!words.every((word, i) => word === others[i])) continue;
      this.#repeated[id] = 1;
      return first;
    }
    slots[at] = id + 1;
    return id;
  }

  /** Whether a row equals one before it. */
  isRepeated(id: number): boolean {
    return this.#repeated[id] === 1;
  }
}
