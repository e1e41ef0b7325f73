// Before and after in one frame: by slider, side by side, or by holding; zoomed and panned together.
import { byId, make } from "./dom.js";
import { say } from "./words.js";

const MODES = /** @type {const} */ (["slider", "side", "hold"]);
const FADE_MS = 450;
const MOST = 12; // times

/** @typedef {typeof MODES[number]} Mode */

export class CompareView extends HTMLElement {
  connectedCallback() {
    if (this.childElementCount) return;
    /** @type {number} times */
    this.scale = 1;
    /** @type {number} pixels */
    this.x = 0;
    /** @type {number} pixels */
    this.y = 0;
    /** @type {Map<number, PointerEvent>} */
    this.pointers = new Map();
    /** Counts pictures, so that one that decodes late never covers a newer one. */
    this.asked = 0;
    /** @type {Record<string, number>} */
    this.newest = { before: 0, after: 0 };
    this.build();
    this.mode = /** @type {Mode} */ ("slider");
    document.addEventListener("retouch:language", () => this.speak());
    this.speak();
  }

  build() {
    this.beforeSide = make("div", { className: "moved" });
    this.afterSide = make("div", { className: "moved" });
    this.beforePane = make("div", { className: "pane before" }, this.beforeSide);
    this.afterPane = make("div", { className: "pane after" }, this.afterSide);
    this.beforeTag = make("span", { className: "tag before-tag" });
    this.afterTag = make("span", { className: "tag after-tag" });
    this.edge = make("div", { className: "edge" });
    this.badge = make("p", { className: "badge", hidden: true });
    this.split = make("input", { type: "range", className: "split", min: "0", max: "100", step: "0.5", value: "50" });
    this.frame = make("div", { className: "frame", tabIndex: 0 }, this.beforePane, this.afterPane, this.edge, this.beforeTag, this.afterTag, this.badge);
    this.frame.setAttribute("role", "group");
    this.modeButtons = MODES.map((mode) => make("button", { type: "button", value: mode, onclick: () => this.switch(mode) }));
    this.modes = make("div", { className: "modes" }, ...this.modeButtons);
    this.modes.setAttribute("role", "group");
    this.zoomButtons = [["−", 1 / 1.5], ["+", 1.5], ["▣", 0]].map(([text, factor]) =>
      make("button", { type: "button", textContent: String(text), onclick: () => this.zoom(Number(factor)) }));
    this.tools = make("div", { className: "tools" }, this.modes, make("div", { className: "zooms" }, ...this.zoomButtons));
    this.append(this.frame, this.split, this.tools);
    this.split.addEventListener("input", () => this.place());
    this.listen();
  }

