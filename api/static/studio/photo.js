// A file as a photo: upright, within the service's limits, ready to be shown and sent.

/** What the service takes. @typedef {{max_pixels: number, max_side: number, max_upload_bytes: number}} Limits */

// Browsers that open TIFF and HEIC would keep less of them than the service does.
const SENT_AS_IS = ["png", "jpeg", "webp", "heic", "heif", "avif", "tiff"].map((kind) => `image/${kind}`);

/** Upright, or null where this browser cannot open the file. @param {Blob} file @returns {Promise<ImageBitmap | null>} */
export const open = (file) => createImageBitmap(file).catch(() => null);

/** How much smaller it has to be for the service. @param {{width: number, height: number}} size @param {Limits} limits */
const factorFor = ({ width, height }, { max_pixels, max_side }) =>
  Math.min(1, max_side / Math.max(width, height), Math.sqrt(max_pixels / (width * height)));

/** @param {Blob} file @param {{width: number, height: number}} size @param {Limits} limits */
export const isSentAsIs = (file, size, limits) =>
  factorFor(size, limits) === 1 && file.size <= limits.max_upload_bytes && SENT_AS_IS.includes(file.type);

/**
 * The bytes to send: the file itself, or scaled down and encoded again if necessary.
 * @param {Blob} file
 * @param {ImageBitmap} bitmap the file, opened
 * @param {Limits} limits
 * @returns {Promise<{blob: Blob, width: number, height: number}>}
 */
export async function fitted(file, bitmap, limits) {
  const { width, height } = bitmap;
  if (isSentAsIs(file, bitmap, limits)) return { blob: file, width, height };
  const factor = factorFor(bitmap, limits);
  return { blob: await encoded(bitmap, factor), ...scaled(bitmap, factor) };
}

/** @param {{width: number, height: number}} size @param {number} factor */
export const scaled = ({ width, height }, factor) =>
  ({ width: Math.max(1, Math.round(width * factor)), height: Math.max(1, Math.round(height * factor)) });

/** @param {ImageBitmap} bitmap @param {number} factor @returns {Promise<Blob>} */
async function encoded(bitmap, factor) {
  const { width, height } = scaled(bitmap, factor);
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  if (!context) throw new Error("no 2D canvas");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/webp", quality: 0.95 });
}

/** A small picture for a row. @param {ImageBitmap} bitmap @returns {Promise<Blob>} */
export const thumbnail = (bitmap) => encoded(bitmap, Math.min(1, 160 / Math.max(bitmap.width, bitmap.height)));

/**
 * The same picture in another format; JPEG has white where it was transparent.
 * @param {Blob | HTMLCanvasElement} picture
 * @param {string} format png, jpeg or webp
 * @param {number} [quality] 0 to 1
 */
export async function encodedAs(picture, format, quality) {
  const type = `image/${format}`;
  if (picture instanceof Blob && picture.type === type && quality === undefined) return picture;
  const bitmap = await createImageBitmap(picture);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d");
  if (!context) throw new Error("no 2D canvas");
  if (format === "jpeg") {
    context.fillStyle = "#fff";
    context.fillRect(0, 0, bitmap.width, bitmap.height);
  }
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return canvas.convertToBlob({ type, quality });
}
