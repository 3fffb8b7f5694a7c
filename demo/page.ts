/** Elements of the page by id; a missing one is a mistake in index.html. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`#${id}: expected an element, got none`);
  return element as T;
}

/** A new element with properties and children. */
export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  properties: Partial<HTMLElementTagNameMap[Tag]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** A table of texts with a header. */
export function fillTable(table: HTMLTableElement, header: string[], rows: string[][]): void {
  const row = (tag: 'td' | 'th', cells: string[]): HTMLTableRowElement =>
    make('tr', {}, ...cells.map((cell) => make(tag, { textContent: cell })));
  table.replaceChildren(
    make('thead', {}, row('th', header)),
    make('tbody', {}, ...rows.map((cells) => row('td', cells))),
  );
}

export function showError(status: HTMLElement, error: unknown): void {
  status.replaceChildren(
    make('span', { className: 'error', textContent: error instanceof Error ? error.message : String(error) }),
  );
}

export function percent(share: number): string {
  return `${(100 * share).toFixed(share === 1 || share === 0 ? 0 : 1)} %`;
}

/** Microseconds with three digits. */
export function duration(micros: number): string {
  if (micros < 1000) return `${Number(micros.toPrecision(3))} µs`;
  return `${Number((micros / 1000).toPrecision(3))} ms`;
}

/**
 * Only the newest of many calls counts: while one is under way the next waits, and those in between are dropped. So a
 * slider that is dragged never queues up work.
 */
export function latest<T>(
  work: (value: T) => Promise<void>,
  failed: (error: unknown) => void,
): (value: T) => void {
  let busy = false;
  let next: { value: T } | null = null;
  const run = async (value: T): Promise<void> => {
    busy = true;
    await work(value).catch(failed);
    busy = false;
    const waiting = next;
    next = null;
    if (waiting) await run(waiting.value);
  };
  return (value) => {
    if (busy) next = { value };
    else void run(value);
  };
}
