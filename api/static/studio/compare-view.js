// Before and after in one frame: by slider, side by side, or by holding; zoomed and panned together.
import { byId, make } from "./dom.js";
import { Gestures } from "./gestures.js";
import { say } from "./words.js";

const MODES = /** @type {const} */ (["slider", "side", "hold"]);
const FADE_MS = 450;
const MOST = 8; // pixels of the screen for one of the picture's
const STEP = 1.5;
const MIDDLE = { x: 0.5, y: 0.42 }; // where faces are, mostly

/** @typedef {typeof MODES[number]} Mode */
/** @typedef {{scale: number, x: number, y: number, split: number, mode: Mode}} View positions as shares of the frame */
/** @typedef {{x: number, y: number, width: number, height: number}} Rect shares of the picture */

/** Fires `view` when zoom, place, split or mode change, and `spot` when another part is to be looked at. */
export class CompareView extends HTMLElement {
  connectedCallback() {
    if (this.childElementCount) return;
    /** @type {number} times */
    this.scale = 1;
    this.x = 0; // pixels
    this.y = 0;
    /** Where people look, as shares of the picture. */
    this.spot = MIDDLE;
    this.isPointed = false; // by the person
    this.isLoupeOn = false;
    /** @type {import("../later/loupe.js").Loupe | undefined} once it was wanted */
    this.loupe = undefined;
    this.whole = 0; // the width of the photo, pixels
    this.natural = 0; // the width of what is shown after; a look is smaller than what it stands for
    this.asked = 0; // counts pictures, so that one that decodes late never covers a newer one
    /** @type {Record<string, number>} */
    this.newest = { before: 0, after: 0 };
    this.mode = /** @type {Mode} */ ("slider");
    this.build();
    document.addEventListener("retouch:language", () => this.speak());
    this.speak();
    new ResizeObserver(() => this.place()).observe(this.piece("frame"));
  }

  build() {
    this.beforeSide = make("div", { className: "moved" });
    this.afterSide = make("div", { className: "moved" });
    this.beforeTag = make("span", { className: "tag before-tag" });
    this.afterTag = make("span", { className: "tag after-tag" });
    this.badge = make("p", { className: "badge", hidden: true });
    this.split = make("input", { type: "range", className: "split", min: "0", max: "100", step: "0.5", value: "50" });
    this.frame = make("div", { className: "frame", tabIndex: 0 },
      make("div", { className: "pane before" }, this.beforeSide), make("div", { className: "pane after" }, this.afterSide),
      make("div", { className: "edge" }), this.beforeTag, this.afterTag, this.badge);
    this.frame.setAttribute("role", "group");
    this.append(this.frame, this.split, this.buildTools());
    this.split.addEventListener("input", () => this.place());
    new Gestures(this, this.frame);
    this.frame.addEventListener("keydown", (event) => this.key(event));
    for (const kind of ["keyup", "blur"]) this.frame.addEventListener(kind, () => this.hold(false));
  }

  buildTools() {
    this.modeButtons = MODES.map((mode) => make("button", { type: "button", value: mode, onclick: () => this.switch(mode) }));
    this.modes = make("div", { className: "modes" }, ...this.modeButtons);
    this.modes.setAttribute("role", "group");
    const act = (/** @type {string} */ id, /** @type {() => void} */ onclick) => make("button", { type: "button", id, onclick });
    this.percent = make("output", { id: "zoom-percent" });
    this.toolButtons = {
      zoom_out: act("zoom-out", () => this.zoom(1 / STEP)), zoom_in: act("zoom-in", () => this.zoom(STEP)),
      zoom_fit: act("zoom-fit", () => this.zoom(0)), zoom_full: act("zoom-full", () => this.zoomTo(1)),
      loupe: act("loupe-button", () => this.showLoupe(!this.isLoupeOn)), fullscreen: act("fullscreen", () => this.fill()),
    };
    const { zoom_out, ...rest } = this.toolButtons;
    this.toolButtons.fullscreen.hidden = !document.fullscreenEnabled;
    return make("div", { className: "tools" }, this.modes, make("div", { className: "zooms" }, zoom_out, this.percent, ...Object.values(rest)));
  }

  speak() {
    for (const button of this.modeButtons ?? []) button.textContent = say(`mode_${button.value}`);
    if (this.modeButtons) this.modeButtons[2].title = say("mode_hold_note");
    this.modes?.setAttribute("aria-label", say("modes"));
    this.split?.setAttribute("aria-label", say("split"));
    this.piece("beforeTag").textContent = say("before");
    this.piece("afterTag").textContent = say("after");
    const signs = /** @type {Record<string, string>} */ ({ zoom_out: "−", zoom_in: "+", fullscreen: "" });
    for (const [key, button] of Object.entries(this.toolButtons ?? {})) {
      button.textContent = signs[key] ?? say(key);
      if (key in signs) Object.assign(button, { title: say(key), ariaLabel: say(key) });
    }
    this.toolButtons?.fullscreen.append(make("span", { className: "corners" }));
    this.frame?.setAttribute("aria-label", `${say("before")} / ${say("after")}`);
    for (const image of this.querySelectorAll("img")) image.alt = say(image.dataset.side ?? "after");
  }

