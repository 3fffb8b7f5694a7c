/// <reference lib="esnext.disposable" preserve="true" />
export { inOrder } from './pages.js';
export { type PoolOptions, WorkerPool } from './pool.js';
