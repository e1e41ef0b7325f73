// The settings panel: converts its fields to and from a recipe.
import { byId } from "./dom.js";
import { loraCards } from "./lora-cards.js";
import { FLAG_FIELDS, TEXT_FIELDS } from "./recipe.js";
import { strengthStrip } from "./strength-strip.js";

/** @typedef {import("./recipe.js").Recipe} Recipe */

const form = () => byId("panel", HTMLFormElement);

/** @param {string} name @returns {HTMLInputElement} */
const control = (name) => /** @type {HTMLInputElement} */ (form().elements.namedItem(name));

/** @returns {Recipe} what the panel says now */
export function read() {
  /** @type {Recipe["fields"]} */
  const fields = {};
  for (const name of TEXT_FIELDS) if (control(name).value) fields[name] = control(name).value;
  for (const name of FLAG_FIELDS) if (control(name).checked) fields[name] = true;
  return { ...loraCards().value, strength: strengthStrip().value, fields };
}

/** @param {Recipe} recipe */
export function write(recipe) {
  loraCards().value = recipe;
  strengthStrip().value = recipe.strength;
  for (const name of TEXT_FIELDS) {
    const value = String(recipe.fields[name] ?? "");
    control(name).value = name === "format" && value === "auto" ? "" : value;
  }
  for (const name of FLAG_FIELDS) control(name).checked = recipe.fields[name] === true;
  const { length } = TEXT_FIELDS.filter((name) => control(name).value);
  if (length) byId("more", HTMLDetailsElement).open = true;
}
