# /// script
# requires-python = ">=3.10"
# dependencies = ["vllm>=0.11.1", "pillow>=9.2", "pyarrow>=12", "httpx>=0.25"]
# [tool.yale-jobs]
# name = "lighton-ocr-2"
# title = "LightOnOCR-2: small and fast, Markdown, European languages, Chinese and Japanese"
# engine = "vllm"
# model = "lightonai/LightOnOCR-2-1B"
# licence = "Apache-2.0"
# gpus = 1
# mostGpus = 8
# gpuMemory = 24
# speed = "0.59 pages/s on an L4 with 32 requests in flight (uv-scripts, 100 historical scans); 42.8 on an H100 claimed"
# startSeconds = 120
# evidence = "1 billion parameters. olmOCR-bench 83.2 without headers; first of eight on historical medical reports by a judging model (ocr-bench-moh-results)"
# server = ["vllm"]
# [tool.yale-jobs.options.promptMode]
# type = "string"
# help = "ocr: Markdown in reading order"
# allowed = ["ocr"]
# default = "ocr"
# [tool.yale-jobs.options.maxModelLen]
# type = "integer"
# help = "tokens of a page and its answer together (vLLM's max-model-len)"
# minimum = 2048
# default = 8192
# [tool.yale-jobs.options.maxTokens]
# type = "integer"
# help = "tokens of an answer, at most; what does not end within them is an error"
# minimum = 256
# default = 4096
# [tool.yale-jobs.options.temperature]
# type = "number"
# help = "of the first try; later ones are warmer"
# minimum = 0
# default = 0.2
# ///
# Asked as its makers do: the image alone, longest side 1540 pixels, top_p 0.9 (uv-scripts, lighton-ocr2-server.py).
from vision.images import PixelRules
from vision.model import Mode, Model
from vision.run import main

main(Model(modes={"ocr": Mode("")}, pixels=PixelRules(factor=28, longest=1540), top_p=0.9))
