// Super-resolution in a web worker: receives a picture and returns an enlarged one. Only the newest is processed.
import { netFor, present } from "./net.js";
import { tilesOf } from "./tiles.js";

const SIDE = 288; // pixels of a tile at most
const MARGIN = 12; // the net looks 10 pixels around

/**
 * @typedef {object} Order
 * @property {number} id
 * @property {Blob} blob
 * @property {Record<import("./net.js").Engine, number>} longest side in pixels to which the photo is scaled down first
 * @property {import("./net.js").Files} files
 * @property {import("./net.js").Engine[]} engines the best first
 */

let newest = 0;

/** @param {Order} order */
async function fill(order) {
  const began = performance.now();
  const engines = await present(order.engines);
  const photo = await drawn(order.blob, order.longest[engines[0]] ?? 1);
  const { width, height, tiles } = tilesOf(photo.canvas.width, photo.canvas.height, SIDE, MARGIN);
  const net = await netFor(order.files, engines, width, height);
  const ready = performance.now();
  const { scale } = order.files;
  const large = new OffscreenCanvas(photo.canvas.width * scale, photo.canvas.height * scale);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (large.getContext("2d"));
  for (const tile of tiles) {
    if (order.id !== newest) return null;
    const pixels = planes(photo.getImageData(tile.x, tile.y, width, height));
    const picture = image(await net.run(pixels), width * scale, height * scale);
    context.putImageData(picture, tile.x * scale, tile.y * scale,
      tile.left * scale, tile.top * scale, tile.width * scale, tile.height * scale);
  }
  const ended = performance.now();
  return { engine: net.engine, picture: large.transferToImageBitmap(), opening: ready - began, working: ended - ready };
}

/** @param {Blob} blob @param {number} longest */
async function drawn(blob, longest) {
  const bitmap = await createImageBitmap(blob);
  const factor = Math.min(1, longest / Math.max(bitmap.width, bitmap.height));
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(bitmap.width * factor)), Math.max(1, Math.round(bitmap.height * factor)));
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return context;
}

/** RGBA, pixel by pixel, as three planes of 0..255. @param {ImageData} image */
function planes({ data, width, height }) {
  const area = width * height;
  const pixels = new Float32Array(3 * area);
  for (let i = 0; i < area; i++) {
    pixels[i] = data[4 * i];
    pixels[area + i] = data[4 * i + 1];
    pixels[2 * area + i] = data[4 * i + 2];
  }
  return pixels;
}

/** @param {Float32Array} pixels @param {number} width @param {number} height */
function image(pixels, width, height) {
  const area = width * height;
  const made = new ImageData(width, height);
  for (let i = 0; i < area; i++) {
    made.data[4 * i] = pixels[i]; // rounds and clamps by itself
    made.data[4 * i + 1] = pixels[area + i];
    made.data[4 * i + 2] = pixels[2 * area + i];
    made.data[4 * i + 3] = 255;
  }
  return made;
}

let lane = Promise.resolve();

self.onmessage = (/** @type {MessageEvent<Order>} */ { data: order }) => {
  newest = order.id;
  lane = lane.then(async () => {
    if (order.id !== newest) return;
    const answer = await fill(order).catch((error) => ({ error: String(error) }));
    if (answer) postMessage({ id: order.id, ...answer }, "picture" in answer ? { transfer: [answer.picture] } : {});
  });
};
