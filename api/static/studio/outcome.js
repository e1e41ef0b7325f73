// Actions for a finished picture: download, copy, make another like it, show it as code.
import { toast } from "./announce.js";
import { byId } from "./dom.js";
import { asPng } from "./photo.js";
import { asLink, keep, ofJob } from "./recipe.js";
import { write } from "./settings-form.js";
import { snippet } from "./snippets.js";
import { say } from "./words.js";
import { apart, zipped } from "./zip.js";

/** @typedef {import("./shot.js").Shot} Shot */

// Disks take 255 bytes, and a browser or a zip may put a number behind a name.
const LONGEST = 200;

/** @param {Shot} shot */
export function fileName({ kept }) {
  const stem = [...kept.name.replace(/\.\w+$/, "").replace(/[\\/:*?"<>|]/g, "_")];
  while (new TextEncoder().encode(stem.join("")).length > LONGEST) stem.pop();
  return `${stem.join("") || "photo"}-retouched.${kept.job.result.format}`;
}

/** @param {Blob} blob @param {string} name */
function download(blob, name) {
  const url = URL.createObjectURL(blob);
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** @param {() => Shot | null} selected @param {() => Shot[]} batch */
export function offer(selected, batch) {
  const on = (/** @type {string} */ id, /** @type {(shot: Shot) => unknown} */ act) =>
    byId(id, HTMLElement).addEventListener("click", () => {
      const shot = selected();
      if (shot?.kept.result) act(shot);
    });
  on("save", (shot) => download(/** @type {Blob} */ (shot.kept.result), fileName(shot)));
  on("copy", (shot) => copyPicture(/** @type {Blob} */ (shot.kept.result)));
  on("like", makeAnother);
  on("code", (shot) => showCode(shot));
  byId("zip", HTMLElement).addEventListener("click", () => saveAll(batch()));
}

/** @param {Shot[]} shots */
async function saveAll(shots) {
  const names = apart(shots.map(fileName));
  const files = shots.map((shot, place) => ({ name: names[place], blob: /** @type {Blob} */ (shot.kept.result) }));
  download(await zipped(files), "retouched.zip");
}

/** @param {Blob} picture */
async function copyPicture(picture) {
  try {
    await navigator.clipboard.write([new ClipboardItem({ "image/png": asPng(picture) })]);
    toast(say("copied"));
  } catch {
    toast(say("not_copied"));
  }
}

/** @param {Shot} shot */
function makeAnother(shot) {
  const recipe = ofJob(shot.kept.job.params);
  keep(recipe);
  write(recipe);
  history.replaceState(null, "", asLink(recipe));
  toast(say("liked"));
}

/** @param {Shot} shot */
function showCode(shot) {
  const box = byId("code-box", HTMLDialogElement);
  const text = byId("code-text", HTMLElement);
  const recipe = ofJob(shot.kept.job.params);
  const buttons = [...byId("code-kinds", HTMLElement).querySelectorAll("button")];
  const choose = (/** @type {HTMLButtonElement} */ chosen) => {
    for (const button of buttons) button.setAttribute("aria-pressed", String(button === chosen));
    text.textContent = snippet(/** @type {import("./snippets.js").Kind} */ (chosen.value), shot.kept.name, recipe);
  };
  for (const button of buttons) button.onclick = () => choose(button);
  byId("code-copy", HTMLButtonElement).onclick = () => navigator.clipboard?.writeText(text.textContent ?? "")
    .then(() => toast(say("copied")), () => toast(say("not_copied")));
  byId("code-close", HTMLButtonElement).onclick = () => box.close();
  choose(buttons[0]);
  box.showModal();
}
