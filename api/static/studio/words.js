// The page's texts: one file per language below words/, loaded when it is needed. English fills what is missing.
import english from "../words/en.js";

/** Every language with a file, by its own name. @type {Record<string, string>} */
export const LANGUAGES = { en: "English", zh: "中文", ja: "日本語", es: "Español" };
/** Those that the service's own sentences come in. */
const SERVED = ["en", "zh"];
const KEPT = "retouch.language";

/** @type {Record<string, string>} */
let words = english;
let current = "en";

/** @returns {string} the chosen language, or the first of the browser's that has a file */
function preferred() {
  const kept = localStorage.getItem(KEPT) ?? "";
  const wanted = [kept, ...navigator.languages].map((tag) => tag.toLowerCase().split("-")[0]);
  return wanted.find((tag) => tag in LANGUAGES) ?? "en";
}

export const language = () => current;

/** The language that the service is asked to speak. */
export const served = () => (SERVED.includes(current) ? current : "en");

/** @param {string} tag */
async function load(tag) {
  words = { ...english, ...(tag === "en" ? {} : (await import(`../words/${tag}.js`)).default) };
  current = tag;
}

/** Switches at once, stores the choice and translates the page again. @param {string} tag */
export async function switchLanguage(tag) {
  await load(tag);
  localStorage.setItem(KEPT, tag);
  translate(document);
  document.dispatchEvent(new Event("retouch:language"));
}

/**
 * @param {string} key
 * @param {Record<string, string | number>} values
 */
export const say = (key, values = {}) =>
  (words[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));

/** A length of time, roughly. @param {number} seconds */
export const span = (seconds) =>
  seconds < 90 ? say("seconds", { n: Math.max(1, Math.ceil(seconds)) }) : say("minutes", { n: Math.round(seconds / 60) });

/** @param {number} bytes */
export function weight(bytes) {
  const [unit, value] = bytes < 1e6 ? ["kilobyte", bytes / 1e3] : ["megabyte", bytes / 1e6];
  const digits = { maximumFractionDigits: value < 10 ? 1 : 0 };
  return new Intl.NumberFormat(tag(), { style: "unit", unit: String(unit), ...digits }).format(Number(value));
}

/** @param {{width: number, height: number}} picture */
export function size({ width, height }) {
  const number = new Intl.NumberFormat(tag());
  return `${number.format(width)} × ${number.format(height)}`;
}

const tag = () => (current === "zh" ? "zh-CN" : current);

/** Fills in the texts of `data-say`, `data-say-label` and `data-say-alt` below a node. @param {ParentNode} root */
export function translate(root) {
  document.documentElement.lang = tag();
  for (const node of root.querySelectorAll("[data-say], [data-say-label], [data-say-alt]")) {
    const { say: text, sayLabel: label, sayAlt: alt } = /** @type {HTMLElement} */ (node).dataset;
    if (text) node.textContent = say(text);
    if (label) node.setAttribute("aria-label", say(label));
    if (label && node instanceof HTMLButtonElement) node.title = say(label);
    if (alt && node instanceof HTMLImageElement) node.alt = say(alt);
  }
}

const first = preferred();
if (first !== "en") await load(first).catch(() => undefined);
