/// <reference lib="esnext.disposable" preserve="true" />
// The line above keeps the declarations valid in projects whose own libraries do not know Symbol.dispose.
export { BitSamplingLsh, type BitSamplingLshOptions } from './bit-sampling-lsh.js';
export type { BucketStats } from './buckets.js';
export type { ErrorCode } from './check.js';
export { exactHamming, exactHammingBatch, signCode, unaryCode } from './codes.js';
export type { IndexStats } from './engine-explain.js';
export { distanceMatrix, exactSearch, exactSearchBatch } from './exact.js';
export type { GroupPage } from './groups.js';
export { HyperplaneLsh, type HyperplaneLshOptions, type SearchOptions } from './hyperplane-lsh.js';
export { type Filter, IdSet } from './id-set.js';
export type { VectorPages } from './join-queries.js';
export type {
  JoinStream,
  NeighborPage,
  PairPage,
  RangePage,
  StreamOptions,
} from './joins.js';
export { type InitOptions, init } from './kernels.js';
export { classify, countVotes, regress, type VoteOptions } from './labels.js';
export { MinHashLsh, type MinHashLshOptions } from './min-hash-lsh.js';
export type {
  CappedBatch,
  CappedNeighbors,
  Metric,
  Neighbors,
  NeighborsBatch,
  RadiusBatch,
} from './neighbors.js';
export { candidateProbability, collisionProbability } from './probability.js';
export type { AsyncOptions, Progress } from './progress.js';
export { RandomGenerator } from './random.js';
export type { Storage } from './rows.js';
export { shingles } from './sets.js';
export type { Settings } from './settings.js';
export { SnapshotError, type SnapshotLimits, type SnapshotReason } from './snapshot.js';
export type { TableJoinOptions } from './table-joins.js';
export type { Explanation, LshStats, QueryCaps, TableExplanation } from './tables.js';
export type { Evaluation, TunedSetting, TuneOptions, TuningReport } from './tuning.js';
export type {
  IdKind,
  IdOf,
  IdsOf,
  IdsOption,
  IdTypes,
  KindOf,
  Named,
  NamedPairs,
  NamedRows,
  UserId,
} from './user-ids.js';
export {
  type BuildOptions,
  type FromOptions,
  type RadiusOptions,
  type RowExplanation,
  type VectorExplanation,
  VectorIndex,
  type VectorIndexOptions,
  type VectorJoinOptions,
  type VectorSearchOptions,
} from './vector-index.js';
