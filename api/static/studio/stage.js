// The stage and the column beside it: the selected photo, its progress, its result, or its problem.
import { announce } from "./announce.js";
import { compareView } from "./compare-view.js";
import { byId } from "./dom.js";
import { stageText } from "./sheet.js";
import { remedyOf, sentenceOf } from "./shot.js";
import { drawVerdict } from "./verdict.js";
import { say, span } from "./words.js";

/** @typedef {import("./shot.js").Shot} Shot */

const ENGINES = { webnn: "WebNN", webgpu: "WebGPU", wasm: "WebAssembly" };
const part = (/** @type {string} */ id) => byId(id, HTMLElement);

/** Fires `settled` when the shot in view has come to rest, `fitted` when its size is known, `revealed` with its result. */
export class Stage extends EventTarget {
  /** @param {import("./desk.js").Desk} desk */
  constructor(desk) {
    super();
    this.desk = desk;
    /** @type {import("../later/upscaler.js").Upscaler | null} */
    this.upscaler = null;
    /** @type {Shot | null} */
    this.shot = null;
    this.said = "";
    this.wasAtRest = true;
    /** What is seen after the split: the result, or what stands in for it. @type {Blob | HTMLCanvasElement | null} */
    this.seen = null;
    /** Whether what is seen is what the same photo became before: it stays until there is something newer. */
    this.isFormer = false;
    this.hearing = new AbortController();
    desk.addEventListener("selected", () => this.show(desk.selected));
    document.addEventListener("retouch:language", () => this.draw());
    setInterval(() => this.countDown(), 500);
  }

  /** Super-resolution in the browser, once it is there. @param {import("../later/upscaler.js").Upscaler} upscaler */
  use(upscaler) {
    this.upscaler = upscaler;
    upscaler.addEventListener("change", () => this.enlarge(this.shot));
    this.enlarge(this.shot);
  }

  /** @param {Shot | null} shot */
  show(shot) {
    const isSame = Boolean(shot && this.shot && shot.kept.origin && shot.kept.origin === this.shot.kept.origin);
    this.hearing.abort();
    this.hearing = new AbortController();
    this.shot = shot;
    this.wasAtRest = shot?.isAtRest ?? true;
    if (!isSame) this.seen = null;
    this.isFormer = isSame && Boolean(this.seen);
    compareView().reset(shot?.kept.width ?? 1, shot?.kept.height ?? 1, isSame);
    if (shot) {
      const { signal } = this.hearing;
      shot.addEventListener("change", () => this.draw(), { signal });
      shot.addEventListener("look", () => this.look(shot, isSame), { signal });
      shot.addEventListener("fitted", () => this.fitted(shot), { signal });
      shot.addEventListener("preview", () => this.preview(shot), { signal });
      shot.addEventListener("result", () => this.reveal(shot, shot.kept.result), { signal });
      this.draw();
      this.fill(shot, isSame);
    } else this.draw();
  }

  /** @param {Shot} shot @param {boolean} isSame */
  fill(shot, isSame) {
    if (shot.kept.result) {
      if (!isSame) showBefore(shot);
      this.reveal(shot, shot.kept.result);
      return;
    }
    if (this.isFormer) return;
    if (shot.kept.width && shot.isRead) showBefore(shot);
    if (shot.look) this.look(shot, isSame);
    if (shot.isRead) this.enlarge(shot);
  }

  /** What is sent is there. @param {Shot} shot */
  fitted(shot) {
    this.dispatchEvent(new Event("fitted"));
    if (shot.isSealed) {
      compareView().reset(shot.kept.width, shot.kept.height);
      this.fill(shot, false);
      return;
    }
    showBefore(shot);
    this.enlarge(shot);
  }

  /** A better look than the first, as long as nothing of the service is there. @param {Shot | null} shot */
  async enlarge(shot) {
    const isWaiting = () => shot && this.shot === shot && shot.look && !this.isFormer && !shot.preview && !shot.kept.result;
    if (!shot || !isWaiting()) return;
    const made = await this.upscaler?.enlarge(shot.kept.seen ?? shot.kept.blob);
    if (!made || !isWaiting()) return made?.picture.close();
    const canvas = Object.assign(document.createElement("canvas"), { width: made.picture.width, height: made.picture.height });
    canvas.getContext("bitmaprenderer")?.transferFromImageBitmap(made.picture);
    this.seen = canvas;
    await compareView().showAfter(canvas);
    compareView().note(say("note_upscaled", { engine: ENGINES[made.engine], ms: Math.round(made.working) }));
    shot.kept.timings.upscaled ??= performance.now() - shot.began;
  }

