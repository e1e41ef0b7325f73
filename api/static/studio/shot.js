// One photo and its state: opened, sent, queued, running, done. Owns the order and what is stored of it.
import * as album from "./album.js";
import { Follower } from "./follow.js";
import { newId } from "./new-id.js";
import { fitted, isSentAsIs, open, thumbnail } from "./photo.js";
import { quick } from "./quick.js";
import { formFields } from "./recipe.js";
import { isPassing, remedyFor, sentenceFor } from "./remedy.js";
import { ask, askPicture, hasKey, Problem, upload } from "./service.js";
import { firstLook } from "./sharpen.js";
import { language, say, served } from "./words.js";

/** @typedef {import("./album.js").Kept} Kept */

export const AT_REST = ["succeeded", "failed", "canceled"];

/** @typedef {import("./photo.js").Limits} Limits */

// What the service says of these is about this very file, in words for people.
const SPECIFIC = ["unsupported_media_type", "image_too_large", "image_too_small"];

/** Fires `change` on every update; `look`, `fitted`, `preview` and `result` when there is a new picture; `full` when it cannot be stored. */
export class Shot extends EventTarget {
  /** @param {Kept} kept */
  constructor(kept) {
    super();
    this.kept = kept;
    /** @type {import("./sharpen.js").Look | null} */
    this.look = null;
    this.isRead = false;
    /** Whether only the service can open it, which shows it then. */
    this.isSealed = false;
    this.isForgotten = false;
    /** Whether it is in view: only then a first look is made, which takes memory. */
    this.isInView = false;
    /** Whether it waits for other photos of this page. */
    this.isWaiting = false;
    /** @type {Blob | null} */
    this.preview = null;
    this.isPreviewAsked = false;
    this.percent = 0;
    /** @type {number | null} */
    this.eta = null;
    this.stage = "";
    this.ahead = 0;
    this.wait = 0; // seconds until its turn, roughly; 0 when unknown
    this.isNext = false;
    this.retryAfter = 0;
    this.retryAt = 0;
    this.isConnected = true;
    this.began = performance.now();
    this.stopper = new AbortController();
    /** @type {Follower | null} */
    this.follower = null;
  }

  /**
   * @param {File | Blob} file
   * @param {string} name
   * @param {string} batch
   * @param {import("./recipe.js").Recipe} recipe
   */
  static ofFile(file, name, batch, recipe) {
    const id = newId();
    return new Shot({
      id, key: newId(), created: Date.now(), batch, origin: id, name, blob: file, sentBytes: file.size, seen: null, thumb: null,
      width: 0, height: 0, recipe, phase: "reading", imageId: null, jobId: null, result: null, job: null, problem: null, timings: {},
    });
  }

  /** A photo that the service fetches, and shows then. @param {string} address @param {string} name @param {import("./recipe.js").Recipe} recipe */
  static ofAddress(address, name, recipe) {
    const shot = Shot.ofFile(new Blob(), name, newId(), recipe);
    shot.kept.address = address;
    return shot;
  }

  get isAtRest() {
    return AT_REST.includes(this.kept.phase);
  }

  /** Whether it only waits for the service to be back. */
  get isHeld() {
    return this.kept.phase === "failed" && isPassing(this.kept.problem?.code ?? "");
  }

  /** @param {string} kind */
  tell(kind) {
    this.dispatchEvent(new Event(kind));
  }

  /** @param {Partial<Kept>} news */
  async note(news) {
    Object.assign(this.kept, news);
    this.tell("change");
    if (!this.isForgotten && !(await album.put(this.kept))) this.tell("full");
  }

