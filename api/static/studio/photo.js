// A file as a photo: upright, no larger than needed, ready to be shown and sent.

const SENT_AS_IS = ["image/png", "image/jpeg", "image/webp"];

/**
 * @typedef {object} Photo
 * @property {Blob} blob what is sent
 * @property {ImageBitmap | null} bitmap null when this browser cannot open the file
 * @property {number} width
 * @property {number} height
 */

/**
 * Open a file; scale it down and encode it again only where that is needed.
 * @param {Blob} file
 * @param {number} maxSide pixels
 * @param {number} maxBytes
 * @returns {Promise<Photo>} a file that cannot be opened is passed on, for the service to judge
 */
export async function open(file, maxSide, maxBytes) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    return { blob: file, bitmap: null, width: 0, height: 0 };
  }
  const longest = Math.max(bitmap.width, bitmap.height);
  const fits = longest <= maxSide && file.size <= maxBytes && SENT_AS_IS.includes(file.type);
  if (!fits) {
    const blob = await encoded(bitmap, Math.min(1, maxSide / longest));
    bitmap.close();
    return { ...(await open(blob, Infinity, Infinity)), blob };
  }
  return { blob: file, bitmap, width: bitmap.width, height: bitmap.height };
}

/** @param {ImageBitmap} bitmap @param {number} factor @returns {Promise<Blob>} */
async function encoded(bitmap, factor) {
  const width = Math.max(1, Math.round(bitmap.width * factor));
  const canvas = new OffscreenCanvas(width, Math.max(1, Math.round(bitmap.height * factor)));
  const context = canvas.getContext("2d");
  if (!context) throw new Error("no 2D canvas");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/webp", quality: 0.95 });
}

/** A small picture for a row. @param {ImageBitmap} bitmap @returns {Promise<Blob>} */
export const thumbnail = (bitmap) => encoded(bitmap, Math.min(1, 160 / Math.max(bitmap.width, bitmap.height)));

/** The same picture as PNG, which is what clipboards take. @param {Blob} blob */
export async function asPng(blob) {
  if (blob.type === "image/png") return blob;
  const bitmap = await createImageBitmap(blob);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext("2d")?.drawImage(bitmap, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}
