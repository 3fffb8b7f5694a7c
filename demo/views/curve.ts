import { tradeOff } from '../charts.js';
import { byId, duration, fillTable, percent, showError } from '../page.js';
import type { Remote } from '../remote.js';
import type { CurveWork, DataName, Point } from '../tasks/curve.js';

/** Recall against time, measured here. */
export class CurveView {
  readonly #work: Remote<CurveWork>;
  readonly #status = byId('curve-status');
  readonly #button = byId<HTMLButtonElement>('measure');

  constructor(work: Remote<CurveWork>) {
    this.#work = work;
    this.#button.onclick = () => void this.#measure();
    void this.#measure();
  }

  async #measure(): Promise<void> {
    this.#button.disabled = true;
    try {
      const points: Point[] = [];
      const name = byId<HTMLSelectElement>('curve-data').value as DataName;
      this.#status.textContent = 'Preparing the data …';
      const { rows, dimensions, queries, ways } = await this.#work.open(name);
      for (const [i, way] of ways.entries()) {
        this.#status.textContent = `Measuring ${way}, ${i + 1} of ${ways.length} …`;
        points.push(...(await this.#work.measure(way)));
        byId('curve-chart').replaceChildren(tradeOff(points));
        fillTable(
          byId<HTMLTableElement>('curve-table'),
          ['way', 'setting', 'recall@10', 'a query'],
          points.map(({ way, setting, recall, micros }) => [way, setting, percent(recall), duration(micros)]),
        );
      }
      this.#status.textContent =
        `Measured: ${rows.toLocaleString('en')} rows of ${dimensions} numbers, ${queries} queries, 10 neighbors. ` +
        'Bit sampling ranks by the distance of bits, so it cannot reach all neighbors by that of numbers.';
    } catch (error) {
      showError(this.#status, error);
    } finally {
      this.#button.disabled = false;
    }
  }
}
