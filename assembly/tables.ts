// The kernels of exact search and of the hash tables, by name: the binary of all but VectorIndex.

export { chainKeys, gatherChained, gatherSorted, sortKeys } from './buckets';
export { firstUnfit } from './check';
export { checksum, fillChecksumTable } from './checksum';
export { dot, inverseLengths, padRows, squaredL2, squaredNorms } from './distance';
export { hamming, hammingGathered } from './hamming';
export { jaccardGathered } from './jaccard';
export { bandKeys, minHash } from './minhash';
export { probeKeys } from './probe';
export { keys, margins, packPlanes, signBits } from './project';
export { drain, rank, rankBlock, rankGathered, rankRows } from './rank';
export { padCodes, sampleKeys } from './sample';
