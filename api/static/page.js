// Connects the parts of the page: photos are added, sent with the settings, and shown on the stage.
import { settle, toast } from "./studio/announce.js";
import { compareView } from "./studio/compare-view.js";
import { partOf } from "./studio/crop.js";
import { showDemo } from "./studio/demo.js";
import { Desk } from "./studio/desk.js";
import { byId } from "./studio/dom.js";
import { receive } from "./studio/intake.js";
import { LivePreview } from "./studio/live.js";
import { encodedAs } from "./studio/photo.js";
import { begin } from "./studio/quick.js";
import * as recipes from "./studio/recipe.js";
import { asPreview, asWanted, copyPicture, download, dragOut, saveAll, showCode } from "./studio/save.js";
import { know, read, showQuality, write } from "./studio/settings-form.js";
import { arrange, Row } from "./studio/sheet.js";
import { warmUp } from "./studio/sharpen.js";
import { remedyOf, Shot } from "./studio/shot.js";
import { notice, Stage } from "./studio/stage.js";
import { strengthStrip } from "./studio/strength-strip.js";
import { treatments } from "./studio/treatments.js";
import { Trials } from "./studio/trials.js";
import { isNothing } from "./studio/verdict.js";
import { language, LANGUAGES, say, switchLanguage, translate } from "./studio/words.js";

const VIEW = "retouch.view"; // of this tab: which photo, and how it is looked at

const desk = new Desk();
const stage = new Stage(desk);
const live = new LivePreview();
const trials = new Trials();
/** @type {Map<Shot, Row>} */
const rows = new Map();
const button = (/** @type {string} */ id) => byId(id, HTMLButtonElement);
const spot = () => compareView().spot ?? { x: 0.5, y: 0.5 };
/** What was painted over the photo in view. @type {{mask: Blob | null, strength: number}} */
let painted = { mask: null, strength: 1 };
/** @type {import("./later/brush.js").Brush | null} */
let brush = null;
/** Counts what is shown on the cards, so that one that takes long never covers a newer one. */
let spotTurn = 0;
/** The photo on the cards; what is there stays until there is something newer of it. @type {string | undefined} */
let triedOn;
/** Whether a full picture is to be saved as soon as it is there. */
let isToBeSaved = false;

/** @param {File[]} files a lone picture with a recipe gives its settings; it is not enhanced again */
async function take(files) {
  const bytes = files.length === 1 ? files[0].arrayBuffer() : undefined;
  if (files[0]) begin(files[0], bytes);
  const restored = bytes ? await embedded(bytes).catch(() => null) : null;
  if (restored) {
    write(restored);
    recipes.keep(restored);
    toast(say("restored"));
    return;
  }
  desk.take(files, wanted());
  showStage();
}

/** @param {Promise<ArrayBuffer>} bytes */
const embedded = async (bytes) => (await import("./later/embedded.js")).recipeIn(await bytes);

/** @param {{address: string, name: string}[]} links to photos, which the service fetches */
function takeLinks(links) {
  desk.begin(links.map(({ address, name }) => Shot.ofAddress(address, name, wanted())));
  showStage();
}

/** The settings for a new photo. */
const wanted = () => (desk.selected && isChanged(desk.selected) ? read() : recipes.kept());

function showStage() {
  byId("stage", HTMLElement).focus({ preventScroll: true });
  scrollTo({ top: 0 });
}

function drawSheet() {
  const there = new Set(desk.shots);
  for (const [shot, row] of rows) {
    if (there.has(shot)) continue;
    row.leave();
    rows.delete(shot);
  }
  arrange(byId("rows", HTMLElement), desk.shots.map((shot) => rowFor(shot).node));
  byId("sheet", HTMLElement).hidden = desk.shots.length === 0;
  markRows();
}

/** @param {Shot} shot */
function rowFor(shot) {
  const acts = { open: (/** @type {Shot} */ one) => openRow(one), remove: (/** @type {Shot} */ one) => remove([one]), tick: markRows, drag: dragOut };
  const row = rows.get(shot) ?? new Row(shot, acts);
  rows.set(shot, row);
  return row;
}

