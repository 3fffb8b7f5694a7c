import { defineConfig } from 'vitest/config';
import { BaseSequencer } from 'vitest/node';

/** The tests that mutation.ts runs against each mutant of one module: those of the same name, or these, in this order. */
const TESTS: Record<string, readonly string[]> = {
  cells: ['snapshot', 'vector-index', 'vector-index.adding', 'vector-index.shells'],
  centres: ['vector-index', 'vector-index.adding', 'snapshot'],
  engine: ['engine', 'vector-index', 'vector-index.adding', 'vector-index.async'],
  'engine-build': ['engine-build', 'vector-index', 'vector-index.async', 'tuning'],
  'engine-explain': ['engine-explain', 'vector-index.explain'],
  'engine-joins': ['engine-joins', 'vector-index.joins', 'vector-index.joins.filters'],
  'engine-options': ['vector-index.door'],
  'engine-search': ['engine-search', 'vector-index.door', 'vector-index', 'vector-index.radius'],
  'engine-snapshot': ['snapshot', 'snapshot.hostile'],
  filter: ['tables.filters'],
  'hyperplane-lsh': ['hyperplane-lsh', 'hyperplane-lsh.joins', 'snapshot'],
  'join-queries': ['hyperplane-lsh.joins', 'joins'],
  joinable: ['joins'],
  joins: ['hyperplane-lsh.joins', 'joins'],
  kernels: ['kernels', 'memory'],
  'named-rows': ['user-ids'],
  passing: ['passing', 'vector-index.radius', 'vector-index.filters'],
  plan: ['plan', 'undo'],
  prediction: ['prediction', 'tuning'],
  records: ['records', 'vector-index', 'vector-index.adding', 'snapshot'],
  rows: ['vector-index', 'vector-index.adding', 'vector-index.removing', 'snapshot.hostile'],
  sets: ['min-hash-lsh'],
  settings: ['settings', 'tuning'],
  snapshot: ['snapshot.parts', 'snapshot', 'snapshot.hostile'],
  space: ['vector-index', 'vector-index.adding', 'snapshot'],
  'bit-sampling-lsh': ['bit-sampling-lsh', 'snapshot'],
  'min-hash-lsh': ['min-hash-lsh', 'snapshot'],
  'table-joins': ['hyperplane-lsh.joins', 'vector-index.joins.filters'],
  'table-snapshot': ['snapshot', 'snapshot.hostile'],
  tables: ['tables', 'hyperplane-lsh', 'tables.removing', 'tables.filters'],
  truth: ['truth', 'tuning'],
  tuning: ['tuning'],
  'vector-index': ['vector-index.door', 'vector-index', 'user-ids', 'snapshot', 'vector-index.joins'],
};

const module = process.env.MUTATED_MODULE ?? '';
const tests = TESTS[module] ?? [module];

/** Files in the order above, the quickest to notice first: vitest would begin with the slowest. */
class InOrder extends BaseSequencer {
  override async sort(files: Parameters<BaseSequencer['sort']>[0]): ReturnType<BaseSequencer['sort']> {
    const place = (file: string): number => tests.findIndex((name) => file.endsWith(`/${name}.test.ts`));
    return [...files].sort((a, b) => place(a.moduleId) - place(b.moduleId));
  }
}

export default defineConfig({
  test: {
    root: '.',
    include: tests.map((name) => `test/${name}.test.ts`),
    setupFiles: ['test/mutation.setup.ts'],
    fileParallelism: false,
    sequence: { sequencer: InOrder },
    testTimeout: 120_000,
    reporters: ['dot'],
  },
});
