const NEWEST_BYTES = 2 ** 12;
/** Bytes of the longest number; and of the longest text that is worth a look at its characters. */
const MOST_NUMBER_BYTES = 32;
/** Powers of ten that are exact. */
const POWERS: Float64Array = Float64Array.from({ length: 23 }, (_, exponent) => Number(`1e${exponent}`));
/** Digits that tell every float32 apart. */
const MOST_DIGITS = 9;
const ZERO = 48;
const POINT = 46;
const MINUS = 45;
/** The digits of 00 to 99. */
const PAIRS: Uint8Array = Uint8Array.from(
  { length: 200 },
  (_, i) => ZERO + (i % 2 ? (i >> 1) % 10 : (i / 20) | 0),
);

/** Text as it grows, in bytes (UTF-8): numbers go there digit by digit, without a string for each. */
export class TextBytes {
  #bytes = new Uint8Array(NEWEST_BYTES);
  #length = 0;

  /** Bytes so far. */
  get length(): number {
    return this.#length;
  }

  /** What there is so far; the text begins anew. */
  take(): Uint8Array {
    const taken = this.#bytes.slice(0, this.#length);
    this.#length = 0;
    return taken;
  }

  /** Any text, as it is. */
  text(text: string): this {
    // At most three bytes for each of its 16-bit units.
    this.#makeRoom(3 * text.length);
    if (text.length <= MOST_NUMBER_BYTES && this.#ascii(text)) return this;
    this.#length += encoder.encodeInto(text, this.#bytes.subarray(this.#length)).written;
    return this;
  }

  /** One character of ASCII. */
  character(code: number): this {
    this.#makeRoom(1);
    this.#bytes[this.#length++] = code;
    return this;
  }

  /** A whole number of 0 to 2^32 - 1. */
  whole(value: number): this {
    this.#makeRoom(MOST_NUMBER_BYTES);
    this.#length = putWhole(this.#bytes, this.#length, value);
    return this;
  }

  /** The shortest decimal that reads back as the same float32. */
  decimal(value: number): this {
    if (value >>> 0 === value) return this.whole(value);
    this.#makeRoom(MOST_NUMBER_BYTES);
    const end = putDecimal(this.#bytes, this.#length, value);
    if (end === this.#length) return this.text(plain(value));
    this.#length = end;
    return this;
  }

  /** Appends a text that has no other characters than those of ASCII; whether it was one. */
  #ascii(text: string): boolean {
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code > 127) return false;
      this.#bytes[this.#length + i] = code;
    }
    this.#length += text.length;
    return true;
  }

  #makeRoom(bytes: number): void {
    if (this.#length + bytes <= this.#bytes.length) return;
    const more = new Uint8Array(2 * (this.#length + bytes));
    more.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = more;
  }
}

/** Writes a whole number of 0 to 2^32 - 1 at a place; returns the place behind it. */
function putWhole(bytes: Uint8Array, at: number, value: number): number {
  let digits = 1;
  for (let next = 10; value >= next; next *= 10) digits++;
  return putDigits(bytes, at, value, digits);
}

/** Writes the last so many digits of a whole number, with zeros before it. */
function putDigits(bytes: Uint8Array, start: number, value: number, count: number): number {
  let left = value >>> 0;
  let at = start + count;
  while (at - start > 1) {
    const rest = (left / 100) >>> 0;
    const pair = (left - Math.imul(rest, 100)) << 1;
    bytes[--at] = PAIRS[pair + 1];
    bytes[--at] = PAIRS[pair];
    left = rest;
  }
  if (at > start) bytes[start] = ZERO + (left % 10);
  return start + count;
}

/**
 * Writes the shortest decimal that reads back as the same float32; returns the place behind it, or the same place where that
 * is for others: of whole numbers, tiny ones and those that are no float32.
 */
function putDecimal(bytes: Uint8Array, start: number, value: number): number {
  const size = Math.abs(value);
  // Below 1e-6 it is written with an exponent.
  if (Math.fround(value) !== value || Math.floor(size) === size || size < 1e-6) return start;
  let exponent = 0;
  if (size >= 1) while (size >= POWERS[exponent + 1]) exponent++;
  else while (size * POWERS[-exponent] < 1) exponent--;
  for (let digits = Math.max(6, exponent + 2); digits <= MOST_DIGITS; digits++) {
    let places = digits - 1 - exponent;
    const power = POWERS[places];
    const scaled = Math.round(size * power);
    // The double nearest to the decimal with these digits.
    const quotient = scaled / power;
    if (Math.fround(quotient) !== size) continue;
    // From here on in whole numbers of 32 bits: a remainder of doubles takes longer than all the rest.
    const whole = quotient | 0;
    let fraction = ((scaled | 0) - Math.imul(whole, power)) | 0;
    for (; fraction % 10 === 0; places--) fraction = (fraction / 10) | 0;
    let at = start;
    if (value < 0) bytes[at++] = MINUS;
    at = putWhole(bytes, at, whole);
    bytes[at++] = POINT;
    return putDigits(bytes, at, fraction, places);
  }
  return start;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const single = new TextBytes();

/** The shortest decimal that reads back as the same float32. */
export function shortest(value: number): string {
  return decoder.decode(single.decimal(value).take());
}

/** For any number: several times slower. */
function plain(value: number): string {
  if (Math.fround(value) !== value || Number.isInteger(value)) return String(value);
  for (let digits = 1; digits <= MOST_DIGITS; digits++) {
    const text = String(Number(value.toPrecision(digits)));
    if (Math.fround(Number(text)) === value) return text;
  }
  return String(value);
}
