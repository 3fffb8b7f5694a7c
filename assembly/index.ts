// The export list, by name.

export { chainKeys, gatherChained, gatherSorted, sortKeys } from './buckets';
export { firstUnfit } from './check';
export { dot, dotGathered, inverseLengths, padRows, squaredL2, squaredL2Gathered, squaredNorms } from './distance';
export { hamming, hammingGathered } from './hamming';
export { probeKeys } from './probe';
export { keys, margins, packPlanes, signBits } from './project';
export { drain, fillHeap, offer, rank, rankBlock, rankGathered, rankRows } from './rank';
export { hadamard, rotate } from './rotate';
