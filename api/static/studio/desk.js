// All photos of this device: added, sent one after the other, stored, and resumed after a reload.
import * as album from "./album.js";
import { newId } from "./new-id.js";
import { plain } from "./recipe.js";
import { isPassing, smallerSide } from "./remedy.js";
import { ask } from "./service.js";
import { Shot } from "./shot.js";

// Assumed limits until the service has sent its own.
const USUAL_LIMITS = { max_pixels: 50_000_000, max_side: 65_535, max_upload_bytes: 50 * 2 ** 20 };
const LONGEST_PAUSE_S = 60;

/** Fires `list` when photos are added or removed, `selected` when another one is shown, `finished` when it is done. */
export class Desk extends EventTarget {
  constructor() {
    super();
    /** @type {Shot[]} newest first */
    this.shots = [];
    /** @type {Shot | null} */
    this.selected = null;
    this.limits = USUAL_LIMITS;
    // Photos are opened one after the other, and sent one after the other, in two separate queues.
    /** @type {Promise<void>} */
    this.reading = Promise.resolve();
    /** @type {Promise<void>} */
    this.sending = Promise.resolve();
    this.tries = 0;
  }

  /** Loads the service's limits, and resumes what this device was doing when the page was closed. */
  async resume() {
    const limits = ask("v1/capabilities").then((answer) => answer.json(), () => null).then((found) => {
      if (!found) return;
      this.dispatchEvent(new CustomEvent("bases", { detail: found.bases }));
      const { max_pixels, max_side, max_upload_bytes } = found.limits;
      this.limits = { max_pixels, max_side, max_upload_bytes };
    });
    for (const kept of await album.all()) this.add(new Shot(kept), "end");
    await limits;
    const unfinished = this.shots.filter((shot) => !shot.isAtRest);
    for (const shot of unfinished.reverse()) this.run(shot);
    const first = this.shots.find((shot) => !shot.isAtRest);
    if (first) this.select(first);
  }

  /** @param {Iterable<File>} files @param {import("./recipe.js").Recipe} recipe */
  take(files, recipe) {
    const batch = newId();
    const taken = [...files].map((file) => Shot.ofFile(file, file.name || "photo", batch, recipe));
    for (const shot of taken) this.begin(shot);
    if (taken.length) this.select(taken[0]);
  }

  /** @param {Shot} shot */
  begin(shot) {
    this.add(shot, "start");
    this.run(shot);
  }

  /** @param {Shot} shot @param {"start" | "end"} where */
  add(shot, where) {
    if (where === "start") this.shots.unshift(shot);
    else this.shots.push(shot);
    shot.addEventListener("change", () => this.mind(shot));
    shot.addEventListener("result", () => this.dispatchEvent(new Event("finished")));
    this.dispatchEvent(new Event("list"));
  }

  /** @param {Shot} shot */
  run(shot) {
    this.reading = this.reading.then(() => shot.read(this.limits));
    this.sending = Promise.all([this.sending, this.reading]).then(() => shot.go());
  }

  /** What passes by itself is tried again by itself, more patiently each time. @param {Shot} shot */
  mind(shot) {
    const { phase, problem } = shot.kept;
    if (phase === "queued") this.tries = 0;
    if (phase !== "failed" || !problem || !isPassing(problem.code) || shot.retryAt) return;
    const seconds = Math.min(LONGEST_PAUSE_S, Math.max(shot.retryAfter, 2) * 2 ** Math.min(this.tries++, 5));
    shot.retryAt = Date.now() + seconds * 1000;
    setTimeout(() => {
      if (shot.kept.phase === "failed" && shot.kept.problem === problem) this.retry(shot);
    }, seconds * 1000);
  }

  /** @param {Shot} shot */
  retry(shot) {
    if (!this.shots.includes(shot)) return;
    shot.rearm();
    shot.tell("change");
    this.run(shot);
    if (shot === this.selected) this.dispatchEvent(new Event("selected"));
  }

  /** Do what the advice says. @param {Shot} shot @param {import("./remedy.js").Remedy} remedy */
  mend(shot, remedy) {
    const { kept } = shot;
    if (remedy === "force") kept.recipe.fields.force = true;
    if (remedy === "auto") Object.assign(kept.recipe, { mode: "auto", loras: [] });
    if (remedy === "reset") kept.recipe = plain();
    if (remedy === "resend") kept.imageId = null;
    if (remedy === "smaller") this.shrink(shot);
    this.retry(shot);
  }

  /** @param {Shot} shot */
  shrink(shot) {
    const side = this.sideAfter(shot);
    this.limits = { ...this.limits, max_side: Math.min(this.limits.max_side, Math.max(side, 64)) };
    shot.kept.recipe.fields.max_side = String(Math.max(side, 64));
    shot.kept.imageId = null;
    shot.isRead = false;
  }

  /** The longest side after `shrink`, pixels. @param {Shot} shot */
  sideAfter({ kept }) {
    const longest = Math.max(kept.width, kept.height) || this.limits.max_side;
    return smallerSide(Math.min(longest, Number(kept.job?.params.max_side ?? longest)));
  }

  /** @param {Shot | null} shot */
  select(shot) {
    this.selected = shot;
    this.dispatchEvent(new Event("selected"));
  }

  /** @param {Shot} shot */
  async remove(shot) {
    if (!shot.isAtRest) await shot.cancel();
    this.shots = this.shots.filter((other) => other !== shot);
    shot.isForgotten = true;
    await album.remove(shot.kept.id);
    if (this.selected === shot) this.select(null);
    this.dispatchEvent(new Event("list"));
  }

  async clear() {
    for (const shot of [...this.shots]) await this.remove(shot);
    await album.clear();
  }

  /** The finished photos that were added together with the one shown. */
  get batch() {
    const { batch } = (this.selected ?? this.shots[0])?.kept ?? {};
    return this.shots.filter(({ kept }) => kept.batch === batch && kept.result);
  }
}
