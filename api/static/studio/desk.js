// All photos of this device: added, sent one after the other, stored, and resumed after a reload.
import * as album from "./album.js";
import { newId } from "./new-id.js";
import { plain } from "./recipe.js";
import { isPassing, smallerSide } from "./remedy.js";
import { ask } from "./service.js";
import { remedyOf, Shot } from "./shot.js";

// Assumed limits until the service has sent its own.
const USUAL_LIMITS = { max_pixels: 50_000_000, max_side: 65_535, max_upload_bytes: 50 * 2 ** 20 };
const LONGEST_PAUSE_S = 60;
const LOOK_MS = 2500; // between two looks at the queue

/**
 * Fires `list` when photos are added or removed, `selected` when another one is shown, `finished` when it is done,
 * `trimmed` when old ones made room, `full` when nothing more can be stored, `known` with what the service offers.
 */
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
    setInterval(() => this.lookAtQueue(), LOOK_MS);
    window.addEventListener("online", () => this.retryHeld());
  }

  /** @param {string} kind @param {any} [detail] */
  tell(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }

  /** Loads the service's limits, and resumes what this device was doing when the page was closed. @param {string | null} inView */
  async resume(inView) {
    const limits = this.learn();
    for (const kept of await album.all()) {
      if (!this.shots.some((shot) => shot.kept.id === kept.id)) this.add(new Shot(kept), "end");
    }
    this.tell("list");
    await limits;
    this.retryHeld();
    for (const shot of this.unfinished) this.run(shot);
    const first = this.shots.find((shot) => shot.kept.id === inView) ?? this.shots.find((shot) => !shot.isAtRest);
    if (first && !this.selected) this.select(first);
  }

  /** What the service offers to whoever holds this page's key. */
  async learn() {
    const found = await ask("v1/capabilities").then((answer) => answer.json(), () => null);
    if (!found) return;
    const { max_pixels, max_side, max_upload_bytes } = found.limits;
    this.limits = { max_pixels, max_side, max_upload_bytes };
    this.tell("known", found);
  }

  /** With another key: what is offered may differ, and whatever was refused is tried again. @param {Shot | null} shot */
  async change(shot) {
    await this.learn();
    const refused = this.shots.filter((one) => one === shot || remedyOf(one) === "key");
    for (const one of refused.reverse()) {
      one.isRead &&= Boolean(one.kept.imageId); // not yet sent: it has to fit the limits of this key
      this.retry(one);
    }
  }

  /** In the order in which they are worked on. */
  get unfinished() {
    return this.shots.filter((shot) => !shot.isAtRest).reverse();
  }

  /** @param {Iterable<File>} files @param {import("./recipe.js").Recipe} recipe */
  take(files, recipe) {
    const batch = newId();
    this.begin([...files].map((file) => Shot.ofFile(file, file.name || "photo", batch, recipe)));
  }

  /** @param {Shot[]} taken in view is the first of them */
  begin(taken) {
    if (!taken.length) return;
    for (const shot of taken) this.add(shot, "start");
    // Stored before anything is done, so that a reload loses none.
    album.put(...taken.map(({ kept }) => kept)).then((hasRoom) => { if (!hasRoom) this.tell("full"); });
    this.tell("list");
    this.select(taken[0]);
    for (const shot of taken) this.run(shot);
  }

  /** @param {Shot} shot @param {"start" | "end"} where */
  add(shot, where) {
    if (where === "start") this.shots.unshift(shot);
    else this.shots.push(shot);
    shot.addEventListener("change", () => this.mind(shot));
    shot.addEventListener("full", () => this.tell("full"));
    shot.addEventListener("result", () => {
      this.tell("finished", shot);
      this.trim();
    });
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

  retryHeld() {
    for (const shot of this.shots.filter((one) => one.isHeld).reverse()) this.retry(shot);
  }

  /** Places in the queue: asked for the first that waits and for the one in view; the others stand behind. */
  async lookAtQueue() {
    const waiting = this.unfinished.filter((shot) => shot.kept.phase === "queued");
    const asked = new Set([waiting[0], waiting.find((shot) => shot === this.selected)]);
    await Promise.all([...asked].map((shot) => shot && look(shot)));
    const each = this.usualSeconds;
    for (const [place, shot] of waiting.entries()) {
      if (!asked.has(shot)) shot.ahead = Math.max(shot.ahead, waiting[0].ahead + place);
      shot.wait = each * shot.ahead;
      shot.isNext = shot.ahead === 0;
      shot.tell("change");
    }
  }

  /** How long one photo has taken lately, seconds; 0 when that is unknown. */
  get usualSeconds() {
    const took = this.shots.slice(0, 20).map(({ kept }) => kept.job?.timings)
      .filter((timings) => timings?.total_seconds).map((timings) => timings.total_seconds - timings.queued_seconds);
    return took.length ? took.reduce((sum, one) => sum + one, 0) / took.length : 0;
  }

  /** @param {Shot} shot */
  retry(shot) {
    if (!this.shots.includes(shot)) return;
    shot.rearm();
    shot.tell("change");
    this.run(shot);
    if (shot === this.selected) this.select(shot);
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
    if (this.selected !== shot) this.selected?.view(false);
    this.selected = shot;
    shot?.view(true);
    this.tell("selected");
  }

  /** Takes photos away; gives what brings them back. @param {Shot[]} shots @returns {() => void} */
  remove(shots) {
    const places = shots.map((shot) => ({ shot, place: this.shots.indexOf(shot), wasRunning: !shot.isAtRest }));
    for (const { shot, wasRunning } of places) {
      if (wasRunning) shot.cancel();
      shot.isForgotten = true;
      album.remove(shot.kept);
    }
    this.shots = this.shots.filter((shot) => !shots.includes(shot));
    const next = this.shots[Math.min(places[0]?.place ?? 0, this.shots.length - 1)] ?? null;
    if (this.selected && shots.includes(this.selected)) this.select(next?.isAtRest ? next : null);
    this.tell("list");
    return () => this.restore(places);
  }

  /** @param {{shot: Shot, place: number, wasRunning: boolean}[]} places */
  restore(places) {
    for (const { shot, place, wasRunning } of places) {
      this.shots.splice(place, 0, shot);
      shot.isForgotten = false;
      if (wasRunning) {
        shot.rearm();
        this.run(shot);
      }
      shot.note({});
    }
    this.tell("list");
    if (places[0]) this.select(places[0].shot);
  }

  /** Old finished ones make room, which is said. */
  trim() {
    const gone = new Set(album.surplus(this.shots.map(({ kept }) => kept)));
    if (!gone.size) return;
    for (const kept of gone) album.remove(kept);
    this.shots = this.shots.filter(({ kept }) => !gone.has(kept));
    this.tell("trimmed", gone.size);
    this.tell("list");
  }

  /** The finished photos, newest first. */
  get finished() {
    return this.shots.filter(({ kept }) => kept.result);
  }
}

/** @param {Shot} shot */
async function look(shot) {
  const job = await ask(`v1/jobs/${shot.kept.jobId}`).then((answer) => answer.json(), () => null);
  if (job && shot.kept.phase === "queued") shot.hearState(job);
}
