// Where a face is likely to be: skin that stands out from what is around it and has features in it; without one, where
// the picture has most to see. No network, no weights; good enough to choose which part is shown first, and a tap
// corrects it.

const LONGEST = 96; // pixels of the picture that is searched
const SHARES = [0.2, 0.28, 0.4, 0.55, 0.75]; // widths of faces, of the shorter side
const LEAST = 0.32; // scores: faces from 0.34, photos without one up to 0.29
const DETAIL = 8; // pixels of a part that is judged by its detail
const FEATURES = 30; // the deviation of tones, 0 to 255, from which on there are eyes and a mouth

/** @param {Blob | HTMLCanvasElement} picture @returns {Promise<{x: number, y: number} | null>} shares of the picture */
export async function spotIn(picture) {
  const bitmap = await createImageBitmap(picture);
  const scale = LONGEST / Math.max(bitmap.width, bitmap.height);
  const width = Math.max(1, Math.round(bitmap.width * scale));
  const height = Math.max(1, Math.round(bitmap.height * scale));
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context?.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  if (!context) return null;
  const sums = new Sums(context.getImageData(0, 0, width, height));
  return likeliest(sums) ?? richest(sums);
}

/** Sums over any box, at once: of skin, of tones, and of their squares. */
class Sums {
  /** @param {ImageData} image */
  constructor({ data, width, height }) {
    this.width = width;
    this.height = height;
    const cells = () => new Float64Array((width + 1) * (height + 1));
    this.tables = { skin: cells(), tone: cells(), square: cells() };
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) this.add(x, y, data.subarray((y * width + x) * 4));
  }

  /** @param {number} x @param {number} y @param {Uint8ClampedArray} pixel */
  add(x, y, [red, green, blue]) {
    const tone = 0.299 * red + 0.587 * green + 0.114 * blue;
    const values = { skin: isSkin(tone, red, blue) ? 1 : 0, tone, square: tone * tone };
    const row = this.width + 1;
    const at = (y + 1) * row + x + 1;
    for (const name of /** @type {const} */ (["skin", "tone", "square"])) {
      const table = this.tables[name];
      table[at] = values[name] + table[at - 1] + table[at - row] - table[at - row - 1];
    }
  }

  /** @param {"skin" | "tone" | "square"} name @param {number} left @param {number} top @param {number} right @param {number} bottom */
  within(name, left, top, right, bottom) {
    const table = this.tables[name];
    const row = this.width + 1;
    return table[bottom * row + right] - table[top * row + right] - table[bottom * row + left] + table[top * row + left];
  }
}

/** In YCbCr, skin of every colour lies close together. @param {number} tone @param {number} red @param {number} blue */
function isSkin(tone, red, blue) {
  const cb = 128 + 0.564 * (blue - tone);
  const cr = 128 + 0.713 * (red - tone);
  return tone > 40 && cr > 136 && cr < 174 && cb > 80 && cb < 126;
}

/** @param {Sums} sums */
function likeliest(sums) {
  let best = { score: LEAST, x: 0, y: 0 };
  for (const share of SHARES) {
    const width = Math.max(1, Math.round(share * Math.min(sums.width, sums.height)));
    const height = Math.min(sums.height, Math.round(width * 1.25));
    for (let top = 0; top <= sums.height - height; top += 2) {
      for (let left = 0; left <= sums.width - width; left += 2) {
        const x = (left + width / 2) / sums.width;
        const y = (top + height / 2) / sums.height;
        const score = faceness(sums, left, top, width, height) * central(x, y) * share ** 0.25;
        if (score > best.score) best = { score, x, y };
      }
    }
  }
  return best.score > LEAST ? { x: best.x, y: best.y } : null;
}

/** Photos have what they are about near their middle. @param {number} x @param {number} y */
const central = (x, y) => (1 - 0.8 * Math.abs(x - 0.5)) * (1 - 0.6 * Math.abs(y - 0.4));

/** The part with most detail; null where all is even. @param {Sums} sums */
function richest(sums) {
  let best = { score: 1, x: 0, y: 0 };
  for (let top = 0; top <= sums.height - DETAIL; top += 2) {
    for (let left = 0; left <= sums.width - DETAIL; left += 2) {
      const x = (left + DETAIL / 2) / sums.width;
      const y = (top + DETAIL / 2) / sums.height;
      const score = deviation(sums, left, top, left + DETAIL, top + DETAIL) * central(x, y);
      if (score > best.score) best = { score, x, y };
    }
  }
  return best.score > 1 ? { x: best.x, y: best.y } : null;
}

/** Of tones. @param {Sums} sums @param {number} left @param {number} top @param {number} right @param {number} bottom */
function deviation(sums, left, top, right, bottom) {
  const count = (right - left) * (bottom - top);
  const mean = sums.within("tone", left, top, right, bottom) / count;
  return Math.sqrt(Math.max(0, sums.within("square", left, top, right, bottom) / count - mean * mean));
}

/** @param {Sums} sums @param {number} left @param {number} top @param {number} width @param {number} height */
function faceness(sums, left, top, width, height) {
  const [right, bottom, count] = [left + width, top + height, width * height];
  const skin = sums.within("skin", left, top, right, bottom);
  if (skin < count / 2) return 0;
  const wide = { left: Math.max(0, left - Math.floor(width / 3)), top: Math.max(0, top - Math.floor(height / 3)),
    right: Math.min(sums.width, right + Math.floor(width / 3)), bottom: Math.min(sums.height, bottom + Math.floor(height / 3)) };
  const around = (wide.right - wide.left) * (wide.bottom - wide.top) - count;
  const outside = around > 0 ? (sums.within("skin", wide.left, wide.top, wide.right, wide.bottom) - skin) / around : 0;
  return (skin / count - 0.7 * outside) * Math.min(1, deviation(sums, left, top, right, bottom) / FEATURES);
}
