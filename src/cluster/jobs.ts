/** What BullMQ carries: small JSON that names where the bytes are. */

/** For one segment: answer a block of queries. */
export interface SearchJob {
  /** Keys of the request, and where the answer goes. */
  request: string;
  answer: string;
  generation: string;
  segment: string;
  /** The state that the answer must show at least. */
  tombstones: number;
  blocks: number;
  /** Milliseconds since 1970 from which on nobody waits any more. */
  deadline: number;
}

/** For one segment: write its next rows as a request. */
export interface RowsJob extends Omit<SearchJob, 'answer'> {
  /** Channel on which the request is told when it is there. */
  reply: string;
  from: number;
  count: number;
  k: number;
  recall: number;
  radius: number;
  kind: 'nearest' | 'radius';
  exact: boolean;
}

/** For any worker: put the answers of a flow's children together. */
export interface MergeJob {
  answers: { key: string; base: number }[];
  result: string;
  /** Channel on which the result is told when it is there. */
  reply: string;
  queries: number;
  /** -1: all that came. */
  k: number;
  deadline: number;
}

/** Milliseconds that results stay in Redis behind their deadline. */
export const KEEP_MS = 60_000;
