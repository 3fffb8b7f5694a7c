import * as Plot from '@observablehq/plot';
import type { Point } from './tasks/curve.js';
import type { DigitsBuild } from './tasks/digits.js';

const style = { background: 'none', fontSize: '12px', overflow: 'visible' };

/** Bars: how many buckets hold how many rows. */
export function sizeBars({ bars, unit }: DigitsBuild): HTMLElement | SVGSVGElement {
  const name = ({ from, to }: { from: number; to: number }): string =>
    from === to ? `${from}` : `${from}–${to}`;
  return Plot.plot({
    style,
    height: 180,
    marginBottom: 40,
    ariaLabel: `Number of ${unit}s by how many images they hold`,
    x: { label: `images in a ${unit}`, domain: bars.map(name) },
    y: { label: `${unit}s`, grid: true },
    marks: [
      Plot.barY(bars, {
        x: name,
        y: 'count',
        fill: 'var(--accent)',
        title: (bar) => `${bar.count} ${unit}s`,
        tip: true,
      }),
      Plot.ruleY([0]),
    ],
  });
}

/** Recall against time, a line a way of searching. */
export function tradeOff(points: Point[]): HTMLElement | SVGSVGElement {
  return Plot.plot({
    style,
    height: 380,
    marginLeft: 60,
    ariaLabel: 'Time of a query against recall; the same figures are in the table below',
    x: { label: 'recall@10 →', domain: [0, 1], grid: true, tickFormat: '.0%' },
    y: { label: '↑ microseconds a query', type: 'log', grid: true, tickFormat: '~s' },
    color: { legend: true, scheme: 'Observable10', domain: [...new Set(points.map(({ way }) => way))] },
    symbol: { legend: false },
    marks: [
      Plot.line(points, { x: 'recall', y: 'micros', stroke: 'way', z: 'way', sort: 'recall' }),
      Plot.dot(points, {
        x: 'recall',
        y: 'micros',
        fill: 'way',
        r: 4,
        channels: { setting: 'setting' },
        tip: true,
      }),
    ],
  });
}
