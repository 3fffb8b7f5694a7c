// Answers module.py: see _ask there for the bytes of a call and of an answer. Calls come one at a time.
import { readSync, writeSync } from 'node:fs';
import { VectorIndex } from 'orthant';

let index;

const calls = {
  fit(vectors, { dimensions, metric, storage }) {
    index = VectorIndex.from(vectors, { dimensions, metric, storage });
    return [];
  },
  prepare(_, { recall }) {
    index.tune({ recall, k: 10 });
    return [];
  },
  search(queries, { k, recall }) {
    const { ids } = index.searchBatch(queries, { k, recall });
    return new Int32Array(ids.buffer); // an unfilled place is -1
  },
  /** Also asked before there is an index, to be taken off what there is then. */
  memory() {
    return [index ? Math.round(index.memoryUsage().total / 1024) : 0];
  },
};

/** So many bytes of standard input, or null at its end. Waits in place: nothing else is to be done. */
function read(count) {
  const bytes = new Uint8Array(count);
  for (let at = 0; at < count; ) {
    let got;
    try {
      got = readSync(0, bytes, at, count - at, null);
    } catch (error) {
      if (error.code === 'EAGAIN') continue;
      if (error.code === 'EOF') return null;
      throw error;
    }
    if (got === 0) return null;
    at += got;
  }
  return bytes;
}

function write(bytes) {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(1, bytes, at);
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
    }
  }
}

for (let head = read(8); head !== null; head = read(8)) {
  const [textBytes, floatBytes] = new Uint32Array(head.buffer);
  const { call, ...options } = JSON.parse(new TextDecoder().decode(read(textBytes)));
  const vectors = new Float32Array(floatBytes === 0 ? new ArrayBuffer(0) : read(floatBytes).buffer);
  let answer;
  try {
    const ids = Int32Array.from(calls[call](vectors, options));
    answer = Buffer.concat([Buffer.from(Int32Array.of(ids.length).buffer), Buffer.from(ids.buffer)]);
  } catch (error) {
    const message = new TextEncoder().encode(error.message);
    answer = Buffer.concat([Buffer.from(Int32Array.of(-message.length).buffer), message]);
  }
  write(answer);
}