  /**
   * From the file to the bytes that are sent, with a first look in between.
   * @param {Limits} limits
   */
  async read(limits) {
    if (this.isRead || this.isAtRest) return;
    this.isWaiting = false;
    this.tell("change");
    if (this.isInView && await this.readQuickly(limits)) return;
    const bitmap = await open(this.kept.blob);
    this.isWaiting = true;
    this.isRead = true;
    this.isSealed = !bitmap;
    // A file that cannot be scaled down here is sent unchanged, and the service says what is wrong.
    if (bitmap) await this.fit(bitmap, limits).catch(() => undefined);
    this.note({});
  }

  /** Without decoding the whole, where it is sent as it is. @param {Limits} limits @returns {Promise<boolean>} */
  async readQuickly(limits) {
    const found = await quick(this.kept.blob);
    if (!found) return false;
    const { bitmap, width, height } = found;
    Object.assign(this.kept, { width, height });
    this.look = firstLook(bitmap);
    this.tell("look");
    await nextFrame(); // it is to be seen before anything else is done
    const isWhole = isSentAsIs(this.kept.blob, found, limits);
    if (isWhole) this.kept.thumb = await thumbnail(bitmap).catch(() => null);
    bitmap.close();
    if (!isWhole) return false;
    this.isRead = true;
    this.isWaiting = true;
    this.tell("fitted");
    this.note({});
    return true;
  }

  /** @param {ImageBitmap} bitmap @param {Limits} limits */
  async fit(bitmap, limits) {
    const { width, height } = bitmap;
    Object.assign(this.kept, { width, height });
    if (this.isInView && !this.look) {
      this.look = firstLook(bitmap);
      this.tell("look");
      await nextFrame(); // it is to be seen before anything else is done
    }
    Object.assign(this.kept, await fitted(this.kept.blob, bitmap, limits));
    if (this.kept.width < width) this.kept.scaledFrom = { width, height };
    this.tell("fitted");
    if (!this.kept.thumb) thumbnail(bitmap).then((thumb) => this.note({ thumb })).finally(() => bitmap.close());
    else bitmap.close();
  }

  /** The first look of a photo that comes into view later. */
  async lookAgain() {
    if (this.look || !this.isRead || this.isSealed || this.kept.result) return;
    const bitmap = await open(this.kept.blob);
    if (!bitmap || !this.isInView || this.kept.result) return;
    this.look = firstLook(bitmap);
    bitmap.close();
    this.tell("look");
  }

  /** What is only for the eye while it is in view. @param {boolean} isInView */
  view(isInView) {
    this.isInView = isInView;
    if (isInView) this.lookAgain();
    else this.letGo();
  }

  /** Nobody looks at it: what is stored takes the place of what is in memory. */
  async letGo() {
    this.look = null;
    if (this.kept.result) await album.lighten(this.kept, () => !this.isInView);
  }

  /** From there to a job that is followed. Steps that are already done are skipped. */
  async go() {
    if (this.isAtRest) return;
    this.isWaiting = false;
    this.stopper = new AbortController();
    this.retryAt = 0;
    try {
      if (!this.kept.address && (!this.kept.imageId || !(await this.isStillThere()))) await this.send();
      if (!this.kept.jobId) await this.submit();
      if (this.isSealed && !this.kept.seen) this.unseal();
      this.follow();
    } catch (error) {
      if (this.stopper.signal.aborted) return;
      this.fail(error instanceof Problem ? error : new Problem("internal_error", String(error)));
    }
  }

  async isStillThere() {
    if (this.kept.jobId) return true;
    return ask(`v1/images/${this.kept.imageId}`, { method: "HEAD" }).then(() => true, () => false);
  }

  async send() {
    this.percent = 0;
    this.note({ phase: "uploading" });
    const began = performance.now();
    await this.upload((percent) => {
      this.percent = percent;
      this.tell("change");
    });
    this.kept.timings.upload = (performance.now() - began) / 1000;
  }

  /** @param {(percent: number) => void} onPercent */
  async upload(onPercent = () => undefined) {
    const image = await upload(this.kept.blob, this.kept.name, onPercent, this.stopper.signal);
    const size = this.isSealed ? { width: image.width, height: image.height } : {};
    this.note({ imageId: image.id, ...size });
  }

