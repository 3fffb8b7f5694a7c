/** The kernels in JavaScript over one memory. Written by assembly/javascript.mjs. */
export function kernels(memory: { readonly buffer: ArrayBuffer }): unknown;
