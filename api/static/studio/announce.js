// Messages: to screen readers, and as a short note at the bottom of the page, with one button at most.
import { byId } from "./dom.js";

const NOTE_MS = 5000;
const NOTE_WITH_BUTTON_MS = 10_000;
let timer = 0;
/** @type {() => void} */
let whenGone = () => undefined;

/** @param {string} text for screen readers alone */
export function announce(text) {
  byId("announcer", HTMLElement).textContent = text;
}

/**
 * @param {string} text
 * @param {{label: string, act: () => void, gone?: () => void}} [button] `gone` is called if it was not pressed
 */
export function toast(text, button) {
  settle();
  byId("toast", HTMLElement).hidden = false;
  byId("toast-text", HTMLElement).textContent = text;
  const node = byId("toast-act", HTMLButtonElement);
  node.hidden = !button;
  node.textContent = button?.label ?? "";
  node.onclick = () => {
    whenGone = () => undefined;
    hide();
    button?.act();
  };
  whenGone = () => button?.gone?.();
  timer = window.setTimeout(settle, button ? NOTE_WITH_BUTTON_MS : NOTE_MS);
}

/** Hides the note; what its button would have undone is done for good. */
export function settle() {
  hide();
  const gone = whenGone;
  whenGone = () => undefined;
  gone();
}

function hide() {
  clearTimeout(timer);
  byId("toast", HTMLElement).hidden = true;
}
