import { instantiateSync } from '@assemblyscript/loader';
import { type Binary, engineBinary, tableBinary } from './binary.js';
import { rangeError, typeError } from './check.js';

/**
 * Kernels, as assembly/ exports them; their docstrings there give formula, regions and layouts. Every address and count
 * is a u32; results come back signed, so callers write `>>> 0` on addresses. These are in both binaries.
 */
export interface SharedKernels {
  squaredL2(query: number, rows: number, count: number, stride: number, out: number): void;
  dot(query: number, rows: number, count: number, stride: number, out: number): void;
  squaredNorms(rows: number, count: number, stride: number, out: number): void;
  inverseLengths(rows: number, count: number, stride: number, least: number, out: number): number;
  padRows(packed: number, count: number, dimensions: number, stride: number, rows: number): void;
  firstUnfit(floats: number, count: number, limit: number): number;
  packPlanes(
    planes: number,
    planeCount: number,
    planeStride: number,
    dimensions: number,
    packed: number,
  ): void;
  margins(
    rows: number,
    count: number,
    stride: number,
    dimensions: number,
    packed: number,
    planeCount: number,
    out: number,
  ): void;
  drain(heap: number, size: number, ids: number, scores: number): void;
  fillChecksumTable(table: number): void;
  checksum(table: number, before: number, bytes: number, count: number): number;
}

/** The binary of exact search and of the hash tables (assembly/tables.ts). */
export interface TableKernels extends SharedKernels {
  signBits(
    rows: number,
    count: number,
    stride: number,
    dimensions: number,
    packed: number,
    planeCount: number,
    out: number,
  ): void;
  keys(
    signs: number,
    count: number,
    signBytes: number,
    tables: number,
    bits: number,
    keyStride: number,
    out: number,
  ): void;
  hamming(query: number, codes: number, count: number, words: number, out: number): void;
  hammingGathered(query: number, codes: number, ids: number, count: number, words: number, out: number): void;
  rank(
    scores: number,
    ids: number,
    firstId: number,
    count: number,
    k: number,
    heap: number,
    size: number,
  ): number;
  rankRows(
    metric: number,
    query: number,
    queryScale: number,
    rows: number,
    scales: number,
    firstId: number,
    count: number,
    stride: number,
    k: number,
    heap: number,
    size: number,
    scratch: number,
  ): number;
  rankGathered(
    metric: number,
    query: number,
    queryScale: number,
    rows: number,
    scales: number,
    ids: number,
    count: number,
    stride: number,
    k: number,
    heap: number,
    size: number,
    scratch: number,
  ): number;
  rankBlock(
    metric: number,
    rows: number,
    bases: number,
    factors: number,
    scales: number,
    firstId: number,
    count: number,
    stride: number,
    queries: number,
    queryCount: number,
    packed: number,
    state: number,
    scratch: number,
    k: number,
    heaps: number,
  ): void;
  sortKeys(
    keys: number,
    keyStride: number,
    count: number,
    tables: number,
    shift: number,
    slots: number,
    offsets: number,
    ids: number,
  ): void;
  chainKeys(
    keys: number,
    keyStride: number,
    first: number,
    count: number,
    tables: number,
    shift: number,
    slots: number,
    heads: number,
    links: number,
    linkStride: number,
    tailFirst: number,
  ): void;
  gatherSorted(
    wanted: number,
    wantedStride: number,
    probes: number,
    tables: number,
    keys: number,
    keyStride: number,
    shift: number,
    slots: number,
    offsets: number,
    ids: number,
    idStride: number,
    marks: number,
    epoch: number,
    out: number,
    found: number,
    caps?: number,
  ): number;
  gatherChained(
    wanted: number,
    wantedStride: number,
    probes: number,
    tables: number,
    keys: number,
    keyStride: number,
    shift: number,
    slots: number,
    heads: number,
    links: number,
    linkStride: number,
    tailFirst: number,
    marks: number,
    epoch: number,
    out: number,
    found: number,
    caps?: number,
  ): number;
  probeKeys(
    margins: number,
    tables: number,
    bits: number,
    probes: number,
    scratch: number,
    out: number,
  ): void;
  padCodes(packed: number, count: number, bytes: number, words: number, codes: number): void;
  sampleKeys(
    codes: number,
    count: number,
    words: number,
    positions: number,
    tables: number,
    sampledBits: number,
    scratch: number,
    keyStride: number,
    keys: number,
  ): void;
  minHash(
    set: number,
    count: number,
    functions: number,
    functionCount: number,
    mixed: number,
    signature: number,
  ): void;
  bandKeys(signature: number, bands: number, rows: number, keyStride: number, keys: number): void;
  jaccardGathered(
    query: number,
    queryCount: number,
    features: number,
    offsets: number,
    ids: number,
    count: number,
    out: number,
  ): void;
}

