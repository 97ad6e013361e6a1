# /// script
# requires-python = ">=3.10"
# # vLLM 0.30 breaks a kernel of its image encoder (uv-scripts, deepseek-ocr-vllm.py).
# dependencies = ["vllm>=0.11.1,<0.30", "pillow>=9.2", "pyarrow>=12", "httpx>=0.25"]
# [tool.yale-jobs]
# name = "deepseek-ocr"
# title = "DeepSeek-OCR: few tokens a page; text, or Markdown with boxes"
# engine = "vllm"
# model = "deepseek-ai/DeepSeek-OCR"
# licence = "MIT"
# gpus = 1
# mostGpus = 8
# gpuMemory = 24
# startSeconds = 180
# evidence = "3 to 4 billion parameters. olmOCR-bench 75.7; its second version was second of eight on historical medical reports by a judging model (ocr-bench-moh-results)"
# server = ["vllm"]
# [tool.yale-jobs.options.promptMode]
# type = "string"
# help = "ocr: text; layout-all: Markdown with boxes and categories"
# allowed = ["ocr", "layout-all"]
# default = "layout-all"
# [tool.yale-jobs.options.maxModelLen]
# type = "integer"
# help = "tokens of a page and its answer together (vLLM's max-model-len)"
# minimum = 2048
# default = 8192
# [tool.yale-jobs.options.maxTokens]
# type = "integer"
# help = "tokens of an answer, at most; what does not end within them is an error"
# minimum = 256
# default = 6144
# [tool.yale-jobs.options.temperature]
# type = "number"
# help = "of the first try; later ones are warmer"
# minimum = 0
# default = 0
# ///
from vision.deepseek import as_grounded
from vision.images import PixelRules
from vision.model import Mode, Model
from vision.run import main

# Its loops are held back by a processor of its own, whose figures are those of vLLM's recipe for it.
main(
    Model(
        modes={
            "ocr": Mode("Free OCR."),
            "layout-all": Mode("<|grounding|>Convert the document to markdown.", as_grounded, fallback="ocr"),
        },
        # It cuts the page into tiles of 640 pixels itself; more than it uses would only be sent for nothing.
        pixels=PixelRules(min_pixels=1, factor=1, longest=2560),
        serve=["--logits-processors", "vllm.model_executor.models.deepseek_ocr:NGramPerReqLogitsProcessor"],
        request={
            "skip_special_tokens": False,
            "vllm_xargs": {"ngram_size": 30, "window_size": 90, "whitelist_token_ids": [128821, 128822]},
        },
    )
)
