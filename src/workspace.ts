import { instantiateTables, type TableKernels } from './kernels.js';
import { LinearMemory } from './memory.js';

/** A linear memory and the kernels over it. */
export interface Workspace {
  memory: LinearMemory;
  kernels: TableKernels;
}

/** A hidden memory that a large call has grown beyond this is given up after the call. */
const KEPT_BYTES = 2 ** 26;

let hidden: Workspace | undefined;

/** A fresh one, for an index. */
export function openWorkspace(maxBytes?: number): Workspace {
  const memory = new LinearMemory(maxBytes);
  return { memory, kernels: instantiateTables(memory.memory) };
}

/** Lends the one hidden workspace to a function that keeps nothing between calls. */
export function withWorkspace<Result>(use: (workspace: Workspace) => Result): Result {
  hidden ??= openWorkspace();
  try {
    return use(hidden);
  } finally {
    if (hidden.memory.usage().total > KEPT_BYTES) hidden = undefined;
  }
}
