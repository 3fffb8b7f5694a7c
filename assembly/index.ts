// Every kernel, by name: orthant.wasm. tables.ts and engine.ts list what the two inlined binaries have of them.

export { accumulate, assign, assignExactly, moveCentres } from './assign';
export { chainKeys, gatherChained, gatherSorted, sortKeys } from './buckets';
export { firstUnfit } from './check';
export { checksum, fillChecksumTable } from './checksum';
export { dot, dotGathered, inverseLengths, padRows, squaredL2, squaredL2Gathered, squaredNorms } from './distance';
export { clearBlock, clearSlot, encode } from './encode';
export { encodeRows, extendRows, fillEncoded, fillRecords, fillSlots, permuteRows, scaleRows } from './fill';
export { hamming, hammingGathered } from './hamming';
export { jaccardGathered } from './jaccard';
export { bandKeys, minHash } from './minhash';
export { collectPassing, countPassing, rankPassing, scanWithin, searchPassing, sortFound, startWithin } from './passing';
export { Plan } from './plan';
export { probeKeys } from './probe';
export { keys, margins, packPlanes, signBits } from './project';
export { quantizeRows, restoreRows } from './quantize';
export { drain, fillHeap, offer, rank, rankBlock, rankGathered, rankRows } from './rank';
export { noteSlots, packRun } from './remove';
export { hadamard, rotate } from './rotate';
export { padCodes, sampleKeys } from './sample';
export { chooseCells, prepare, rankFound, scanCells, search, searchExact, searchMany } from './search';
export { transform } from './transform';
