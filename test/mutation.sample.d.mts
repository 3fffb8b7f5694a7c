interface Place {
  line: number;
  column: number;
}

/** What tells one mutant of a module from another; lines and columns from 0. */
export interface Mutation {
  location: { start: Place; end: Place };
  mutatorName: string;
  replacement: string;
}

export function rankOf(seed: string, mutant: Mutation): string;
