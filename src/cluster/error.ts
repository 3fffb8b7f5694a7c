/** Codes of a ClusterError. */
export type ClusterErrorCode =
  | 'ERR_CLUSTER_PACKAGE'
  | 'ERR_CLUSTER_REDIS'
  | 'ERR_CLUSTER_EMPTY'
  | 'ERR_CLUSTER_DEADLINE'
  | 'ERR_CLUSTER_SEGMENT'
  | 'ERR_CLUSTER_BUSY'
  | 'ERR_CLUSTER_CLOSED'
  | 'ERR_CLUSTER_ARGUMENT';

/** What went wrong between machines: the code says which part, the text names it. */
export class ClusterError extends Error {
  readonly code: ClusterErrorCode;
  /** Segments that did not answer in time, by digest; empty for other codes. */
  readonly segments: readonly string[];

  constructor(code: ClusterErrorCode, message: string, segments: readonly string[] = [], cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'ClusterError';
    this.code = code;
    this.segments = segments;
  }
}
