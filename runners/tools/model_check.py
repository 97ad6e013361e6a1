"""Looks, where a job would run, at what a model needs: Python and packages, uv, GPUs, weights, free space. With `download` as
second word it fetches the weights instead. Prints a line of JSON for each thing; stands behind check.py, whose `lacking` it
uses, as one script.

Runs on any Python 3, so that an old one is told from a missing package.
"""

import glob
import json
import os
import shutil
import subprocess
import sys


def say(state, what, fix=""):
    print(json.dumps({"yale": "check", "state": state, "what": what, "fix": fix}), flush=True)


def hub_folder():
    home = os.environ.get("HF_HOME") or os.path.join(os.path.expanduser("~"), ".cache", "huggingface")
    return os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")


def size_of(folder):
    """Bytes of the files themselves: snapshots hold links to blobs."""
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(base, name)
            if not os.path.islink(path):
                total += os.path.getsize(path)
    return total


def gib(size):
    return "%.1f GiB" % (size / 2.0**30)


def python(about):
    missing = lacking({"python": about}, {})  # noqa: F821 - of check.py
    version = "Python %d.%d.%d" % tuple(sys.version_info[:3])
    where = os.environ.get("CONDA_PREFIX") or os.environ.get("VIRTUAL_ENV")
    if not missing:
        say("ok", "%s (%s) has what the model needs." % (version, sys.executable))
    elif where is None and shutil.which("uv"):
        say("note", "%s lacks %s; uv makes an environment at the first job." % (version, ", ".join(missing)),
            "Nothing, or give a conda environment (env) to spare the first job some minutes.")
    else:
        say("fault", "%s (%s) lacks %s." % (version, sys.executable, ", ".join(missing)),
            "Give a conda environment that has them (--env), or a module that brings uv (--module).")


def gpus(about):
    if not about["gpus"]:
        return
    try:
        found = subprocess.check_output(
            ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"],
            stderr=subprocess.STDOUT,
        ).decode("utf-8", "replace")
    except (OSError, subprocess.CalledProcessError) as error:
        words = getattr(error, "output", b"") or str(error).encode()
        say("fault", "No GPU answers here: %s" % words.decode("utf-8", "replace").strip()[:300],
            "Ask for one (--gpus), in a partition that has them (`yale cluster info`).")
        return
    for line in found.strip().splitlines():
        name, memory, driver = [part.strip() for part in line.split(",")][:3]
        has = float(memory) / 1024
        needs = about.get("gpuMemory") or 0
        # A card sold as 24 GB has a little less of it free.
        if has < needs * 0.92:
            say("fault", "%s has %.0f GiB, and the model needs about %d." % (name, has, needs),
                "Ask for a larger GPU; `yale models` says what each model needs.")
        else:
            say("ok", "%s with %.0f GiB, driver %s" % (name, has, driver))


def weights(about):
    model = about.get("model")
    if not model:
        return
    cache = hub_folder()
    folder = os.path.join(cache, "models--" + model.replace("/", "--"))
    whole = glob.glob(os.path.join(folder, "snapshots", "*", "config.json"))
    partial = glob.glob(os.path.join(folder, "blobs", "*.incomplete"))
    if whole and not partial:
        say("ok", "The weights of %s are in %s (%s)." % (model, cache, gib(size_of(folder))))
    elif os.environ.get("HF_HUB_OFFLINE") == "1":
        say("fault", "The weights of %s are not in %s, and HF_HUB_OFFLINE lets nothing be fetched." % (model, cache),
            "`yale cluster download --model` fetches them in a job of its own.")
    else:
        say("note", "The weights of %s are not in %s%s: the first job fetches them while its GPU waits."
            % (model, cache, ", or not all of them" if whole or partial else ""),
            "`yale cluster download --model` fetches them in a job of its own, without a GPU.")
    place = cache
    while not os.path.isdir(place):
        place = os.path.dirname(place) or "/"
    free = shutil.disk_usage(place).free
    if not whole and free < (about.get("gpuMemory") or 8) * 2**30:
        say("fault", "%s has %s free, which the weights may not fit into." % (place, gib(free)),
            "Make room, or set HF_HOME to a folder on project or scratch storage.")
    else:
        say("ok", "%s free in %s" % (gib(free), place))


def download(about):
    model, revision = about["model"], about.get("revision")
    command = ["hf", "download", model] + (["--revision", revision] if revision else [])
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        if not shutil.which("hf"):
            if not shutil.which("uvx"):
                say("fault", "Neither huggingface_hub nor uv is here to fetch with.",
                    "Give a conda environment that has it (--env), or a module that brings uv (--module).")
                return 69
            command = ["uvx", "--from", "huggingface_hub", *command]
        print("Fetching %s into %s" % (model, hub_folder()), flush=True)
        code = subprocess.call(command)
    else:
        print("Fetching %s into %s" % (model, hub_folder()), flush=True)
        snapshot_download(model, revision=revision)
        code = 0
    if code == 0:
        weights(about)
    return code


if __name__ == "__main__":
    ABOUT = json.loads(sys.argv[1])
    if sys.argv[2:3] == ["download"]:
        sys.exit(download(ABOUT))
    for look in (python, gpus, weights):
        look(ABOUT)