function markRows() {
  for (const [shot, row] of rows) row.select(shot === desk.selected);
  const { length } = ticked();
  button("zip").hidden = length === 0 && desk.finished.length < 2;
  button("zip").textContent = length ? say("zip_ticked", { n: length }) : say("zip");
}

const ticked = () => desk.finished.filter((shot) => rows.get(shot)?.isTicked);

/** What was chosen for a photo comes back with it. @param {Shot} shot */
function openRow(shot) {
  desk.select(shot);
  showStage();
}

/** Deletes at once, and for ten seconds brings back again. @param {Shot[]} shots */
function remove(shots) {
  const place = desk.shots.indexOf(shots[0]);
  const undo = desk.remove(shots);
  const text = shots.length === 1 ? say("removed", { name: shots[0].kept.name }) : say("forgotten");
  toast(text, { label: say("undo"), act: undo });
  const next = desk.shots[Math.min(place, desk.shots.length - 1)];
  if (next) rows.get(next)?.remover.focus();
  else button("toast-act").focus();
}

/** Shows the service's strength if the user has not moved the slider. */
function suggest() {
  const { phase, job } = desk.selected?.kept ?? {};
  if (phase === "succeeded" && job.params.strength) strengthStrip().suggest(job.params.strength);
}

/** Ask for what the settings would do to the photo in view. @param {boolean} isLetGo */
function askLive(isLetGo) {
  const shot = desk.selected;
  drawButtons();
  if (!shot?.kept.width || !["succeeded", "canceled"].includes(shot.kept.phase)) return;
  if (isChanged(shot)) {
    trials.stop(); // what somebody waits for comes first
    return live.ask(shot, read(), spot(), isLetGo);
  }
  live.stop();
  live.picture = null;
  compareView().patch(null);
  compareView().note("");
  byId("live", HTMLElement).hidden = true;
}

/** Whether the settings ask for something else than what is shown. @param {Shot} shot */
function isChanged(shot) {
  const [wanted, had] = [read(), shot.kept.recipe].map((recipe) => {
    const fields = { ...recipe.fields };
    for (const name of ["format", "quality"]) delete fields[name]; // those are had at once
    return { ...recipe, fields };
  });
  return !recipes.isSame(wanted, had) || painted.mask !== (shot.kept.mask ?? null);
}

async function paintOnlyHere() {
  const shot = desk.selected;
  if (brush) return brush.close();
  if (!shot) return;
  const { Brush } = await import("./later/brush.js");
  compareView().patch(null);
  brush = new Brush(shot, (now) => {
    painted = now;
    drawButtons();
  }, () => {
    brush = null;
    button("only-here").focus({ preventScroll: true });
    drawButtons();
  });
  drawButtons();
}

/** One red button at a time: what a person does next. */
function drawButtons() {
  const shot = desk.selected;
  const canAgain = Boolean(shot && ["succeeded", "canceled"].includes(shot.kept.phase));
  const isNext = canAgain && shot !== null && (shot.kept.phase === "canceled" || isChanged(shot));
  button("again").hidden = !canAgain;
  button("again").classList.toggle("main", isNext);
  button("save").classList.toggle("main", !isNext);
  button("grid").hidden = !canAgain || !live.isOffered;
  button("only-here").hidden = !canAgain;
  button("only-here").setAttribute("aria-pressed", String(Boolean(brush || painted.mask)));
}

function enhanceAgain() {
  const shot = desk.selected;
  if (!shot) return;
  const recipe = read();
  recipes.keep(recipe);
  // The full picture must match the live preview.
  if (live.picture && shot.kept.job && !recipe.fields.seed) recipe.fields.seed = String(shot.kept.job.params.seed);
  live.picture = null;
  const next = shot.anew(recipe);
  next.isRead = shot.isRead;
  Object.assign(next.kept, { mask: painted.mask, maskStrength: painted.strength });
  brush?.close();
  next.isInView = true;
  desk.begin([next]);
  button("cancel").focus();
}

