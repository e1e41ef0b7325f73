// Connects the parts of the page: photos are added, sent with the settings, and shown on the stage.
import { toast } from "./studio/announce.js";
import { compareView } from "./studio/compare-view.js";
import { Desk } from "./studio/desk.js";
import { byId } from "./studio/dom.js";
import { receive } from "./studio/intake.js";
import { LivePreview } from "./studio/live.js";
import { loraCards } from "./studio/lora-cards.js";
import { offer } from "./studio/outcome.js";
import * as recipes from "./studio/recipe.js";
import { remedyFor } from "./studio/remedy.js";
import { read, write } from "./studio/settings-form.js";
import { Row } from "./studio/sheet.js";
import { warmUp } from "./studio/sharpen.js";
import { notice, Stage } from "./studio/stage.js";
import { strengthStrip } from "./studio/strength-strip.js";
import { Upscaler } from "./studio/upscaler.js";
import { say, switchLanguage, translate } from "./studio/words.js";

const desk = new Desk();
const upscaler = new Upscaler();
const stage = new Stage(desk, upscaler);
const live = new LivePreview();
/** @type {Map<import("./studio/shot.js").Shot, Row>} */
const rows = new Map();
const button = (/** @type {string} */ id) => byId(id, HTMLButtonElement);

/** @param {File[]} files a lone picture with a recipe gives its settings; it is not enhanced again */
async function take(files) {
  const restored = files.length === 1 ? await recipes.inFile(files[0]) : null;
  if (restored) {
    write(restored);
    recipes.keep(restored);
    toast(say("restored"));
    return;
  }
  live.stop();
  desk.take(files, read());
}

function drawSheet() {
  for (const shot of desk.shots) {
    if (!rows.has(shot)) rows.set(shot, new Row(shot, { open: (one) => desk.select(one), remove: (one) => desk.remove(one) }));
  }
  byId("rows", HTMLElement).replaceChildren(...desk.shots.map((shot) => /** @type {Row} */ (rows.get(shot)).node));
  byId("sheet", HTMLElement).hidden = desk.shots.length === 0;
  markRows();
}

function markRows() {
  for (const [shot, row] of rows) row.select(shot === desk.selected);
  button("zip").hidden = desk.batch.length < 2;
}

/** Shows the service's strength if the user has not moved the slider. */
function suggest() {
  const { phase, job } = desk.selected?.kept ?? {};
  if (phase === "succeeded" && job.params.strength) strengthStrip().suggest(job.params.strength);
}

/** Ask for what the settings would do to the photo in view. @param {boolean} isLetGo */
function askLive(isLetGo) {
  const shot = desk.selected;
  if (!shot?.kept.imageId || !["succeeded", "canceled"].includes(shot.kept.phase)) return;
  live.ask(shot, read(), strengthStrip().shown, isLetGo);
}

function enhanceAgain() {
  const shot = desk.selected;
  if (!shot) return;
  const recipe = read();
  // The full picture must match the live preview.
  if (live.picture && shot.kept.job && !recipe.fields.seed) recipe.fields.seed = String(shot.kept.job.params.seed);
  live.picture = null;
  const next = shot.anew(recipe);
  desk.begin(next);
  desk.select(next);
}

function mend() {
  const shot = desk.selected;
  if (!shot?.kept.problem) return;
  const remedy = remedyFor(shot.kept.problem.code);
  if (remedy === "other") byId("file", HTMLInputElement).click();
  else if (remedy === "key") askForKey(() => desk.retry(shot));
  else desk.mend(shot, remedy);
  if (remedy === "auto" || remedy === "reset") write(shot.kept.recipe);
}

/** @param {() => void} then */
function askForKey(then) {
  const box = byId("key-box", HTMLDialogElement);
  box.onclose = () => {
    const key = byId("key", HTMLInputElement).value.trim();
    if (box.returnValue !== "ok" || !key) return;
    localStorage.setItem("retouch.key", key);
    loraCards().load();
    then();
  };
  box.showModal();
}

function listen() {
  receive(take);
  offer(() => desk.selected, () => desk.batch);
  desk.addEventListener("list", drawSheet);
  desk.addEventListener("selected", () => {
    live.stop();
    live.picture = null;
    byId("live", HTMLElement).hidden = true;
    suggest();
    markRows();
    // From a row or the settings, which are far below on a phone, back to the photo.
    if (desk.selected) byId("stage", HTMLElement).scrollIntoView({ block: "start" });
  });
  desk.addEventListener("finished", () => {
    suggest();
    markRows();
  });
  desk.addEventListener("bases", (event) => {
    if (event instanceof CustomEvent) loraCards().name(event.detail);
  });
  button("cancel").onclick = () => desk.selected?.cancel();
  button("mend").onclick = mend;
  button("reset").onclick = () => {
    write(recipes.plain());
    recipes.forget();
    history.replaceState(null, "", location.pathname);
  };
  button("forget").onclick = () => { if (confirm(say("forget_sure"))) desk.clear(); };
  button("language").onclick = switchLanguage;
  button("theme").onclick = switchTheme;
  byId("panel", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    enhanceAgain();
  });
  for (const part of [strengthStrip(), loraCards()]) {
    part.addEventListener("input", () => askLive(false));
    part.addEventListener("change", () => askLive(true));
  }
  listenToLive();
  window.addEventListener("offline", () => notice(say("offline")));
  window.addEventListener("online", () => notice(""));
  document.addEventListener("keydown", chooseMode);
  document.addEventListener("retouch:language", nameLanguage);
}

function listenToLive() {
  const line = byId("live", HTMLElement);
  const tell = (/** @type {string} */ text) => {
    line.hidden = !text;
    line.textContent = text;
  };
  live.addEventListener("wait", () => tell(say("live_wait")));
  live.addEventListener("quiet", () => tell(live.isOffered ? say("live_none") : ""));
  live.addEventListener("shown", async () => {
    const { picture, askedAt } = live;
    if (!picture || !desk.selected) return;
    await stage.reveal(desk.selected, picture, "note_live");
    if (live.picture === picture) tell(say("live", { ms: Math.round(performance.now() - askedAt) }));
  });
}

/** @param {KeyboardEvent} event 1, 2 and 3, unless somebody is writing */
function chooseMode(event) {
  const isWriting = event.target instanceof HTMLElement && event.target.matches("textarea, input:not([type=range], [type=checkbox]), select");
  const mode = /** @type {const} */ (["slider", "side", "hold"])["123".indexOf(event.key)];
  if (mode && !isWriting && !event.ctrlKey && !event.metaKey && !event.altKey) compareView().switch(mode);
}

function switchTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  localStorage.setItem("retouch.theme", root.dataset.theme);
}

function nameLanguage() {
  button("language").textContent = say("switch_language");
  button("language").lang = document.documentElement.lang === "en" ? "zh" : "en";
  for (const row of rows.values()) row.draw();
}

/** @param {() => void} act */
function whenIdle(act) {
  if ("requestIdleCallback" in window) requestIdleCallback(act, { timeout: 2000 });
  else setTimeout(act, 300);
}

translate(document);
nameLanguage();
listen();
const linked = recipes.fromLink(location.hash);
write(linked ?? recipes.kept());
if (linked) toast(say("linked"));
loraCards().load();
desk.resume();
whenIdle(warmUp);
whenIdle(() => upscaler.begin());
