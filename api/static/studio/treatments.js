// What is to be done, in people's words: six cards on the face in view, and every treatment of the service in a list.
import { toast } from "./announce.js";
import { byId, make } from "./dom.js";
import { ask } from "./service.js";
import { say } from "./words.js";

/** What people call damage, in the order of the cards. */
const KINDS = ["phone", "blur", "noise", "lowres", "jpeg"];
const MANY = 3; // sorts of damage from which on a treatment is for all of them

/** @typedef {{name: string, short_name: string, title: string, base: string, state: string, reason: string | null, default_scale: number, strength: number | null, treats: string[], sample_url: string | null}} Treatment */
/** @typedef {{mode: "auto" | "none" | "named", loras: {name: string, scale: number}[]}} Choice */

/** Fires `change` when the user has chosen, `input` while a share is moved, `loaded` when the list is there. */
export class TreatmentList extends HTMLElement {
  connectedCallback() {
    if (this.mode) return;
    /** @type {Treatment[]} */
    this.items = [];
    /** @type {Map<string, number>} */
    this.chosen = new Map();
    this.mode = "auto";
    this.most = 4;
    this.isMissing = false;
    /** @type {Map<string, string>} object URLs of samples, by address */
    this.samples = new Map();
    /** @type {Map<string, string>} object URLs of previews, by card */
    this.faces = new Map();
    // Samples load only when visible.
    this.sight = new IntersectionObserver((seen) => {
      for (const { target, isIntersecting } of seen) if (isIntersecting) this.fillSample(/** @type {HTMLElement} */ (target));
    });
    this.build();
    document.addEventListener("retouch:language", () => this.load());
  }

  build() {
    this.legend = make("legend");
    this.cards = make("div", { className: "cards" });
    this.summary = make("summary");
    this.search = make("input", { type: "search", id: "treatment-search", oninput: () => this.drawList() });
    this.list = make("div", { className: "list", tabIndex: -1 });
    this.all = make("details", { className: "all" }, this.summary, this.search, this.list);
    this.all.addEventListener("toggle", () => this.drawList());
    // Searching is not choosing.
    for (const kind of ["input", "change"]) this.search.addEventListener(kind, (event) => event.stopPropagation());
    this.shares = make("div");
    this.append(make("fieldset", {}, this.legend, this.cards), this.all, this.shares);
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
    this.dispatchEvent(new Event("loaded"));
  }

  /** @returns {Choice} */
  get value() {
    const loras = [...(this.chosen ?? [])].map(([name, scale]) => ({ name, scale }));
    return { mode: loras.length ? "named" : this.mode === "none" ? "none" : "auto", loras };
  }

  /** @param {Choice} value */
  set value({ mode, loras }) {
    this.mode = mode;
    this.chosen = new Map(loras.map((lora) => [lora.name, lora.scale]));
    this.draw();
  }

  /** The most special treatment of each sort of damage. @returns {{kind: string, item: Treatment}[]} */
  get specials() {
    const usable = (this.items ?? []).filter((item) => item.state === "available");
    return KINDS.flatMap((kind) => {
      const able = usable.filter((item) => item.treats.includes(kind)).sort((a, b) => a.treats.length - b.treats.length);
      return able[0] && able[0].treats.length < MANY ? [{ kind, item: able[0] }] : [];
    });
  }

  /** @param {string} name as the service or its reasons call it @returns {string} */
  titleOf(name) {
    return (this.items ?? []).find((item) => item.name === name || item.short_name === name)?.title ?? name;
  }

  /** What it has done to a photo, in words. @param {string} name @returns {string} */
  doneBy(name) {
    const treats = (this.items ?? []).find((item) => item.name === name)?.treats ?? [];
    if (treats.length >= MANY) return say("done_several");
    return KINDS.includes(treats[0]) ? say(`done_${treats[0]}`) : this.titleOf(name);
  }

  /** The face on a card; null takes it away from all. @param {string | null} value @param {Blob} [picture] */
  face(value, picture) {
    if (value === null) {
      for (const url of this.faces?.values() ?? []) URL.revokeObjectURL(url);
      this.faces?.clear();
    } else if (picture) {
      URL.revokeObjectURL(this.faces?.get(value) ?? "");
      this.faces?.set(value, URL.createObjectURL(picture));
    }
    for (const card of this.cards?.querySelectorAll(".card") ?? []) this.fillFace(/** @type {HTMLElement} */ (card));
  }

  /** @param {HTMLElement} card */
  fillFace(card) {
    const src = this.faces?.get(card.dataset.value ?? "") ?? this.faces?.get("auto");
    const swatch = card.querySelector(".swatch");
    if (!src) swatch?.replaceChildren();
    else if (swatch?.querySelector("img")?.src !== src) swatch?.replaceChildren(make("img", { src, alt: "" }));
  }

  draw() {
    if (!this.cards || !this.legend || !this.summary || !this.all || !this.search) return;
    const focused = document.activeElement instanceof HTMLInputElement && this.cards.contains(document.activeElement) ? document.activeElement.value : null;
    const { mode, loras } = this.value;
    const only = loras.length === 1 ? loras[0].name : null;
    this.legend.textContent = say("treatments");
    this.cards.replaceChildren(this.card("auto", say("auto"), mode === "auto"),
      ...this.specials.map(({ kind, item }) => this.card(item.name, say(`kind_${kind}`), only === item.name)));
    this.summary.textContent = say("all", { n: this.items?.length ?? 0 });
    this.search.placeholder = say("search");
    this.search.ariaLabel = say("search");
    this.search.hidden = (this.items?.length ?? 0) < 9;
    if (focused) /** @type {HTMLInputElement | null} */ (this.cards.querySelector(`input[value="${CSS.escape(focused)}"]`))?.focus();
    this.drawList();
    this.drawShares();
  }

