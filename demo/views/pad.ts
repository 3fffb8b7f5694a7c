/** The digits were drawn on 32 × 32 points; each pixel of ink 0 to 16 counts the points of a 4 × 4 block. */
const POINTS = 32;
const BLOCK = 4;
const SIDE = POINTS / BLOCK;
/** Half the width of the pen, in points. */
const PEN = 1.6;

/** A canvas to draw a digit on, by pointer or keys; gives it as 8 × 8 pixels, as the bundled digits were made. */
export class Pad {
  readonly #canvas: HTMLCanvasElement;
  readonly #drawn: (pixels: Uint8Array) => void;
  readonly #points = new Uint8Array(POINTS * POINTS);
  #pen = { x: POINTS / 2, y: POINTS / 2 };
  #isFocused = false;

  constructor(canvas: HTMLCanvasElement, drawn: (pixels: Uint8Array) => void) {
    this.#canvas = canvas;
    this.#drawn = drawn;
    let last: { x: number; y: number } | null = null;
    canvas.onpointerdown = (event) => {
      canvas.setPointerCapture(event.pointerId);
      last = this.#place(event);
      this.#line(last, last);
    };
    canvas.onpointermove = (event) => {
      if (!last) return;
      const place = this.#place(event);
      this.#line(last, place);
      last = place;
    };
    canvas.onpointerup = canvas.onpointercancel = () => {
      last = null;
    };
    canvas.onkeydown = (event) => {
      const steps: Record<string, [number, number]> = {
        ArrowLeft: [-1, 0],
        ArrowRight: [1, 0],
        ArrowUp: [0, -1],
        ArrowDown: [0, 1],
      };
      const step = steps[event.key];
      if (!step && event.key !== ' ') return;
      event.preventDefault();
      if (step) {
        const inside = (x: number): number => Math.max(0, Math.min(POINTS - 1, x));
        this.#pen = { x: inside(this.#pen.x + step[0]), y: inside(this.#pen.y + step[1]) };
      }
      if (event.key === ' ' || event.shiftKey) this.#line(this.#pen, this.#pen);
      else this.#paint();
    };
    canvas.onfocus = canvas.onblur = (event) => {
      this.#isFocused = event.type === 'focus';
      this.#paint();
    };
    this.#paint();
  }

  clear(): void {
    this.#points.fill(0);
    this.#paint();
  }

  /** Shows an image of ink 0 to 16; each pixel becomes so many points of its block. */
  show(pixels: Uint8Array): void {
    // In this order a block fills evenly.
    const order = [5, 10, 6, 9, 0, 15, 3, 12, 1, 14, 2, 13, 4, 11, 7, 8];
    this.#points.fill(0);
    pixels.forEach((ink, pixel) => {
      const left = (pixel % SIDE) * BLOCK;
      const top = Math.floor(pixel / SIDE) * BLOCK;
      for (const place of order.slice(0, ink))
        this.#points[(top + (place >> 2)) * POINTS + left + (place & 3)] = 1;
    });
    this.#paint();
  }

  #place(event: PointerEvent): { x: number; y: number } {
    const { left, top, width, height } = this.#canvas.getBoundingClientRect();
    return { x: ((event.clientX - left) / width) * POINTS, y: ((event.clientY - top) / height) * POINTS };
  }

  /** Inks all points that the pen passes over. */
  #line(from: { x: number; y: number }, to: { x: number; y: number }): void {
    const steps = Math.ceil(Math.hypot(to.x - from.x, to.y - from.y) * 2) + 1;
    for (let step = 0; step <= steps; step++) {
      const x = from.x + ((to.x - from.x) * step) / steps;
      const y = from.y + ((to.y - from.y) * step) / steps;
      for (let row = 0; row < POINTS; row++)
        for (let column = 0; column < POINTS; column++)
          if (Math.hypot(column + 0.5 - x, row + 0.5 - y) <= PEN) this.#points[row * POINTS + column] = 1;
    }
    this.#paint();
    const pixels = new Uint8Array(SIDE * SIDE);
    this.#points.forEach((ink, i) => {
      pixels[Math.floor(i / POINTS / BLOCK) * SIDE + Math.floor((i % POINTS) / BLOCK)] += ink;
    });
    this.#drawn(pixels);
  }

  #paint(): void {
    const context = this.#canvas.getContext('2d')!;
    const { width, height } = this.#canvas;
    const size = width / POINTS;
    const { color } = getComputedStyle(this.#canvas);
    context.clearRect(0, 0, width, height);
    context.fillStyle = color;
    this.#points.forEach((ink, i) => {
      if (ink) context.fillRect((i % POINTS) * size, Math.floor(i / POINTS) * size, size, size);
    });
    if (!this.#isFocused) return;
    context.strokeStyle = color;
    context.strokeRect(
      (this.#pen.x - PEN) * size,
      (this.#pen.y - PEN) * size,
      2 * PEN * size,
      2 * PEN * size,
    );
  }
}
