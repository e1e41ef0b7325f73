// A recipe: all settings for making another picture like one. In storage, in a link, in a file.

/**
 * @typedef {object} Recipe
 * @property {"auto" | "none" | "named"} mode
 * @property {{name: string, scale: number}[]} loras
 * @property {number | null} strength null: chosen for the photo
 * @property {Record<string, string | boolean>} fields by their names in the API; "" is the default
 */

export const TEXT_FIELDS = ["prompt", "negative_prompt", "steps", "guidance_scale", "sampler", "seed", "max_side", "upscale", "format", "quality", "metadata", "fidelity", "pyramid"];
export const FLAG_FIELDS = ["embed_metadata", "force"];
const KEPT = "retouch.recipe";
const MOST = 32; // LoRAs that a recipe from elsewhere may name; how many run together, the service says

/** @returns {Recipe} */
export const plain = () => ({ mode: "auto", loras: [], strength: null, fields: {} });

/** @param {Recipe} recipe @returns {[string, string][]} the fields of a job's form */
export function formFields(recipe) {
  /** @type {[string, string][]} */
  const fields = recipe.mode === "named"
    ? recipe.loras.map((lora) => ["lora", `${lora.name}:${lora.scale}`])
    : [["lora", recipe.mode]];
  if (recipe.strength !== null) fields.push(["strength", String(recipe.strength)]);
  for (const [name, value] of Object.entries(recipe.fields)) {
    if (value !== "" && value !== false) fields.push([name, String(value)]);
  }
  return fields;
}

/** What a finished job ran with, so that it can be had again. @param {any} params @returns {Recipe} */
export function ofJob(params) {
  const recipe = of(params);
  for (const name of ["max_side", "upscale", "format", "quality", "metadata"]) recipe.fields[name] = changed(name, params[name]);
  recipe.fields.embed_metadata = Boolean(params.embed_metadata);
  return recipe;
}

/** Empty for what is the default anyway. @param {string} name @param {unknown} value */
function changed(name, value) {
  const usual = /** @type {Record<string, unknown>} */ ({ upscale: "auto", format: "auto", quality: 92, metadata: "none" });
  return value === undefined || value === null || value === usual[name] ? "" : String(value);
}

/** Whether two recipes ask for the same. @param {Recipe} one @param {Recipe} other */
export const isSame = (one, other) => JSON.stringify(formFields(one).sort()) === JSON.stringify(formFields(other).sort());

/** Anything that came from outside, reduced to what a recipe may hold. @param {any} raw @returns {Recipe} */
export function of(raw) {
  const loras = (Array.isArray(raw?.loras) ? raw.loras : []).slice(0, MOST)
    .filter((/** @type {any} */ lora) => typeof lora?.name === "string" && Number.isFinite(lora.scale))
    .map((/** @type {any} */ lora) => ({ name: lora.name, scale: lora.scale }));
  const recipe = plain();
  recipe.mode = loras.length ? "named" : raw?.mode === "auto" ? "auto" : "none";
  recipe.loras = loras;
  if (raw?.strength >= 0.05 && raw.strength <= 1) recipe.strength = raw.strength;
  const from = raw?.fields ?? raw ?? {};
  for (const name of TEXT_FIELDS) {
    if (["string", "number"].includes(typeof from[name])) recipe.fields[name] = String(from[name]).slice(0, 1000);
  }
  for (const name of FLAG_FIELDS) if (typeof from[name] === "boolean") recipe.fields[name] = from[name];
  return recipe;
}

/** @param {Recipe} recipe */
export const keep = (recipe) => localStorage.setItem(KEPT, JSON.stringify(recipe));

export const forget = () => localStorage.removeItem(KEPT);

/** @returns {Recipe} the one kept here, or a plain one */
export function kept() {
  try {
    const text = localStorage.getItem(KEPT);
    return text ? of(JSON.parse(text)) : plain();
  } catch {
    return plain();
  }
}

/** @param {Recipe} recipe @returns {string} the part of a link after and with the # */
export function asLink(recipe) {
  const bytes = new TextEncoder().encode(JSON.stringify(recipe));
  const text = btoa(String.fromCharCode(...bytes));
  return `#recipe=${text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "")}`;
}

/** @param {string} hash @returns {Recipe | null} */
export function fromLink(hash) {
  const text = /^#recipe=([\w-]+)$/.exec(hash)?.[1];
  if (!text) return null;
  try {
    const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    return of(JSON.parse(new TextDecoder().decode(bytes)));
  } catch {
    return null;
  }
}
