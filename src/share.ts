import { type Progress, StepClock } from './progress.js';

/** Settings of a search (tuning.ts). */
interface SearchSettings {
  probes: number;
  epsilon: number;
  patience: number;
  keep?: number;
}

/**
 * A piece of a build that threads can share: every part of it reads what is there and writes what no other part writes,
 * so that the bytes do not depend on who does which. Numbers are addresses, in the memory of the build.
 */
export type Job =
  | { kind: 'copy'; pieces: readonly Piece[] }
  | { kind: 'sample'; ids: number; sample: number }
  | { kind: 'train'; sample: number; nearest: number; distances: number }
  | { kind: 'group'; centres: number; groups: number; table: number; nearest: number }
  | { kind: 'assign'; nearest: number; loose: number }
  | { kind: 'encode'; starts: number; sizes: number; loose: number; places: number }
  | { kind: 'refine' }
  | {
      kind: 'search';
      queries: number;
      count: number;
      k: number;
      settings: SearchSettings | null;
      /** Parts of the rows that one query is searched in; what each finds is put together at the end. */
      stretches: number;
      ids: number;
      scores: number;
      counters: number;
      /** Of each search. */
      counterWords: number;
    };

/** Bytes to be copied from an address in another memory to one in the memory of the build. */
export type Piece = readonly [from: number, to: number, bytes: number];

/**
 * Does a job of `total` items by parts: `part` does those from `first` up to `end`, and tells how far that is. This thread
 * does other work before, if there is any, which must not touch what the job reads or writes.
 */
export type Share = (
  job: Job,
  total: number,
  part: (first: number, end: number) => Progress,
  before?: Generator<Progress>,
) => Generator<Progress>;

/** Items of a part: as many as take about a millisecond. */
export const PART_ITEMS: Readonly<Record<Job['kind'], number>> = {
  copy: 1,
  sample: 64,
  train: 64,
  group: 64,
  assign: 64,
  encode: 4,
  refine: 64,
  search: 1,
};

/** All parts on this thread, in their order. */
export const alone: Share = function* (job, total, part, before) {
  if (before) yield* before;
  const items = PART_ITEMS[job.kind];
  const clock = new StepClock();
  for (let first = 0; first < total; first += items) {
    const progress = part(first, Math.min(total, first + items));
    if (clock.isDue()) yield progress;
  }
};
