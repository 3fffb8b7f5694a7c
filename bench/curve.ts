/** Recall against speed: what is read from a curve of measured points. */

/** The recalls that speeds are told at. */
export const TARGETS = [0.9, 0.95, 0.99];

/** The points that no other beats in both, by rising recall and falling speed. */
export function envelope<P extends { recall: number }>(points: P[], speed: (point: P) => number): P[] {
  const front: P[] = [];
  for (const candidate of [...points].sort((a, b) => b.recall - a.recall || speed(b) - speed(a))) {
    if (front.length === 0 || speed(candidate) > speed(front[0])) front.unshift(candidate);
  }
  return front;
}

/** Speed at a recall, on a straight line from recall to log speed; null where the curve does not reach it. */
export function speedAt<P extends { recall: number }>(
  points: P[],
  recall: number,
  speed: (point: P) => number,
): number | null {
  const front = envelope(points, speed);
  const at = front.findIndex((candidate) => candidate.recall >= recall);
  if (at <= 0) return at < 0 ? null : speed(front[0]);
  const [low, high] = [front[at - 1], front[at]];
  const share = (recall - low.recall) / (high.recall - low.recall);
  return speed(low) * (speed(high) / speed(low)) ** share;
}
