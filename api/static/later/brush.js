// "Only here": a mask painted over the picture, which limits where the result replaces the photo.
import { compareView } from "../studio/compare-view.js";
import { byId, make } from "../studio/dom.js";
import { say } from "../studio/words.js";

const LONGEST = 1024; // pixels of a mask; the service feathers it and fits it to the photo
const STEP = 0.03; // of the picture's width, by arrow key

/** @typedef {import("../studio/shot.js").Shot} Shot */
/** @typedef {{mask: Blob | null, strength: number}} Painted */

export class Brush {
  /** @param {Shot} shot @param {(painted: Painted) => void} changed called after each stroke @param {() => void} left */
  constructor(shot, changed, left) {
    this.changed = changed;
    this.left = left;
    this.view = compareView();
    this.formerMode = this.view.mode ?? "slider";
    const { width, height } = shot.kept;
    const factor = Math.min(1, LONGEST / Math.max(width, height));
    this.canvas = make("canvas", { className: "mask", tabIndex: 0, width: Math.max(1, Math.round(width * factor)), height: Math.max(1, Math.round(height * factor)) });
    this.canvas.setAttribute("role", "img");
    this.canvas.ariaLabel = say("brush_note");
    this.context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d", { willReadFrequently: true }));
    /** Where the keyboard's brush is, and the pointer was, as shares. @type {{x: number, y: number}} */
    this.at = { ...(this.view.spot ?? { x: 0.5, y: 0.5 }) };
    this.isPainting = false;
    this.open(shot);
  }

  /** @param {Shot} shot */
  open(shot) {
    this.view.switch("hold"); // the whole picture, without a split in the way
    this.view.piece("afterSide").append(this.canvas);
    byId("brush", HTMLElement).hidden = false;
    byId("brush-strength", HTMLInputElement).value = String(shot.kept.maskStrength ?? 1);
    if (shot.kept.mask) this.load(shot.kept.mask, shot.kept.maskStrength ?? 1);
    this.canvas.addEventListener("pointerdown", (event) => this.press(event));
    this.canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const kind of /** @type {const} */ (["pointerup", "pointercancel"])) this.canvas.addEventListener(kind, () => this.lift());
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    byId("brush-clear", HTMLButtonElement).onclick = () => this.clear();
    byId("brush-done", HTMLButtonElement).onclick = () => this.close();
    byId("brush-strength", HTMLInputElement).onchange = () => this.tell();
    this.canvas.focus({ preventScroll: true });
  }

  close() {
    this.canvas.remove();
    byId("brush", HTMLElement).hidden = true;
    this.view.switch(this.formerMode);
    this.left();
  }

  get strength() {
    return Number(byId("brush-strength", HTMLInputElement).value);
  }

  /** @param {Blob} mask @param {number} strength */
  async load(mask, strength) {
    const bitmap = await createImageBitmap(mask);
    this.context.drawImage(bitmap, 0, 0, this.canvas.width, this.canvas.height);
    bitmap.close();
    const picture = this.context.getImageData(0, 0, this.canvas.width, this.canvas.height);
    for (let i = 0; i < picture.data.length; i += 4) picture.data.set([255, 0, 0, Math.min(255, picture.data[i] / strength)], i);
    this.context.putImageData(picture, 0, 0);
  }

  /** @param {PointerEvent} event */
  press(event) {
    event.stopPropagation();
    this.canvas.setPointerCapture(event.pointerId);
    this.isPainting = true;
    this.at = this.view.shareAt(event);
    this.stroke(this.at);
  }

  /** @param {PointerEvent} event */
  move(event) {
    event.stopPropagation();
    if (this.isPainting) this.stroke(this.view.shareAt(event));
  }

  lift() {
    if (this.isPainting) this.tell();
    this.isPainting = false;
  }

  /** A line from where the brush was. @param {{x: number, y: number}} to */
  stroke(to) {
    const { width, height } = this.canvas;
    Object.assign(this.context, { strokeStyle: "#f00", lineCap: "round", lineJoin: "round" });
    this.context.lineWidth = Number(byId("brush-size", HTMLInputElement).value) * Math.max(width, height);
    this.context.beginPath();
    this.context.moveTo(this.at.x * width, this.at.y * height);
    this.context.lineTo(to.x * width + 0.01, to.y * height);
    this.context.stroke();
    this.at = to;
  }

  /** Arrows move the brush, the space bar paints. @param {KeyboardEvent} event */
  key(event) {
    const ways = /** @type {Record<string, [number, number]>} */ ({ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], " ": [0, 0] });
    const way = ways[event.key];
    if (!way) return;
    event.preventDefault();
    event.stopPropagation();
    const within = (/** @type {number} */ value) => Math.min(1, Math.max(0, value));
    this.at = { x: within(this.at.x + way[0] * STEP), y: within(this.at.y + way[1] * STEP) };
    if (event.key !== " ") return;
    this.stroke(this.at);
    this.tell();
  }

  clear() {
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.changed({ mask: null, strength: this.strength });
  }

  /** White where it was painted, as far as the strength goes, and black elsewhere. */
  async tell() {
    const { width, height } = this.canvas;
    const picture = this.context.getImageData(0, 0, width, height);
    let isEmpty = true;
    for (let i = 0; i < picture.data.length; i += 4) {
      const level = picture.data[i + 3] * this.strength;
      if (level) isEmpty = false;
      picture.data.set([level, level, level, 255], i);
    }
    const made = new OffscreenCanvas(width, height);
    made.getContext("2d")?.putImageData(picture, 0, 0);
    this.changed({ mask: isEmpty ? null : await made.convertToBlob({ type: "image/png" }), strength: this.strength });
  }
}
