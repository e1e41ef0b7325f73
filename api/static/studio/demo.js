// The sample on the first screen: a comparison slider that moves once by itself, unless motion is unwelcome.
import { byId } from "./dom.js";
import { say } from "./words.js";

const SWEEP_MS = 3200;
const PAUSE_MS = 700;

/** @param {(files: File[]) => void} take */
export function showDemo(take) {
  const range = byId("demo-split", HTMLInputElement);
  const figure = byId("demo", HTMLElement);
  const place = () => figure.style.setProperty("--split", `${range.value}%`);
  range.addEventListener("input", place);
  byId("try", HTMLButtonElement).addEventListener("click", async () => take([await sample()]));
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) sweep(range, place);
}

async function sample() {
  const bytes = await (await fetch("static/sample.webp")).blob();
  return new File([bytes], `${say("sample_name")}.webp`, { type: "image/webp" });
}

/** From left to right and back to the middle, until somebody takes it over. @param {HTMLInputElement} range @param {() => void} place */
function sweep(range, place) {
  let isTaken = false;
  for (const kind of ["pointerdown", "keydown", "input"]) {
    range.addEventListener(kind, (event) => { if (event.isTrusted) isTaken = true; }, { once: true });
  }
  const began = performance.now() + PAUSE_MS;
  const move = (/** @type {number} */ now) => {
    const share = Math.min(1, Math.max(0, (now - began) / SWEEP_MS));
    if (isTaken) return;
    range.value = String(50 + 42 * Math.sin(share * 2 * Math.PI) * (1 - share * 0.25));
    place();
    if (share < 1) requestAnimationFrame(move);
  };
  requestAnimationFrame(move);
}
