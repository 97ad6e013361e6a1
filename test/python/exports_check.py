"""Reads what was exported with other people's programs and prints what they found as JSON: schemas by lxml, hOCR by its own
validator, IIIF by its Python models, PDF by qpdf, tables by Python's datasets.

    python exports_check.py FOLDER SCHEMAS CHECK...
"""

import csv
import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pikepdf
from datasets import Dataset, load_from_disk
from hocr_spec import HocrValidator
from iiif_prezi3 import AnnotationPage, Manifest
from lxml import etree

OUT = Path(sys.argv[1])
SCHEMAS = Path(sys.argv[2])


class Local(etree.Resolver):
    """What a schema imports from the web lies beside it."""

    def resolve(self, url, public_id, context):
        return self.resolve_filename(str(SCHEMAS / Path(url).name), context)


def schema(name):
    parser = etree.XMLParser()
    parser.resolvers.add(Local())
    return etree.XMLSchema(etree.parse(str(SCHEMAS / name), parser))


def faults(rules, path):
    tree = etree.parse(str(path))
    rules.validate(tree)
    return [str(e) for e in rules.error_log]


def alto():
    rules = schema("alto-4-4.xsd")
    a = "{http://www.loc.gov/standards/alto/ns-v4#}"
    pages = []
    for path in sorted(OUT.glob("alto/**/*.xml")):
        words = [
            [s.get("CONTENT"), *(float(s.get(k)) for k in ("HPOS", "VPOS", "WIDTH", "HEIGHT"))]
            for s in ElementTree.parse(path).iter(a + "String")
        ]
        pages.append({"faults": faults(rules, path), "words": words})
    return pages


def tei():
    rules = etree.RelaxNG(etree.parse(str(SCHEMAS / "tei_all-4.3.0.rng")))
    found = {str(path.relative_to(OUT)): faults(rules, path) for path in sorted(OUT.glob("**/tei/*.xml"))}
    # A schema that lets everything through would say nothing.
    wrong = etree.fromstring('<TEI xmlns="http://www.tei-c.org/ns/1.0"><text/></TEI>')
    return {"files": found, "refuses": not rules.validate(wrong)}


def page():
    rules = schema("page-2019-07-15.xsd")
    p = "{http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15}"
    pages = []
    for path in sorted(OUT.glob("page/**/*.xml")):
        words = [
            [w.find(f"{p}TextEquiv/{p}Unicode").text, w.find(f"{p}Coords").get("points")]
            for w in ElementTree.parse(path).iter(p + "Word")
        ]
        pages.append({"faults": faults(rules, path), "words": words})
    return pages


def hocr():
    found = []
    for path in sorted(OUT.glob("hocr/**/*.hocr")):
        report = HocrValidator("standard").validate(str(path), parse_strict=True)
        etree.parse(str(path), etree.XMLParser(load_dtd=False, no_network=True))
        # Of some classes the validator says only that it has no rules for them.
        said = [i for i in report.items if i.level != "DEBUG" and not i.message.endswith("not tested in-depth")]
        found.append([f"{i.level} {i.message}" for i in said])
    return found


def annotations():
    found = []
    for path in sorted(OUT.glob("annotations/*/manifest.json")):
        content = json.loads(path.read_text())
        manifest = Manifest(**content)
        pages = [json.loads(p.read_text()) for p in sorted(path.parent.glob("annotations/*.json"))]
        for p in pages:
            AnnotationPage(**p)
        found.append({"canvases": len(manifest.items), "manifest": content, "pages": pages})
    return found


def pdf():
    found = []
    for path in sorted(OUT.glob("pdf/**/*.pdf")):
        with pikepdf.open(path) as document:
            images = [bytes(image.read_raw_bytes()) for p in document.pages for image in p.images.values()]
            found.append(
                {
                    "problems": [str(p) for p in document.check_pdf_syntax()],
                    "pages": len(document.pages),
                    "title": str(document.docinfo.get("/Title", "")),
                    "images": [len(i) for i in images],
                }
            )
    return found


def tables():
    parquet = Dataset.from_parquet(str(OUT / "parquet" / "results.parquet"), cache_dir=str(OUT / "cache"))
    on_disk = load_from_disk(str(OUT / "dataset"))
    with open(OUT / "csv" / "results.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (OUT / "jsonl" / "results.jsonl").read_text().splitlines()]
    return {
        "parquet": {"features": {k: v.dtype for k, v in parquet.features.items()}, "text": parquet["text"][:]},
        "dataset": on_disk["text"][:],
        "csv": rows,
        "jsonl": lines,
    }


CHECKS = {f.__name__: f for f in (alto, page, hocr, annotations, pdf, tables, tei)}
print(json.dumps({name: CHECKS[name]() for name in sys.argv[3:]}))
