/**
 * What BullMQ carries: small JSON that names where the bytes are. A block of queries is one flow: a child in the queue of each
 * worker that is asked, and behind them the parent in the queue of the client, where it comes up when all have ended. Answers
 * do not wait for that: each goes into the client's list as soon as it is there.
 */
import type { Head } from './manifest.js';

interface AnyJob {
  /** Key of the request. */
  request: string;
  /** The state that the answer must show at least. */
  head: Head;
  /** Milliseconds since 1970 from which on nobody waits any more. */
  deadline: number;
  /** The list that the answer goes into, and the id that stands before it. */
  replies: string;
  answer: string;
}

/** What a question says of its job; where the answer goes is added to it. */
export type Asked<Job> = Omit<Job, 'replies' | 'answer'>;

/** For a worker: answer a block of queries from those of these segments that it holds. */
export interface SearchJob extends AnyJob {
  segments: string[];
}

/** For a worker: write the next rows of a segment as a request, and answer with the first bytes of it. */
export interface RowsJob extends AnyJob {
  segment: string;
  /** Local ids, `to` excluded. */
  from: number;
  to: number;
  count: number;
  k: number;
  recall: number;
  radius: number;
  kind: 'nearest' | 'radius';
  exact: boolean;
}

/**
 * Nothing of a job stays behind, and one that fails does not hold up its flow. At the last of its attempts the answer is that
 * there is none.
 */
export const JOB = {
  removeOnComplete: true,
  removeOnFail: true,
  ignoreDependencyOnFailure: true,
  attempts: 3,
  backoff: { type: 'fixed', delay: 200 },
} as const;

/** Milliseconds that requests and answers stay in Redis behind their deadline. */
export const KEEP_MS = 60_000;