  /** @param {string} value @param {string} title @param {boolean} isChosen */
  card(value, title, isChosen) {
    const input = make("input", { type: "radio", name: "card", value, checked: isChosen });
    input.addEventListener("change", () => this.replace(value));
    const card = make("label", { className: "card", data: { value } }, input, make("span", { className: "swatch" }), make("b", { textContent: title }));
    this.fillFace(card);
    return card;
  }

  drawList() {
    if (!this.list || !this.all?.open || !this.search) return;
    const focused = document.activeElement instanceof HTMLInputElement && this.list.contains(document.activeElement) ? document.activeElement.value : null;
    const wanted = this.search.value.trim().toLowerCase();
    const found = (this.items ?? []).filter((item) => `${item.title} ${item.name} ${item.base}`.toLowerCase().includes(wanted));
    const none = wanted ? [] : [this.row("none", say("none"), "", this.value.mode === "none")];
    const note = this.isMissing ? say("loras_missing") : found.length ? "" : say("none_found");
    this.list.replaceChildren(...none, ...grouped(found).flatMap(([title, items]) =>
      [make("h3", { textContent: title }), ...items.map((item) => this.itemRow(item))]), ...(note ? [make("p", { className: "fine row", textContent: note })] : []));
    if (focused) /** @type {HTMLInputElement | null} */ (this.list.querySelector(`input[value="${CSS.escape(focused)}"]`))?.focus();
  }

  /** @param {Treatment} item */
  itemRow(item) {
    const isUsable = item.state === "available";
    const row = this.row(item.name, item.title, isUsable ? "" : item.reason ?? item.state, Boolean(this.chosen?.has(item.name)), !isUsable);
    if (item.sample_url) {
      row.dataset.sample = item.sample_url;
      this.sight?.observe(row);
    }
    return row;
  }

  /** @param {string} value @param {string} title @param {string} note @param {boolean} isChosen @param {boolean} isOff */
  row(value, title, note, isChosen, isOff = false) {
    const input = make("input", { type: "checkbox", value, checked: isChosen, disabled: isOff });
    input.addEventListener("change", () => this.tick(input));
    const words = make("span", { className: "words" }, make("span", { textContent: title }), ...(note ? [make("small", { textContent: note })] : []));
    return make("label", { className: isOff ? "row off" : "row" }, input, make("span", { className: "swatch" }), words);
  }

  /** Fetched, since an <img> cannot send a key. @param {HTMLElement} row */
  async fillSample(row) {
    this.sight?.unobserve(row);
    const url = row.dataset.sample ?? "";
    if (!this.samples?.has(url)) {
      const blob = await ask(url.replace(/^\//, "")).then((answer) => answer.blob(), () => null);
      if (blob) this.samples?.set(url, URL.createObjectURL(blob));
    }
    const src = this.samples?.get(url);
    if (src) row.querySelector(".swatch")?.replaceChildren(make("img", { src, alt: "" }));
  }

  /** A card stands alone. @param {string} value */
  replace(value) {
    this.chosen?.clear();
    if (value === "auto" || value === "none") this.mode = value;
    else this.add(value);
    this.tell();
  }

  /** @param {string} value */
  add(value) {
    this.chosen?.set(value, this.items?.find((item) => item.name === value)?.default_scale ?? 1);
  }

  /** @param {HTMLInputElement} input in the list, several at once */
  tick(input) {
    if (input.value === "none") return this.replace(input.checked ? "none" : "auto");
    if (input.checked && (this.chosen?.size ?? 0) >= (this.most ?? 4)) {
      input.checked = false;
      return toast(say("most", { n: this.most ?? 4 }));
    }
    if (input.checked) this.add(input.value);
    else this.chosen?.delete(input.value);
    this.mode = "auto";
    return this.tell();
  }

  tell() {
    this.draw();
    this.dispatchEvent(new Event("change"));
  }

  drawShares() {
    this.shares?.replaceChildren(...[...(this.chosen ?? [])].map(([name, scale]) => {
      const output = make("output", { textContent: scale.toFixed(2) });
      const input = make("input", { type: "range", min: "-2", max: "2", step: "0.05", value: String(scale) });
      input.addEventListener("input", () => {
        this.chosen?.set(name, Number(input.value));
        output.textContent = Number(input.value).toFixed(2);
      });
      return make("label", { className: "scale" }, make("span", { textContent: say("scale", { name: this.titleOf(name) }) }), output, input);
    }));
  }
}

/** By what they treat. @param {Treatment[]} items @returns {[string, Treatment[]][]} */
function grouped(items) {
  const groupOf = (/** @type {Treatment} */ { treats }) =>
    treats.length >= MANY ? say("group_several") : treats.length ? say(`kind_${treats[0]}`) : say("group_other");
  /** @type {Map<string, Treatment[]>} */
  const groups = new Map([say("group_several"), ...KINDS.map((kind) => say(`kind_${kind}`)), say("group_other")].map((title) => [title, []]));
  for (const item of items) {
    const title = groupOf(item);
    groups.set(title, [...(groups.get(title) ?? []), item]);
  }
  return [...groups].filter(([, members]) => members.length);
}

customElements.define("treatment-list", TreatmentList);
export const treatments = () => byId("treatments", TreatmentList);
