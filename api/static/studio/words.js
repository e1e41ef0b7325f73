// The page's texts in English and Chinese. Sentences about errors come from the service.

/** @typedef {"en" | "zh"} Language */

/** @type {Record<string, [string, string]>} */
const WORDS = {
  skip: ["To the picture", "跳到图片"],
  nav: ["Page", "页面"],
  docs: ["API", "程序接口"],
  theme: ["Light or dark", "浅色或深色"],
  stage: ["Picture", "图片"],
  call: ["Drop a photo anywhere.", "把照片拖到任意位置。"],
  call_touch: ["A better photo in a moment.", "片刻之间，照片更好。"],
  lead: ["It is sharpened at once; the retouched picture follows a moment later.", "先立刻看到锐化效果，片刻之后是真正修好的图。"],
  choose: ["Choose photos", "选择照片"],
  another: ["New photo", "新照片"],
  camera: ["Take a photo", "拍一张"],
  paste: ["Or paste one. It is sent to this server only.", "也可以直接粘贴。照片只发给这台服务器。"],
  cancel: ["Cancel", "取消"],
  save: ["Download", "下载"],
  copy: ["Copy", "复制"],
  copied: ["Copied.", "已复制。"],
  not_copied: ["This browser does not allow copying here. You can download instead.", "浏览器不允许复制，请改用下载。"],
  like: ["Make another like this", "生成同款"],
  liked: ["The recipe is stored here and in this page's link. The next photo gets the same settings.", "配方已保存在本机和页面链接中，下一张照片照此处理。"],
  restored: ["This picture contains its recipe: all settings are restored. Now choose a photo.", "这张图带有配方，所有设置已恢复。现在请选择照片。"],
  linked: ["Settings taken from the link.", "已采用链接中的设置。"],
  code: ["As code", "复制为代码"],
  close: ["Close", "关闭"],
  panel: ["Settings", "设置"],
  strength: ["Strength", "强度"],
  strength_auto: ["chosen for the photo", "按照片自动选择"],
  band_0: ["Barely", "极轻"],
  band_1: ["Gentle", "轻柔"],
  band_2: ["Clear", "清晰"],
  band_3: ["Strong", "强烈"],
  band_4: ["Repaint", "重绘"],
  live_wait: ["Preview …", "预览中…"],
  live_none: ["No preview right now. The full picture can still be made.", "暂时没有预览，仍可直接重修整张图。"],
  live: ["Live preview, {ms} ms", "实时预览，{ms} 毫秒"],
  loras: ["LoRA", "LoRA"],
  auto: ["Choose for me", "自动选择"],
  auto_note: ["by the damage measured in the photo", "按照片中的损伤判断"],
  none: ["Base model only", "只用基础模型"],
  none_note: ["no LoRA", "不使用 LoRA"],
  scale: ["Scale of {name}", "{name} 的权重"],
  for_base: ["for {base}", "适用于 {base}"],
  loras_missing: ["The list of LoRAs cannot be loaded right now.", "暂时无法加载 LoRA 列表。"],
  more: ["More settings", "更多设置"],
  prompt: ["Prompt", "提示词"],
  negative_prompt: ["Negative prompt", "反向提示词"],
  steps: ["Steps", "步数"],
  guidance_scale: ["Guidance", "引导系数"],
  sampler: ["Sampler", "采样器"],
  sampler_default: ["as the LoRA needs it", "按 LoRA 需要"],
  sampler_once: ["one step", "一步"],
  seed: ["Seed", "种子"],
  max_side: ["Longest side", "最长边"],
  upscale: ["Enlarge", "放大"],
  upscale_auto: ["as the photo needs", "按照片需要"],
  format: ["File", "文件格式"],
  format_auto: ["as the photo came", "与照片相同"],
  fidelity: ["Fidelity", "忠实度"],
  fidelity_default: ["as the base suggests", "由模型决定"],
  fidelity_none: ["free", "自由"],
  fidelity_low: ["keep tones", "保持色调"],
  fidelity_residual: ["keep pixels", "保持像素"],
  fidelity_wavelet: ["keep colours, smoothly", "保持色彩（平滑）"],
  fidelity_adain: ["keep colours, on the whole", "保持色彩（整体）"],
  pyramid: ["Worked at", "处理尺寸"],
  pyramid_default: ["as the photo needs", "按照片需要"],
  pyramid_1: ["its own size", "原尺寸"],
  pyramid_2: ["half, then its own size", "先半尺寸，再原尺寸"],
  pyramid_3: ["a quarter, half, its own size", "四分之一、半、原尺寸"],
  switch_language: ["中文", "English"],
  embed_metadata: ["Store the recipe in the file", "把配方写入文件"],
  force: ["Try even if the photo is too blurry", "太模糊也照样处理"],
  again: ["Enhance with these settings", "用这些设置重修"],
  reset: ["Reset", "重置"],
  history: ["On this device", "本机记录"],
  zip: ["Download all as zip", "打包下载"],
  forget: ["Delete all", "全部删除"],
  forget_sure: ["Delete every picture stored on this device?", "删除本机保存的所有图片？"],
  remove: ["Delete {name}", "删除 {name}"],
  let_go: ["Release to drop", "松手即可"],
  key_title: ["This service needs a key", "此服务需要密钥"],
  key: ["API key", "API 密钥"],
  key_use: ["Use it", "使用"],
  before: ["Before", "修前"],
  after: ["After", "修后"],
  mode_slider: ["Slider", "滑块"],
  mode_side: ["Side by side", "并排"],
  mode_hold: ["Hold", "按住"],
  mode_hold_note: ["Hold the picture to see the original", "按住图片查看原图"],
  modes: ["Comparison mode (keys 1, 2, 3)", "对比方式（按键 1、2、3）"],
  split: ["Border between before and after", "前后分界"],
  zoom_in: ["Zoom in", "放大"],
  zoom_out: ["Zoom out", "缩小"],
  zoom_fit: ["Whole picture", "显示全图"],
  note_look: ["Sharpened on this device, not the result yet", "本机锐化，尚非最终结果"],
  note_look_plain: ["Sharpened on this device without WebGL, not the result yet", "本机锐化（无 WebGL），尚非最终结果"],
  note_upscaled: ["Super-resolution on this device: {engine}, {ms} ms", "本机超分辨率：{engine}，{ms} 毫秒"],
  superres: ["Super-resolution in this browser", "浏览器内超分辨率"],
  superres_note: ["as the first look, until the result is here", "结果出来之前先看"],
  superres_slow: ["as the first look; loads 5 MB once and takes some time on this device", "结果出来之前先看；首次需下载 5 MB，本机上稍慢"],
  superres_broken: ["did not work in this browser", "此浏览器无法运行"],
  note_preview: ["Small result; the full picture follows", "小图已出，大图马上就来"],
  note_live: ["Preview of these settings", "当前设置的预览"],
  reading: ["Opening the photo", "正在打开照片"],
  uploading: ["Sending the photo", "正在上传照片"],
  sending: ["Submitting", "正在提交"],
  queued: ["Waiting for its turn", "排队中"],
  ahead: ["{n} ahead", "前面还有 {n} 个"],
  running: ["Working", "处理中"],
  loading: ["Getting the model ready", "正在准备模型"],
  encoding: ["Reading the photo", "正在读取照片"],
  denoising: ["Enhancing", "正在修图"],
  decoding: ["Developing the picture", "正在生成图片"],
  checking: ["Checking the picture", "正在检查图片"],
  last_bit: ["Saving", "正在保存"],
  succeeded: ["Done", "完成"],
  failed: ["Failed", "失败"],
  canceled: ["Canceled", "已取消"],
  remaining: ["about {n} s left", "约剩 {n} 秒"],
  offline: ["The connection is lost. Running jobs continue on the server, and this page reconnects by itself.", "连接已断开。服务器上的任务仍在继续，恢复后会自动接上。"],
  unreachable: ["The service does not answer. Nothing is lost.", "服务没有响应，内容不会丢失。"],
  fact_look: ["first look {n} ms", "初看 {n} 毫秒"],
  fact_preview: ["small result {n} s", "小图 {n} 秒"],
  fact_full: ["full picture {n} s", "大图 {n} 秒"],
  fact_queue: ["including {n} s in the queue", "其中排队 {n} 秒"],
  fact_seed: ["seed {n}", "种子 {n}"],
  fact_strength: ["strength {n}", "强度 {n}"],
  fact_size: ["{before} in, {after} out", "原图 {before}，结果 {after}"],
  do_retry: ["Try again", "重试"],
  do_retry_in: ["Try again ({n} s)", "重试（{n} 秒）"],
  do_other: ["Choose another photo", "换一张照片"],
  do_force: ["Continue anyway", "仍然继续"],
  do_smaller: ["Scale to {n} and try again", "缩小到 {n} 再试"],
  do_auto: ["Choose the LoRA automatically", "让它自动选 LoRA"],
  do_resend: ["Send it again", "重新发送"],
  do_key: ["Enter a key", "输入密钥"],
  do_reset: ["Reset the settings and try again", "重置设置再试"],
};