  /** What the service has opened is shown here, too. */
  async unseal() {
    const seen = await askPicture(`v1/jobs/${this.kept.jobId}/source`).catch(() => null); // the result comes anyway
    const bitmap = seen && await open(seen);
    if (!seen || !bitmap) return;
    this.keepSeen(seen, bitmap);
    this.note({ thumb: await thumbnail(bitmap).catch(() => null) });
    bitmap.close();
    this.tell("fitted");
  }

  /** From an address, it is a photo like any other from now on. @param {Blob} seen @param {ImageBitmap} bitmap */
  keepSeen(seen, { width, height }) {
    this.isSealed = !this.kept.address;
    Object.assign(this.kept, this.kept.address ? { blob: seen, sentBytes: seen.size, address: "", width, height } : { seen });
  }

  async submit() {
    const { address, imageId } = this.kept;
    this.note({ phase: address ? "fetching" : "sending" });
    const body = new FormData();
    if (address) body.append("image_url", address);
    else body.append("image_id", imageId ?? "");
    for (const [name, value] of formFields(this.kept.recipe)) body.append(name, value);
    if (this.kept.mask) body.append("mask", this.kept.mask, "mask.png");
    const asked = { method: "POST", body, headers: { "Idempotency-Key": this.kept.key }, signal: this.stopper.signal };
    const job = await (await ask("v1/jobs", asked)).json();
    this.percent = 0;
    this.ahead = job.queue?.position ?? 0;
    const size = address ? { width: job.source.width, height: job.source.height } : {};
    await this.note({ jobId: job.id, phase: "queued", job, ...size });
  }

  follow() {
    this.follower?.stop();
    const onConnection = (/** @type {boolean} */ isConnected) => {
      this.isConnected = isConnected;
      this.tell("change");
    };
    this.follower = new Follower(this.kept.jobId ?? "", (kind, data) => this.hear(kind, data), onConnection);
  }

  /** @param {string} kind @param {any} data */
  hear(kind, data) {
    if (this.isAtRest) return;
    if (kind === "state") this.hearState(data);
    if (kind === "progress") this.hearProgress(data, data.stage);
    if (kind === "preview") this.fetchPreview();
    if (kind === "result") this.finish();
    if (kind === "error") this.hearFailure(data);
  }

  /** @param {any} data a whole job, or what has changed of it */
  hearState(data) {
    if (data.queue) this.ahead = data.queue.position;
    if (data.progress) this.hearProgress(data.progress, data.stage);
    if (data.state === "succeeded") this.finish();
    else if (data.state === "failed") this.hearFailure(data.error ?? {});
    else if (data.state === "canceled") this.end("canceled");
    else if (data.state && data.state !== this.kept.phase) this.note({ phase: data.state });
    else this.tell("change");
  }

  /** @param {any} progress @param {string | null} stage */
  hearProgress(progress, stage) {
    this.percent = Math.max(this.percent, progress.percent);
    this.eta = progress.eta_seconds;
    if (stage) this.stage = stage === "saving" ? "last_bit" : stage;
    // Previews come first, so one whose event was sent before the stream was opened exists by now.
    if (progress.step >= 1 && !this.isPreviewAsked) this.fetchPreview();
    this.tell("change");
  }

  async fetchPreview() {
    this.isPreviewAsked = true;
    const preview = await askPicture(`v1/jobs/${this.kept.jobId}/preview`).catch(() => null); // the full picture comes anyway
    if (!preview || this.isAtRest) return;
    this.preview = preview;
    this.kept.timings.preview ??= (performance.now() - this.began) / 1000;
    this.tell("preview");
  }

