/// <reference lib="esnext.disposable" preserve="true" />
export { type PoolOptions, WorkerPool } from './pool.js';
