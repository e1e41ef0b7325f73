// The contact sheet: a row for every photo stored on this device, running or done.
import { make } from "./dom.js";
import { say } from "./words.js";

/** @typedef {import("./shot.js").Shot} Shot */

/** One row; it redraws itself when its photo changes. */
export class Row {
  /** @param {Shot} shot @param {{open: (shot: Shot) => void, remove: (shot: Shot) => void}} acts */
  constructor(shot, acts) {
    this.shot = shot;
    this.picture = make("span", { className: "thumb" });
    this.name = make("b");
    this.name.textContent = shot.kept.name; // as text: names come from anywhere
    this.state = make("small");
    this.bar = make("progress", { max: 100 });
    this.opener = make("button", { type: "button", className: "opener", onclick: () => acts.open(shot) }, this.picture,
      make("span", { className: "words" }, this.name, this.state, this.bar));
    this.remover = make("button", { type: "button", className: "plain remove", textContent: "×", onclick: () => acts.remove(shot) });
    this.node = make("li", {}, this.opener, this.remover);
    shot.addEventListener("change", () => this.draw());
    this.draw();
  }

  draw() {
    const { kept, percent, isAtRest } = this.shot;
    this.node.dataset.phase = kept.phase;
    this.state.textContent = isAtRest ? atRest(this.shot) : `${stageText(this.shot)} ${Math.floor(percent)} %`;
    this.bar.hidden = isAtRest;
    this.bar.value = percent;
    this.bar.setAttribute("aria-label", kept.name);
    this.remover.setAttribute("aria-label", say("remove", { name: kept.name }));
    const shown = kept.result ?? kept.thumb;
    if (shown && this.shown !== shown) this.fill(shown);
  }

  /** @param {Blob} shown */
  fill(shown) {
    this.shown = shown;
    this.picture.replaceChildren(make("img", { src: URL.createObjectURL(shown), alt: "", loading: "lazy" }));
  }

  /** @param {boolean} isSelected */
  select(isSelected) {
    if (isSelected) this.opener.setAttribute("aria-current", "true");
    else this.opener.removeAttribute("aria-current");
  }
}

/** @param {Shot} shot */
function atRest({ kept }) {
  if (kept.phase === "failed") return `${say("failed")}: ${kept.problem?.sentence ?? ""}`;
  return `${say(kept.phase)} · ${when(kept.created)}`;
}

/** The hour today, the day before that. @param {number} created milliseconds since 1970 */
function when(created) {
  const isToday = new Date(created).toDateString() === new Date().toDateString();
  const form = new Intl.DateTimeFormat(document.documentElement.lang, isToday ? { timeStyle: "short" } : { dateStyle: "medium" });
  return form.format(created);
}

/** What is being done to a photo, in the page's language. @param {Shot} shot */
export function stageText({ kept, stage, ahead }) {
  if (kept.phase === "queued" && ahead > 0) return `${say("queued")}, ${say("ahead", { n: ahead })}`;
  return say(kept.phase === "running" && stage ? stage : kept.phase);
}