function mend() {
  const shot = desk.selected;
  if (!shot?.kept.problem) return;
  const remedy = remedyOf(shot);
  if (remedy === "other") byId("file", HTMLInputElement).click();
  else if (remedy === "key") askForKey(shot);
  else desk.mend(shot, remedy);
  if (remedy === "auto" || remedy === "reset") write(shot.kept.recipe);
}

/** @param {Shot} shot what was refused without it */
function askForKey(shot) {
  const box = byId("key-box", HTMLDialogElement);
  box.onclose = () => {
    const key = byId("key", HTMLInputElement).value.trim();
    if (box.returnValue !== "ok" || !key) return;
    localStorage.setItem("retouch.key", key);
    treatments().load();
    desk.change(shot);
  };
  box.showModal();
}

/** What is seen, in the format that is asked for; with date and author it has to be made once more. */
async function save() {
  const shot = desk.selected;
  if (!shot?.kept.result) return;
  const { fields } = read();
  if ((fields.metadata === "keep") !== (shot.kept.job.params.metadata === "keep")) {
    isToBeSaved = true;
    toast(say("saving"));
    write({ ...recipes.ofJob(shot.kept.job.params), fields: { ...recipes.ofJob(shot.kept.job.params).fields, metadata: fields.metadata ?? "" } });
    enhanceAgain();
    return;
  }
  download(await asWanted(shot, { format: String(fields.format ?? ""), quality: String(fields.quality ?? "") }));
}

function makeAnother() {
  const { kept } = /** @type {Shot} */ (desk.selected);
  const recipe = recipes.ofJob(kept.job.params);
  recipes.keep(recipe);
  write(recipe);
  history.replaceState(null, "", recipes.asLink(recipe));
  toast(say("liked"));
  drawButtons();
}

function offer() {
  const on = (/** @type {string} */ id, /** @type {(shot: Shot) => unknown} */ act) =>
    button(id).addEventListener("click", () => { if (desk.selected?.kept.result) act(desk.selected); });
  on("copy", ({ kept }) => copyPicture(encodedAs(/** @type {Blob} */ (kept.result), "png")));
  on("like", makeAnother);
  on("code", showCode);
  button("save").addEventListener("click", save);
  button("save").addEventListener("dragstart", (event) => dragOut(desk.selected, event));
  button("save-look").addEventListener("click", async () => {
    if (desk.selected && stage.seen) download(await asPreview(desk.selected, stage.seen));
  });
  button("zip").addEventListener("click", () => saveAll(ticked().length ? ticked() : desk.finished));
  for (const id of ["save-format", "save-quality", "save-metadata"]) {
    byId(id, HTMLElement).addEventListener("change", () => {
      showQuality();
      recipes.keep({ ...recipes.kept(), fields: { ...recipes.kept().fields, ...chosen(["format", "quality", "metadata"]) } });
    });
  }
}

/** @param {string[]} names */
const chosen = (names) => Object.fromEntries(names.map((name) => [name, read().fields[name] ?? ""]));

/** The part that is looked at: a face, else where most is to be seen, unless somebody has pointed at one. @param {Shot} shot */
async function chooseSpot(shot) {
  const view = compareView();
  const small = shot.kept.thumb ?? shot.look?.before;
  if (view.isPointed || !small) return;
  const found = await import("./later/face.js").then(({ spotIn }) => spotIn(small)).catch(() => null);
  if (found && desk.selected === shot && !view.isPointed) view.lookAt(found);
}

