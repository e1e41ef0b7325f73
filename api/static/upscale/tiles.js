// Cuts a picture into overlapping tiles of one size, and computes which part of each is kept.

/**
 * @typedef {object} Tile
 * @property {number} x where it begins, pixels
 * @property {number} y
 * @property {number} left the part that is kept, from the tile's own corner
 * @property {number} top
 * @property {number} width
 * @property {number} height
 */

/**
 * The outer tiles end at the picture's edges, so that a network sees the same borders as without tiles.
 * @param {number} width
 * @param {number} height
 * @param {number} most pixels of a tile's side
 * @param {number} margin pixels at an inner edge that are not kept
 * @returns {{width: number, height: number, tiles: Tile[]}} the tiles' common size, and where they lie
 */
export function tilesOf(width, height, most, margin) {
  const across = spans(width, most, margin);
  const down = spans(height, most, margin);
  const tiles = down.parts.flatMap((row) => across.parts.map((column) => ({
    x: column.at, y: row.at, left: column.from, top: row.from, width: column.length, height: row.length,
  })));
  return { width: across.side, height: down.side, tiles };
}

/** As few as possible, and then as small as that allows. @param {number} length @param {number} most @param {number} margin */
function spans(length, most, margin) {
  const count = Math.max(1, Math.ceil((length - 2 * margin) / (most - 2 * margin)));
  const side = Math.ceil((length + 2 * margin * (count - 1)) / count);
  const starts = Array.from({ length: count }, (_, n) => Math.floor((n * (length - side)) / Math.max(1, count - 1)));
  // Two neighbours meet in the middle of their overlap.
  const cuts = starts.slice(1).map((start, n) => Math.floor((start + starts[n] + side) / 2));
  const parts = starts.map((at, n) => {
    const begin = n ? cuts[n - 1] : 0;
    return { at, from: begin - at, length: (cuts[n] ?? length) - begin };
  });
  return { side, parts };
}
