/** The kernels in JavaScript over one memory. Written by assembly/javascript.mjs. */
export function kernels(memory: { readonly buffer: ArrayBuffer }): unknown;
/** Those that assembly/tables.ts and assembly/engine.ts list. */
export function tables(memory: { readonly buffer: ArrayBuffer }): unknown;
export function engine(memory: { readonly buffer: ArrayBuffer }): unknown;