/** The binary of the engine (assembly/engine.ts). */
export interface EngineKernels extends SharedKernels {
  rotate(
    rows: number,
    count: number,
    stride: number,
    mean: number,
    signs: number,
    rounds: number,
    dimensions: number,
    out: number,
  ): void;
  transform(plan: number, rows: number, count: number, rotated: number): void;
  assign(
    plan: number,
    rotated: number,
    count: number,
    spare: number,
    groupSpare: number,
    cells: number,
    distances: number,
  ): void;
  assignExactly(
    rotated: number,
    count: number,
    dims: number,
    table: number,
    tableCount: number,
    scratch: number,
    nearest: number,
  ): void;
  accumulate(rotated: number, count: number, dims: number, cells: number, sums: number, counts: number): void;
  moveCentres(sums: number, counts: number, cells: number, dims: number, centres: number): void;
  clearBlock(block: number, codeBytes: number): void;
  clearSlot(block: number, codeBytes: number, slot: number): void;
  noteSlots(run: number, codeBytes: number, from: number, to: number, slots: number, firstSlot: number): void;
  packRun(run: number, codeBytes: number, used: number, slots: number, firstSlot: number): number;
  encode(
    rotated: number,
    centre: number,
    dims: number,
    block: number,
    slot: number,
    wide: number,
    row: number,
    offset: number,
  ): void;
  fillSlots(
    plan: number,
    rows: number,
    position: number,
    count: number,
    centre: number,
    firstBlock: number,
    slot: number,
    scratch: number,
  ): void;
  encodeRows(plan: number, rows: number, rotated: number, count: number, cells: number, loose: number): void;
  fillEncoded(
    plan: number,
    loose: number,
    places: number,
    position: number,
    count: number,
    firstBlock: number,
    slot: number,
  ): void;
  fillRecords(
    plan: number,
    rows: number,
    count: number,
    records: number,
    norms: number,
    scratch: number,
  ): void;
  permuteRows(
    rows: number,
    rowBytes: number,
    count: number,
    source: number,
    scratch: number,
    state: number,
    moves: number,
  ): void;
  scaleRows(rows: number, scales: number, count: number, stride: number): void;
  extendRows(rows: number, count: number, stride: number, at: number, squaredNorm: number): void;
  quantizeRows(rows: number, count: number, stride: number, dimensions: number, records: number): void;
  restoreRows(records: number, count: number, stride: number, dimensions: number, rows: number): void;
  prepare(plan: number): void;
  chooseCells(plan: number): number;
  scanCells(plan: number, probes: number): void;
  rankFound(plan: number): void;
  search(plan: number): void;
  searchExact(plan: number, first: number, end: number): void;
  countPassing(plan: number): number;
  searchPassing(plan: number): number;
  rankPassing(plan: number): void;
  startWithin(plan: number): number;
  scanWithin(plan: number, from: number, count: number): number;
  collectPassing(plan: number, from: number): number;
  sortFound(plan: number, ids: number, scores: number): void;
  searchMany(plan: number, queries: number, count: number, ids: number, scores: number): void;
}

