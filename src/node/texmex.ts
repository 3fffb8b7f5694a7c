import type { SourceFile } from './bytes.js';
import { truncated } from './file-error.js';
import { checkDimensions, type Layout } from './layout.js';
import { type Element, recordLayout } from './records.js';

/**
 * The layout of .fvecs, .bvecs and .ivecs files of INRIA's TEXMEX corpora: each row is its number of dimensions (int32) and
 * then as many floats, bytes or integers.
 */
export async function texmexLayout(file: SourceFile, element: Element): Promise<Layout> {
  const bytes = await file.stream();
  const first = new Uint8Array(4);
  const got = await bytes.read(first).finally(() => bytes.close());
  if (got < 4) throw truncated(file.name, '4 bytes that state the dimensions of row 0', got);
  const dimensions = new DataView(first.buffer).getInt32(0, true);
  checkDimensions(file.name, 'row 0', dimensions);
  const size = 4 + dimensions * element.array.BYTES_PER_ELEMENT;
  // Rows that do not fit are refused when they are read, with their number: which is why is known only then.
  const rows = file.bytes === undefined || file.bytes % size !== 0 ? undefined : file.bytes / size;
  return recordLayout(file, {
    element,
    dimensions,
    rows,
    offset: 0,
    isPrefixed: true,
    open: () => file.stream(),
  });
}
