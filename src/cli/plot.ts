import { FileFormatError, FileReplacement } from '../node/index.js';
import { whileWriting } from './terminal.js';

/** One measured way of searching. */
export interface Point {
  method: string;
  recall: number;
  qps: number;
}

/** Draws queries per second by recall as an SVG file, without a browser. */
export async function plot(path: string, title: string, points: Point[]): Promise<void> {
  if (!/\.svg$/i.test(path)) {
    throw new FileFormatError('ERR_FILE_FORMAT', path, 'a name that ends in .svg', 'another ending');
  }
  const vegaLite = await loadOptional('vega-lite', path, () => import('vega-lite'));
  const vega = await loadOptional('vega', path, () => import('vega'));
  const { spec } = vegaLite.compile({
    title,
    width: 560,
    height: 360,
    data: { values: points },
    mark: { type: 'line', point: true },
    encoding: {
      x: { field: 'recall', type: 'quantitative', scale: { zero: false }, title: 'recall' },
      y: { field: 'qps', type: 'quantitative', scale: { type: 'log' }, title: 'queries per second' },
      color: { field: 'method', type: 'nominal', title: null },
      order: { field: 'recall', type: 'quantitative' },
    },
  });
  const view = new vega.View(vega.parse(spec), { renderer: 'none' });
  const svg = await view.toSVG();
  view.finalize();
  await whileWriting(async () => {
    const file = await FileReplacement.create(path);
    try {
      await file.write(svg);
      await file.finish();
    } catch (error) {
      await file.abandon();
      throw error;
    }
  });
}

/** Makes sure that a plot can be drawn, before an hour is spent on measuring. */
export async function checkPlot(path: string): Promise<void> {
  await loadOptional('vega-lite', path, () => import('vega-lite'));
  await loadOptional('vega', path, () => import('vega'));
}

async function loadOptional<Module>(
  name: string,
  file: string,
  load: () => Promise<Module>,
): Promise<Module> {
  try {
    return await load();
  } catch (error) {
    if ((error as { code?: string }).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    throw new FileFormatError(
      'ERR_PACKAGE_MISSING',
      file,
      'the packages vega and vega-lite, which draw plots (npm install vega vega-lite)',
      `no ${name}`,
      { cause: error },
    );
  }
}
