// Answers of every class as one text, the same on every platform: numbers from a fixed seed, distances and snapshots by
// their bits. In plain JavaScript, so that a page, a bundler, or any runtime loads it as it is.

/** FNV-1a of bytes, in hexadecimal. */
function hash(bytes) {
  let state = 0x811c9dc5;
  for (const byte of bytes) state = Math.imul(state ^ byte, 0x01000193);
  return (state >>> 0).toString(16).padStart(8, '0');
}

const bytesOf = (array) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

/** One line a class: what it answers, from the names of `orthant` or `orthant/js`. */
export function digest({ BitSamplingLsh, exactSearch, HyperplaneLsh, MinHashLsh, signCode, VectorIndex }) {
  let state = 1;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  };
  const dimensions = 24;
  const vectors = Float32Array.from({ length: 1500 * dimensions }, next);
  const queries = Array.from({ length: 5 }, () => Float32Array.from({ length: dimensions }, next));
  const lines = [];
  const note = (name, results, rest = []) => {
    const parts = results.flatMap(({ ids, distances }) => [bytesOf(ids), bytesOf(distances)]).concat(rest);
    const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      all.set(part, at);
      at += part.length;
    }
    lines.push(`${name} ${all.length} ${hash(all)}`);
  };

  note(
    'exactSearch',
    queries.map((query) => exactSearch(vectors, query, { k: 10 })),
  );
  for (const metric of ['euclidean', 'cosine', 'inner-product']) {
    const index = VectorIndex.from(vectors, { dimensions, metric });
    const found = queries.map((query) => index.search(query, { k: 10, recall: 0.9 }));
    note(`VectorIndex ${metric}`, found, [index.save()]);
  }
  const lsh = new HyperplaneLsh({ dimensions, tables: 6, bits: 7, seed: 3 });
  lsh.add(vectors);
  const near = queries.map((query) => lsh.search(query, { k: 10, probes: 4 }));
  note('HyperplaneLsh', near, [lsh.save()]);
  const codes = signCode(vectors, { dimensions });
  const bits = new BitSamplingLsh({ bits: dimensions, sampledBits: 6, tables: 4, seed: 3 });
  bits.add(codes);
  note('BitSamplingLsh', [bits.search(codes.subarray(0, 3), { k: 10 })]);
  const sets = new MinHashLsh({ bands: 10, rows: 2, seed: 3 });
  sets.add(Array.from({ length: 50 }, (_, i) => Uint32Array.from({ length: 9 }, (_, j) => i + 3 * j)));
  note('MinHashLsh', [
    sets.search(
      Uint32Array.from({ length: 9 }, (_, j) => 7 + 3 * j),
      { k: 10 },
    ),
  ]);
  return lines.join('\n');
}
