const NEWEST_BYTES = 2 ** 12;
/** Bytes of the longest number; and of the longest text that is worth a look at its characters. */
const MOST_NUMBER_BYTES = 32;
/** Powers of ten that are exact. */
const POWERS: readonly number[] = Array.from({ length: 23 }, (_, exponent) => Number(`1e${exponent}`));
/** Digits that tell every float32 apart. */
const MOST_DIGITS = 9;
const ZERO = 48;
const POINT = 46;
const MINUS = 45;

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

  /** A whole number of 0 to 2^32 - 1. */
  whole(value: number): this {
    this.#makeRoom(MOST_NUMBER_BYTES);
    let digits = 1;
    for (let next = 10; value >= next; next *= 10) digits++;
    this.#digits(value, digits);
    return this;
  }

  /** The shortest decimal that reads back as the same float32. */
  decimal(value: number): this {
    const size = Math.abs(value);
    // Below, it is written with an exponent.
    if (Math.fround(value) !== value || Number.isInteger(value) || size < 1e-6)
      return this.text(plain(value));
    let exponent = 0;
    if (size >= 1) while (size >= POWERS[exponent + 1]) exponent++;
    else while (size * POWERS[-exponent] < 1) exponent--;
    for (let digits = Math.max(6, exponent + 2); digits <= MOST_DIGITS; digits++) {
      let places = digits - 1 - exponent;
      const scaled = Math.round(size * POWERS[places]);
      // The quotient is the double nearest to the decimal with these digits.
      if (Math.fround(scaled / POWERS[places]) !== size) continue;
      const whole = Math.trunc(scaled / POWERS[places]);
      let fraction = scaled - whole * POWERS[places];
      for (; fraction % 10 === 0; places--) fraction /= 10;
      this.#makeRoom(MOST_NUMBER_BYTES);
      if (value < 0) this.#bytes[this.#length++] = MINUS;
      this.whole(whole);
      this.#bytes[this.#length++] = POINT;
      this.#digits(fraction, places);
      return this;
    }
    return this.text(String(value));
  }

  /** The last so many digits of a whole number, with zeros before it. */
  #digits(value: number, count: number): void {
    const bytes = this.#bytes;
    let left = value >>> 0;
    for (let at = this.#length + count - 1; at >= this.#length; at--) {
      const rest = (left / 10) >>> 0;
      bytes[at] = ZERO + (left - 10 * rest);
      left = rest;
    }
    this.#length += count;
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
