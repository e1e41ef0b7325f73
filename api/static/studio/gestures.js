// Pointers on the comparison: the page scrolls under a finger and a wheel; the picture takes what is meant for it.

const TAP_PX = 6;

/** @typedef {import("./compare-view.js").CompareView} CompareView */

/** Split by dragging sideways, pan when zoomed, pinch, double tap, Ctrl+wheel, tap to look closer. */
export class Gestures {
  /** @param {CompareView} view @param {HTMLElement} frame */
  constructor(view, frame) {
    this.view = view;
    this.frame = frame;
    /** @type {Map<number, PointerEvent>} */
    this.pointers = new Map();
    /** @type {PointerEvent | null} where a single press began */
    this.began = null;
    this.isDragging = false;
    frame.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    frame.addEventListener("dblclick", (event) => view.zoom(view.scale === 1 ? 3 : 0, this.fromMiddle(event)));
    frame.addEventListener("pointerdown", (event) => this.press(event));
    frame.addEventListener("pointermove", (event) => this.drag(event));
    frame.addEventListener("pointerup", (event) => this.lift(event));
    frame.addEventListener("pointercancel", (event) => this.lift(event));
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    if (!event.ctrlKey) return;
    event.preventDefault();
    this.view.zoom(Math.exp(-event.deltaY / 300), this.fromMiddle(event));
  }

  /** @param {MouseEvent} event */
  fromMiddle(event) {
    const box = this.frame.getBoundingClientRect();
    return { x: event.clientX - box.left - box.width / 2, y: event.clientY - box.top - box.height / 2 };
  }

  /** @param {PointerEvent} event */
  press(event) {
    if (event.button > 0) return;
    this.frame.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, event);
    this.began = this.pointers.size === 1 ? event : null;
    this.isDragging = event.pointerType === "mouse";
    if (this.view.mode === "hold") this.view.hold(true);
  }

  /** @param {PointerEvent} event */
  drag(event) {
    const last = this.pointers.get(event.pointerId);
    if (!last) return;
    if (this.began && !this.isDragging) this.isDragging = distance(event, this.began) > TAP_PX;
    if (this.pointers.size === 2) this.pinch(event);
    else if (this.isDragging) this.dragOne(event, last);
    this.pointers.set(event.pointerId, event);
  }

  /** @param {PointerEvent} event @param {PointerEvent} last */
  dragOne(event, last) {
    if ((this.view.scale ?? 1) > 1) this.view.move(event.clientX - last.clientX, event.clientY - last.clientY);
    else if (this.view.mode === "slider") this.view.splitAt(event);
  }

  /** @param {PointerEvent} event */
  pinch(event) {
    const all = [...this.pointers.values()];
    const other = all.find((one) => one.pointerId !== event.pointerId);
    const last = all.find((one) => one.pointerId === event.pointerId);
    if (other && last) this.view.zoom(distance(event, other) / Math.max(1, distance(last, other)), this.fromMiddle(event));
  }

  /** @param {PointerEvent} event */
  lift(event) {
    this.view.hold(false);
    if (!this.pointers.delete(event.pointerId)) return;
    const isTap = event.type === "pointerup" && this.began && distance(event, this.began) <= TAP_PX;
    if (isTap) this.tap(event);
    this.began = null;
  }

  /** A click moves the split as well; a finger gets the loupe, since it hides what it points at. @param {PointerEvent} event */
  tap(event) {
    const { view } = this;
    if (event.pointerType === "mouse" && view.mode === "slider" && view.scale === 1 && !view.isLoupeOn) view.splitAt(event);
    if (event.pointerType !== "mouse" && view.mode !== "hold" && view.classList.contains("comparable")) view.showLoupe(true);
    view.look(event);
  }
}

/** @param {PointerEvent} one @param {PointerEvent} other */
const distance = (one, other) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
