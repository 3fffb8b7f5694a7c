/** A thread of either kind: of node:worker_threads, or a Web Worker. */
export interface Thread {
  post(message: unknown, transfer?: readonly object[]): void;
  end(): void;
}

/** What happens to a thread. */
export interface ThreadEvents {
  message(data: unknown): void;
  /** It has ended, or never began; it is of no use any more. */
  crash(error: Error): void;
}

/** A worker as its platform gives it. */
interface AnyWorker {
  postMessage(message: unknown, transfer?: unknown): void;
  terminate(): unknown;
  on?(event: string, listener: (value: never) => void): unknown;
  onmessage?: unknown;
  onerror?: unknown;
  onmessageerror?: unknown;
}

interface WorkerThreads {
  Worker: new (url: URL) => AnyWorker;
  parentPort: Port | null;
}

/** What a worker's own script talks to. */
export interface Port {
  postMessage(message: unknown, transfer?: readonly object[]): void;
  onmessage: ((event: { data: unknown }) => void) | null;
}

/**
 * node:worker_threads where there are Node's threads only. Not by an import: bundlers for pages would look for the module,
 * and some fail that do not find it.
 */
export function workerThreads(): WorkerThreads | undefined {
  const { process } = globalThis as { process?: { getBuiltinModule?: (name: string) => unknown } };
  return process?.getBuiltinModule?.('node:worker_threads') as WorkerThreads | undefined;
}

/** Threads that this machine can run at a time. */
export function threadCount(): number {
  return globalThis.navigator?.hardwareConcurrency ?? processors() ?? 2;
}

function processors(): number | undefined {
  const { process } = globalThis as { process?: { getBuiltinModule?: (name: string) => unknown } };
  const os = process?.getBuiltinModule?.('node:os') as { availableParallelism(): number } | undefined;
  return os?.availableParallelism();
}

/** Starts a thread; `make` makes its worker in a way of the caller's own. */
export function startThread(events: ThreadEvents, make?: () => unknown): Thread {
  const worker = (make ? make() : makeWorker()) as AnyWorker;
  let isOver = false;
  const crash = (error: Error): void => {
    if (isOver) return;
    isOver = true;
    worker.terminate();
    events.crash(error);
  };
  if (typeof worker.on === 'function') {
    worker.on('message', (data: never) => events.message(data));
    worker.on('messageerror', (error: never) => crash(error));
    worker.on('error', (error: never) => crash(error));
    worker.on('exit', (code: never) => crash(new Error(`it ended with exit code ${code}`)));
  } else {
    worker.onmessage = (event: { data: unknown }) => events.message(event.data);
    worker.onmessageerror = () => crash(new Error('a message could not be read'));
    worker.onerror = (event: { message?: string; preventDefault?: () => void }) => {
      event.preventDefault?.();
      crash(new Error(event.message ?? 'its script could not be loaded'));
    };
  }
  return {
    post: (message, transfer = []) => worker.postMessage(message, transfer),
    end: () => {
      isOver = true;
      worker.terminate();
    },
  };
}

function makeWorker(): unknown {
  // In this form, and in place, bundlers see that worker.js is a script of its own.
  if (typeof Worker === 'function')
    return new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  const threads = workerThreads();
  if (threads === undefined)
    throw new Error('workers: expected an environment with workers, got one without');
  return new threads.Worker(new URL('./worker.js', import.meta.url));
}
