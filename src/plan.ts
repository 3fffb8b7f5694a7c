import { type EngineKernels, instantiateEngine } from './kernels.js';
import { LinearMemory, type Placement } from './memory.js';

/** A field of the plan, as assembly/plan.ts lists and explains them. */
export type PlanField =
  | 'Stride'
  | 'RowBytes'
  | 'Int8'
  | 'RowCount'
  | 'DeadCount'
  | 'Dot'
  | 'NormBound'
  | 'Dims'
  | 'Rounds'
  | 'Cells'
  | 'Groups'
  | 'RefineStep'
  | 'SurvivorCapacity'
  | 'Scores'
  | 'K'
  | 'EstimateCount'
  | 'Probes'
  | 'Epsilon'
  | 'Patience'
  | 'Keep'
  | 'MostRanked'
  | 'Worst'
  | 'CellsProbed'
  | 'CodesScanned'
  | 'SurvivorCount'
  | 'RowsRefined'
  | 'RowsRanked'
  | 'Capped'
  | 'Filter'
  | 'FilterBytes'
  | 'ReachCount'
  | 'MostProbes'
  | 'Budget'
  | 'CodeCost'
  | 'LookCost'
  | 'RowCost'
  | 'Limit'
  | 'LimitScore'
  | 'Reached'
  | 'FoundCount'
  | 'FoundCapacity'
  | 'Bytes';

/** Rows that pass through the scratch regions at a time. */
export const CHUNK_ROWS = 64;

/**
 * The engine's memory, kernels and plan: the table of addresses and settings that every engine kernel reads.
 * A region whose name is a field of the plan (`rows` for Rows) is entered there whenever it is reserved.
 */
export class EnginePlan {
  readonly memory: LinearMemory;
  readonly kernels: EngineKernels;
  /** Address of the plan. */
  readonly address: number;
  #offsets: Map<string, number> = new Map();
  #regionFields: Map<string, number> = new Map();

  /** @param words the plan that goes with a placement: addresses of regions that are not there are left out. */
  constructor(maxBytes?: number, place?: 'shared' | Placement, words?: Uint32Array) {
    this.memory = new LinearMemory(maxBytes, place);
    this.kernels = instantiateEngine(this.memory.memory);
    // The binary exports each field's number as a global: assembly/plan.ts is the one owner of the offsets.
    for (const [name, value] of Object.entries(
      this.kernels as unknown as Record<string, WebAssembly.Global>,
    )) {
      if (!name.startsWith('Plan.')) continue;
      const field = name.slice(5);
      this.#offsets.set(field, value.value as number);
      this.#regionFields.set(field[0].toLowerCase() + field.slice(1), value.value as number);
    }
    const bytes = 4 * (this.#offsets.get('Bytes') as number);
    this.address = this.memory.reserve('plan', bytes);
    this.memory.u8.fill(0, this.address, this.address + bytes);
    if (words) this.memory.u32.set(words, this.address >>> 2);
  }

  /** A copy of the plan. */
  get words(): Uint32Array {
    const at = this.address >>> 2;
    return this.memory.u32.slice(at, at + (this.#offsets.get('Bytes') as number));
  }

  get(field: PlanField): number {
    return this.memory.u32[(this.address >>> 2) + (this.#offsets.get(field) as number)];
  }

  set(field: PlanField, value: number): void {
    this.memory.u32[(this.address >>> 2) + (this.#offsets.get(field) as number)] = value;
  }

  setFloat(field: PlanField, value: number): void {
    this.memory.f32[(this.address >>> 2) + (this.#offsets.get(field) as number)] = value;
  }

  /** Index of a field in the memory seen as words, for the few that change with every query. */
  word(field: PlanField): number {
    return (this.address >>> 2) + (this.#offsets.get(field) as number);
  }

  /** Reserves a region (memory.ts) and enters its address in the plan; returns the address. */
  reserve(region: string, bytes: number): number {
    const ptr = this.memory.reserve(region, bytes);
    this.enter(region, ptr);
    return ptr;
  }

  release(region: string): void {
    this.memory.release(region);
    this.enter(region, 0);
  }

  ptr(region: string): number {
    return this.memory.ptr(region);
  }

  /** Enters an address (0: none) for a region in the plan. */
  enter(region: string, ptr: number): void {
    const field = this.#regionFields.get(region);
    if (field !== undefined) this.memory.u32[(this.address >>> 2) + field] = ptr;
  }
}
