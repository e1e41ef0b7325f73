// The stage: shows the selected photo, its progress, its result, or its problem.
import { announce } from "./announce.js";
import { compareView } from "./compare-view.js";
import { byId } from "./dom.js";
import { remedyFor } from "./remedy.js";
import { stageText } from "./sheet.js";
import { say } from "./words.js";

/** @typedef {import("./shot.js").Shot} Shot */

const ENGINES = { webnn: "WebNN", webgpu: "WebGPU", wasm: "WebAssembly" };
const part = (/** @type {string} */ id) => byId(id, HTMLElement);

export class Stage {
  /** @param {import("./desk.js").Desk} desk @param {import("./upscaler.js").Upscaler} upscaler */
  constructor(desk, upscaler) {
    this.desk = desk;
    this.upscaler = upscaler;
    /** @type {Shot | null} */
    this.shot = null;
    this.said = "";
    this.hearing = new AbortController();
    desk.addEventListener("selected", () => this.show(desk.selected));
    upscaler.addEventListener("change", () => this.enlarge(this.shot));
    document.addEventListener("retouch:language", () => this.draw());
    setInterval(() => this.countDown(), 500);
  }

  /** @param {Shot | null} shot */
  show(shot) {
    this.hearing.abort();
    this.hearing = new AbortController();
    this.shot = shot;
    compareView().reset(shot?.kept.width ?? 1, shot?.kept.height ?? 1);
    if (shot) {
      const { signal } = this.hearing;
      shot.addEventListener("change", () => this.draw(), { signal });
      shot.addEventListener("look", () => this.look(shot), { signal });
      shot.addEventListener("fitted", () => this.fitted(shot), { signal });
      shot.addEventListener("preview", () => this.reveal(shot, shot.preview, "note_preview"), { signal });
      shot.addEventListener("result", () => this.reveal(shot, shot.kept.result, ""), { signal });
      this.fill(shot);
    }
    this.draw();
  }

  /** @param {Shot} shot */
  fill(shot) {
    if (shot.kept.width && shot.isRead) showBefore(shot);
    if (shot.kept.result) this.reveal(shot, shot.kept.result, "");
    else if (shot.preview) this.reveal(shot, shot.preview, "note_preview");
    else if (shot.look) this.look(shot);
    if (shot.isRead) this.enlarge(shot);
  }

  /** What is sent is there. @param {Shot} shot */
  fitted(shot) {
    if (shot.isSealed) {
      compareView().reset(shot.kept.width, shot.kept.height);
      this.fill(shot);
      return;
    }
    showBefore(shot);
    this.enlarge(shot);
  }

  /** A better look than the first, as long as nothing of the service is there. @param {Shot | null} shot */
  async enlarge(shot) {
    const isWaiting = () => shot && this.shot === shot && shot.look && !shot.preview && !shot.kept.result;
    if (!shot || !isWaiting()) return;
    const made = await this.upscaler.enlarge(shot.kept.seen ?? shot.kept.blob);
    if (!made || !isWaiting()) return;
    const canvas = Object.assign(document.createElement("canvas"), { width: made.picture.width, height: made.picture.height });
    canvas.getContext("bitmaprenderer")?.transferFromImageBitmap(made.picture);
    await compareView().showAfter(canvas);
    compareView().note(say("note_upscaled", { engine: ENGINES[made.engine], ms: Math.round(made.working) }));
    shot.kept.timings.upscaled ??= performance.now() - shot.began;
  }

  /** A sharpened look at once, and drawn before anything is sent. @param {Shot} shot */
  look(shot) {
    if (!shot.look || shot.kept.result) return;
    const { before, after, byGpu } = shot.look;
    const view = compareView();
    view.reset(shot.kept.width, shot.kept.height);
    view.hidden = false;
    view.showBefore(before);
    view.showAfter(after);
    view.note(say(byGpu ? "note_look" : "note_look_plain"));
    view.allow(true);
    shot.kept.timings.look ??= performance.now() - shot.began;
    part("empty").hidden = true;
  }

  /** @param {Shot} shot @param {Blob | null} picture @param {string} note */
  async reveal(shot, picture, note) {
    if (!picture) return;
    await compareView().showAfter(picture);
    if (this.shot !== shot || (note === "note_preview" && shot.kept.result)) return;
    compareView().note(note && say(note));
    compareView().allow(true);
  }

