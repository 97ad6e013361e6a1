# /// script
# requires-python = ">=3.10"
# dependencies = ["vllm>=0.11.1", "pillow>=9.2", "pyarrow>=12", "httpx>=0.25"]
# [tool.yale-jobs]
# name = "paddleocr-vl"
# title = "PaddleOCR-VL 1.6: very small, a hundred languages; text, tables or formulas"
# engine = "vllm"
# model = "PaddlePaddle/PaddleOCR-VL-1.6"
# licence = "Apache-2.0"
# gpus = 1
# mostGpus = 8
# gpuMemory = 24
# startSeconds = 120
# evidence = "0.9 billion parameters. OmniDocBench 1.6 96.33, by its makers, with a layout stage that is not run here; weak on old scans (38.6 in a community measurement)"
# server = ["vllm"]
# [tool.yale-jobs.options.promptMode]
# type = "string"
# help = "what the page is read as"
# allowed = ["ocr", "table", "formula"]
# default = "ocr"
# [tool.yale-jobs.options.maxModelLen]
# type = "integer"
# help = "tokens of a page and its answer together (vLLM's max-model-len)"
# minimum = 2048
# default = 16384
# [tool.yale-jobs.options.maxTokens]
# type = "integer"
# help = "tokens of an answer, at most; what does not end within them is an error"
# minimum = 256
# default = 8192
# [tool.yale-jobs.options.temperature]
# type = "number"
# help = "of the first try; later ones are warmer"
# minimum = 0
# default = 0
# ///
# Asked as its makers do: a word for the task, and few pixels (uv-scripts, paddleocr-vl-1.6.py).
from vision.images import PixelRules
from vision.model import Mode, Model
from vision.run import main

main(
    Model(
        modes={"ocr": Mode("OCR:"), "table": Mode("Table Recognition:"), "formula": Mode("Formula Recognition:")},
        pixels=PixelRules(min_pixels=28 * 28 * 130, max_pixels=28 * 28 * 1280, factor=28),
        serve=["--trust-remote-code", "--max-num-batched-tokens", "16384"],
    )
)
