// The contact sheet: a row for every photo stored on this device, running or done.
import { make } from "./dom.js";
import { sentenceOf } from "./shot.js";
import { say, size, span } from "./words.js";

/** @typedef {import("./shot.js").Shot} Shot */
/** @typedef {{open: (shot: Shot) => void, remove: (shot: Shot) => void, tick: () => void, drag: (shot: Shot, event: DragEvent) => void}} Acts */

const REEL = 12; // rows that the browser skips together while they are out of sight; whole lines of 1, 2, 3, 4 or 6
/** @type {WeakMap<Element, Row>} */
const rowOf = new WeakMap();
/** Reels in sight or near it: the others have no pictures, so that a thousand rows stay light. @type {WeakSet<Element>} */
const near = new WeakSet();
const isTold = "oncontentvisibilityautostatechange" in document;

/** Puts the rows into this order. @param {HTMLElement} list @param {HTMLElement[]} nodes */
export function arrange(list, nodes) {
  for (const [place, node] of nodes.entries()) {
    const reel = list.children[Math.floor(place / REEL)] ?? list.appendChild(newReel());
    const there = reel.children[place % REEL];
    if (there !== node) reel.insertBefore(node, there ?? null);
    rowOf.get(node)?.appear(!isTold || near.has(reel));
  }
  while (list.children.length > Math.ceil(nodes.length / REEL)) list.lastElementChild?.remove();
}

function newReel() {
  const reel = make("ol");
  reel.addEventListener("contentvisibilityautostatechange", (event) => {
    const isNear = !(/** @type {any} */ (event).skipped);
    if (isNear) near.add(reel);
    else near.delete(reel);
    for (const node of reel.children) rowOf.get(node)?.appear(isNear);
  });
  return reel;
}

/** One row; it redraws itself when its photo changes. */
export class Row {
  /** @param {Shot} shot @param {Acts} acts */
  constructor(shot, acts) {
    this.shot = shot;
    this.isSeen = false;
    /** @type {Blob | null} */
    this.shown = null;
    this.picture = make("span", { className: "thumb" });
    this.name = make("b");
    this.name.textContent = shot.kept.name; // as text: names come from anywhere
    this.state = make("small");
    this.bar = make("progress", { max: 100 });
    this.box = make("input", { type: "checkbox", onchange: () => acts.tick() });
    this.opener = make("button", { type: "button", className: "opener", onclick: () => acts.open(shot) }, this.picture,
      make("span", { className: "words" }, this.name, this.state, this.bar));
    this.opener.addEventListener("dragstart", (event) => acts.drag(shot, event));
    this.remover = make("button", { type: "button", className: "plain remove", textContent: "×", onclick: () => acts.remove(shot) });
    this.node = make("li", {}, make("label", { className: "tick" }, this.box), this.opener, this.remover);
    this.hearing = new AbortController();
    shot.addEventListener("change", () => this.draw(), { signal: this.hearing.signal });
    rowOf.set(this.node, this);
    this.draw();
  }

  get isTicked() {
    return this.box.checked && Boolean(this.shot.kept.result);
  }

  /** The row is gone for good. */
  leave() {
    this.hearing.abort();
    this.fill(null);
    this.node.remove();
  }

  /** @param {boolean} isSeen */
  appear(isSeen) {
    this.isSeen = isSeen;
    this.show();
  }

  show() {
    this.fill(this.isSeen ? this.shot.kept.thumb ?? this.shot.kept.result : null);
  }

  draw() {
    const { kept, percent, isAtRest } = this.shot;
    this.node.dataset.phase = kept.phase;
    this.show();
    const isMoving = ["uploading", "running"].includes(kept.phase) && percent > 0;
    this.state.textContent = isAtRest ? atRest(this.shot) : `${stageText(this.shot)}${isMoving ? ` ${Math.floor(percent)} %` : ""}`;
    this.bar.hidden = isAtRest;
    this.bar.value = percent;
    this.bar.ariaLabel = kept.name;
    this.box.disabled = !kept.result;
    this.box.ariaLabel = say("tick", { name: kept.name });
    this.opener.draggable = Boolean(kept.result);
    this.remover.ariaLabel = say("remove", { name: kept.name });
  }

  /** @param {Blob | null} shown */
  fill(shown) {
    if (this.shown === shown) return;
    this.shown = shown;
    URL.revokeObjectURL(this.picture.querySelector("img")?.src ?? "");
    this.picture.replaceChildren(...(shown ? [make("img", { src: URL.createObjectURL(shown), alt: "" })] : []));
  }

  /** @param {boolean} isSelected */
  select(isSelected) {
    if (isSelected) this.opener.setAttribute("aria-current", "true");
    else this.opener.removeAttribute("aria-current");
  }
}

/** @param {Shot} shot */
function atRest(shot) {
  const { kept } = shot;
  if (shot.isHeld) return say("held");
  if (kept.phase === "failed") return sentenceOf(kept.problem);
  const made = kept.job?.result ? size(kept.job.result) : say(kept.phase);
  return `${made} · ${when(kept.created)}`;
}

/** The hour today, the day before that. @param {number} created milliseconds since 1970 */
function when(created) {
  const isToday = new Date(created).toDateString() === new Date().toDateString();
  const form = new Intl.DateTimeFormat(document.documentElement.lang, isToday ? { timeStyle: "short" } : { dateStyle: "medium" });
  return form.format(created);
}

/** What is being done to a photo, in the page's language. @param {Shot} shot */
export function stageText({ kept, stage, percent, ahead, wait, isNext, isWaiting }) {
  if (kept.phase === "reading" && isWaiting) return say("waiting");
  // A worker has taken it up, but does another one first.
  if (kept.phase === "running" && !stage && !percent) return say("next");
  if (kept.phase !== "queued") return say(kept.phase === "running" && stage ? stage : kept.phase);
  if (ahead > 0) return wait ? say("ahead_time", { n: ahead, time: span(wait) }) : say("ahead", { n: ahead });
  return isNext ? say("next") : say("queued");
}
