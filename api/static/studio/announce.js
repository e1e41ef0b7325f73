// Messages: to screen readers, and as a short note at the bottom of the page.
import { byId } from "./dom.js";

const NOTE_MS = 5000;
let timer = 0;

/** @param {string} text for screen readers alone */
export function announce(text) {
  byId("announcer", HTMLElement).textContent = text;
}

/** @param {string} text */
export function toast(text) {
  const node = byId("toast", HTMLElement);
  node.hidden = false;
  node.textContent = text;
  clearTimeout(timer);
  timer = window.setTimeout(() => { node.hidden = true; }, NOTE_MS);
}
