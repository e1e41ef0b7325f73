// The strength as a strip of five bands named by their effect, with a native range input underneath.
import { byId, make } from "./dom.js";
import { say } from "./words.js";

const BANDS = [0.15, 0.3, 0.5, 0.75, 1]; // upper ends
const DEFAULT = 0.4; // the service's own when nothing is asked for

/** @param {number} strength */
export const bandOf = (strength) => BANDS.findIndex((end) => strength <= end);

/** Fires `input` while it moves and `change` when it is released, like its range input. */
export class StrengthStrip extends HTMLElement {
  connectedCallback() {
    if (this.range) return;
    this.isAuto = true;
    this.isKnown = false;
    this.range = make("input", { type: "range", min: "0.05", max: "1", step: "0.05", value: String(DEFAULT), id: "strength-range" });
    this.label = make("label", { htmlFor: "strength-range" });
    this.output = make("output", { htmlFor: /** @type {any} */ ("strength-range") });
    this.bands = make("div", { className: "bands" }, ...BANDS.map(() => make("span")));
    this.bands.setAttribute("aria-hidden", "true");
    this.append(make("div", { className: "head" }, this.label, this.output), make("div", { className: "strip" }, this.bands, this.range));
    this.range.addEventListener("input", () => {
      this.isAuto = false;
      this.isKnown = true;
      this.say();
    });
    document.addEventListener("retouch:language", () => this.say());
    this.say();
  }

  /** @returns {number | null} null when it is left to the service */
  get value() {
    return this.isAuto ? null : this.shown;
  }

  /** @param {number | null} value */
  set value(value) {
    this.isAuto = value === null;
    this.isKnown = value !== null;
    if (this.range) this.range.value = String(value ?? DEFAULT);
    this.say();
  }

  get shown() {
    return Number(this.range?.value ?? DEFAULT);
  }

  /** Show what the service chose, without making it the person's own choice. @param {number} value */
  suggest(value) {
    if (!this.isAuto || !this.range) return;
    this.range.value = String(value);
    this.isKnown = true;
    this.say();
  }

  say() {
    if (!this.range || !this.label || !this.output || !this.bands) return;
    const band = bandOf(this.shown);
    const name = say(`band_${band}`);
    this.label.textContent = say("strength");
    const percent = `${Math.round(this.shown * 100)} %`;
    this.output.textContent = this.isKnown ? `${name} · ${this.isAuto ? say("strength_auto") : percent}` : say("strength_open");
    this.range.setAttribute("aria-valuetext", this.isKnown ? `${name}, ${percent}` : say("strength_open"));
    this.classList.toggle("open", !this.isKnown);
    for (const [place, node] of [...this.bands.children].entries()) node.classList.toggle("on", this.isKnown && place === band);
  }
}

customElements.define("strength-strip", StrengthStrip);
export const strengthStrip = () => byId("strength", StrengthStrip);
