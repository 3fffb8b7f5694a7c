import { sizeBars } from '../charts.js';
import { byId, duration, latest, make, percent, showError } from '../page.js';
import type { Remote } from '../remote.js';
import type { DigitsAnswer, DigitsSettings, DigitsWork, Family } from '../tasks/digits.js';
import { Pad } from './pad.js';

const SIDE = 8;
const PIXELS = SIDE * SIDE;
const SHOWN = 24;

interface Wanted {
  build: DigitsSettings;
  search: { k: number; probes: number; recall: number };
}

interface Query {
  pixels: Uint8Array;
  name: string;
}

/** Click or draw a digit; its nearest images beside it. */
export class DigitsView {
  readonly #work: Remote<DigitsWork>;
  readonly #form = byId<HTMLFormElement>('digits-settings');
  readonly #status = byId('digits-status');
  readonly #pad = new Pad(byId<HTMLCanvasElement>('pad'), (pixels) =>
    this.#ask({ pixels, name: 'your drawing' }),
  );
  #images: Uint8Array = new Uint8Array();
  #labels: Uint8Array = new Uint8Array();
  #indexed = 0;
  /** First digit of the gallery. */
  #first = 0;
  #query!: Query;
  /** The settings that the index was built with. */
  #built = '';

  constructor(work: Remote<DigitsWork>) {
    this.#work = work;
    void this.#open().catch((error) => showError(this.#status, error));
  }

  async #open(): Promise<void> {
    const { images, labels, indexed } = await this.#work.open();
    this.#images = images;
    this.#labels = labels;
    this.#indexed = indexed;
    this.#form.oninput = () => {
      this.#showSettings();
      this.#search();
    };
    this.#form.onsubmit = (event) => event.preventDefault();
    byId('clear').onclick = () => this.#pad.clear();
    byId('more').onclick = () => {
      this.#first = (this.#first + SHOWN) % (labels.length - indexed - SHOWN + 1);
      this.#showGallery();
    };
    this.#showSettings();
    this.#showGallery();
    this.#choose(indexed);
  }

  #showGallery(): void {
    const ids = Array.from({ length: SHOWN }, (_, i) => this.#indexed + this.#first + i);
    byId('gallery').replaceChildren(
      ...ids.map((id) => {
        const button = make('button', { type: 'button' }, picture(this.#pixels(id)));
        button.dataset.id = String(id);
        button.setAttribute('aria-label', `Image ${id}, a ${this.#labels[id]}`);
        button.setAttribute('aria-pressed', 'false');
        button.onclick = () => this.#choose(id);
        return button;
      }),
    );
  }

  #choose(id: number): void {
    const pixels = this.#pixels(id);
    this.#pad.show(pixels);
    this.#ask({ pixels, name: `image ${id}, a ${this.#labels[id]}` });
    for (const button of byId('gallery').children as HTMLCollectionOf<HTMLElement>)
      button.setAttribute('aria-pressed', String(button.dataset.id === String(id)));
  }

  #ask(query: Query): void {
    this.#query = query;
    this.#search();
  }

  #search(): void {
    this.#run({ settings: this.#settings(), query: this.#query });
  }

  #run = latest(
    async ({ settings, query }: { settings: Wanted; query: Query }) => {
      const { build, search } = settings;
      const wanted = JSON.stringify(build);
      if (wanted !== this.#built) {
        const built = await this.#work.build(build);
        this.#built = wanted;
        byId('bars').replaceChildren(
          ...(built.bars.length > 0 ? [sizeBars(built)] : ['No buckets: every image is compared.']),
        );
        byId('bars-title').textContent =
          built.bars.length > 0
            ? `${built.unit === 'cell' ? 'Cells' : 'Buckets of all tables'} by size; the largest holds ${built.largest}`
            : 'Buckets by size';
      }
      this.#show(await this.#work.search(query.pixels, search), query, search.k);
    },
    (error) => showError(this.#status, error),
  );

  #show(answer: DigitsAnswer, query: Query, k: number): void {
    const { ids, candidates, micros, exactMicros, recall } = answer;
    const short =
      ids.length < k ? ` Only ${ids.length} of ${k} found: more tables or fewer bits find more.` : '';
    this.#status.textContent =
      `For ${query.name}: ${candidates} of ${this.#indexed} images compared, ${duration(micros)}; ` +
      `recall ${percent(recall)} against exact search, which takes ${duration(exactMicros)}.${short}`;
    byId('neighbors').replaceChildren(
      ...[...ids].map((id, i) => {
        const tables = answer.foundBy[i];
        const item = make(
          'li',
          {},
          picture(this.#pixels(id)),
          make('span', {
            textContent: `${answer.labels[i]} at ${Number(answer.distances[i].toPrecision(4))}`,
          }),
          make('small', { textContent: `image ${id}` }),
        );
        item.dataset.id = String(id);
        if (tables.length > 0) {
          const all = tables.map((table) => table + 1).join(', ');
          item.append(
            make('small', {
              textContent: tables.length > 4 ? `${tables.length} tables` : `table ${all}`,
              title: `found by table ${all}`,
            }),
          );
        }
        return item;
      }),
    );
  }

  #settings(): Wanted {
    const data = new FormData(this.#form);
    const number = (name: string): number => Number(data.get(name));
    return {
      build: {
        family: data.get('family') as Family,
        tables: number('tables'),
        bits: number('bits'),
        sampledBits: number('sampledBits'),
        cells: number('cells'),
      },
      search: { k: number('k'), probes: number('probes'), recall: number('recall') },
    };
  }

  /** Hides what the family does not have, and shows each slider's value. */
  #showSettings(): void {
    const family = new FormData(this.#form).get('family') as string;
    for (const label of this.#form.querySelectorAll('label')) {
      const { for: families } = label.dataset;
      label.hidden = families !== undefined && !families.includes(family);
      const input = label.querySelector('input');
      if (input) label.querySelector('output')!.textContent = input.value;
    }
  }

  #pixels(id: number): Uint8Array {
    return this.#images.subarray(id * PIXELS, (id + 1) * PIXELS);
  }
}

/** An image of ink 0 to 16 as a canvas that the text beside it describes. */
function picture(pixels: Uint8Array): HTMLCanvasElement {
  const canvas = make('canvas', { width: SIDE, height: SIDE, className: 'digit' });
  canvas.setAttribute('aria-hidden', 'true');
  const context = canvas.getContext('2d')!;
  const image = context.createImageData(SIDE, SIDE);
  pixels.forEach((ink, i) => {
    const gray = 255 - Math.round((ink * 255) / 16);
    image.data.set([gray, gray, gray, 255], 4 * i);
  });
  context.putImageData(image, 0, 0);
  return canvas;
}
