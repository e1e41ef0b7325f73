// Getting a picture out: download in any format, copy, drag, zip; what is given is what is seen, or is called a preview.
import { toast } from "./announce.js";
import { byId } from "./dom.js";
import { encodedAs } from "./photo.js";
import { say } from "./words.js";

/** @typedef {import("./shot.js").Shot} Shot */
/** @typedef {{name: string, blob: Blob}} Given */

// Disks take 255 bytes, and a browser or a zip may put a number behind a name.
const LONGEST = 200;
const USUAL_QUALITY = 92;

/** @param {Shot} shot @param {string} [format] */
export function fileName({ kept }, format = kept.job.result.format) {
  const stem = [...kept.name.replace(/\.\w+$/, "").replace(/[\\/:*?"<>|]/g, "_")];
  while (new TextEncoder().encode(stem.join("")).length > LONGEST) stem.pop();
  return `${stem.join("") || "photo"}-retouched.${format}`;
}

/** @param {Given} given */
export function download({ blob, name }) {
  const url = URL.createObjectURL(blob);
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/**
 * The result as the controls beside Download ask for it: as the service made it where that is the same.
 * @param {Shot} shot @param {{format?: string, quality?: string}} wanted @returns {Promise<Given>}
 */
export async function asWanted(shot, { format, quality }) {
  const { kept } = shot;
  const made = kept.job.result.format;
  const result = /** @type {Blob} */ (kept.result);
  const value = Number(quality) || USUAL_QUALITY;
  const isAsMade = !format || (format === made && (format === "png" || value === (kept.job.params.quality ?? USUAL_QUALITY)));
  if (isAsMade) return { blob: result, name: fileName(shot) };
  return { blob: await encodedAs(result, format, value / 100), name: fileName(shot, format) };
}

/** What stands in for the result: the look, or a small one. @param {Shot} shot @param {Blob | HTMLCanvasElement} seen @returns {Promise<Given>} */
export async function asPreview(shot, seen) {
  const stem = shot.kept.name.replace(/\.\w+$/, "");
  return { blob: await encodedAs(seen, "png"), name: `${stem}-preview.png` };
}

/** @param {Promise<Blob>} picture a PNG */
export async function copyPicture(picture) {
  try {
    await navigator.clipboard.write([new ClipboardItem({ "image/png": picture })]);
    toast(say("copied"));
  } catch {
    toast(say("not_copied"));
  }
}

/** The result dragged out of the page: to the desktop, or as a file into another page. @param {Shot | null} shot @param {DragEvent} event */
export function dragOut(shot, event) {
  const { kept } = shot ?? {};
  if (!shot || !kept?.result || !event.dataTransfer) return event.preventDefault();
  const name = fileName(shot);
  const url = URL.createObjectURL(kept.result);
  event.dataTransfer.effectAllowed = "copy";
  event.dataTransfer.setData("DownloadURL", `${kept.result.type}:${name}:${url}`);
  event.dataTransfer.items.add(new File([kept.result], name, { type: kept.result.type }));
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** @param {Shot[]} shots */
export async function saveAll(shots) {
  const { apart, zipped } = await import("../later/zip.js");
  const names = apart(shots.map((shot) => fileName(shot)));
  const files = shots.map(({ kept }, place) =>
    ({ name: names[place], blob: /** @type {Blob} */ (kept.result), when: kept.finished ?? kept.created }));
  download({ blob: await zipped(files), name: "retouched.zip" });
}

/** The request of a finished picture as code. @param {Shot} shot */
export async function showCode(shot) {
  const { openCode } = await import("../later/code.js");
  openCode(byId("code-box", HTMLDialogElement), shot);
}
