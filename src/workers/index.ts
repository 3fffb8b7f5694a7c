/// <reference lib="esnext.disposable" preserve="true" />
export type { FileRows } from './file-rows.js';
export { inOrder } from './pages.js';
export { type PoolOptions, WorkerPool } from './pool.js';
