import { checkChoice, checkInteger, checkNumber, checkOptions, typeError } from './check.js';
import { Engine } from './engine.js';
import type { BuildOptions } from './engine-build.js';
import { EngineSearch } from './engine-search.js';
import type { Metric } from './neighbors.js';
import { seedOf } from './random.js';
import type { Storage } from './rows.js';
import { type IdKind, type IdsOption, USER_ID_KINDS, UserIds } from './user-ids.js';

const MAX_DIMENSIONS = 4096;

/** Options of a new index. */
export interface VectorIndexOptions<Kind extends IdKind = 'row'> {
  /** Floats a vector, 1 to 4,096. */
  dimensions: number;
  /** `euclidean` (default), `cosine` or `inner-product`. */
  metric?: Metric;
  /**
   * Of rotation and training; default 0. The same rows, options and seed give the same answers everywhere. `'random'` draws
   * one that nobody can guess, and a snapshot keeps it: for rows from people who may wish you ill (SECURITY.md).
   */
  seed?: number | bigint | 'random';
  /** `f32` (default) keeps rows as given; `int8` keeps 8-bit integers only: a quarter of the memory, less recall. */
  storage?: Storage;
  /** Bytes that the index may take, all told; default and most: 4 GiB. Ids of your own are outside of it. */
  maxBytes?: number;
  /**
   * Rows have ids of your own of this kind, each once: `string` (well-formed), `bigint` (-2^63 to 2^64 - 1) or `number`
   * (finite). Without it row numbers are the ids. See VectorIndex.
   */
  ids?: Kind & ('string' | 'bigint' | 'number');
}

/** Options of an index of given vectors: `ids` are their ids, one a row (an array of strings, bigints or numbers). */
export interface FromOptions<Ids extends IdsOption> extends Omit<VectorIndexOptions, 'ids'>, BuildOptions {
  ids?: Ids;
}

/** Checks the options of a new index and opens it; `from`: over an engine that is there, or over a memory for threads. */
export function openEngine<Kind extends IdKind>(
  options: VectorIndexOptions<Kind>,
  from?: Engine | 'shared',
): EngineSearch {
  if (options === undefined)
    throw typeError('ERR_ARGUMENT_TYPE', 'options: expected { dimensions }, got undefined');
  checkOptions('options', options);
  const dimensions = checkInteger('dimensions', options.dimensions, 1, MAX_DIMENSIONS);
  const metric = checkChoice('metric', options.metric ?? 'euclidean', [
    'euclidean',
    'cosine',
    'inner-product',
  ]);
  const storage = checkChoice('storage', options.storage ?? 'f32', ['f32', 'int8']);
  const maxBytes = checkNumber('maxBytes', options.maxBytes ?? 2 ** 32, 1, 2 ** 32);
  const seed = seedOf(options.seed);
  const kind = options.ids === undefined ? undefined : checkChoice('ids', options.ids, USER_ID_KINDS);
  return new EngineSearch(
    from instanceof Engine ? from : new Engine(dimensions, metric, storage, seed, maxBytes, from),
    kind && new UserIds(kind),
  );
}
