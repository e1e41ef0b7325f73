// Treatments tried on the face in view: small previews for cards and offers, one after the other.
import { lately } from "./crop.js";
import { preview, wished } from "./live.js";
import { plain } from "./recipe.js";

/** @typedef {import("./shot.js").Shot} Shot */
/** @typedef {{key: string, lora: string[] | null, strength: number | null}} Trial `lora` null: as the recipe has it */

/** @type {Map<Shot, Map<string, Blob>>} */
const made = new Map();

export class Trials {
  constructor() {
    this.stopper = new AbortController();
  }

  stop() {
    this.stopper.abort();
    this.stopper = new AbortController();
  }

  /**
   * @param {Shot} shot
   * @param {Trial[]} trials
   * @param {{x: number, y: number}} spot
   * @param {(key: string, picture: Blob | null) => void} show
   * @param {import("./recipe.js").Recipe} [recipe] what the trials vary
   */
  async run(shot, trials, spot, show, recipe = plain()) {
    const { signal } = this.stopper;
    const done = lately(made, shot);
    for (const { key, lora, strength } of trials) {
      const wish = wished(shot, strength === null ? recipe : { ...recipe, strength });
      if (lora) Object.assign(wish, { lora }, strength === null ? { strength: undefined } : {});
      const name = JSON.stringify([wish, spot]);
      const picture = done.get(name) ?? await preview(shot, wish, spot, signal).then((one) => one.picture, () => null);
      if (signal.aborted) return;
      if (picture) done.set(name, picture);
      show(key, picture);
    }
  }
}
