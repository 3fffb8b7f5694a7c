import { byId, duration, latest, make, percent, showError } from '../page.js';
import type { Remote } from '../remote.js';
import type { WordsWork } from '../tasks/words.js';

const K = 20;
/** Words that the box suggests; the rest can be typed all the same. */
const SUGGESTED = 2000;

/** Semantic neighbors of a typed word. */
export class WordsView {
  readonly #work: Remote<WordsWork>;
  readonly #status = byId('words-status');
  readonly #word = byId<HTMLInputElement>('word');
  readonly #recall = byId<HTMLSelectElement>('words-recall');
  #opened = '';

  constructor(work: Remote<WordsWork>) {
    this.#work = work;
    const form = byId<HTMLFormElement>('words-form');
    form.oninput = () => this.#search();
    form.onsubmit = (event) => event.preventDefault();
    for (const example of document.querySelectorAll<HTMLButtonElement>('#words .example'))
      example.onclick = () => this.#searchFor(example.textContent!);
    void this.#open().catch((error) => showError(this.#status, error));
  }

  async #open(): Promise<void> {
    this.#status.textContent = 'Building the index …';
    const { words, buildMs } = await this.#work.open();
    this.#opened = `Index of 10,000 words built in ${duration(buildMs * 1000)}.`;
    byId('known').replaceChildren(...words.slice(0, SUGGESTED).map((value) => make('option', { value })));
    this.#search();
  }

  #searchFor(text: string): void {
    this.#word.value = text;
    this.#search();
  }

  #search(): void {
    this.#run({ text: this.#word.value, recall: Number(this.#recall.value) });
  }

  #run = latest(
    async ({ text, recall }: { text: string; recall: number }) => {
      const list = byId('words-list');
      try {
        const {
          words,
          distances,
          micros,
          exactMicros,
          ranked,
          recall: got,
        } = await this.#work.search(text, { k: K, recall });
        list.replaceChildren(
          ...words.map((word, i) => {
            const button = make('button', { type: 'button', textContent: word });
            button.onclick = () => this.#searchFor(word);
            return make('li', {}, button, make('small', { textContent: ` ${distances[i].toFixed(3)}` }));
          }),
        );
        this.#status.textContent =
          `${duration(micros)}, ${ranked} of 10,000 words compared; recall ${percent(got)} ` +
          `against exact search, which takes ${duration(exactMicros)}. ${this.#opened}`;
      } catch (error) {
        list.replaceChildren();
        throw error;
      }
    },
    (error) => showError(this.#status, error),
  );
}
