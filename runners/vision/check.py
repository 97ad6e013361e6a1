"""Says what main.py needs and this Python does not have: by the names alone, as importing vLLM takes half a minute.

Runs on any Python 3, so that an old one is told from a missing package.
"""

import json
import os
import re
import sys

NEEDED = re.compile(r"^([A-Za-z0-9._-]+)\s*((?:>=|<)[0-9.,<>= ]*)?$")
BOUND = re.compile(r"(>=|<)\s*([0-9.]+)")


def numbers(version):
    return [int(n) for n in re.findall(r"\d+", version.split("+")[0])[:3]]


def lacking(card, options):
    if sys.version_info < (3, 9):
        return ["Python 3.9 or later: %s is %d.%d" % ((sys.executable,) + tuple(sys.version_info[:2]))]
    from importlib import metadata

    found = []
    for line in card["python"]["dependencies"]:
        name, bounds = NEEDED.match(line).groups()
        # A server that runs already brings what it needs.
        if options.get("serverUrl") and name in card["python"]["server"]:
            continue
        try:
            has = metadata.version(name)
        except metadata.PackageNotFoundError:
            found.append(line)
            continue
        for relation, wanted in BOUND.findall(bounds or ""):
            if (numbers(has) >= numbers(wanted)) != (relation == ">="):
                found.append("%s (%s is installed)" % (line, has))
                break
    return found


def main(argv):
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "card.json")) as file:
        card = json.load(file)
    options = {}
    if "--options" in argv[:-1]:
        try:
            with open(argv[argv.index("--options") + 1]) as file:
                options = json.load(file)
        except (IOError, ValueError):
            pass
    found = lacking(card, options if isinstance(options, dict) else {})
    if found:
        print("yale-jobs: %s lacks %s." % (sys.executable, ", ".join(found)))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
