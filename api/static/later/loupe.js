// A loupe on the part that people look at: before on its left, after on its right, at the picture's own pixels or larger.
import { make } from "../studio/dom.js";

const SIDE = 352; // pixels of its canvas, twice its size on the page

export class Loupe {
  /** @param {import("../studio/compare-view.js").CompareView} view @param {HTMLElement} frame */
  constructor(view, frame) {
    this.view = view;
    this.isOn = false;
    this.canvas = make("canvas", { className: "loupe", width: SIDE, height: SIDE, hidden: true });
    this.ring = make("div", { className: "spot", hidden: true });
    this.ring.setAttribute("aria-hidden", "true");
    this.frame = frame;
    frame.append(this.ring, this.canvas);
  }

  /** @param {boolean} isOn */
  show(isOn) {
    this.isOn = isOn;
    this.canvas.hidden = !isOn;
    this.ring.hidden = !isOn;
    this.draw();
  }

  draw() {
    const context = this.isOn ? this.canvas.getContext("2d") : null;
    if (!context) return;
    this.mark();
    context.clearRect(0, 0, SIDE, SIDE);
    const { natural = 1 } = this.view;
    const shown = Math.min(natural, natural >= 700 ? SIDE / 2 : SIDE / 4) / natural; // share of the picture's width
    const sides = /** @type {const} */ ([["beforeSide", 0], ["afterSide", SIDE / 2]]);
    for (const [name, left] of sides) {
      for (const layer of this.view.piece(name).children) this.paint(context, /** @type {HTMLElement} */ (layer), shown, left);
    }
    context.fillStyle = "#fff";
    context.fillRect(SIDE / 2 - 1, 0, 2, SIDE);
  }

  /** @param {CanvasRenderingContext2D} context @param {HTMLElement} layer @param {number} shown @param {number} left */
  paint(context, layer, shown, left) {
    const { x, y } = this.view.spot ?? { x: 0.5, y: 0.5 };
    const { clientWidth, clientHeight } = this.view.piece("afterSide");
    const zoom = SIDE / (shown * clientWidth);
    // Both halves show the same part, so that what is lost or won stands side by side.
    const at = { x: layer.offsetLeft - (x - shown / 4) * clientWidth, y: layer.offsetTop - y * clientHeight };
    context.save();
    context.beginPath();
    context.rect(left, 0, SIDE / 2, SIDE);
    context.clip();
    context.drawImage(/** @type {HTMLImageElement} */ (layer), left + at.x * zoom, SIDE / 2 + at.y * zoom, layer.offsetWidth * zoom, layer.offsetHeight * zoom);
    context.restore();
  }

  /** The ring goes where the loupe looks; the loupe stays out of its way. */
  mark() {
    const side = this.view.piece("afterSide").getBoundingClientRect();
    const frame = this.frame.getBoundingClientRect();
    const { x, y } = this.view.spot ?? { x: 0.5, y: 0.5 };
    this.ring.style.left = `${side.left - frame.left + x * side.width}px`;
    this.ring.style.top = `${side.top - frame.top + y * side.height}px`;
    this.canvas.classList.toggle("left", x > 0.5 && y > 0.4);
  }
}
