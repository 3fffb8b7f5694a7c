/**
 * A module of 31 bytes with one function, () → v128: i32.const 0, i8x16.splat, i8x16.popcnt. It is valid where SIMD of 128
 * bits is.
 */
const SIMD = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98,
  11,
];

/**
 * Whether `orthant` runs here: the engine has WebAssembly with SIMD, and no policy forbids compiling it. Where it does not,
 * `orthant/js` gives the same answers:
 *
 *     const { VectorIndex } = await import(isSupported() ? 'orthant' : 'orthant/js');
 *
 * False too where bytes may not be compiled but a compiled module may be handed over (`init({ module })`).
 */
export function isSupported(): boolean {
  const bytes = Uint8Array.from(SIMD);
  try {
    // Compiled too: a content security policy lets bytes be validated.
    return WebAssembly.validate(bytes) && new WebAssembly.Module(bytes) !== null;
  } catch {
    return false;
  }
}
