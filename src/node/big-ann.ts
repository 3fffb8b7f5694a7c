import type { SourceFile } from './bytes.js';
import { truncated } from './file-error.js';
import { checkDimensions, type Layout } from './layout.js';
import { checkSize, type Element, recordLayout } from './records.js';

const HEADER_BYTES = 8;

/** The layout of .fbin, .u8bin, .i8bin and .ibin files of the Big ANN Benchmarks: rows and dimensions (uint32), then the numbers. */
export async function bigAnnLayout(file: SourceFile, element: Element): Promise<Layout> {
  const bytes = await file.stream();
  const header = new Uint8Array(HEADER_BYTES);
  const got = await bytes.read(header).finally(() => bytes.close());
  if (got < HEADER_BYTES) throw truncated(file.name, `${HEADER_BYTES} bytes of rows and dimensions`, got);
  const view = new DataView(header.buffer);
  const rows = view.getUint32(0, true);
  const dimensions = checkDimensions(file.name, 'rows', view.getUint32(4, true));
  const expected = HEADER_BYTES + rows * dimensions * element.array.BYTES_PER_ELEMENT;
  checkSize(file.name, `${rows} rows of ${dimensions} dimensions`, file.bytes, expected);
  return recordLayout(file, {
    element,
    dimensions,
    rows,
    offset: HEADER_BYTES,
    isPrefixed: false,
    open: () => file.stream(),
  });
}