  draw() {
    const { shot } = this;
    part("empty").hidden = Boolean(shot);
    part("another").hidden = !shot;
    compareView().hidden = !shot || !shot.kept.width;
    part("working").hidden = !shot || shot.isAtRest;
    part("outcome").hidden = shot?.kept.phase !== "succeeded";
    part("again").hidden = !shot || !["succeeded", "canceled"].includes(shot.kept.phase);
    part("stage").dataset.phase = shot?.kept.phase ?? "empty";
    this.drawError();
    if (!shot) return;
    if (!shot.isAtRest) this.drawWork(shot);
    if (shot.kept.phase === "succeeded") {
      part("speed").textContent = speed(shot);
      part("facts").textContent = facts(shot);
    }
    if (shot.kept.phase === "canceled") compareView().note(say("canceled"));
    this.say(shot);
    const isFollowed = navigator.onLine && (shot.isConnected || shot.isAtRest);
    notice(isFollowed ? "" : say("offline"));
  }

  /** @param {Shot} shot */
  drawWork(shot) {
    const isKnown = shot.kept.phase !== "reading" && shot.kept.phase !== "sending";
    byId("bar", HTMLProgressElement).value = shot.percent;
    part("percent").textContent = isKnown ? `${Math.floor(shot.percent)} %` : "";
    part("doing").textContent = stageText(shot);
    const isTimed = shot.kept.phase === "running" && shot.eta !== null;
    part("remaining").textContent = isTimed ? say("remaining", { n: Math.max(1, Math.ceil(shot.eta ?? 0)) }) : "";
  }

  drawError() {
    const problem = this.shot?.kept.phase === "failed" ? this.shot.kept.problem : null;
    part("error").hidden = !problem;
    if (!problem || !this.shot) return;
    part("sentence").textContent = problem.code === "unreachable" ? say("unreachable") : problem.sentence;
    this.countDown();
  }

  countDown() {
    const problem = this.shot?.kept.phase === "failed" ? this.shot.kept.problem : null;
    if (!problem || !this.shot) return;
    const seconds = Math.ceil((this.shot.retryAt - Date.now()) / 1000);
    const remedy = remedyFor(problem.code);
    if (remedy === "retry" && seconds > 0) part("mend").textContent = say("do_retry_in", { n: seconds });
    else part("mend").textContent = say(`do_${remedy}`, { n: this.desk.sideAfter(this.shot) });
  }

  /** To screen readers: every change of what is done, and each quarter. @param {Shot} shot */
  say(shot) {
    const quarter = shot.kept.phase === "running" ? Math.floor(shot.percent / 25) * 25 : null;
    const text = quarter ? `${quarter} %` : stageText(shot);
    if (text !== this.said) announce(text);
    this.said = text;
  }
}

/** A photo that this browser cannot open is shown once the service has. @param {Shot} shot */
function showBefore({ kept, isSealed }) {
  if (kept.seen || !isSealed) compareView().showBefore(kept.seen ?? kept.blob);
}

/** @param {string} text */
export function notice(text) {
  part("notice").hidden = !text;
  if (part("notice").textContent !== text) part("notice").textContent = text;
}

/** How fast it was, as seen from here. @param {Shot} shot */
function speed({ kept }) {
  const { look, preview, full } = kept.timings;
  const { queued_seconds } = kept.job.timings;
  return listed([
    look && say("fact_look", { n: Math.round(look) }),
    preview && say("fact_preview", { n: preview.toFixed(1) }),
    full && say("fact_full", { n: full.toFixed(1) }),
    queued_seconds >= 0.1 && say("fact_queue", { n: queued_seconds.toFixed(1) }),
  ]) || say("succeeded");
}

/** What it ran with, and why. @param {Shot} shot */
function facts({ kept }) {
  const { params, source, result, degraded } = kept.job;
  return listed([
    say("fact_size", { before: size(source ?? result), after: size(result) }),
    params.strength !== null && say("fact_strength", { n: params.strength }),
    params.loras.map((/** @type {any} */ lora) => `${lora.name}:${lora.scale}`).join(", ") || say("none"),
    say("fact_seed", { n: params.seed }),
    params.lora_reason,
    ...degraded.map((/** @type {{message: string}} */ item) => item.message),
  ]);
}

/** @param {{width: number, height: number}} picture */
const size = ({ width, height }) => `${width} × ${height}`;

/** @param {any[]} parts */
const listed = (parts) => parts.filter(Boolean).join(" · ");
