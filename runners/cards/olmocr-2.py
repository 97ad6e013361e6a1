# /// script
# requires-python = ">=3.10"
# dependencies = ["vllm>=0.11", "pillow>=9.2", "pyarrow>=12", "httpx>=0.25"]
# [tool.yale-jobs]
# name = "olmocr-2"
# title = "olmOCR-2: English print, tables as HTML, formulas as LaTeX"
# engine = "vllm"
# model = "allenai/olmOCR-2-7B-1025-FP8"
# licence = "Apache-2.0"
# gpus = 1
# mostGpus = 8
# gpuMemory = 24
# startSeconds = 180
# evidence = "8 billion parameters in FP8, which H100, L40S, RTX 5000 Ada and later have in hardware. olmOCR-bench 82.4, by its makers"
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
# default = 16384
# [tool.yale-jobs.options.maxTokens]
# type = "integer"
# help = "tokens of an answer, at most; what does not end within them is an error"
# minimum = 256
# default = 8192
# ///
from vision.front_matter import as_front_matter
from vision.images import PixelRules
from vision.model import Mode, Model
from vision.run import main

# The prompt that it was trained on, before the image, longest side 1288 pixels (allenai/olmocr, prompts.py and pipeline.py).
PROMPT = (
    "Attached is one page of a document that you must process. "
    "Just return the plain text representation of this document as if you were reading it naturally. "
    "Convert equations to LateX and tables to HTML.\n"
    "If there are any figures or charts, label them with the following markdown syntax "
    "![Alt text describing the contents of the figure](page_startx_starty_width_height.png)\n"
    "Return your output as markdown, with a front matter section on top specifying values for the "
    "primary_language, is_rotation_valid, rotation_correction, is_table, and is_diagram parameters."
)

main(
    Model(
        modes={"ocr": Mode(PROMPT, as_front_matter)},
        pixels=PixelRules(factor=28, longest=1288),
        image_first=False,
    )
)
