// The kernels of the engine, by name: the binary of VectorIndex.

export { accumulate, assign, assignExactly, moveCentres } from './assign';
export { firstUnfit } from './check';
export { checksum, fillChecksumTable } from './checksum';
export { dot, inverseLengths, padRows, squaredL2, squaredNorms } from './distance';
export { clearBlock, clearSlot, encode } from './encode';
export { encodeRows, extendRows, fillEncoded, fillRecords, fillSlots, permuteRows, scaleRows } from './fill';
export { collectPassing, countPassing, rankPassing, scanWithin, searchPassing, sortFound, startWithin } from './passing';
export { Plan } from './plan';
export { margins, packPlanes } from './project';
export { quantizeRows, restoreRows } from './quantize';
export { drain } from './rank';
export { noteSlots, packRun } from './remove';
export { rotate } from './rotate';
export { chooseCells, prepare, rankFound, scanCells, search, searchExact, searchMany } from './search';
export { transform } from './transform';
