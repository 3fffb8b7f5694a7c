/// <reference lib="esnext.disposable" preserve="true" />
export { inOrder } from './joins.js';
export { type PoolOptions, WorkerPool } from './pool.js';