  /** The stream speaks the browser's language, the job itself the page's. @param {any} said */
  async hearFailure(said) {
    this.follower?.stop();
    if (said.sentence !== undefined) return this.fail(new Problem(said.code, said.sentence));
    const job = await ask(`v1/jobs/${this.kept.jobId}`).then((answer) => answer.json(), () => null);
    const error = job?.error ?? said;
    return this.fail(new Problem(error.code, error.message ?? ""));
  }

  async finish() {
    this.follower?.stop();
    try {
      const root = `v1/jobs/${this.kept.jobId}`;
      const result = await askPicture(`${root}/image`);
      const job = await (await ask(root)).json();
      if (this.isAtRest) return;
      this.kept.timings.full ??= (performance.now() - this.began) / 1000;
      this.percent = 100;
      this.kept.result = result;
      const kept = this.note({ phase: "succeeded", job, finished: Date.now() });
      this.tell("result");
      this.look = null;
      this.preview = null;
      await kept;
      if (!this.isInView) this.letGo();
    } catch (error) {
      if (error instanceof Problem && error.code === "unreachable") this.follow();
      else if (error instanceof Problem) this.fail(error);
    }
  }

  /** @param {Problem} problem */
  fail(problem) {
    this.retryAfter = problem.retryAfter;
    this.kept.problem = { code: problem.code, sentence: problem.message, language: served() };
    return this.end("failed");
  }

  /** @param {string} phase */
  async end(phase) {
    this.follower?.stop();
    await this.note({ phase });
  }

  /** The job's sentences in the page's language, after that has changed. */
  async retell() {
    const job = this.kept.result && await ask(`v1/jobs/${this.kept.jobId}`).then((answer) => answer.json(), () => null);
    if (job) this.note({ job });
  }

  /** Stops it on the page and in the service, so that the device is free for others. */
  async cancel() {
    this.stopper.abort();
    const { jobId } = this.kept;
    await this.end("canceled");
    const refusal = jobId && await ask(`v1/jobs/${jobId}`, { method: "DELETE" }).catch((problem) => problem.code);
    // It was done before the cancel arrived: the result is shown.
    if (refusal === "already_finished" && !this.isForgotten) {
      this.kept.phase = "running";
      await this.finish();
    }
  }

  /** Ready for another attempt: as the same job if its answer was lost, otherwise as a new one. */
  rearm() {
    if (this.kept.jobId || this.kept.problem?.code !== "unreachable") this.kept.key = newId();
    Object.assign(this.kept, { jobId: null, job: null, problem: null, phase: "reading" });
    this.percent = 0;
    this.preview = null;
    this.isPreviewAsked = false;
    this.began = performance.now();
  }

  /** The same photo once more, as a job of its own. @param {import("./recipe.js").Recipe} recipe */
  anew(recipe) {
    const { blob, address, sentBytes, scaledFrom, seen, name, batch, origin, thumb, width, height, imageId } = this.kept;
    const shot = Shot.ofFile(blob, name, batch, recipe);
    Object.assign(shot.kept, { address, sentBytes, scaledFrom, seen, origin, thumb, width, height, imageId });
    return shot;
  }
}

/** What a problem means, in the page's words. @param {import("./album.js").Kept["problem"]} problem */
export function sentenceOf(problem) {
  if (!problem) return "";
  if (problem.code === "unauthenticated" && hasKey()) return say("e_key_unknown");
  const isItsOwn = SPECIFIC.includes(problem.code) && problem.language === language() && problem.sentence;
  return isItsOwn ? problem.sentence : say(sentenceFor(problem.code));
}

/** The button that a problem gets. What is not here cannot be made smaller here. @param {Shot} shot */
export function remedyOf({ kept }) {
  const remedy = remedyFor(kept.problem?.code ?? "");
  return kept.address && remedy === "smaller" ? "other" : remedy;
}

/** After the next paint, or soon if nothing is painted, as in a hidden tab. */
const nextFrame = () => new Promise((resolve) => {
  requestAnimationFrame(() => setTimeout(resolve));
  setTimeout(resolve, 100);
});