  /** A sharpened look at once, and drawn before anything is sent. @param {Shot} shot @param {boolean} isSame */
  look(shot, isSame) {
    if (!shot.look || shot.kept.result || this.isFormer) return;
    const { before, after } = shot.look;
    const view = compareView();
    if (!isSame) view.reset(shot.kept.width, shot.kept.height);
    view.hidden = false;
    view.showBefore(before);
    view.showAfter(after);
    this.seen = after;
    view.note(say("note_look"));
    view.allow(true);
    shot.kept.timings.look ??= performance.now() - shot.began;
    for (const id of ["empty", "unseen"]) part(id).hidden = true;
  }

  /** The small result over the look, never instead of it: alone it would seem to get worse. @param {Shot} shot */
  async preview(shot) {
    if (!shot.look || !shot.preview || this.isFormer) return;
    const { blended } = await import("../later/blend.js");
    const canvas = shot.look && await blended(shot.look, shot.preview);
    if (!canvas || this.shot !== shot || shot.kept.result) return;
    this.seen = canvas;
    await compareView().showAfter(canvas);
    if (this.shot === shot && !shot.kept.result) compareView().note(say("note_preview"));
  }

  /** @param {Shot} shot @param {Blob | null} picture */
  async reveal(shot, picture) {
    if (!picture) return;
    this.seen = picture;
    this.isFormer = false;
    this.drawMeanwhile();
    await compareView().showAfter(picture);
    if (this.shot !== shot) return;
    compareView().note("");
    compareView().allow(true);
    this.dispatchEvent(new Event("revealed"));
  }

  /** Whether what is seen is the full result. */
  get isFull() {
    return Boolean(this.shot?.kept.result) && this.seen === this.shot?.kept.result;
  }

  draw() {
    const { shot } = this;
    part("empty").hidden = Boolean(shot);
    part("another").hidden = !shot;
    part("side").hidden = !shot;
    part("panel").hidden = !shot || (shot.kept.phase === "failed" && !shot.kept.width); // there is no photo to set them for
    part("main").classList.toggle("busy", Boolean(shot));
    compareView().hidden = !shot || !shot.kept.width;
    part("unseen").hidden = !shot || Boolean(shot.kept.width);
    part("unseen-name").textContent = shot?.kept.name ?? "";
    part("working").hidden = !shot || shot.isAtRest;
    part("outcome").hidden = shot?.kept.phase !== "succeeded";
    part("stage").dataset.phase = shot?.kept.phase ?? "empty";
    this.drawMeanwhile();
    this.drawError();
    if (!shot) return;
    if (!shot.isAtRest) this.drawWork(shot);
    if (shot.kept.phase === "succeeded") drawVerdict(shot);
    if (shot.kept.phase === "canceled") compareView().note(say("canceled"));
    this.say(shot);
    const isFollowed = navigator.onLine && (shot.isConnected || shot.isAtRest);
    notice(isFollowed ? "" : say("offline"));
    if (shot.isAtRest && !this.wasAtRest) this.dispatchEvent(new Event("settled"));
    this.wasAtRest = shot.isAtRest;
  }

  /** What stands in for the result can be had as well, under its own name. */
  drawMeanwhile() {
    part("meanwhile").hidden = !this.shot || !this.seen || this.isFormer || this.isFull;
  }

  /** @param {Shot} shot */
  drawWork(shot) {
    const isKnown = ["uploading", "running"].includes(shot.kept.phase);
    byId("bar", HTMLProgressElement).value = shot.percent;
    part("percent").textContent = isKnown && shot.percent ? `${Math.floor(shot.percent)} %` : "";
    part("doing").textContent = stageText(shot);
    const isTimed = shot.kept.phase === "running" && shot.eta !== null;
    const now = this.desk.shots.find((one) => one.kept.phase === "running" && one !== shot);
    const others = shot.kept.phase === "queued" && now ? say("ahead_now", { name: now.kept.name }) : "";
    part("remaining").textContent = isTimed ? say("remaining", { time: span(shot.eta ?? 0) }) : others;
  }

  drawError() {
    const problem = this.shot?.kept.phase === "failed" ? this.shot.kept.problem : null;
    part("error").hidden = !problem;
    if (!problem || !this.shot) return;
    part("sentence").textContent = sentenceOf(problem);
    this.countDown();
  }

  countDown() {
    const problem = this.shot?.kept.phase === "failed" ? this.shot.kept.problem : null;
    if (!problem || !this.shot) return;
    const seconds = Math.ceil((this.shot.retryAt - Date.now()) / 1000);
    const remedy = remedyOf(this.shot);
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
