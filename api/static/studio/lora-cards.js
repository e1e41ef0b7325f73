// The catalogue as cards: each LoRA with its sample, and the reason why some cannot be used.
import { byId, make } from "./dom.js";
import { ask } from "./service.js";
import { language, say } from "./words.js";

const MOST = 4; // LoRAs in one picture, as the service's own limit

/** @typedef {{name: string, title: string, base: string, bases: string[], state: string, reason: string | null, default_scale: number, sample_url: string | null}} Lora */

/** Fires `change` when the user has chosen. */
export class LoraCards extends HTMLElement {
  connectedCallback() {
    if (this.mode) return;
    /** @type {Lora[]} */
    this.items = [];
    /** @type {Map<string, number>} */
    this.chosen = new Map();
    this.mode = "auto";
    /** @type {Map<string, string>} */
    this.labels = new Map();
    /** @type {Map<string, Promise<string>>} object URLs by address */
    this.samples = new Map();
    // Pictures load only when visible: the page itself comes first.
    this.sight = new IntersectionObserver((seen) => {
      for (const { target, isIntersecting } of seen) if (isIntersecting) this.fillSample(/** @type {HTMLElement} */ (target));
    });
    this.isMissing = false;
    document.addEventListener("retouch:language", () => this.load());
  }

  /** What people call the bases. @param {{id: string, label: string}[]} bases */
  name(bases) {
    this.labels = new Map(bases.map((base) => [base.id, base.label]));
    this.draw();
  }

  async load() {
    try {
      this.items = (await (await ask("v1/loras")).json()).items;
      this.isMissing = false;
    } catch {
      this.isMissing = true;
    }
    this.draw();
  }

  /** @returns {{mode: "auto" | "none" | "named", loras: {name: string, scale: number}[]}} */
  get value() {
    const loras = [...(this.chosen ?? [])].map(([name, scale]) => ({ name, scale }));
    return { mode: loras.length ? "named" : this.mode === "none" ? "none" : "auto", loras };
  }

  /** @param {{mode: string, loras: {name: string, scale: number}[]}} value */
  set value({ mode, loras }) {
    this.mode = mode;
    this.chosen = new Map(loras.map((lora) => [lora.name, lora.scale]));
    this.draw();
  }

  draw() {
    const focused = document.activeElement instanceof HTMLInputElement && this.contains(document.activeElement) ? document.activeElement.value : null;
    const { mode } = this.value;
    const cards = [
      this.card("auto", say("auto"), say("auto_note"), mode === "auto"),
      this.card("none", say("none"), say("none_note"), mode === "none"),
      ...(this.items ?? []).map((item) => this.loraCard(item)),
    ];
    const legend = make("legend", { textContent: say("loras") });
    const note = this.isMissing ? [make("p", { className: "fine", textContent: say("loras_missing") })] : [];
    this.replaceChildren(make("fieldset", {}, legend, make("div", { className: "cards" }, ...cards), ...note, ...this.scales()));
    if (focused) /** @type {HTMLInputElement | null} */ (this.querySelector(`input[value="${CSS.escape(focused)}"]`))?.focus();
  }

  /** @param {Lora} item */
  loraCard(item) {
    const base = say("for_base", { base: this.labels?.get(item.base) ?? item.base });
    const isUsable = item.state === "available";
    const note = isUsable ? base : `${base}: ${item.reason ?? item.state}`;
    const card = this.card(item.name, item.title, note, Boolean(this.chosen?.has(item.name)), !isUsable);
    if (item.sample_url) {
      card.dataset.sample = item.sample_url;
      this.sight?.observe(card);
    }
    return card;
  }

  /** @param {string} value @param {string} title @param {string} note @param {boolean} isChosen @param {boolean} isOff */
  card(value, title, note, isChosen, isOff = false) {
    const input = make("input", { type: "checkbox", value, checked: isChosen, disabled: isOff, name: "card" });
    input.addEventListener("change", () => this.choose(value, input.checked));
    const swatch = make("span", { className: `swatch ${value === "auto" || value === "none" ? value : "lora"}` });
    const text = make("span", { className: "words" }, make("b", { textContent: title }), make("small", { textContent: note }));
    return make("label", { className: isOff ? "card off" : "card" }, input, swatch, text);
  }

  /** Fetched, since an <img> cannot send a key. @param {HTMLElement} card */
  async fillSample(card) {
    this.sight?.unobserve(card);
    const url = card.dataset.sample ?? "";
    const asked = this.samples?.get(url) ?? ask(url).then((answer) => answer.blob()).then(URL.createObjectURL);
    this.samples?.set(url, asked);
    const src = await asked.catch(() => "");
    if (src) card.querySelector(".swatch")?.replaceChildren(make("img", { src, alt: "" }));
    else this.samples?.delete(url);
  }

  /** @param {string} value @param {boolean} isChosen */
  choose(value, isChosen) {
    if (!this.chosen) return;
    if (value === "auto" || value === "none") {
      this.chosen.clear();
      this.mode = value;
    } else if (!isChosen) this.chosen.delete(value);
    else {
      if (this.chosen.size === MOST) this.chosen.delete([...this.chosen.keys()][0]);
      this.chosen.set(value, this.items?.find((item) => item.name === value)?.default_scale ?? 1);
    }
    if (!this.chosen.size && value !== "none") this.mode = "auto";
    this.draw();
    this.dispatchEvent(new Event("change"));
  }

  scales() {
    return [...(this.chosen ?? [])].map(([name, scale]) => {
      const output = make("output", { textContent: scale.toFixed(2) });
      const input = make("input", { type: "range", min: "-2", max: "2", step: "0.05", value: String(scale) });
      input.addEventListener("input", () => {
        this.chosen?.set(name, Number(input.value));
        output.textContent = Number(input.value).toFixed(2);
      });
      const title = this.items?.find((item) => item.name === name)?.title ?? name;
      return make("label", { className: "scale", lang: language() }, make("span", { textContent: say("scale", { name: title }) }), output, input);
    });
  }
}

customElements.define("lora-cards", LoraCards);
export const loraCards = () => byId("loras", LoraCards);
