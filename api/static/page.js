// The plain page: one photo in, its true percentage, the finished picture beside the first one.

const WORDS = {
  zh: {
    lead: "发一张照片，得到更好的一张。", choose: "选择照片，或拖到这里", lora: "LoRA", strength: "强度",
    go: "修图", cancel: "取消", compare: "前后对比", save: "保存图片", docs: "面向程序",
    auto: "自动选择", none: "只用基础模型", uploading: "正在上传", canceled: "已取消",
    offline: "连接不上服务，请稍后再试。", seed: "种子", waiting: "前面还有 {n} 个",
  },
  en: {
    auto: "Choose for me", none: "Base model alone", uploading: "Sending the photo", canceled: "Canceled",
    offline: "The service cannot be reached. Try again in a moment.", seed: "seed", waiting: "{n} ahead",
  },
};
const language = navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
const say = (key) => WORDS[language][key] ?? WORDS.en[key];
const $ = (id) => document.getElementById(id);
const headers = { "Accept-Language": language };
let job = null;
let stream = null;
let sourceUrl = null;

function translate() {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-say]")) {
    const text = WORDS[language][element.dataset.say];
    if (text) element.textContent = text;
  }
}

async function fillLoras() {
  const options = [["auto", say("auto")], ["none", say("none")]];
  const answer = await fetch("/v1/loras", { headers }).catch(() => null);
  const items = answer?.ok ? (await answer.json()).items : [];
  for (const item of items) {
    const text = item.state === "available" ? item.title : `${item.title}: ${item.reason ?? item.state}`;
    options.push([item.name, text, item.state !== "available"]);
  }
  $("lora").replaceChildren(...options.map(([value, text, disabled]) => {
    const option = new Option(text, value);
    option.disabled = Boolean(disabled);
    return option;
  }));
}

function show(percent, message) {
  $("working").hidden = false;
  $("bar").value = percent;
  $("percent").textContent = `${Math.floor(percent)} %`;
  $("message").textContent = message ?? "";
}

function stop(sentence) {
  stream?.close();
  stream = null;
  $("go").disabled = false;
  $("cancel").hidden = true;
  $("working").hidden = true;
  $("error").hidden = !sentence;
  $("error").textContent = sentence ?? "";
}

const inWords = (problem) => `${problem.detail ?? problem.message} ${problem.advice ?? ""}`.trim();

function send(form) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/jobs");
    request.setRequestHeader("Accept-Language", language);
    request.responseType = "json";
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) {
        $("message").textContent = `${say("uploading")} ${Math.floor((event.loaded / event.total) * 100)} %`;
      }
    };
    request.onload = () => {
      const body = request.response ?? {};
      request.status < 300 ? resolve(body) : reject(new Error(inWords(body) || say("offline")));
    };
    request.onerror = () => reject(new Error(say("offline")));
    request.send(form);
  });
}

function follow() {
  stream = new EventSource(job.links.events);
  const on = (kind, handle) => stream.addEventListener(kind, (event) => {
    if (event.data) handle(JSON.parse(event.data));
  });
  on("state", (data) => {
    if (data.state === "canceled") return stop(say("canceled"));
    if (data.progress) {
      const ahead = data.state === "queued" && data.queue.position > 0;
      const place = ahead ? ` (${say("waiting").replace("{n}", data.queue.position)})` : "";
      show(data.progress.percent, data.progress.message + place);
    }
  });
  on("progress", (data) => show(data.percent, data.message));
  on("preview", (data) => reveal(data.url, false));
  on("result", finish);
  on("error", (data) => stop(inWords(data)));
}

async function picture(url) {
  const answer = await fetch(url, { headers });
  if (!answer.ok) throw new Error(inWords(await answer.json()));
  return URL.createObjectURL(await answer.blob());
}

async function reveal(url, isFinal) {
  const shown = await picture(url).catch(() => null);
  if (!shown || (!isFinal && $("save").href)) return;
  $("outcome").hidden = false;
  $("after").src = shown;
  $("before").src = sourceUrl;
  if (isFinal) $("save").href = shown;
}

async function finish(result) {
  try {
    sourceUrl = await picture(job.links.source);
    await reveal(result.url, true);
    job = await (await fetch(job.links.self, { headers })).json();
    $("save").download = `retouch.${result.format}`;
    const loras = job.params.loras.map((lora) => `${lora.name}:${lora.scale}`).join(", ") || say("none");
    $("recipe").textContent =
      `${loras} · ${job.params.strength} · ${say("seed")} ${job.params.seed} · ${job.timings.total_seconds.toFixed(1)} s`;
    stop();
  } catch (error) {
    stop(error.message);
  }
}

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = new FormData($("form"));
  $("go").disabled = true;
  $("error").hidden = true;
  $("outcome").hidden = true;
  $("save").removeAttribute("href");
  $("recipe").textContent = "";
  sourceUrl = URL.createObjectURL($("file").files[0]);
  show(0, say("uploading"));
  try {
    job = await send(form);
    $("cancel").hidden = false;
    follow();
  } catch (error) {
    stop(error.message);
  }
});

$("cancel").addEventListener("click", () => fetch(job.links.cancel, { method: "DELETE", headers }));
$("strength").addEventListener("input", () => { $("strength-value").textContent = $("strength").value; });
$("split").addEventListener("input", () => {
  $("before").style.clipPath = `inset(0 ${100 - $("split").value}% 0 0)`;
});
$("file").addEventListener("change", () => {
  const file = $("file").files[0];
  if (file) $("chosen").textContent = file.name;
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  $("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) {
      $("file").files = event.dataTransfer.files;
      $("file").dispatchEvent(new Event("change"));
    }
  });
}

translate();
fillLoras();
$("strength").dispatchEvent(new Event("input"));
$("split").dispatchEvent(new Event("input"));
