import type * as orthant from '../src/index.js';

/** One line a class: what it answers, from the names of `orthant` or `orthant/js`. */
export function digest(names: typeof orthant): string;
