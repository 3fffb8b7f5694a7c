/**
 * Draws what the benchmarks wrote as SVG, each picture once for light and once for dark pages, without a browser.
 * The same results give the same text: report.ts writes it to docs/pictures/, and a test compares.
 */
import * as vega from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';
import { envelope } from './curve.js';

/** What is drawn of one data set. */
export interface DrawnSet {
  data: string;
  n: number;
  d: number;
  k: number;
  contestants: {
    ready: { name: string; version: string; buildSeconds: number };
    curve: { recall: number; qps: number }[];
  }[];
}

/** What is drawn of how an index grows. */
export interface DrawnGrowth {
  storage: string;
  points: { n: number; buildSeconds: number; qps: number | null; bytesPerRow: number }[];
}

export type Theme = 'light' | 'dark';

/** Text and lines of a page of each kind; the page's own ground shows through. */
const INK = {
  light: { text: '#1f2328', faint: '#d1d9e0', series: ['#0969da', '#bc4c00', '#8250df', '#1a7f37'] },
  dark: { text: '#e6edf3', faint: '#3d444d', series: ['#58a6ff', '#f0883e', '#bc8cff', '#3fb950'] },
};
const FONT = 'system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif';
/** Curves begin here: what is less accurate is of little use. */
const LEAST_RECALL = 0.8;
/** Seconds at which bars of a logarithmic scale begin. */
const SHORTEST_BAR = 0.1;

/** Queries per second by recall, a panel for each set, all on one scale. The caption tells where the figures come from. */
export function drawSpeeds(sets: DrawnSet[], caption: string, theme: Theme): Promise<string> {
  const names = namesOf(sets);
  const panels = sets.map(({ data, n, d, contestants }, i) => ({
    title: `${data}: ${n.toLocaleString('en')} × ${d}`,
    width: 232,
    height: 240,
    data: {
      values: contestants.flatMap(({ ready, curve }) =>
        envelope(
          curve.filter(({ recall }) => recall >= LEAST_RECALL),
          ({ qps }) => qps,
        ).map(({ recall, qps }) => ({
          name: ready.name,
          recall: round(recall, 4),
          qps: round(qps, 3),
        })),
      ),
    },
    mark: { type: 'line', point: { size: 28, filled: true }, strokeWidth: 2 },
    encoding: {
      x: {
        field: 'recall',
        type: 'quantitative',
        title: `recall@${sets[i].k}`,
        scale: { domain: [LEAST_RECALL, 1] },
        axis: { values: [0.8, 0.85, 0.9, 0.95, 1], format: '.2f' },
      },
      y: {
        field: 'qps',
        type: 'quantitative',
        title: i === 0 ? 'queries per second, one thread' : null,
        scale: { type: 'log' },
        axis: axisOf([1]),
      },
      color: colorOf(names, theme),
      order: { field: 'recall', type: 'quantitative' },
    },
  }));
  return draw(
    'Queries per second by recall',
    { hconcat: panels, resolve: { scale: { y: 'shared', color: 'shared' } } },
    caption,
    theme,
  );
}

/** Seconds of building, a group of bars for each set. */
export function drawBuilds(sets: DrawnSet[], caption: string, theme: Theme): Promise<string> {
  const names = namesOf(sets);
  const values = sets.flatMap(({ data, contestants }) =>
    contestants.map(({ ready }) => ({
      set: data,
      name: ready.name,
      seconds: round(ready.buildSeconds, 3),
      text: `${Number(ready.buildSeconds.toPrecision(3)).toLocaleString('en')} s`,
    })),
  );
  const longest = Math.max(...values.map(({ seconds }) => seconds));
  const place = {
    y: { field: 'name', type: 'nominal', sort: names, title: null, axis: { ticks: false, labelPadding: 6 } },
    x: {
      field: 'seconds',
      type: 'quantitative',
      title: 'CPU seconds to build, shorter is better',
      scale: { type: 'log', domainMin: SHORTEST_BAR, domainMax: 2 * longest },
      axis: axisOf([1]),
    },
  };
  return draw(
    'Seconds to build',
    {
      data: { values },
      facet: {
        row: {
          field: 'set',
          type: 'nominal',
          sort: sets.map(({ data }) => data),
          title: null,
          header: { labelAngle: 0, labelAlign: 'left', labelFontWeight: 'bold' },
        },
      },
      spec: {
        width: 560,
        height: { step: 20 },
        layer: [
          {
            mark: { type: 'bar', height: 14 },
            encoding: {
              ...place,
              x2: { datum: SHORTEST_BAR },
              color: { ...colorOf(names, theme), legend: null },
            },
          },
          {
            mark: { type: 'text', align: 'left', dx: 5 },
            encoding: { ...place, text: { field: 'text', type: 'nominal' } },
          },
        ],
      },
      spacing: 12,
    },
    caption,
    theme,
  );
}

