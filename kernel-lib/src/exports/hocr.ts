/** hOCR 1.2 (kba.github.io/hocr-spec): XHTML in which every line and word says its box; any number of pages a file. */
import type { Direction } from "./bidi.js";
import type { Box, Line, Region } from "./layout.js";
import { type ExportPage, softwareOf } from "./pages.js";
import { attribute, type Xml, xml } from "./xml.js";

/** Classes of regions that are no paragraphs, by the categories of the engines. */
const CLASSES: Readonly<Record<string, string>> = {
  Table: "ocr_table",
  Picture: "ocr_photo",
  Formula: "ocr_display",
  Caption: "ocr_caption",
  "Page-header": "ocr_header",
  "Page-footer": "ocr_footer",
};

/** The hOCR file of some pages, part by part. */
export async function* hocrOf(title: string, pages: readonly ExportPage[]): AsyncGenerator<string> {
  const software = softwareOf(pages[0]?.row);
  const info = pages[0]?.row.inferenceInfo as { lang?: unknown } | null | undefined;
  yield xml`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml">
<head>
<title>${title}</title>
<meta http-equiv="Content-Type" content="text/html;charset=utf-8"/>
<meta name="ocr-system" content="${software.text}"/>
<meta name="ocr-capabilities" content="ocr_page ocr_carea ocr_par ocr_line ocrx_word ocr_table ocr_photo ocr_display ocr_caption ocr_header ocr_footer ocrp_dir ocrp_wconf"/>
<meta name="ocr-langs" content="${typeof info?.lang === "string" ? info.lang.replaceAll("+", " ") : "unknown"}"/>
<meta name="ocr-scripts" content="unknown"/>
<meta name="ocr-number-of-pages" content="${pages.length}"/>
</head>
<body>
`.text;
  for (const page of pages) yield (await pageOf(page)).text;
  yield "</body>\n</html>\n";
}

async function pageOf(page: ExportPage): Promise<Xml> {
  const { width, height, regions } = await page.layout();
  const id = `page_${page.number}`;
  const title = `image "${page.row.key.replace(/["\\]/g, "_")}"; bbox 0 0 ${width} ${height}; ppageno ${page.number - 1}`;
  return xml`<div class="ocr_page" id="${id}" title="${title}">
${regions.map((r, i) => region(r, `${id}_${i + 1}`))}</div>
`;
}

function region(of: Region, id: string): Xml {
  const special = CLASSES[of.category];
  if (of.lines.length === 0)
    return xml`<div class="${special ?? "ocr_carea"}" id="block_${id}" title="${bbox(of.box)}"></div>
`;
  const lines = of.lines.map((l, i) => line(l, `${id}_${i + 1}`));
  // A heading is a heading to whoever reads the file in a browser, too; hOCR has paragraphs in <p> alone.
  const level = of.category === "Title" ? 1 : of.category === "Section-header" ? 2 : undefined;
  const heading = level === undefined ? undefined : xml` role="heading" aria-level="${level}"`;
  const text = xml`<p class="ocr_par" id="par_${id}"${heading}${dir(of.direction)} title="${bbox(of.box)}">${lines}</p>`;
  return xml`<div class="${special ?? "ocr_carea"}" id="block_${id}" title="${bbox(of.box)}">
${text}
</div>
`;
}

function line(of: Line, id: string): Xml {
  const words = of.words.map((word, i) => {
    const confidence = word.confidence === null ? "" : `; x_wconf ${Math.round(word.confidence)}`;
    return xml`<span class="ocrx_word" id="word_${id}_${i + 1}" title="${bbox(word.box)}${confidence}">${word.text}</span>${i + 1 < of.words.length ? " " : undefined}`;
  });
  // hOCR has no property for this, and its validator takes none that it does not know; a further class is HTML's way.
  const estimated = of.estimated ? " estimated_line" : of.wordsEstimated ? " estimated_words" : "";
  return xml`<span class="ocr_line${estimated}" id="line_${id}"${dir(of.direction)} title="${bbox(of.box)}">${words}</span>
`;
}

/** Left to right is what HTML takes where nothing is said. */
function dir(direction: Direction): Xml {
  return attribute("dir", direction === "rtl" ? direction : undefined);
}

function bbox(box: Box): string {
  return `bbox ${box.join(" ")}`;
}
