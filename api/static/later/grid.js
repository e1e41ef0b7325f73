// Six strengths, or six treatments, of the part that people look at, side by side to pick from.
import { partOf } from "../studio/crop.js";
import { byId, make } from "../studio/dom.js";
import { strengthStrip } from "../studio/strength-strip.js";
import { treatments } from "../studio/treatments.js";
import { Trials } from "../studio/trials.js";
import { say } from "../studio/words.js";

/** @typedef {import("../studio/trials.js").Trial & {label: string, pick: () => void}} Cell */

const STRENGTHS = [0.05, 0.2, 0.4, 0.6, 0.8, 1];
const trials = new Trials();

/**
 * @param {import("../studio/shot.js").Shot} shot
 * @param {{x: number, y: number}} spot
 * @param {import("../studio/recipe.js").Recipe} recipe
 * @param {() => void} picked
 */
export function openGrid(shot, spot, recipe, picked) {
  const box = byId("grid-box", HTMLDialogElement);
  const buttons = [...byId("grid-kinds", HTMLElement).querySelectorAll("button")];
  const show = (/** @type {HTMLButtonElement} */ chosen) => {
    for (const button of buttons) button.setAttribute("aria-pressed", String(button === chosen));
    fill(chosen.value === "strengths" ? strengths() : others(), shot, spot, recipe, (cell) => {
      cell.pick();
      box.close();
      picked();
    });
  };
  for (const button of buttons) button.onclick = () => show(button);
  byId("grid-close", HTMLButtonElement).onclick = () => box.close();
  box.onclose = () => trials.stop();
  show(buttons[0]);
  box.showModal();
}

/**
 * @param {Cell[]} cells
 * @param {import("../studio/shot.js").Shot} shot
 * @param {{x: number, y: number}} spot
 * @param {import("../studio/recipe.js").Recipe} recipe
 * @param {(cell: Cell) => void} pick
 */
function fill(cells, shot, spot, recipe, pick) {
  const nodes = new Map(cells.map((cell) => [cell.key, button(cell.label, () => pick(cell))]));
  byId("grid-cells", HTMLElement).replaceChildren(...[...nodes.values()].map(({ node }) => node));
  showMeanwhile(shot, spot, nodes.values());
  trials.stop();
  trials.run(shot, cells, spot, (key, picture) => nodes.get(key)?.show(picture), recipe);
}

/** @returns {Cell[]} */
function strengths() {
  return STRENGTHS.map((strength) => ({
    key: String(strength), lora: null, strength, label: `${Math.round(strength * 100)} %`,
    pick: () => { strengthStrip().value = strength; },
  }));
}

/** @returns {Cell[]} */
function others() {
  const list = treatments();
  const several = (list.items ?? []).filter((item) => item.state === "available" && !list.specials.some((one) => one.item === item));
  const items = [...list.specials.map(({ kind, item }) => ({ item, label: say(`kind_${kind}`) })), ...several.map((item) => ({ item, label: item.title }))];
  return items.slice(0, 6).map(({ item, label }) => ({
    key: item.name, lora: [`${item.name}:${item.default_scale}`], strength: item.strength, label,
    pick: () => list.replace(item.name),
  }));
}

/**
 * The part as it is, faintly, until it has been made.
 * @param {import("../studio/shot.js").Shot} shot
 * @param {{x: number, y: number}} spot
 * @param {Iterable<ReturnType<typeof button>>} nodes
 */
export async function showMeanwhile(shot, spot, nodes) {
  const part = await partOf(shot, spot).catch(() => null);
  for (const { node, show } of part ? nodes : []) if (!node.querySelector("img")) show(part?.blob ?? null, "waiting");
}

/** @param {string} label @param {() => void} onclick */
export function button(label, onclick) {
  const frame = make("span", { className: "frame-of" });
  const node = make("button", { type: "button", onclick }, frame, make("span", { textContent: label }));
  /** @param {Blob | null} picture @param {string} [className] */
  const show = (picture, className = "") => {
    if (!picture) return;
    const image = make("img", { src: URL.createObjectURL(picture), alt: "", className });
    image.onload = () => URL.revokeObjectURL(image.src);
    frame.replaceChildren(image);
  };
  return { node, show };
}