  speak() {
    const [slider, side, hold] = this.modeButtons ?? [];
    slider.textContent = say("mode_slider");
    side.textContent = say("mode_side");
    hold.textContent = say("mode_hold");
    hold.title = say("mode_hold_note");
    this.modes?.setAttribute("aria-label", say("modes"));
    this.split?.setAttribute("aria-label", say("split"));
    if (this.beforeTag && this.afterTag) {
      this.beforeTag.textContent = say("before");
      this.afterTag.textContent = say("after");
    }
    for (const [place, key] of ["zoom_out", "zoom_in", "zoom_fit"].entries()) {
      this.zoomButtons?.[place].setAttribute("aria-label", say(key));
    }
    this.frame?.setAttribute("aria-label", `${say("before")} / ${say("after")}`);
    for (const image of this.querySelectorAll("img")) image.alt = say(image.dataset.side ?? "after");
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

  /** Begin with another photo. @param {number} width @param {number} height */
  reset(width, height) {
    this.asked = (this.asked ?? 0) + 1;
    this.newest = { before: this.asked, after: this.asked };
    this.beforeSide?.replaceChildren();
    this.afterSide?.replaceChildren();
    this.style.setProperty("--ratio", String(width / height || 1));
    this.allow(false);
    this.note("");
    this.zoom(0);
    this.switch(this.mode ?? "slider");
  }

  /** @param {string} text what is seen before the result is there; "" for the result */
  note(text) {
    if (!this.badge) return;
    this.badge.hidden = !text;
    this.badge.textContent = text;
  }

  /** @param {Blob | HTMLCanvasElement} picture */
  showBefore(picture) {
    return this.show(this.beforeSide, picture, "before");
  }

  /** @param {Blob | HTMLCanvasElement} picture faded in over what is there, once it is decoded */
  showAfter(picture) {
    return this.show(this.afterSide, picture, "after");
  }

  /** @param {HTMLElement | undefined} side @param {Blob | HTMLCanvasElement} picture @param {string} name */
  async show(side, picture, name) {
    this.asked = (this.asked ?? 0) + 1;
    const turn = this.asked;
    const layer = picture instanceof Blob ? await decoded(picture, name) : picture;
    if (!side || !layer || !this.newest || turn < this.newest[name]) return;
    this.newest[name] = turn;
    layer.classList.add("layer");
    layer.classList.toggle("arriving", side.childElementCount > 0);
    side.append(layer);
    void layer.offsetWidth; // the browser has to see it unfaded first
    layer.classList.remove("arriving");
    const older = [...side.children].slice(0, -1);
    setTimeout(() => older.forEach((node) => node.remove()), FADE_MS);
  }

  place() {
    const at = Number(this.split?.value ?? 50);
    this.style.setProperty("--split", `${at}%`);
    this.style.setProperty("--move", `translate(${this.x}px, ${this.y}px) scale(${this.scale})`);
  }

  /** @param {number} factor 0 for the whole picture @param {{x: number, y: number}} [at] from the frame's middle */
  zoom(factor, at = { x: 0, y: 0 }) {
    const old = Number(this.scale ?? 1);
    this.scale = factor === 0 ? 1 : Math.min(MOST, Math.max(1, old * factor));
    const grown = this.scale / old;
    this.x = this.scale === 1 ? 0 : at.x - (at.x - (this.x ?? 0)) * grown;
    this.y = this.scale === 1 ? 0 : at.y - (at.y - (this.y ?? 0)) * grown;
    this.classList.toggle("zoomed", this.scale > 1);
    this.place();
  }

  /** @param {number} x @param {number} y */
  move(x, y) {
    this.x = (this.x ?? 0) + x;
    this.y = (this.y ?? 0) + y;
    this.place();
  }

  listen() {
    const frame = byFrame(this);
    frame.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && this.scale === 1 && event.deltaY > 0) return;
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 300), this.fromMiddle(event));
    }, { passive: false });
    frame.addEventListener("dblclick", (event) => this.zoom(this.scale === 1 ? 3 : 0, this.fromMiddle(event)));
    frame.addEventListener("pointerdown", (event) => this.press(event));
    frame.addEventListener("pointermove", (event) => this.drag(event));
    for (const kind of /** @type {const} */ (["pointerup", "pointercancel"])) {
      frame.addEventListener(kind, (event) => this.lift(event));
    }
    frame.addEventListener("keydown", (event) => this.key(event));
    frame.addEventListener("keyup", () => this.hold(false));
    frame.addEventListener("blur", () => this.hold(false));
  }

  /** @param {MouseEvent} event */
  fromMiddle(event) {
    const box = byFrame(this).getBoundingClientRect();
    return { x: event.clientX - box.left - box.width / 2, y: event.clientY - box.top - box.height / 2 };
  }

  /** @param {PointerEvent} event */
  press(event) {
    byFrame(this).setPointerCapture(event.pointerId);
    this.pointers?.set(event.pointerId, event);
    if (this.mode === "hold") this.hold(true);
    if (this.mode === "slider" && this.scale === 1 && this.pointers?.size === 1) this.splitAt(event);
  }

  /** @param {PointerEvent} event */
  drag(event) {
    const last = this.pointers?.get(event.pointerId);
    if (!last || !this.pointers) return;
    if (this.pointers.size === 2) this.pinch(event);
    else if ((this.scale ?? 1) > 1) this.move(event.clientX - last.clientX, event.clientY - last.clientY);
    else if (this.mode === "slider") this.splitAt(event);
    this.pointers.set(event.pointerId, event);
  }

  /** @param {PointerEvent} event */
  pinch(event) {
    const all = [...(this.pointers?.values() ?? [])];
    const other = all.find((one) => one.pointerId !== event.pointerId);
    const last = all.find((one) => one.pointerId === event.pointerId);
    if (!other || !last) return;
    const apart = (/** @type {PointerEvent} */ one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    this.zoom(apart(event) / Math.max(1, apart(last)), this.fromMiddle(event));
  }

  /** @param {PointerEvent} event */
  lift(event) {
    this.pointers?.delete(event.pointerId);
    this.hold(false);
  }

  /** @param {MouseEvent} event */
  splitAt(event) {
    if (!this.split || !this.classList.contains("comparable")) return;
    const box = byFrame(this).getBoundingClientRect();
    this.split.value = String(((event.clientX - box.left) / box.width) * 100);
    this.place();
  }

  /** @param {boolean} isHeld */
  hold(isHeld) {
    this.classList.toggle("held", isHeld && this.classList.contains("comparable"));
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    /** @type {Record<string, () => void>} */
    const acts = {
      "+": () => this.zoom(1.5), "=": () => this.zoom(1.5), "-": () => this.zoom(1 / 1.5), 0: () => this.zoom(0),
      " ": () => this.hold(true),
      ArrowLeft: () => this.step(40, 0), ArrowRight: () => this.step(-40, 0),
      ArrowUp: () => this.step(0, 40), ArrowDown: () => this.step(0, -40),
    };
    const act = acts[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    if (this.scale === 1 && event.key.startsWith("Arrow") && !/Left|Right/.test(event.key)) return;
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

/** @param {CompareView} view @returns {HTMLElement} */
function byFrame(view) {
  if (!view.frame) throw new Error("not connected");
  return view.frame;
}

/** @param {Blob} blob @param {string} name */
async function decoded(blob, name) {
  const url = URL.createObjectURL(blob);
  const image = make("img", { src: url, alt: say(name), draggable: false, data: { side: name } });
  try {
    await image.decode();
  } catch {
    return null;
  } finally {
    image.decoding = "sync";
  }
  return image;
}

customElements.define("compare-view", CompareView);
export const compareView = () => byId("compare", CompareView);
