import type { EnginePlan, PlanField } from './plan.js';

/**
 * What a build replaces, put aside until it has ended. Taking a build back needs no memory, so it cannot fail: the regions
 * that were there get their names again, and the plan its fields.
 */
export class Undo {
  readonly #plan: EnginePlan;
  /** All regions that were there, by the names they had. */
  readonly #held: ReadonlySet<string>;
  readonly #aside: readonly string[];
  readonly #fields: readonly (readonly [PlanField, number])[];
  readonly #spare: readonly string[];

  /**
   * Puts regions aside, which the plan then no longer has. `spare` is room that taking back will need: regions and bytes.
   *
   * Throws a RangeError (ERR_OUT_OF_MEMORY) where there is no room to spare; then nothing has changed.
   */
  constructor(
    plan: EnginePlan,
    regions: readonly string[],
    fields: readonly PlanField[],
    spare: readonly (readonly [string, number])[],
  ) {
    this.#plan = plan;
    this.#held = new Set(Object.keys(plan.memory.usage()));
    this.#spare = spare.map(([name]) => name);
    try {
      for (const [name, bytes] of spare) plan.memory.reserve(`kept ${name}`, bytes);
    } catch (error) {
      for (const name of this.#spare) plan.memory.release(`kept ${name}`);
      throw error;
    }
    this.#fields = fields.map((field) => [field, plan.get(field)] as const);
    this.#aside = regions.filter((name) => this.#held.has(name));
    for (const name of this.#aside) {
      plan.memory.rename(name, `kept ${name}`);
      plan.enter(name, 0);
    }
  }

  /** The build has ended: what it replaced is given up. */
  forget(): void {
    for (const name of [...this.#aside, ...this.#spare]) this.#plan.memory.release(`kept ${name}`);
  }

  /** Brings everything back, and gives the spare room under its names to who completes this; it is theirs to release. */
  takeBack(): void {
    const { memory } = this.#plan;
    const kept = new Set([...this.#aside, ...this.#spare].map((name) => `kept ${name}`));
    for (const name of Object.keys(memory.usage())) {
      const stays = kept.has(name) || (this.#held.has(name) && !this.#aside.includes(name));
      if (!stays) this.#plan.release(name);
    }
    for (const name of [...this.#aside, ...this.#spare]) {
      memory.rename(`kept ${name}`, name);
      this.#plan.enter(name, memory.ptr(name));
    }
    for (const [field, value] of this.#fields) this.#plan.set(field, value);
  }
}
