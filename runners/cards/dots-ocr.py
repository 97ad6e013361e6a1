# /// script
# requires-python = ">=3.10"
# # The code that comes with the weights breaks on transformers 5 (uv-scripts, dots-ocr.py).
# dependencies = ["vllm>=0.11", "transformers<5", "pillow>=9.2", "pyarrow>=12", "httpx>=0.25"]
# [tool.yale-jobs]
# name = "dots-ocr"
# title = "DoTS.ocr: text, layout, tables and formulas in a hundred languages"
# engine = "vllm"
# model = "rednote-hilab/dots.ocr"
# licence = "dots.ocr licence agreement on top of MIT, which prevails"
# gpus = 1
# mostGpus = 8
# gpuMemory = 24
# startSeconds = 180
# evidence = "3 billion parameters. olmOCR-bench 79.1, OmniDocBench 1.5 88.41, by its makers"
# server = ["vllm", "transformers"]
# [tool.yale-jobs.options.promptMode]
# type = "string"
# help = "ocr: text; layout-all: boxes, categories and their text, as Markdown in reading order; layout-only: boxes and categories"
# allowed = ["ocr", "layout-all", "layout-only"]
# default = "layout-all"
# ///
from vision.dots import dots
from vision.run import main

main(dots())