/** @returns {Language} */
function preferred() {
  const kept = localStorage.getItem("retouch.language");
  if (kept === "en" || kept === "zh") return kept;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

let current = preferred();

/** @returns {Language} */
export const language = () => current;

/** Switches the language, stores the choice and translates the page again. */
export function switchLanguage() {
  current = current === "en" ? "zh" : "en";
  localStorage.setItem("retouch.language", current);
  translate(document);
  document.dispatchEvent(new Event("retouch:language"));
}

/**
 * @param {string} key
 * @param {Record<string, string | number>} values
 */
export function say(key, values = {}) {
  const pair = WORDS[key];
  if (!pair) return key;
  const text = pair[current === "zh" ? 1 : 0];
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

/** Whether WORDS has this key. @param {string} key */
export const known = (key) => key in WORDS;

/** Fills in the texts of `data-say` and `data-say-label` below a node. @param {ParentNode} root */
export function translate(root) {
  document.documentElement.lang = current === "zh" ? "zh-CN" : "en";
  for (const node of root.querySelectorAll("[data-say], [data-say-label]")) {
    const { say: text, sayLabel: label } = /** @type {HTMLElement} */ (node).dataset;
    if (text) node.textContent = say(text);
    if (label) node.setAttribute("aria-label", say(label));
    if (label && node instanceof HTMLButtonElement) node.title = say(label);
  }
}
