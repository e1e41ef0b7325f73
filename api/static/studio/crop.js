// The part of a photo that previews are made of: at the photo's own pixels, around where people look.
import { upload } from "./service.js";

const SIDE = 256; // pixels, what the service previews without scaling
const BLOCK = 16; // JPEG's grid, so that a part shows the damage of the whole

/** @typedef {import("./compare-view.js").Rect} Rect */
/** @typedef {{blob: Blob, rect: Rect, imageId: Promise<string> | null}} Part */

/** @typedef {import("./shot.js").Shot} Shot */

const MOST = 4; // photos of which parts and previews are kept

/** @type {Map<Shot, Map<string, Promise<Part>>>} */
const known = new Map();

/** What is kept of a photo, as long as it is one of those looked at last. @template T @param {Map<Shot, Map<string, T>>} all @param {Shot} shot */
export function lately(all, shot) {
  const kept = all.get(shot) ?? new Map();
  all.delete(shot); // it is the newest now
  for (const oldest of [...all.keys()].slice(0, 1 - MOST)) all.delete(oldest);
  all.set(shot, kept);
  return kept;
}

/** @param {Shot} shot @param {{x: number, y: number}} spot shares of the photo @returns {Promise<Part>} */
export function partOf(shot, spot) {
  const { width, height } = shot.kept;
  const x = begin(width, spot.x);
  const y = begin(height, spot.y);
  const parts = lately(known, shot);
  const key = `${x},${y}`;
  if (!parts.has(key)) {
    parts.set(key, cut(shot, x, y));
    parts.get(key)?.catch(() => parts.delete(key));
  }
  return /** @type {Promise<Part>} */ (parts.get(key));
}

/** The id by which the service knows the part. Several previews at once send it once. @param {Part} part */
export async function sent(part) {
  // Not with a preview's signal: the next one needs the part too.
  const sending = (part.imageId ??= upload(part.blob, "part.png", () => undefined, new AbortController().signal).then(({ id }) => id));
  try {
    return await sending;
  } catch (error) {
    if (part.imageId === sending) part.imageId = null;
    throw error;
  }
}

/** @param {number} length @param {number} share */
const begin = (length, share) =>
  Math.max(0, Math.min(length - SIDE, Math.round((length * share - SIDE / 2) / BLOCK) * BLOCK));

/** @param {Shot} shot @param {number} x @param {number} y @returns {Promise<Part>} */
async function cut({ kept, isSealed }, x, y) {
  const { width, height } = kept;
  const size = { width: Math.min(SIDE, width), height: Math.min(SIDE, height) };
  const rect = { x: x / width, y: y / height, width: size.width / width, height: size.height / height };
  if (size.width === width && size.height === height && !isSealed) return { blob: kept.blob, rect, imageId: kept.imageId === null ? null : Promise.resolve(kept.imageId) };
  const bitmap = await createImageBitmap(kept.seen ?? kept.blob);
  const canvas = new OffscreenCanvas(size.width, size.height);
  canvas.getContext("2d")?.drawImage(bitmap, -x, -y, width, height);
  bitmap.close();
  return { blob: await canvas.convertToBlob({ type: "image/png" }), rect, imageId: null };
}
