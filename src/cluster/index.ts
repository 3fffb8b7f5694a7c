export type {
  ClusterBatch,
  ClusterCallOptions,
  ClusterNeighbors,
  ClusterPage,
  ClusterProgress,
  ClusterSearchOptions,
} from './calls.js';
export { Cluster, type ClusterOptions } from './cluster.js';
export { ClusterError, type ClusterErrorCode } from './error.js';
export type { WorkerStatus } from './placement.js';
export type { PublishOptions, PublishRows } from './publish.js';
export type { RedisAddress } from './redis.js';
export type { ClusterStatus } from './status.js';
export { DirectoryStore, type SegmentStore } from './store.js';
export { ClusterWorker, type ClusterWorkerOptions } from './worker.js';
