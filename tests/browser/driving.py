"""What a person does on the page, and what they see of it."""

import json
from pathlib import Path

from playwright.sync_api import FilePayload, Page

from shared.settings import REPOSITORY
from tests.support.pictures import photo

AXE = REPOSITORY / "node_modules" / "axe-core" / "axe.min.js"
# What axe finds that keeps somebody from using the page.
FAULTS = """async () => (await axe.run()).violations
  .filter(found => ['serious', 'critical'].includes(found.impact))
  .map(found => `${found.id}: ${found.nodes.map(node => node.target).join(', ')}`)"""
DROP = """([bytes, name]) => {
  const transfer = new DataTransfer();
  const type = name.endsWith('.png') ? 'image/png' : 'image/jpeg';
  transfer.items.add(new File([Uint8Array.from(bytes)], name, { type }));
  for (const kind of ['dragover', 'drop']) {
    document.body.dispatchEvent(
      new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
  }
}"""
# So many finished pictures in the history, as if made long ago.
FILL = """async count => {
  const blob = await (await fetch('static/icon-192.png')).blob();
  const open = indexedDB.open('retouch', 1);
  open.onupgradeneeded = () => open.result.createObjectStore('shots', { keyPath: 'id' });
  const base = await new Promise(done => { open.onsuccess = () => done(open.result); });
  const store = base.transaction('shots', 'readwrite').objectStore('shots');
  const params = { loras: [], strength: 0.4, lora_mode: 'none' };
  const job = { params, result: { width: 8, height: 8, format: 'png', size_bytes: 1, upscale: 1 },
    degraded: [], timings: { queued_seconds: 0, total_seconds: 1 } };
  for (let n = 0; n < count; n++) store.put({ id: `old-${n}`, key: `${n}`, created: n, batch: 'b',
    name: `old-${n}.png`, blob, thumb: blob, width: 8, height: 8, phase: 'succeeded', imageId: null,
    jobId: null, result: blob, job, problem: null, timings: {},
    recipe: { mode: 'auto', loras: [], strength: null, fields: {} } });
  await new Promise(done => { store.transaction.oncomplete = done; });
  base.close();
}"""
PHASES = "names => names.includes(document.getElementById('stage').dataset.phase)"


def a_photo(name: str = "selfie.jpg", width: int = 160, height: int = 120) -> FilePayload:
    return {"name": name, "mimeType": "image/jpeg", "buffer": photo(width, height)}


def choose(page: Page, *files: FilePayload | Path) -> None:
    """Choose files, as the button's dialog does."""
    page.set_input_files("#file", list(files))  # type: ignore[arg-type]


def drop(page: Page, data: bytes, name: str = "selfie.jpg") -> None:
    """Let a file go over the page."""
    page.evaluate(DROP, [list(data), name])


def wait_for(page: Page, *phases: str) -> None:
    """Until the photo in view is in one of these phases."""
    page.wait_for_function(PHASES, arg=list(phases))


def prefer(page: Page, strength: float | None = None, **fields: str | bool) -> None:
    """Have chosen settings before: they wait for a photo."""
    loras: list[str] = []
    recipe = {"mode": "auto", "loras": loras, "strength": strength, "fields": fields}
    page.evaluate("recipe => localStorage.setItem('retouch.recipe', recipe)", json.dumps(recipe))


def take_long(page: Page, steps: int = 40) -> None:
    """Ask for many steps at full strength: the middle of the job is met on any machine."""
    prefer(page, 1, steps=str(steps))


def set_strength(page: Page, value: str) -> None:
    """Move the native range."""
    page.locator("#strength-range").fill(value)


def download(page: Page, button: str = "#save") -> tuple[str, bytes]:
    """The file that a button gives: its name and its bytes."""
    with page.expect_download() as caught:
        page.click(button)
    return caught.value.suggested_filename, Path(caught.value.path()).read_bytes()


def beyond(page: Page) -> int:
    """How far the page is wider than the screen, pixels."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))