/** The part that is looked at on the cards, then each treatment tried on it. */
async function tryOnSpot() {
  const shot = desk.selected;
  const turn = ++spotTurn;
  trials.stop();
  if (shot?.kept.origin !== triedOn) treatments().face(null);
  triedOn = shot?.kept.origin;
  byId("offers", HTMLElement).hidden = true;
  if (!shot?.kept.width || (shot.isSealed && !shot.kept.seen)) return;
  await chooseSpot(shot);
  const part = await partOf(shot, spot()).catch(() => null);
  if (turn !== spotTurn) return;
  if (part) {
    treatments().face(null);
    treatments().face("auto", part.blob);
  }
  const isQuiet = !desk.shots.some((one) => !one.isAtRest);
  if (shot.kept.phase !== "succeeded" || !isQuiet || document.hidden) return;
  const wanted = treatments().specials.map(({ item }) => ({ key: item.name, lora: [`${item.name}:${item.default_scale}`], strength: item.strength }));
  if (isNothing(shot)) (await import("./later/offers.js")).offerTreatments(shot, spot(), (name) => { treatments().replace(name); });
  trials.run(shot, [{ key: "auto", lora: null, strength: null }, ...wanted], spot(), (key, picture) => {
    if (picture) treatments().face(key, picture);
  });
}

function listenToDesk() {
  desk.addEventListener("list", drawSheet);
  desk.addEventListener("selected", () => {
    live.stop();
    live.picture = null;
    byId("live", HTMLElement).hidden = true;
    brush?.close();
    painted = { mask: desk.selected?.kept.mask ?? null, strength: desk.selected?.kept.maskStrength ?? 1 };
    if (desk.selected) write(desk.selected.kept.recipe);
    suggest();
    markRows();
    drawButtons();
    tryOnSpot();
    rememberView();
  });
  desk.addEventListener("finished", () => {
    suggest();
    markRows();
    tryOnSpot();
  });
  desk.addEventListener("trimmed", (event) => toast(say("trimmed", { n: /** @type {CustomEvent} */ (event).detail })));
  desk.addEventListener("full", () => notice(say("full")));
  desk.addEventListener("known", (event) => {
    const { base, limits, image_urls } = /** @type {CustomEvent} */ (event).detail;
    treatments().most = limits.max_loras;
    know({ base, limits });
    if (image_urls) whenIdle(async () => (await import("./later/address.js")).offerAddress(takeLinks));
  });
}

function listenToStage() {
  stage.addEventListener("settled", () => {
    drawButtons();
    // Focus goes where a person goes on, unless they have gone elsewhere.
    const at = document.activeElement;
    const isHere = at === document.body || at === button("cancel") || at === byId("stage", HTMLElement);
    const next = { succeeded: "save", failed: "mend", canceled: "again" }[desk.selected?.kept.phase ?? ""];
    if (isHere && next) button(next).focus({ preventScroll: true });
    if (isToBeSaved && desk.selected?.kept.phase === "succeeded") save();
    isToBeSaved = false;
  });
  stage.addEventListener("fitted", tryOnSpot);
  compareView().addEventListener("view", rememberView);
  compareView().addEventListener("spot", () => {
    tryOnSpot();
    askLive(true);
  });
}

function listen() {
  receive(take);
  showDemo(take);
  offer();
  listenToDesk();
  listenToStage();
  button("cancel").onclick = () => desk.selected?.cancel();
  button("mend").onclick = mend;
  button("reset").onclick = () => {
    write(recipes.plain());
    recipes.forget();
    history.replaceState(null, "", location.pathname);
    suggest();
    askLive(true);
  };
  button("forget").onclick = () => remove([...desk.shots]);
  button("theme").onclick = switchTheme;
  button("keys").onclick = showKeys;
  button("only-here").onclick = paintOnlyHere;
  button("grid").onclick = async () => {
    const { openGrid } = await import("./later/grid.js");
    trials.stop();
    if (desk.selected) openGrid(desk.selected, spot(), read(), () => askLive(true));
  };
  byId("panel", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    enhanceAgain();
  });
  byId("panel", HTMLFormElement).addEventListener("change", () => askLive(true));
  strengthStrip().addEventListener("input", () => askLive(false));
  treatments().addEventListener("input", () => askLive(false));
  treatments().addEventListener("change", () => askLive(true));
  treatments().addEventListener("loaded", () => {
    if (desk.selected) stage.draw();
    tryOnSpot();
  });
  listenToLive();
  window.addEventListener("offline", () => notice(say("offline")));
  window.addEventListener("online", () => notice(""));
  window.addEventListener("hashchange", takeLink);
  window.addEventListener("pagehide", settle);
  document.addEventListener("keydown", (event) => {
    const isWriting = event.target instanceof HTMLElement && event.target.matches("textarea, input:not([type=range], [type=checkbox], [type=radio]), select");
    if (event.key === "?" && !isWriting) showKeys();
  });
  document.addEventListener("retouch:language", nameLanguage);
}

