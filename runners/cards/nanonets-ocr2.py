# /// script
# requires-python = ">=3.10"
# dependencies = ["vllm>=0.10.2,<0.11", "pillow>=9.2", "pyarrow>=12", "httpx>=0.25"]
# [tool.yale-jobs]
# name = "nanonets-ocr2"
# title = "Nanonets-OCR2: Markdown with tables, check boxes, signatures and watermarks"
# engine = "vllm"
# model = "nanonets/Nanonets-OCR2-3B"
# licence = "not stated; derived from Qwen2.5-VL-3B, whose licence is for research only: check before use"
# gpus = 1
# mostGpus = 8
# gpuMemory = 24
# speed = "0.36 pages/s on an L4 with 32 requests in flight (uv-scripts, 100 historical scans)"
# startSeconds = 180
# evidence = "3.75 billion parameters. Needs vLLM 0.10.2: later ones make it answer with exclamation marks (vllm 27775), which this runner reports as repetition"
# server = ["vllm"]
# [tool.yale-jobs.options.promptMode]
# type = "string"
# help = "ocr: Markdown in reading order"
# allowed = ["ocr"]
# default = "ocr"
# [tool.yale-jobs.options.maxTokens]
# type = "integer"
# help = "tokens of an answer, at most; what does not end within them is an error"
# minimum = 256
# default = 15000
# [tool.yale-jobs.options.temperature]
# type = "number"
# help = "of the first try; later ones are warmer"
# minimum = 0
# default = 0
# ///
from vision.images import PixelRules
from vision.model import Mode, Model
from vision.run import main

# The prompt of its makers' model page.
PROMPT = (
    "Extract the text from the above document as if you were reading it naturally. Return the tables in html format. "
    "Return the equations in LaTeX representation. If there is an image in the document and image caption is not present, "
    "add a small description of the image inside the <img></img> tag; otherwise, add the image caption inside <img></img>. "
    "Watermarks should be wrapped in brackets. Ex: <watermark>OFFICIAL COPY</watermark>. Page numbers should be wrapped in "
    "brackets. Ex: <page_number>14</page_number> or <page_number>9/22</page_number>. Prefer using ☐ and ☑ for check boxes."
)

main(Model(modes={"ocr": Mode(PROMPT)}, pixels=PixelRules(factor=28), serve=["--trust-remote-code"]))
