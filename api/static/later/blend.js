// The service's small result over the sharpened look: its tones and colours are taken, the look's detail is kept.

const ENOUGH = 0.6; // of the look's size: a small result this large is shown as it is

/** @param {import("../studio/sharpen.js").Look} look @param {Blob} small @returns {Promise<HTMLCanvasElement | null>} */
export async function blended({ before, after }, small) {
  const bitmap = await createImageBitmap(small).catch(() => null);
  if (!bitmap) return null;
  const canvas = Object.assign(document.createElement("canvas"), { width: after.width, height: after.height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) return null;
  if (bitmap.width >= ENOUGH * after.width) {
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    return canvas;
  }
  const change = difference(bitmap, before, canvas);
  bitmap.close();
  context.drawImage(after, 0, 0);
  const picture = context.getImageData(0, 0, canvas.width, canvas.height);
  for (let i = 0; i < picture.data.length; i++) {
    if (i % 4 !== 3) picture.data[i] += 2 * (change[i] - 128);
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}

/** Half of what the small result changes, around 128, at the size of the look. @param {ImageBitmap} small @param {HTMLCanvasElement} before @param {{width: number, height: number}} size */
function difference(small, before, size) {
  const made = pixels(small, small);
  const was = pixels(before, small);
  for (let i = 0; i < made.data.length; i++) made.data[i] = i % 4 === 3 ? 255 : 128 + (made.data[i] - was.data[i]) / 2;
  const little = new OffscreenCanvas(small.width, small.height);
  little.getContext("2d")?.putImageData(made, 0, 0);
  return pixels(little, size).data;
}

/** @param {CanvasImageSource} picture @param {{width: number, height: number}} size */
function pixels(picture, { width, height }) {
  const canvas = new OffscreenCanvas(width, height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}
