interface Place {
  line: number;
  column: number;
}

/** What tells one mutant from another. */
export interface Mutation {
  location: { start: Place; end: Place };
  mutatorName: string;
  replacement: string;
}

/** What the report says of a mutant that was not drawn. */
export const LEFT_OUT: string;

/** Of `mutants` `size`, all equally likely: those of the smallest hashes of the seed and their place and change. */
export function sampleOf<M extends Mutation>(mutants: readonly M[], size: number, seed: number): M[];