/** What is in orthant.wasm (assembly/index.ts): all of the above, and what stands alone in no product. */
export interface Kernels extends TableKernels, EngineKernels {
  squaredL2Gathered(
    query: number,
    rows: number,
    ids: number,
    count: number,
    stride: number,
    out: number,
  ): void;
  dotGathered(query: number, rows: number, ids: number, count: number, stride: number, out: number): void;
  hadamard(x: number, width: number): void;
  offer(heap: number, size: number, k: number, score: number, id: number): number;
  fillHeap(heap: number, k: number): void;
}

/** What a memory must be for kernels and memory.ts: a WebAssembly.Memory is. */
export interface GrowingMemory {
  readonly buffer: ArrayBuffer;
  /** Adds pages of 64 KiB at the end; the buffer is another one then. Throws a RangeError where there is no room. */
  grow(pages: number): number;
}

let tables: WebAssembly.Module | undefined;
let engine: WebAssembly.Module | undefined;
let sharedEngine: WebAssembly.Module | undefined;
/** Kernels keep nothing, so one instance serves all engines of a thread over one memory; to make another takes 0.4 ms. */
let overShared: WeakMap<GrowingMemory, EngineKernels> | undefined;

/** WebAssembly.Module, where a project's libraries know it: those of a Node project without "dom" do not. */
type CompiledModule = typeof globalThis extends { WebAssembly: { Module: { prototype: infer Module } } }
  ? Module
  : object;

/** Where the compiled kernels come from, when the inlined binaries must not be compiled on the spot. */
export interface InitOptions {
  /** A compiled module, for places that forbid compiling bytes (`import module from 'orthant/orthant.wasm'`). */
  module?: CompiledModule;
  /** The bytes of `orthant/orthant.wasm`. */
  bytes?: ArrayBuffer | ArrayBufferView;
  /** Where to fetch `orthant.wasm` from. */
  url?: string | URL;
}

/**
 * Compiles the kernels ahead of time. Nobody needs to call it: the inlined binary of a class is compiled at its first
 * construction. It exists for places that forbid or limit synchronous compiling; without options it compiles the inlined
 * binaries without blocking.
 *
 * Throws a TypeError (ERR_ARGUMENT_TYPE) for an option of the wrong kind, a RangeError (ERR_NO_SIMD) where the engine
 * has no SIMD, a TypeError (ERR_COMPILE_FORBIDDEN) where a policy forbids compiling bytes.
 */
export async function init(options: InitOptions = {}): Promise<void> {
  if (options.module !== undefined) {
    if (!(options.module instanceof WebAssembly.Module)) {
      throw typeError(
        'ERR_ARGUMENT_TYPE',
        'module: expected a WebAssembly.Module, got another kind of value',
      );
    }
    tables = engine = options.module;
  } else if (options.url !== undefined) {
    const response = await fetch(options.url);
    if (!response.ok) throw new TypeError(`url: expected a response with status 200, got ${response.status}`);
    tables = engine = await WebAssembly.compile(await response.arrayBuffer());
  } else if (options.bytes !== undefined) {
    tables = engine = await compileAhead(options.bytes);
  } else {
    const inlined = [tableBinary, engineBinary].map((binary) => compileAhead(bytesOf(binary)));
    [tables, engine] = await Promise.all(inlined);
  }
}

async function compileAhead(bytes: ArrayBuffer | ArrayBufferView): Promise<WebAssembly.Module> {
  try {
    return await WebAssembly.compile(bytes as BufferSource);
  } catch (error) {
    throw WebAssembly.validate(bytes as BufferSource) ? forbidden(error) : error;
  }
}

/**
 * A memory of one page for kernels to work on; `shared` by threads perhaps.
 *
 * @internal
 */
export function createMemory(maximumPages: number, shared: boolean = false): GrowingMemory {
  if (typeof WebAssembly === 'undefined') throw withoutSimd();
  return new WebAssembly.Memory({ initial: 1, maximum: maximumPages, shared });
}

