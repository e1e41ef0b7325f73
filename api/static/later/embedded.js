// The recipe in a result's XMP, which PNG, JPEG and WebP all store as plain text.
import { of } from "../studio/recipe.js";

const OPENS = new TextEncoder().encode("<retouch:recipe ");
const MOST_BYTES = 64 * 1024; // of a recipe

/** @param {ArrayBuffer} file @returns {import("../studio/recipe.js").Recipe | null} */
export function recipeIn(file) {
  const bytes = new Uint8Array(file);
  let at = bytes.indexOf(OPENS[0]);
  while (at >= 0 && (bytes[at + 1] !== OPENS[1] || !OPENS.every((byte, n) => bytes[at + n] === byte))) at = bytes.indexOf(OPENS[0], at + 1);
  const text = at < 0 ? "" : new TextDecoder().decode(bytes.subarray(at, at + MOST_BYTES));
  const found = /^<retouch:recipe [^>]*>([^<]*)<\/retouch:recipe>/.exec(text)?.[1];
  if (!found) return null;
  try {
    return of(JSON.parse(found.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&")));
  } catch {
    return null;
  }
}
