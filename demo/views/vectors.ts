import { byId, duration, fillTable, make, percent, showError } from '../page.js';
import type { Remote } from '../remote.js';
import type { Opened, VectorsWork } from '../tasks/vectors.js';

/** Vectors of the user's own: drop a file, search it, keep it, take it along. */
export class VectorsView {
  readonly #work: Remote<VectorsWork>;
  readonly #status = byId('vectors-status');

  constructor(work: Remote<VectorsWork>) {
    this.#work = work;
    const drop = byId('drop');
    const file = byId<HTMLInputElement>('file');
    file.onchange = () => {
      const [chosen] = file.files ?? [];
      if (chosen) void this.#take(chosen);
      file.value = ''; // so that the same file can be chosen again
    };
    for (const type of ['dragenter', 'dragover', 'dragleave', 'drop'] as const) {
      drop.addEventListener(type, (event) => {
        event.preventDefault();
        drop.classList.toggle('over', type === 'dragenter' || type === 'dragover');
      });
    }
    drop.addEventListener('drop', (event) => {
      const [dropped] = event.dataTransfer?.files ?? [];
      if (dropped) void this.#take(dropped);
    });
    byId('keep').onclick = () => this.#try(() => this.#keep());
    byId('download').onclick = () => this.#try(() => this.#download());
    const form = byId<HTMLFormElement>('vectors-form');
    form.onsubmit = (event) => {
      event.preventDefault();
      this.#search();
    };
    this.#try(() => this.#showKept());
  }

  async #take(file: File): Promise<void> {
    this.#status.textContent = `Reading ${file.name} …`;
    await this.#try(async () => {
      const bytes = new Uint8Array(await file.arrayBuffer());
      this.#show(await this.#work.open(file.name, bytes), 'built');
    });
  }

  #show({ name, rows, dimensions, cells, ms, bytes }: Opened, how: 'built' | 'loaded'): void {
    this.#status.textContent =
      `${name}: ${rows.toLocaleString('en')} rows of ${dimensions} numbers, ${cells} cells, ` +
      `${how} in ${duration(ms * 1000)}, ${(bytes / 1e6).toFixed(1)} MB of memory.`;
    byId('opened').hidden = false;
    byId<HTMLInputElement>('vectors-query').value = '0';
    this.#search();
  }

  #search(): void {
    const text = byId<HTMLInputElement>('vectors-query').value;
    const k = Number(byId<HTMLInputElement>('vectors-k').value);
    const recall = Number(byId<HTMLSelectElement>('vectors-recall').value);
    const status = byId('vectors-answer');
    this.#try(async () => {
      const {
        ids,
        labels,
        distances,
        micros,
        exactMicros,
        recall: got,
      } = await this.#work.search(text, { k, recall });
      status.textContent = `${duration(micros)}, recall ${percent(got)} against exact search, which takes ${duration(exactMicros)}.`;
      fillTable(
        byId<HTMLTableElement>('vectors-table'),
        ['', 'row', ...(labels.length > 0 ? ['name'] : []), 'distance'],
        [...ids].map((id, i) => [
          `${i + 1}`,
          `${id}`,
          ...(labels.length > 0 ? [labels[i]] : []),
          `${Number(distances[i].toPrecision(6))}`,
        ]),
      );
    }, status);
  }

  async #keep(): Promise<void> {
    await this.#work.keep();
    this.#status.textContent = 'Kept: it will be here when you come back.';
    await this.#showKept();
  }

  async #download(): Promise<void> {
    const { name, bytes } = await this.#work.snapshot();
    const url = URL.createObjectURL(new Blob([bytes as Uint8Array<ArrayBuffer>]));
    make('a', { href: url, download: name }).click();
    // The download has begun from the address by then.
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  }

  async #showKept(): Promise<void> {
    const names = await this.#work.kept();
    byId('kept-part').hidden = names.length === 0;
    byId('kept').replaceChildren(
      ...names.map((name) => {
        const open = make('button', { type: 'button', textContent: name });
        open.onclick = () => this.#try(async () => this.#show(await this.#work.restore(name), 'loaded'));
        const forget = make('button', { type: 'button', textContent: 'Delete' });
        forget.setAttribute('aria-label', `Delete ${name}`);
        forget.onclick = () =>
          this.#try(async () => {
            await this.#work.forget(name);
            await this.#showKept();
          });
        return make('li', { className: 'row' }, open, forget);
      }),
    );
  }

  async #try(work: () => Promise<void>, status: HTMLElement = this.#status): Promise<void> {
    try {
      await work();
    } catch (error) {
      showError(status, error);
    }
  }
}
