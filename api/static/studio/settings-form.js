// The settings: converts the controls of the panel, and those beside Download, to and from a recipe.
import { byId } from "./dom.js";
import { FLAG_FIELDS, TEXT_FIELDS } from "./recipe.js";
import { strengthStrip } from "./strength-strip.js";
import { treatments } from "./treatments.js";

/** @typedef {import("./recipe.js").Recipe} Recipe */

const USUAL_QUALITY = "92";
const HIDDEN = ["format", "quality", "metadata", "upscale"]; // not below "More settings"

/** @param {string} name @returns {HTMLInputElement} of radio buttons all together, which have a value as well */
const control = (name) => /** @type {HTMLInputElement} */ (byId("panel", HTMLFormElement).elements.namedItem(name));

const format = () => byId("save-format", HTMLSelectElement);
const quality = () => byId("save-quality", HTMLInputElement);
const metadata = () => byId("save-metadata", HTMLInputElement);

/** @param {string} name @returns {string} */
function valueOf(name) {
  if (name === "format") return format().value;
  if (name === "metadata") return metadata().checked ? "keep" : "";
  if (name === "quality") return quality().value === USUAL_QUALITY ? "" : quality().value;
  return control(name).value;
}

/** @param {string} name @param {string} value */
function put(name, value) {
  if (name === "format") format().value = value === "auto" ? "" : value;
  else if (name === "metadata") metadata().checked = value === "keep";
  else if (name === "quality") quality().value = value || USUAL_QUALITY;
  else control(name).value = value;
}

/** @returns {Recipe} what the controls say now */
export function read() {
  /** @type {Recipe["fields"]} */
  const fields = {};
  for (const name of TEXT_FIELDS) if (valueOf(name)) fields[name] = valueOf(name);
  for (const name of FLAG_FIELDS) if (control(name).checked) fields[name] = true;
  return { ...treatments().value, strength: strengthStrip().value, fields };
}

/** @param {Recipe} recipe */
export function write(recipe) {
  treatments().value = recipe;
  strengthStrip().value = recipe.strength;
  byId("thrice", HTMLElement).hidden = recipe.fields.upscale !== "3"; // only for those who ask for it elsewhere
  for (const name of TEXT_FIELDS) put(name, String(recipe.fields[name] ?? ""));
  for (const name of FLAG_FIELDS) control(name).checked = recipe.fields[name] === true;
  showQuality();
  const isOpen = TEXT_FIELDS.some((name) => !HIDDEN.includes(name) && valueOf(name));
  if (isOpen) byId("more", HTMLDetailsElement).open = true;
}

/** What this service's base runs with, and how much it takes. @param {{base: any, limits: any}} offered */
export function know({ base, limits }) {
  for (const name of ["steps", "guidance_scale"]) control(name).placeholder = String(base?.[name] ?? "");
  control("steps").max = String(limits.max_steps);
  for (const name of ["prompt", "negative_prompt"]) control(name).maxLength = limits.max_prompt_characters;
}

/** A quality is for formats that have one. */
export function showQuality() {
  byId("quality-row", HTMLElement).hidden = !["jpeg", "webp"].includes(format().value);
}