  /** @param {"frame" | "beforeTag" | "afterTag" | "beforeSide" | "afterSide"} name @returns {HTMLElement} */
  piece(name) {
    const found = this[name];
    if (!found) throw new Error("not connected");
    return found;
  }

  /** @param {Mode} mode */
  switch(mode) {
    this.mode = mode;
    this.dataset.mode = mode;
    for (const button of this.modeButtons ?? []) button.setAttribute("aria-pressed", String(button.value === mode));
    this.place();
  }

  /** Whether there is something to compare with. @param {boolean} can */
  allow(can) {
    this.classList.toggle("comparable", can);
  }

  /** Begin with another photo, or another result of the same. @param {number} width @param {number} height @param {boolean} isSame */
  reset(width, height, isSame = false) {
    this.style.setProperty("--ratio", String(width / height || 1));
    this.classList.toggle("tall", width <= height);
    this.patch(null);
    this.note("");
    this.whole = width;
    if (isSame) return;
    this.asked = (this.asked ?? 0) + 1;
    this.newest = { before: this.asked, after: this.asked };
    for (const side of [this.piece("beforeSide"), this.piece("afterSide")]) for (const layer of [...side.children]) drop(layer);
    this.natural = width;
    this.spot = MIDDLE;
    this.isPointed = false;
    this.showLoupe(false);
    this.allow(false);
    this.zoom(0);
    if (this.split) this.split.value = "50";
    this.switch(this.mode ?? "slider");
  }

  /** @returns {View} what is looked at now, so that it can be had again */
  get view() {
    const { clientWidth, clientHeight } = this.piece("frame");
    return { scale: this.scale ?? 1, x: (this.x ?? 0) / (clientWidth || 1), y: (this.y ?? 0) / (clientHeight || 1),
      split: Number(this.split?.value ?? 50), mode: this.mode ?? "slider" };
  }

  set view({ scale, x, y, split, mode }) {
    const { clientWidth, clientHeight } = this.piece("frame");
    Object.assign(this, { scale, x: x * clientWidth, y: y * clientHeight });
    if (this.split) this.split.value = String(split);
    this.classList.toggle("zoomed", scale > 1);
    this.switch(MODES.includes(mode) ? mode : "slider");
  }

  /** @param {string} text what is seen before the result is there; "" for the result */
  note(text) {
    if (!this.badge) return;
    this.badge.hidden = !text;
    this.badge.textContent = text;
  }

  /** @param {Blob | HTMLCanvasElement} picture */
  showBefore(picture) {
    return this.show(this.piece("beforeSide"), picture, "before");
  }

  /** @param {Blob | HTMLCanvasElement} picture faded in over what is there, once it is decoded */
  showAfter(picture) {
    return this.show(this.piece("afterSide"), picture, "after");
  }

  /** @param {HTMLElement} side @param {Blob | HTMLCanvasElement} picture @param {string} name */
  async show(side, picture, name) {
    this.asked = (this.asked ?? 0) + 1;
    const turn = this.asked;
    const layer = picture instanceof Blob ? await decoded(picture, name) : picture;
    if (!layer) return;
    if (!this.newest || turn < this.newest[name]) return drop(layer);
    this.newest[name] = turn;
    if (name === "after") this.natural = layer instanceof HTMLImageElement ? layer.naturalWidth : this.whole ?? 0;
    layer.classList.add("layer");
    const older = [...side.querySelectorAll(":scope > .layer")];
    layer.classList.toggle("arriving", older.length > 0);
    side.insertBefore(layer, side.querySelector(":scope > .patch"));
    void layer.offsetWidth; // the browser has to see it unfaded first
    layer.classList.remove("arriving");
    setTimeout(() => older.forEach(drop), FADE_MS);
    this.place();
  }

  /** A part of the picture with other settings, over the result. @param {Blob | null} blob @param {Rect} [rect] */
  async patch(blob, rect) {
    this.asked = (this.asked ?? 0) + 1;
    this.patchTurn = this.asked;
    const image = blob && await decoded(blob, "after");
    if (this.patchTurn !== this.asked && image) return drop(image);
    for (const old of this.querySelectorAll(".patch")) drop(old);
    if (!image || !rect) return this.loupe?.draw();
    image.className = "patch";
    const share = (/** @type {number} */ value) => `${value * 100}%`;
    Object.assign(image.style, { left: share(rect.x), top: share(rect.y), width: share(rect.width), height: share(rect.height) });
    this.piece("afterSide").append(image);
    return this.loupe?.draw();
  }

  place() {
    const at = Number(this.split?.value ?? 50);
    const scale = Number(this.scale ?? 1);
    this.style.setProperty("--split", `${at}%`);
    this.style.setProperty("--move", `translate(${this.x}px, ${this.y}px) scale(${scale})`);
    this.classList.toggle("pixelated", this.magnification >= 3);
    if (this.percent) this.percent.textContent = `${Math.round(this.magnification * 100)} %`;
    this.loupe?.draw();
    this.dispatchEvent(new Event("view"));
  }

