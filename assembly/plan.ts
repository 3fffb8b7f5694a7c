// The plan: everything that one engine query needs to know, as 4-byte fields in linear memory. The index fills it once
// and changes a few fields a query; kernels read it and keep nothing. Addresses are byte addresses, f32 where said.
//
// Exported as an enum, so that TypeScript reads the offsets from the binary: this list is their one owner.

export enum Plan {
  // rows
  Stride, //        floats from row to row; also the floats of a query
  Rows, //          f32 × rows × Stride, or the int8 records of quantize.ts
  RowBytes, //      bytes from row to row
  Int8, //          1 when rows are int8 records
  Labels, //        u32 × rows: id of the row at this position, 2^32 - 1 when it was removed
  RowCount, //      positions: live rows and removed ones
  DeadCount, //     removed ones among them
  Dot, //           1: ranked by minus the inner product, else by squared Euclidean distance
  NormBound, //     f32, of Dot: the squared norm that rows were extended to
  // transform into the coded space
  Dims, //          coded dimensions, a multiple of 4, at least 16
  Mean, //          f32 × Stride, or with a matrix f32 × Dims: matrix · mean
  RawMean, //       f32 × Stride, with a matrix only: the mean itself
  Signs, //         f32 × Rounds × Dims
  Rounds, //        0: Matrix is used instead
  Matrix, //        i16 × Dims × Stride rounded up to 8: planes of length 2^13
  WideRow, //       i16 × 2 × Stride rounded up to 8, two rows as integers
  // cells
  Cells,
  Centres, //       f32 × Cells × Dims
  CentreBlocks, //  blocks with one nibble a byte (scan.ts); `row` is the cell
  Groups, //        0: the centres are one run; else they are grouped
  GroupCentres, //  f32 × Groups × Dims
  GroupStarts, //   u32 × (Groups + 1), in blocks
  Directory, //     16 bytes × Cells: u32 first block · u32 slots used · u32 blocks held · u32 live rows
  Blocks, //        blocks with two nibbles a byte; `row` is the row's position
  // second stage
  Refine, //        4-bit records, one a position (refine.ts); 0: none
  RefineNorms, //   f32, one a position
  RefineStep, //    f32
  // scratch
  Query, //         f32 × Stride
  Rotated, //       f32 × Dims
  Lut, //           16 bytes × Dims / 4
  Constants, //     u8 × 16 of 15, then u16 × 8 of 15
  Waiting, //       144 bytes × 16, then f32 × 516 (scan.ts)
  Bins, //          u32 × 256 · u8, f32, u32 × the longest list that is arranged (select.ts)
  Wide, //          i16 × Dims rounded up to 128, the rotated query as integers
  WideQuery, //     i16 × Stride rounded up to 16, the query as integers (int8 rows only)
  CandidateKeys, // f32 × (3 × Cells + 640, of few cells 64): squared distance to the centre
  Candidates, //    u32 × as many: the cell
  GroupOrder, //    f32, u32 × Groups
  SurvivorKeys, //  f32 × (SurvivorCapacity + 8): lower bound, or score of the second stage
  SurvivorRows, //  u32 × (SurvivorCapacity + 8): position
  SurvivorCapacity, //  at least Keep + 64
  Estimates, //     f32 × EstimateCount: the smallest estimates, the largest on top
  Heap, //          8 bytes × K: f32 exact score · u32 id
  Scores, //        f32 × 260, over Waiting: rows are scored when no block waits
  // a query's settings
  K,
  EstimateCount, // K or more: what a lower bound must be under is this smallest estimate
  Probes,
  Epsilon, //       f32: half-width of the error bound, in units of its standard deviation; infinity: no filter
  Patience, //      cells without a change among the smallest estimates before the scan stops; 0: never stops early
  Keep, //          survivors of the second stage that are ranked exactly
  MostRanked, //    rows that are ranked exactly at most; 0: any number
  // of a query's table and integers, written by the kernels
  QueryUnit, //     f32
  QuerySquare, //   f32
  LutScale, //      f32
  LutBias, //       f32
  Worst, //         f32: what a lower bound must be under to survive
  Pending, //       survivors that wait
  KeptCount, //     places at the front of the survivors that have been through the second stage
  Touched,
  // counters, written by search
  CellsProbed,
  CodesScanned,
  SurvivorCount,
  RowsRefined,
  RowsRanked,
  Capped, //        set to 1 where MostRanked left a survivor out
  // filters and ranges (passing.ts)
  Positions, //     u32 × ids: position of the row of this id, 2^32 - 1 when it was removed
  Filter, //        u8 × FilterBytes: an id passes if bit id & 7 of byte id >> 3 is 1; 0: all pass
  FilterBytes, //   a multiple of 4; all ids are below 8 × FilterBytes
  Visited, //       u8 × Cells: 1 when this search has scanned the cell
  Reach, //         f32 × 2 × ReachCount: a distance, ascending, and the slope there
  ReachCount, //    0: every cell is within reach
  MostProbes, //    cells that a search among passing rows visits at most
  Budget, //        f32: microseconds by the model below after which a search gives up; infinity: never
  CodeCost, //      f32 microseconds: a code that is scanned, a slot whose row is looked up, a row that is ranked
  LookCost, //      f32
  RowCost, //       f32
  Surplus, //       f32: what a score lacks to a squared distance in the coded space
  Limit, //         f32, of ranges: squared distance in the engine's space that a row may have
  LimitScore, //    f32, of ranges: the largest exact score
  Reached, //       slots of the cells within reach of a range
  Found, //         8 bytes × FoundCapacity, of ranges: f32 score · u32 id
  FoundCount,
  FoundCapacity,
  Bytes, //         size of the plan
}

// @ts-ignore: decorator
@inline
export function get(plan: usize, field: Plan): usize {
  return load<u32>(plan + ((<usize>field) << 2));
}

// @ts-ignore: decorator
@inline
export function put(plan: usize, field: Plan, value: usize): void {
  store<u32>(plan + ((<usize>field) << 2), <u32>value);
}

// @ts-ignore: decorator
@inline
export function getFloat(plan: usize, field: Plan): f32 {
  return load<f32>(plan + ((<usize>field) << 2));
}

// @ts-ignore: decorator
@inline
export function putFloat(plan: usize, field: Plan, value: f32): void {
  store<f32>(plan + ((<usize>field) << 2), value);
}
