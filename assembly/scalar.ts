/**
 * Whether what is compiled is to be translated to JavaScript (assembly/javascript.mjs), which has no vectors: a kernel
 * whose vector form would be slow there may have another form for it, of the same results to the bit. The tests run both
 * (test/arena.ts). It is compiled without relaxed instructions, which tells it apart.
 */
export const SCALAR: bool = !ASC_FEATURE_RELAXED_SIMD;
