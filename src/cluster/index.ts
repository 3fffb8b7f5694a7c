export {
  Cluster,
  type ClusterBatch,
  type ClusterCallOptions,
  type ClusterNeighbors,
  type ClusterOptions,
  type ClusterPage,
  type ClusterProgress,
  type ClusterSearchOptions,
  type ClusterStatus,
  type PublishOptions,
} from './cluster.js';
export { ClusterError, type ClusterErrorCode } from './error.js';
export type { RedisAddress } from './redis.js';
export { DirectoryStore, type SegmentStore } from './store.js';
export { ClusterWorker, type ClusterWorkerOptions, type WorkerStatus } from './worker.js';
