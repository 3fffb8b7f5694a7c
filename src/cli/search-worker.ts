/** A thread that searches its own copy of an index. */
import { parentPort, workerData } from 'node:worker_threads';
import { VectorIndex } from '../index.js';
import type { WorkerAnswer, WorkerStart } from './searchers.js';

const { snapshot, options } = workerData as WorkerStart;
const index = VectorIndex.load(new Uint8Array(snapshot).slice());

parentPort?.on('message', (queries: Float32Array) => {
  let answer: WorkerAnswer;
  try {
    answer = index.searchBatch(queries, options);
  } catch (error) {
    const none = { ids: new Uint32Array(), distances: new Float32Array(), counts: new Uint32Array() };
    answer = { ...none, error: { message: (error as Error).message } };
  }
  const { ids, distances, counts } = answer;
  parentPort?.postMessage(answer, [ids.buffer, distances.buffer, counts.buffer] as ArrayBuffer[]);
});
