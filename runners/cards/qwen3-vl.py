# /// script
# requires-python = ">=3.10"
# dependencies = ["vllm>=0.11", "pillow>=9.2", "pyarrow>=12", "httpx>=0.25"]
# [tool.yale-jobs]
# name = "qwen3-vl"
# title = "Qwen3-VL 8B: a general model for what OCR models were not made for; takes a prompt of your own"
# engine = "vllm"
# model = "Qwen/Qwen3-VL-8B-Instruct"
# licence = "Apache-2.0"
# gpus = 1
# mostGpus = 8
# gpuMemory = 32
# startSeconds = 180
# evidence = "9 billion parameters, 18 GB by their number; not measured as an OCR engine here"
# server = ["vllm"]
# [tool.yale-jobs.options.promptMode]
# type = "string"
# help = "ocr: Markdown in reading order"
# allowed = ["ocr"]
# default = "ocr"
# [tool.yale-jobs.options.temperature]
# type = "number"
# help = "of the first try; later ones are warmer"
# minimum = 0
# default = 0
# ///
from vision.images import PixelRules
from vision.model import Mode, Model
from vision.run import main

PROMPT = (
    "Transcribe all text on this page in reading order, exactly as it is written: keep spelling, punctuation and line "
    "breaks, and do not translate, correct or explain. Write it as Markdown, with tables as HTML. "
    "Answer with the transcription alone."
)

# Patches of 16 pixels, two by two in one token.
main(Model(modes={"ocr": Mode(PROMPT)}, pixels=PixelRules(min_pixels=65_536, max_pixels=8_000_000, factor=32)))
