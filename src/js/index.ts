/**
 * The whole of `orthant` without WebAssembly: the same classes and functions over the same kernels in plain JavaScript,
 * for places that forbid compiling or lack SIMD. The same answers, bit for bit, and the same snapshots; about ten times
 * slower. The build makes dist/js/index.js from the core with js/kernels.ts in the place of kernels.ts; the two doors
 * share nothing.
 */
export * from '../index.js';
