// A large JPEG at a fraction of its size, many times sooner than the whole: the decoder leaves out what a first look
// does not need. Null wherever that is not possible; the usual way is then taken.

const ENOUGH = 768; // pixels of the longer side that a first look needs
const LARGE = 1600; // below this the whole is as quick
const EIGHTHS = 8; // JPEG decoders scale by eighths

/** @typedef {{width: number, height: number, orientation: number}} Head */
/** @typedef {{bitmap: ImageBitmap, width: number, height: number}} Quick upright, with the size of the whole */

/** @type {WeakMap<Blob, Promise<Quick | null>>} */
const begun = new WeakMap();

/** Decoding goes on while the page gets ready for the photo. @param {Blob} file @param {Promise<ArrayBuffer>} [bytes] */
export function begin(file, bytes) {
  begun.set(file, opened(file, bytes).catch(() => null));
}

/** @param {Blob} file @returns {Promise<Quick | null>} the caller closes its picture */
export async function quick(file) {
  if (!begun.has(file)) begin(file);
  const found = begun.get(file) ?? null;
  begun.delete(file);
  return found;
}

/** @param {Blob} file @param {Promise<ArrayBuffer>} [bytes] @returns {Promise<Quick | null>} */
async function opened(file, bytes) {
  const { ImageDecoder } = /** @type {any} */ (window);
  if (!ImageDecoder || file.type !== "image/jpeg") return null;
  const data = await (bytes ?? file.arrayBuffer());
  const head = headOf(new DataView(data));
  if (!head || Math.max(head.width, head.height) < LARGE) return null;
  return decoded(data, head, ImageDecoder);
}

/** @param {ArrayBuffer} data @param {Head} head @param {any} ImageDecoder @returns {Promise<Quick | null>} */
async function decoded(data, { width, height, orientation }, ImageDecoder) {
  const eighths = Math.ceil((EIGHTHS * ENOUGH) / Math.max(width, height));
  const [desiredWidth, desiredHeight] = [width, height].map((side) => Math.ceil((side * eighths) / EIGHTHS));
  const decoder = new ImageDecoder({ data, type: "image/jpeg", desiredWidth, desiredHeight });
  const { image } = await decoder.decode();
  // Frames that know their rotation are drawn upright by the browser.
  const bitmap = orientation === 1 || "rotation" in image ? await createImageBitmap(image) : null;
  image.close();
  decoder.close();
  return bitmap && { bitmap, ...(orientation > 4 ? { width: height, height: width } : { width, height }) };
}

/** Size and orientation, from the segments before the picture (ITU-T T.81, B.2). @param {DataView} view @returns {Head | null} */
function headOf(view) {
  let orientation = 1;
  for (let at = 2; at + 9 < view.byteLength && view.getUint8(at) === 0xff; at += 2 + view.getUint16(at + 2)) {
    const marker = view.getUint8(at + 1);
    if (marker === 0xe1) orientation = orientationOf(view, at + 4) ?? orientation;
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame) return { width: view.getUint16(at + 7), height: view.getUint16(at + 5), orientation };
    if (marker === 0xda) return null;
  }
  return null;
}

/** @param {DataView} view @param {number} at where the segment's content begins @returns {number | null} */
function orientationOf(view, at) {
  if (view.getUint32(at) !== 0x45786966) return null; // "Exif"
  const tiff = at + 6;
  const isLittle = view.getUint16(tiff) === 0x4949;
  const first = tiff + view.getUint32(tiff + 4, isLittle);
  for (let n = 0; n < view.getUint16(first, isLittle); n++) {
    const entry = first + 2 + 12 * n;
    if (view.getUint16(entry, isLittle) !== 0x0112) continue;
    const value = view.getUint16(entry + 8, isLittle);
    return value >= 1 && value <= 8 ? value : null;
  }
  return null;
}
