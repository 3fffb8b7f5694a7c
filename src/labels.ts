import { checkChoice, checkOptions, describe, rangeError, typeError } from './check.js';
import type { Neighbors } from './neighbors.js';

/** How the neighbors of a query count. */
export interface VoteOptions {
  /**
   * `uniform` (default): each neighbor counts 1. `distance`: each counts 1 / distance; where neighbors are at distance 0,
   * only these count, 1 each.
   */
  weights?: 'uniform' | 'distance';
}

/**
 * The label that most neighbors have (k-nearest-neighbors classification), or undefined without neighbors.
 *
 * Of labels with equal votes the one wins whose nearest neighbor comes first.
 *
 * @param neighbors what a search returned.
 * @param labels the label of each row, by id: numbers, strings, anything that compares by ===.
 * @throws TypeError for another kind of argument; RangeError for an id without label (ERR_LENGTH), or for weights by
 * distance where a distance is negative (ERR_ARGUMENT_RANGE), as under the inner product.
 */
export function classify<Label>(
  neighbors: Neighbors,
  labels: ArrayLike<Label>,
  options: VoteOptions = {},
): Label | undefined {
  let winner: Label | undefined;
  let most = -Infinity;
  // A Map keeps the order of first votes, nearest first: a later label must have more votes, not as many.
  for (const [label, votes] of countVotes(neighbors, labels, options)) {
    if (votes <= most) continue;
    winner = label;
    most = votes;
  }
  return winner;
}

/**
 * Votes for each label that a neighbor has, in the order of the labels' nearest neighbors; what `classify` decides on.
 *
 * Parameters and errors as there.
 */
export function countVotes<Label>(
  neighbors: Neighbors,
  labels: ArrayLike<Label>,
  options: VoteOptions = {},
): Map<Label, number> {
  const weights = weightsOf(neighbors, 'labels', labels, options);
  const votes = new Map<Label, number>();
  for (let i = 0; i < weights.length; i++) {
    if (weights[i] === 0) continue;
    const label = labels[neighbors.ids[i]];
    votes.set(label, (votes.get(label) ?? 0) + weights[i]);
  }
  return votes;
}

/**
 * The mean of the neighbors' values (k-nearest-neighbors regression), or undefined without neighbors.
 *
 * @param neighbors what a search returned.
 * @param values a finite number for each row, by id.
 * @throws as `classify`; RangeError (ERR_NOT_FINITE) for a neighbor's value that is not finite.
 */
export function regress(
  neighbors: Neighbors,
  values: ArrayLike<number>,
  options: VoteOptions = {},
): number | undefined {
  const weights = weightsOf(neighbors, 'values', values, options);
  if (weights.length === 0) return undefined;
  let sum = 0;
  let total = 0;
  for (let i = 0; i < weights.length; i++) {
    const value = values[neighbors.ids[i]];
    if (!Number.isFinite(value)) {
      throw rangeError(
        'ERR_NOT_FINITE',
        `values: expected finite numbers, got ${value} in row ${neighbors.ids[i]}`,
      );
    }
    sum += weights[i] * value;
    total += weights[i];
  }
  return sum / total;
}

/** How much each neighbor counts. */
function weightsOf(
  neighbors: Neighbors,
  subject: string,
  labels: ArrayLike<unknown>,
  options: VoteOptions,
): Float64Array {
  checkOptions('options', options);
  const how = checkChoice('weights', options?.weights ?? 'uniform', ['uniform', 'distance'] as const);
  const { ids, distances } = checkNeighbors(neighbors);
  if (typeof labels !== 'object' || labels === null || typeof labels.length !== 'number') {
    throw typeError(
      'ERR_ARGUMENT_TYPE',
      `${subject}: expected an array, one entry for each row, got ${describe(labels)}`,
    );
  }
  for (const id of ids) {
    if (id < labels.length) continue;
    throw rangeError(
      'ERR_LENGTH',
      `${subject}: expected at least ${id + 1} (one for each row), got ${labels.length}`,
    );
  }
  if (how === 'uniform') return new Float64Array(ids.length).fill(1);
  for (let i = 0; i < distances.length; i++) {
    if (distances[i] >= 0) continue;
    throw rangeError(
      'ERR_ARGUMENT_RANGE',
      `distances: expected numbers from 0 to weigh by, got ${distances[i]} for neighbor ${i}`,
    );
  }
  const isExact = distances.includes(0);
  return Float64Array.from(distances, (distance) => (isExact ? Number(distance === 0) : 1 / distance));
}

function checkNeighbors(neighbors: Neighbors): Neighbors {
  const { ids, distances } = neighbors ?? {};
  if (!(ids instanceof Uint32Array) || !(distances instanceof Float32Array)) {
    throw typeError(
      'ERR_ARGUMENT_TYPE',
      `neighbors: expected { ids, distances } as a search returns them, got ${describe(neighbors)}`,
    );
  }
  if (ids.length !== distances.length) {
    throw rangeError(
      'ERR_LENGTH',
      `neighbors: expected as many distances as ids (${ids.length}), got ${distances.length}`,
    );
  }
  return neighbors;
}
