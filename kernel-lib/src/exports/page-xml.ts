/** PAGE XML, page content of 2019-07-15 (ocr-d.de and Transkribus read this one): one page a file, polygons in pixels. */
import type { Direction } from "./bidi.js";
import { type Box, type Line, type Region, share } from "./layout.js";
import { type ExportPage, softwareOf } from "./pages.js";
import { attribute, type Xml, xml } from "./xml.js";

const NAMESPACE = "http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15";

/** Types of text regions, by the categories of the engines. */
const TYPES: Readonly<Record<string, string>> = {
  Title: "heading",
  "Section-header": "heading",
  Caption: "caption",
  Footnote: "footnote",
  "Page-header": "header",
  "Page-footer": "footer",
};

/** The PAGE file of a page. `image` is the name of the image that its boxes are in. */
export async function pageXmlOf(page: ExportPage): Promise<string> {
  const { width, height, regions } = await page.layout();
  const { row } = page;
  const software = softwareOf(row);
  const at = new Date().toISOString().replace(/\.\d+Z$/, "Z");
  const document = xml`<?xml version="1.0" encoding="UTF-8"?>
<PcGts xmlns="${NAMESPACE}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="${NAMESPACE} ${NAMESPACE}/pagecontent.xsd">
  <Metadata>
    <Creator>Yale Jobs</Creator>
    <Created>${at}</Created>
    <LastChange>${at}</LastChange>${
      row.error === null
        ? undefined
        : xml`
    <Comments>Text recognition failed: ${row.error}</Comments>`
    }
    <MetadataItem type="processingStep" name="recognition" value="${software.text}"/>
  </Metadata>
  <Page imageFilename="${row.key}" imageWidth="${width}" imageHeight="${height}"${attribute("conf", row.confidence === null ? undefined : share(row.confidence))}>${
    regions.length === 0
      ? undefined
      : xml`
    <ReadingOrder>
      <OrderedGroup id="order">${regions.map(
        (_, i) => xml`
        <RegionRefIndexed index="${i}" regionRef="region-${i + 1}"/>`,
      )}
      </OrderedGroup>
    </ReadingOrder>`
  }${regions.map((r, i) => region(r, `region-${i + 1}`))}
  </Page>
</PcGts>
`;
  return document.text;
}

function region(of: Region, id: string): Xml {
  const about = xml`id="${id}" custom="${`structure {type:${of.category.replace(/[^\w-]/g, "")};}${of.estimated ? " estimated {box:true;}" : ""}`}"`;
  if (of.category === "Picture" && of.text === "")
    return xml`
    <ImageRegion ${about}>${coords(of.box)}</ImageRegion>`;
  // Text stands in text regions only: a table and a formula hold one.
  if (of.category === "Table" || of.category === "Formula") {
    const name = of.category === "Table" ? xml`TableRegion` : xml`MathsRegion`;
    return xml`
    <${name} ${about}>${coords(of.box)}${of.text === "" ? undefined : textRegion(of, xml`id="${id}-text"`)}
    </${name}>`;
  }
  return textRegion(of, xml`${about} type="${TYPES[of.category] ?? "paragraph"}"`);
}

function textRegion(of: Region, about: Xml): Xml {
  const id = /id="([^"]+)"/.exec(about.text)?.[1] ?? "";
  return xml`
    <TextRegion ${about}${reading(of.direction)}>${coords(of.box)}${of.lines.map((l, i) => line(l, `${id}-line-${i + 1}`))}
      <TextEquiv><Unicode>${of.text}</Unicode></TextEquiv>
    </TextRegion>`;
}

function line(of: Line, id: string): Xml {
  const words = of.words.map(
    (word, i) => xml`
        <Word id="${id}-word-${i + 1}">${coords(word.box)}<TextEquiv${confidence(word.confidence)}><Unicode>${word.text}</Unicode></TextEquiv></Word>`,
  );
  const custom = of.estimated
    ? "estimated {line:true; words:true;}"
    : of.wordsEstimated
      ? "estimated {words:true;}"
      : undefined;
  return xml`
      <TextLine id="${id}"${attribute("custom", custom)}${reading(of.direction)}>${coords(of.box)}${words}
        <TextEquiv${confidence(of.confidence)}><Unicode>${of.text}</Unicode></TextEquiv>
      </TextLine>`;
}

/** Left to right is what is taken where nothing is said. */
function reading(direction: Direction): Xml {
  return attribute("readingDirection", direction === "rtl" ? "right-to-left" : undefined);
}

function coords([left, top, right, bottom]: Box): Xml {
  return xml`<Coords points="${left},${top} ${right},${top} ${right},${bottom} ${left},${bottom}"/>`;
}

function confidence(percent: number | null): Xml {
  return attribute("conf", percent === null ? undefined : share(percent));
}
