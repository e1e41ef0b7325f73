"""Gradio: its queue with batches. `PORT LORAS`."""

import json
import sys
from pathlib import Path

import gradio

from benchmarks.peer_servers.pipeline import BATCH, Pipeline, Wish, to_text

pipeline = Pipeline(Path(sys.argv[2]))


def enhance(wishes: list[str]) -> list[list[str]]:
    made = pipeline.pictures([Wish.from_json(json.loads(wish)) for wish in wishes])
    return [[to_text(picture) for picture in made]]


with gradio.Blocks() as demo:
    wish, answer = gradio.Textbox(), gradio.Textbox()
    gradio.Button().click(
        enhance, wish, answer, api_name="enhance", batch=True, max_batch_size=BATCH,
        concurrency_limit=1,
    )  # fmt: skip

if __name__ == "__main__":
    demo.queue(max_size=None)
    demo.launch(server_name="127.0.0.1", server_port=int(sys.argv[1]), quiet=True)
