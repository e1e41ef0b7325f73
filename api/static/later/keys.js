// The sheet of keys, opened by `?`.
import { byId, make } from "../studio/dom.js";
import { say } from "../studio/words.js";

/** @type {[string[], string][]} */
const KEYS = [
  [["1", "2", "3"], "key_123"], [["Space"], "key_space"], [["+", "−", "0"], "key_zoom"], [["←", "→", "↑", "↓"], "key_arrows"],
  [["L"], "key_l"], [["F"], "key_f"], [["Ctrl", "V"], "key_paste"], [["?"], "key_any"],
];

export function openKeys() {
  const rows = KEYS.flatMap(([keys, word]) =>
    [make("dt", {}, ...keys.map((key) => make("kbd", { textContent: key === "Space" ? say("space") : key }))), make("dd", { textContent: say(word) })]);
  byId("keys-list", HTMLElement).replaceChildren(...rows, make("dt"), make("dd", { className: "fine", textContent: say("key_tab") }));
  const box = byId("keys-box", HTMLDialogElement);
  if (!box.open) box.showModal();
}
