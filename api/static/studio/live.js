// Previews of the part that people look at: the newest settings apply, and a service without the route is not asked again.
import { partOf, sent } from "./crop.js";
import { newId } from "./new-id.js";
import { formFields } from "./recipe.js";
import { isPassing } from "./remedy.js";
import { ask, Problem } from "./service.js";

const PAUSE_MS = 120; // while the slider moves; once it is let go nothing is waited for
const TRIES = 3; // where the service is only busy
const NOT_OFFERED = ["not_found", "method_not_allowed"];

/** @typedef {import("./shot.js").Shot} Shot */
/** @typedef {{lora: string[], strength?: number, pyramid?: number, session?: string, prompt?: string, seed?: number}} Wish */

/** Whether this service makes previews; one refusal settles it. */
let isOffered = true;
/** The first request; what starts meanwhile waits for its answer. @type {Promise<void> | null} */
let first = null;

/** Requests previews for one page; fires `wait`, `shown`, and `quiet` when none comes. */
export class LivePreview extends EventTarget {
  constructor() {
    super();
    this.session = newId();
    /** @type {Blob | null} */
    this.picture = null;
    /** @type {import("./crop.js").Rect | undefined} */
    this.rect = undefined;
    this.askedAt = 0;
    this.wish = "";
    this.isPending = false;
    this.stopper = new AbortController();
    this.timer = 0;
  }

  get isOffered() {
    return isOffered;
  }

  /** @param {Shot} shot @param {import("./recipe.js").Recipe} recipe @param {{x: number, y: number}} spot @param {boolean} isLetGo */
  ask(shot, recipe, spot, isLetGo) {
    if (!isOffered) return;
    const wish = { ...wished(shot, recipe), session: this.session };
    const text = JSON.stringify([wish, spot, shot.kept.id]);
    // Already requested, unless it was still waiting for the slider to rest.
    if (text === this.wish && !(isLetGo && this.isPending)) return;
    this.stop();
    this.wish = text;
    this.isPending = true;
    this.askedAt = performance.now();
    if (isLetGo) this.fetch(shot, wish, spot);
    else this.timer = window.setTimeout(() => this.fetch(shot, wish, spot), PAUSE_MS);
  }

  stop() {
    clearTimeout(this.timer);
    this.wish = "";
    this.isPending = false;
    this.stopper.abort();
    this.stopper = new AbortController();
  }

  /** @param {Shot} shot @param {Wish} wish @param {{x: number, y: number}} spot */
  async fetch(shot, wish, spot) {
    const { signal } = this.stopper;
    this.isPending = false;
    this.dispatchEvent(new Event("wait"));
    try {
      const { picture, rect } = await preview(shot, wish, spot, signal);
      if (signal.aborted) return;
      this.picture = picture;
      this.rect = rect;
      this.dispatchEvent(new Event("shown"));
    } catch {
      // Any lasting error will show with the full picture.
      if (!signal.aborted) {
        this.wish = "";
        this.dispatchEvent(new Event("quiet"));
      }
    }
  }
}

/**
 * The same seed and, where the service chose, the same treatment as the full picture had.
 * @param {Shot} shot
 * @param {import("./recipe.js").Recipe} recipe
 * @returns {Wish}
 */
export function wished({ kept }, recipe) {
  const { params } = kept.job ?? {};
  const isChosen = recipe.mode === "auto" && params?.lora_mode === "auto" && params.strength !== null;
  const chosen = isChosen ? params.loras.map((/** @type {any} */ lora) => `${lora.name}:${lora.scale}`) : null;
  const lora = chosen ? (chosen.length ? chosen : ["none"]) : formFields(recipe).filter(([name]) => name === "lora").map(([, value]) => value);
  const strength = recipe.strength ?? (isChosen ? params.strength : null);
  const { prompt, seed } = recipe.fields;
  const pyramid = recipe.fields.pyramid ?? (isChosen ? params.pyramid : null);
  const number = seed ? Number(seed) : params?.seed ?? null;
  return {
    lora, ...(strength === null ? {} : { strength }), ...(pyramid ? { pyramid: Number(pyramid) } : {}),
    ...(prompt ? { prompt: String(prompt) } : {}), ...(number === null ? {} : { seed: number }),
  };
}

/**
 * A part of the photo as these settings would make it. A part that the service has let go of is sent once more.
 * @param {Shot} shot
 * @param {Wish} wish
 * @param {{x: number, y: number}} spot
 * @param {AbortSignal} signal
 */
export async function preview(shot, wish, spot, signal) {
  if (!isOffered) throw new Problem("not_found", "");
  const part = await partOf(shot, spot);
  const render = async () => rendered({ ...wish, image_id: await sent(part) }, signal);
  try {
    return { picture: await patiently(render, signal), rect: part.rect };
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.code !== "image_not_found") throw error;
    part.imageId = null;
    return { picture: await render(), rect: part.rect };
  }
}

/** @template T @param {() => Promise<T>} act @param {AbortSignal} signal @returns {Promise<T>} */
async function patiently(act, signal) {
  for (let tried = 1; ; tried++) {
    try {
      return await act();
    } catch (error) {
      if (tried === TRIES || signal.aborted || !(error instanceof Problem) || !isPassing(error.code)) throw error;
      await new Promise((resolve) => setTimeout(resolve, 500 * tried));
    }
  }
}

/** @param {object} wish @param {AbortSignal} signal */
async function rendered(wish, signal) {
  if (first) await first;
  if (!isOffered) throw new Problem("not_found", "");
  const init = { method: "POST", body: JSON.stringify(wish), headers: { "Content-Type": "application/json" }, signal };
  // The first one is not given up when its settings change: its answer settles whether there are previews.
  const asking = ask("v1/previews", first ? init : { ...init, signal: undefined });
  first ??= asking.then(() => undefined, settle);
  const answer = await asking;
  signal.throwIfAborted();
  return answer.blob();
}

/** @param {unknown} error */
function settle(error) {
  if (!(error instanceof Problem)) first = null; // no answer: nothing is known
  else if (NOT_OFFERED.includes(error.code)) isOffered = false;
}
