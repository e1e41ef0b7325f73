// The same request as code, for enhancing many photos.
import { toast } from "../studio/announce.js";
import { byId } from "../studio/dom.js";
import { formFields, ofJob } from "../studio/recipe.js";
import { say } from "../studio/words.js";

/** @typedef {"curl" | "python" | "javascript"} Kind */

/** @param {Kind} kind @param {string} name @param {import("../studio/recipe.js").Recipe} recipe @param {string} format of the result @returns {string} */
export function snippet(kind, name, recipe, format) {
  const fields = formFields(recipe);
  const file = /^[\w. -]+$/.test(name) ? name : "photo.jpg";
  return { curl, python, javascript }[kind](file, fields, `better.${format === "jpeg" ? "jpg" : format}`);
}

/** Where the service is, which behind a proxy may be below a path. */
const here = () => new URL(".", location.href).href.replace(/\/$/, "");

const quoted = (/** @type {string} */ text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** @param {string} file @param {[string, string][]} fields @param {string} better */
function curl(file, fields, better) {
  const parts = fields.map(([name, value]) => `  --form-string ${quoted(`${name}=${value}`)} \\\n`).join("");
  return `job=$(curl -s ${here()}/v1/jobs -H 'Prefer: wait=50' \\\n${parts}  -F image=@${quoted(file)} | jq -r .id)\n`
    + `curl -s ${here()}/v1/jobs/$job/image -o ${better}`;
}

/** @param {string} file @param {[string, string][]} fields @param {string} name */
function python(file, fields, name) {
  const body = fields.map((pair) => `    (${pair.map((text) => JSON.stringify(text)).join(", ")}),\n`).join("");
  return `import requests\n\nroot = ${JSON.stringify(here())}\nfields = [\n${body}]\n`
    + `with open(${JSON.stringify(file)}, "rb") as photo:\n`
    + `    job = requests.post(f"{root}/v1/jobs", data=fields, files={"image": photo},\n`
    + `                        headers={"Prefer": "wait=50"}).json()\n`
    + `with open("${name}", "wb") as better:\n    better.write(requests.get(f"{root}/v1/jobs/{job['id']}/image").content)`;
}

/** @param {string} _ @param {[string, string][]} fields */
function javascript(_, fields) {
  const body = fields.map((pair) => `form.append(${pair.map((text) => JSON.stringify(text)).join(", ")});\n`).join("");
  return `const root = ${JSON.stringify(here())};\nconst form = new FormData();\nform.append("image", file);\n${body}`
    + `const job = await (await fetch(root + "/v1/jobs", {\n  method: "POST", body: form, headers: { Prefer: "wait=50" },\n})).json();\n`
    + `const better = await (await fetch(root + "/v1/jobs/" + job.id + "/image")).blob();`;
}

/** @param {HTMLDialogElement} box @param {import("../studio/shot.js").Shot} shot */
export function openCode(box, shot) {
  const text = byId("code-text", HTMLElement);
  const recipe = ofJob(shot.kept.job.params);
  const buttons = [...byId("code-kinds", HTMLElement).querySelectorAll("button")];
  const choose = (/** @type {HTMLButtonElement} */ chosen) => {
    for (const button of buttons) button.setAttribute("aria-pressed", String(button === chosen));
    text.textContent = snippet(/** @type {Kind} */ (chosen.value), shot.kept.name, recipe, shot.kept.job.result.format);
  };
  for (const button of buttons) button.onclick = () => choose(button);
  byId("code-copy", HTMLButtonElement).onclick = () => navigator.clipboard?.writeText(text.textContent ?? "")
    .then(() => toast(say("copied")), () => toast(say("not_copied")));
  byId("code-close", HTMLButtonElement).onclick = () => box.close();
  choose(buttons[0]);
  box.showModal();
}