  /** Pixels of the screen, in CSS's measure, for one of the picture's. */
  get magnification() {
    return ((this.afterSide?.clientWidth ?? 0) * (this.scale ?? 1)) / (this.natural || 1);
  }

  /** @param {number} factor 0 for the whole picture @param {{x: number, y: number}} [at] from the frame's middle */
  zoom(factor, at = { x: 0, y: 0 }) {
    const old = Number(this.scale ?? 1);
    const most = Math.max(4, (MOST * old) / (this.magnification || 1));
    this.scale = factor === 0 ? 1 : Math.min(most, Math.max(1, old * factor));
    const grown = this.scale / old;
    this.x = this.scale === 1 ? 0 : at.x - (at.x - (this.x ?? 0)) * grown;
    this.y = this.scale === 1 ? 0 : at.y - (at.y - (this.y ?? 0)) * grown;
    this.classList.toggle("zoomed", this.scale > 1);
    this.place();
  }

  /** To a magnification, around the spot that is looked at. @param {number} wanted */
  zoomTo(wanted) {
    this.zoom(0);
    const side = this.piece("afterSide");
    const from = { x: (0.5 - (this.spot?.x ?? 0.5)) * side.clientWidth, y: (0.5 - (this.spot?.y ?? 0.5)) * side.clientHeight };
    const factor = wanted / (this.magnification || 1);
    if (factor <= 1) return;
    this.zoom(factor);
    this.move(from.x * factor, from.y * factor);
  }

  /** @param {number} x @param {number} y */
  move(x, y) {
    this.x = (this.x ?? 0) + x;
    this.y = (this.y ?? 0) + y;
    this.place();
  }

  /** @param {MouseEvent} event @returns {{x: number, y: number}} shares of the picture */
  shareAt(event) {
    const side = this.mode === "side" && event.target instanceof Element && event.target.closest(".before") ? "beforeSide" : "afterSide";
    const box = this.piece(side).getBoundingClientRect();
    const within = (/** @type {number} */ value) => Math.min(1, Math.max(0, value));
    return { x: within((event.clientX - box.left) / box.width), y: within((event.clientY - box.top) / box.height) };
  }

  /** @param {{x: number, y: number}} spot shares of the picture */
  lookAt(spot) {
    this.spot = spot;
    this.loupe?.draw();
  }

  /** Somebody points at a part. @param {MouseEvent} event */
  look(event) {
    this.isPointed = true;
    this.lookAt(this.shareAt(event));
    this.dispatchEvent(new Event("spot"));
  }

  /** @param {MouseEvent} event */
  splitAt(event) {
    if (!this.split || !this.classList.contains("comparable")) return;
    const box = this.piece("frame").getBoundingClientRect();
    this.split.value = String(((event.clientX - box.left) / box.width) * 100);
    this.place();
  }

  /** @param {boolean} isHeld */
  hold(isHeld) {
    this.classList.toggle("held", isHeld && this.classList.contains("comparable"));
  }

  /** @param {boolean} isOn */
  async showLoupe(isOn) {
    this.isLoupeOn = isOn;
    this.toolButtons?.loupe.setAttribute("aria-pressed", String(isOn));
    if (isOn && !this.loupe) {
      const { Loupe } = await import("../later/loupe.js");
      this.loupe ??= new Loupe(this, this.piece("frame"));
    }
    this.loupe?.show(Boolean(this.isLoupeOn));
  }

  fill() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.requestFullscreen().catch(() => undefined);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    /** @type {Record<string, () => void>} */
    const acts = {
      1: () => this.switch("slider"), 2: () => this.switch("side"), 3: () => this.switch("hold"),
      "+": () => this.zoom(STEP), "=": () => this.zoom(STEP), "-": () => this.zoom(1 / STEP), 0: () => this.zoom(0),
      " ": () => this.hold(true), l: () => this.showLoupe(!this.isLoupeOn), f: () => this.fill(),
      ArrowLeft: () => this.step(40, 0), ArrowRight: () => this.step(-40, 0),
      ArrowUp: () => this.step(0, 40), ArrowDown: () => this.step(0, -40),
    };
    const act = acts[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    if (this.scale === 1 && /Up|Down/.test(event.key)) return;
    event.preventDefault();
    act();
  }

  /** Arrows move a zoomed picture, and else the split. @param {number} x @param {number} y */
  step(x, y) {
    if ((this.scale ?? 1) > 1) return this.move(x, y);
    if (this.split) this.split.value = String(Number(this.split.value) - x / 20);
    return this.place();
  }
}

/** @param {Element} layer an image lets go of its file as well */
function drop(layer) {
  if (layer instanceof HTMLImageElement) URL.revokeObjectURL(layer.src);
  layer.remove();
}

/** @param {Blob} blob @param {string} name */
async function decoded(blob, name) {
  const image = make("img", { src: URL.createObjectURL(blob), alt: say(name), draggable: false, data: { side: name } });
  try {
    await image.decode();
  } catch {
    drop(image);
    return null;
  }
  image.decoding = "sync";
  return image;
}

customElements.define("compare-view", CompareView);
export const compareView = () => byId("compare", CompareView);