async function showKeys() {
  (await import("./later/keys.js")).openKeys();
}

function listenToLive() {
  const line = byId("live", HTMLElement);
  const tell = (/** @type {string} */ text) => {
    line.hidden = !text;
    line.textContent = text;
  };
  live.addEventListener("wait", () => tell(say("live_wait")));
  live.addEventListener("quiet", () => {
    tell(live.isOffered ? say("live_none") : "");
    drawButtons();
  });
  live.addEventListener("shown", async () => {
    const { picture, askedAt, rect } = live;
    if (!picture || !desk.selected) return;
    await compareView().patch(picture, rect);
    if (live.picture !== picture) return;
    if (rect && rect.width < 0.6) compareView().showLoupe(true);
    compareView().allow(true);
    compareView().note(say("note_live"));
    tell(say("live", { ms: Math.round(performance.now() - askedAt) }));
  });
}

function switchTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  localStorage.setItem("retouch.theme", root.dataset.theme);
}

function chooseLanguage() {
  const select = byId("language", HTMLSelectElement);
  select.replaceChildren(...Object.entries(LANGUAGES).map(([tag, name]) => {
    const option = new Option(name, tag, false, tag === language());
    option.lang = tag;
    return option;
  }));
  select.onchange = () => switchLanguage(select.value);
}

function nameLanguage() {
  byId("language", HTMLSelectElement).value = language();
  for (const row of rows.values()) row.draw();
  markRows();
  desk.selected?.retell();
}

function takeLink() {
  const linked = recipes.fromLink(location.hash);
  if (!linked) return false;
  write(linked);
  recipes.keep(linked);
  toast(say("linked"));
  askLive(true);
  return true;
}

/** For a reload: which photo is in view, and how. */
function rememberView() {
  if (!isResumed) return;
  const id = desk.selected?.kept.id ?? null;
  if (id && !desk.selected?.kept.result) sessionStorage.setItem(VIEW, JSON.stringify({ id }));
  else sessionStorage.setItem(VIEW, JSON.stringify({ id, view: compareView().view }));
}

let isResumed = false;

async function resume() {
  const { id = null, view } = JSON.parse(sessionStorage.getItem(VIEW) ?? "{}");
  await desk.resume(id);
  if (desk.selected?.kept.id === id && view) {
    if (!stage.isFull) await new Promise((resolve) => stage.addEventListener("revealed", resolve, { once: true }));
    compareView().view = view;
  }
  isResumed = true;
  rememberView();
}

/** A help that is fetched later; the page does without it where the connection is lost. @param {() => unknown} act */
function whenIdle(act) {
  const tried = () => (async () => act())().catch((/** @type {unknown} */ fault) => { if (!(fault instanceof TypeError)) throw fault; });
  if ("requestIdleCallback" in window) requestIdleCallback(tried, { timeout: 2000 });
  else setTimeout(tried, 300);
}

translate(document);
chooseLanguage();
listen();
if (!takeLink()) write(recipes.kept());
treatments().load();
resume();
whenIdle(warmUp);
whenIdle(() => import("./later/embedded.js"));
whenIdle(async () => {
  const { Upscaler } = await import("./later/upscaler.js");
  const upscaler = new Upscaler();
  stage.use(upscaler);
  upscaler.begin();
});
whenIdle(async () => (await import("./later/install.js")).install(take));
