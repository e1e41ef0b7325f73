// The live preview: the newest settings apply, and a service without the route is not asked again.
import { newId } from "./new-id.js";
import { formFields } from "./recipe.js";
import { isPassing } from "./remedy.js";
import { ask, Problem } from "./service.js";

const PAUSE_MS = 120; // while the slider moves; once it is let go nothing is waited for
const TRIES = 3; // where the service is only busy
const NOT_OFFERED = ["not_found", "method_not_allowed"];

/** @typedef {import("./shot.js").Shot} Shot */
/** @typedef {{image_id: string, lora: string[], strength: number, session: string, prompt?: string, seed?: number}} Wish */

/** Requests previews for one page; fires `wait`, `shown`, and `quiet` when none comes. */
export class LivePreview extends EventTarget {
  constructor() {
    super();
    this.session = newId();
    this.isOffered = true;
    /** @type {Blob | null} */
    this.picture = null;
    this.askedAt = 0;
    this.wish = "";
    this.isPending = false;
    this.stopper = new AbortController();
    this.timer = 0;
  }

  /** @param {Shot} shot @param {import("./recipe.js").Recipe} recipe @param {number} strength @param {boolean} isLetGo */
  ask(shot, recipe, strength, isLetGo) {
    if (!this.isOffered) return;
    const wish = wished(shot, recipe, strength, this.session);
    const text = JSON.stringify(wish);
    // Already requested, unless it was still waiting for the slider to rest.
    if (text === this.wish && !(isLetGo && this.isPending)) return;
    this.stop();
    this.wish = text;
    this.isPending = true;
    this.askedAt = performance.now();
    if (isLetGo) this.fetch(shot, wish);
    else this.timer = window.setTimeout(() => this.fetch(shot, wish), PAUSE_MS);
  }

  stop() {
    clearTimeout(this.timer);
    this.wish = "";
    this.isPending = false;
    this.stopper.abort();
    this.stopper = new AbortController();
  }

  /** @param {Shot} shot @param {Wish} wish */
  async fetch(shot, wish) {
    const { signal } = this.stopper;
    this.isPending = false;
    this.dispatchEvent(new Event("wait"));
    try {
      const picture = await patiently(() => pictureOf(shot, wish, signal), signal);
      if (signal.aborted) return;
      this.picture = picture;
      this.dispatchEvent(new Event("shown"));
    } catch (error) {
      // Not offered here: never requested again. Any other error will show with the full picture.
      if (error instanceof Problem && NOT_OFFERED.includes(error.code)) this.isOffered = false;
      if (!signal.aborted) {
        this.wish = "";
        this.dispatchEvent(new Event("quiet"));
      }
    }
  }
}

/**
 * @param {Shot} shot
 * @param {import("./recipe.js").Recipe} recipe
 * @param {number} strength
 * @param {string} session
 * @returns {Wish}
 */
function wished({ kept }, recipe, strength, session) {
  const lora = formFields(recipe).filter(([name]) => name === "lora").map(([, value]) => value);
  const { prompt } = recipe.fields;
  const seed = kept.job?.params.seed ?? null;
  return {
    image_id: kept.imageId ?? "", lora, strength, session,
    ...(prompt ? { prompt: String(prompt) } : {}), ...(seed === null ? {} : { seed }),
  };
}

/** A photo that the service has let go of is sent once more. @param {Shot} shot @param {Wish} wish @param {AbortSignal} signal */
async function pictureOf(shot, wish, signal) {
  try {
    return await rendered(wish, signal);
  } catch (error) {
    if (!(error instanceof Problem) || error.code !== "image_not_found") throw error;
    await shot.upload();
    return rendered({ ...wish, image_id: shot.kept.imageId ?? "" }, signal);
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

/** @param {Wish} wish @param {AbortSignal} signal */
async function rendered(wish, signal) {
  const init = { method: "POST", body: JSON.stringify(wish), headers: { "Content-Type": "application/json" }, signal };
  return (await ask("v1/previews", init)).blob();
}