/**
 * The kernels of exact search and of the hash tables over one memory. Compiles once; instantiates for each memory.
 *
 * @internal
 */
export function instantiateTables(memory: GrowingMemory): TableKernels {
  tables ??= compile(tableBinary);
  return instantiate(tables, memory);
}

/**
 * The kernels of the engine, likewise.
 *
 * @internal
 */
export function instantiateEngine(memory: GrowingMemory): EngineKernels {
  const isShared = typeof SharedArrayBuffer === 'function' && memory.buffer instanceof SharedArrayBuffer;
  if (isShared) {
    overShared ??= new WeakMap();
    let kernels = overShared.get(memory);
    if (kernels === undefined) {
      sharedEngine ??= compile(engineBinary, true);
      kernels = instantiate<EngineKernels>(sharedEngine, memory);
      overShared.set(memory, kernels);
    }
    return kernels;
  }
  engine ??= compile(engineBinary);
  return instantiate(engine, memory);
}

function instantiate<Exports>(module: WebAssembly.Module, memory: GrowingMemory): Exports {
  const imports = { env: { memory: memory as WebAssembly.Memory } };
  return instantiateSync<Record<string, unknown>>(module, imports).instance.exports as Exports;
}

/** An inlined binary in the best form that this engine takes: relaxed swizzles are one instruction instead of two. */
function bytesOf(binary: Binary): Uint8Array<ArrayBuffer> {
  if (typeof WebAssembly === 'undefined') throw withoutSimd();
  const bytes = decode(binary);
  const relaxed = bytes.slice();
  for (const at of binary.relaxed) relaxed.set([0x80, 0x02], at + 1);
  if (WebAssembly.validate(relaxed)) return relaxed;
  if (!WebAssembly.validate(bytes)) throw withoutSimd();
  return bytes;
}

function compile(binary: Binary, isShared = false): WebAssembly.Module {
  const bytes = bytesOf(binary);
  if (isShared) bytes[memoryFlags(bytes)] |= 2;
  try {
    return new WebAssembly.Module(bytes);
  } catch (error) {
    throw forbidden(error);
  }
}

/**
 * Where the flags of the imported memory are: one bit of them makes a binary for a memory that threads share. No kernel
 * needs an atomic instruction, so that bit is the whole difference.
 */
function memoryFlags(bytes: Uint8Array): number {
  const name = [6, ...Array.from('memory', (letter) => letter.charCodeAt(0)), 2];
  const at = bytes.findIndex((_, i) => name.every((byte, j) => bytes[i + j] === byte));
  return at + name.length;
}

function withoutSimd(): RangeError {
  return rangeError(
    'ERR_NO_SIMD',
    "WebAssembly: expected an engine with SIMD (2021 or newer), got one without; import 'orthant/js', which needs none",
  );
}

/** For bytes that are valid and yet not compiled: by a content security policy, or a platform that compiles nothing. */
function forbidden(cause: unknown): Error {
  const error = typeError(
    'ERR_COMPILE_FORBIDDEN',
    `WebAssembly: expected leave to compile, got a refusal; allow 'wasm-unsafe-eval' in the policy, or hand over a compiled module with init({ module }), or import 'orthant/js'`,
  );
  return Object.assign(error, { cause });
}

/** The bytes of an inlined binary: assembly/build.mjs tells how they are written. */
function decode({ order, text }: Binary): Uint8Array<ArrayBuffer> {
  const byteOf = Array.from({ length: 256 }, (_, i) => Number.parseInt(order.slice(2 * i, 2 * i + 2), 16));
  const bytes = new Uint8Array(text.length);
  let count = 0;
  let shift = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code >= 125) {
      shift = 89 * (code - 124);
      continue;
    }
    // Places of the characters: those from space to | without $ ' \ and `.
    const place =
      code - 32 - Number(code > 36) - Number(code > 39) - Number(code > 92) - Number(code > 96) + shift;
    bytes[count++] = byteOf[place];
    shift = 0;
  }
  return bytes.slice(0, count);
}
