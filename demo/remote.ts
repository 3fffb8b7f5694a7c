/** The methods of an object in a worker, as seen from the page: each gives a promise. Properties are out of reach. */
export type Remote<T> = {
  [Name in keyof T as T[Name] extends (...args: never[]) => unknown ? Name : never]: T[Name] extends (
    ...args: infer Args
  ) => infer Result
    ? (...args: Args) => Promise<Awaited<Result>>
    : never;
};

interface Call {
  number: number;
  path: string;
  args: unknown[];
}

interface Answer {
  number: number;
  value?: unknown;
  error?: string;
}

/** Asks `worker` for what `serve` offers there: `ask<Digits>('digits').search(…)`. */
export function connect(worker: Worker): <T>(part: string) => Remote<T> {
  const waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
  let last = 0;
  worker.onmessage = ({ data }: MessageEvent<Answer>) => {
    const call = waiting.get(data.number);
    waiting.delete(data.number);
    if (data.error === undefined) call?.resolve(data.value as never);
    else call?.reject(new Error(data.error));
  };
  worker.onerror = (event) => {
    for (const { reject } of waiting.values()) reject(new Error(event.message || 'the worker stopped'));
    waiting.clear();
  };
  return <T>(part: string) =>
    new Proxy({} as Remote<T>, {
      get:
        (_, name) =>
        (...args: unknown[]) =>
          new Promise((resolve, reject) => {
            last++;
            waiting.set(last, { resolve, reject });
            worker.postMessage({ number: last, path: `${part}.${String(name)}`, args } satisfies Call);
          }),
    });
}

/** Answers the calls of the page, one after the other. */
export function serve(parts: Record<string, object>): void {
  let before: Promise<unknown> = Promise.resolve();
  self.onmessage = ({ data }: MessageEvent<Call>) => {
    const { number, path, args } = data;
    const [part, name] = path.split('.');
    const object = parts[part] as Record<string, (...args: unknown[]) => unknown>;
    before = before
      .then(() => object[name](...args))
      .then(
        (value) => self.postMessage({ number, value } satisfies Answer),
        (error: unknown) =>
          self.postMessage({ number, error: error instanceof Error ? error.message : String(error) }),
      );
  };
}