/** Build time, speed and bytes by the number of rows, both axes by powers of ten. */
export function drawGrowth(growths: DrawnGrowth[], caption: string, theme: Theme): Promise<string> {
  const names = growths.map(({ storage }) => storage);
  const panel = (title: string, value: (point: DrawnGrowth['points'][number]) => number | null) => ({
    title,
    width: 220,
    height: 200,
    data: {
      values: growths.flatMap(({ storage, points }) =>
        points.flatMap((point) => {
          const y = value(point);
          return y === null ? [] : [{ name: storage, n: point.n, y: round(y, 3) }];
        }),
      ),
    },
    mark: { type: 'line', point: { size: 36, filled: true }, strokeWidth: 2 },
    encoding: {
      x: { field: 'n', type: 'quantitative', title: 'rows', scale: { type: 'log' }, axis: axisOf([1]) },
      y: { field: 'y', type: 'quantitative', title: null, scale: { type: 'log' }, axis: axisOf([1, 2, 5]) },
      color: colorOf(names, theme),
    },
  });
  return draw(
    'Build time, speed and memory by the number of rows',
    {
      hconcat: [
        panel('seconds to build', ({ buildSeconds }) => buildSeconds),
        panel('queries per second at recall 0.95', ({ qps }) => qps),
        panel('bytes a row', ({ bytesPerRow }) => bytesPerRow),
      ],
      resolve: { scale: { color: 'shared' } },
    },
    caption,
    theme,
  );
}

/** Ticks of a logarithmic axis at these multiples of powers of ten. */
function axisOf(multiples: number[]) {
  const powers = Array.from({ length: 12 }, (_, i) => 10 ** (i - 3));
  return {
    labelExpr: "format(datum.value, datum.value < 1 ? '~r' : '~s')",
    values: powers.flatMap((power) => multiples.map((multiple) => round(multiple * power, 3))),
  };
}

function colorOf(names: string[], theme: Theme) {
  return {
    field: 'name',
    type: 'nominal',
    title: null,
    scale: { domain: names, range: names.map((_, i) => INK[theme].series[i % INK[theme].series.length]) },
    legend: { orient: 'bottom', symbolType: 'stroke', symbolStrokeWidth: 3, symbolSize: 240 },
  };
}

/** In the order in which they take part. */
function namesOf(sets: DrawnSet[]): string[] {
  return [...new Set(sets.flatMap(({ contestants }) => contestants.map(({ ready }) => ready.name)))];
}

async function draw(title: string, picture: object, caption: string, theme: Theme): Promise<string> {
  const { text, faint } = INK[theme];
  const themed: object = {
    ...picture,
    background: null,
    title: {
      text: caption,
      anchor: 'start',
      orient: 'bottom',
      fontSize: 10,
      fontWeight: 'normal',
      offset: 12,
    },
    config: {
      font: FONT,
      view: { stroke: faint },
      axis: {
        labelColor: text,
        titleColor: text,
        gridColor: faint,
        gridOpacity: 0.6,
        domainColor: faint,
        tickColor: faint,
        titleFontWeight: 'normal',
      },
      legend: { labelColor: text, titleColor: text },
      header: { labelColor: text },
      text: { color: text },
      title: { color: text, fontSize: 12 },
    },
  };
  const { spec } = compile(themed as TopLevelSpec);
  vega.resetSVGDefIds();
  const view = new vega.View(vega.parse(spec), { renderer: 'none' });
  const svg = await view.toSVG();
  view.finalize();
  return `${shorten(svg).replace(/>/, `><title>${title}</title>`)}\n`;
}

/** Leaves out what says how the parts came about, which nobody sees: half of the bytes. */
function shorten(svg: string): string {
  const unseen = / (?:class|role|aria-[a-z]+|pointer-events|xmlns:xlink)="[^"]*"/g;
  return svg
    .replace(unseen, '')
    .replace(/<path d=""[^>]*\/>|<path d="M0,0h0v0h0Z"\/>/g, '')
    .replace(/ (?:transform="translate\(0,0\)"|opacity="1")/g, '');
}

const round = (value: number, digits: number): number => Number(value.toPrecision(digits));
