"""Makes a tiny DoTS.ocr in a folder: the real architecture with two small layers and a tokenizer of a thousand pieces, and
no weights. It answers with nonsense; what is real is the server that runs it.

    python tiny_dots.py FOLDER
"""

import json
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)

ROLES = ["<|system|>", "<|endofsystem|>", "<|user|>", "<|endofuser|>", "<|assistant|>", "<|endofassistant|>"]
SPECIAL = ["<|endoftext|>", *ROLES, "<|img|>", "<|imgpad|>", "<|endofimg|>", "<|video_pad|>"]

tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
trainer = trainers.BpeTrainer(
    vocab_size=1024, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
)
tokenizer.train_from_iterator([Path(__file__).read_text(encoding="utf-8")], trainer)
number = tokenizer.token_to_id


def write(name, what):
    (folder / name).write_text(what if isinstance(what, str) else json.dumps(what, indent=1), encoding="utf-8")


ends = {"eos_token_id": number("<|endofassistant|>"), "pad_token_id": number("<|endoftext|>")}
layers = {"num_hidden_layers": 2, "hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4}
vision = {"embed_dim": 128, "num_channels": 3, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 1}

tokenizer.save(str(folder / "tokenizer.json"))
write(
    "config.json",
    {
        "architectures": ["DotsOCRForCausalLM"],
        "model_type": "dots_ocr",
        # vLLM has the model, and finds its configuration where the real one has it: in the model's own folder.
        "auto_map": {"AutoConfig": "configuration_dots.DotsOCRConfig"},
        "vocab_size": tokenizer.get_vocab_size(),
        **layers,
        **ends,
        "num_key_value_heads": 2,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "hidden_act": "silu",
        "use_sliding_window": False,
        "attention_bias": True,
        "image_token_id": number("<|imgpad|>"),
        "video_token_id": number("<|video_pad|>"),
        "bos_token_id": None,
        "vision_config": {**layers, **vision, "post_norm": True, "rms_norm_eps": 1e-5, "use_bias": False},
    },
)
write(
    "configuration_dots.py",
    """from vllm.transformers_utils.configs.dotsocr import DotsOCRConfig as Config
from vllm.transformers_utils.configs.dotsocr import DotsVisionConfig


class DotsOCRConfig(Config):
    pass
""",
)
write(
    "tokenizer_config.json",
    {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|endofassistant|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 131072,
        "additional_special_tokens": SPECIAL,
        "processor_class": "Qwen2VLProcessor",
    },
)
# For contents that are a string, as the real one's is right only for these.
write(
    "chat_template.jinja",
    "{%- for m in messages -%}{{- '<|' + m.role + '|>' + m.content + '<|endof' + m.role + '|>' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}",
)
write(
    "preprocessor_config.json",
    {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2VLProcessor",
        "min_pixels": 3136,
        "max_pixels": 11289600,
        "patch_size": 14,
        "temporal_patch_size": 1,
        "merge_size": 2,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    },
)
write("generation_config.json", {**ends, "temperature": 0.1, "max_length": 32768})
