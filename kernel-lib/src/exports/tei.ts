/** A TEI P5 document to begin an edition with: header, the places on the page images, and the text between page breaks. */
import type { Region } from "./layout.js";
import { type ExportPage, softwareOf, type Work } from "./pages.js";
import { attribute, wellFormed, type Xml, xml } from "./xml.js";

/** The TEI file of a work, part by part. */
export async function* teiOf(work: Omit<Work, "name">): AsyncGenerator<string> {
  const software = softwareOf(work.pages[0]?.row);
  const rights = work.pages[0]?.metadata.rights;
  yield xml`<?xml version="1.0" encoding="UTF-8"?>
<TEI xmlns="http://www.tei-c.org/ns/1.0">
  <teiHeader>
    <fileDesc>
      <titleStmt>
        <title>${work.title}</title>
        <respStmt><resp>text recognition</resp><name>${software.text}</name></respStmt>
      </titleStmt>
      <publicationStmt><p>${typeof rights === "string" ? `Unpublished; rights of the source: ${rights}` : "Unpublished."}</p></publicationStmt>
      <sourceDesc><bibl><idno>${work.source}</idno></bibl></sourceDesc>
    </fileDesc>
    <encodingDesc><p>Made by machine and not corrected. Lines end where the engine ended them.</p></encodingDesc>
  </teiHeader>
  <facsimile>
`.text;
  for (const page of work.pages) yield (await surface(page)).text;
  yield "  </facsimile>\n  <text>\n    <body>\n      <div>\n";
  for (const page of work.pages) yield (await written(page)).text;
  yield "      </div>\n    </body>\n  </text>\n</TEI>\n";
}

async function surface(page: ExportPage): Promise<Xml> {
  const { width, height, regions } = await page.layout();
  const { url } = page.metadata;
  return xml`    <surface xml:id="page-${page.number}" n="${page.label}" ulx="0" uly="0" lrx="${width}" lry="${height}">
      <graphic url="${typeof url === "string" ? escapedUri(url) : encodeURI(wellFormed(page.row.key))}" width="${width}px" height="${height}px"/>
${regions.map(
  ({ box, category }, i) =>
    xml`      <zone xml:id="zone-${page.number}-${i + 1}" type="${word(category)}" ulx="${box[0]}" uly="${box[1]}" lrx="${box[2]}" lry="${box[3]}"/>
`,
)}    </surface>
`;
}

async function written(page: ExportPage): Promise<Xml> {
  const { regions } = await page.layout();
  const failed =
    page.row.error === null
      ? undefined
      : xml`        <gap reason="failed"><desc>${page.row.error}</desc></gap>
`;
  return xml`        <pb facs="#page-${page.number}" n="${page.label}"/>
${failed}${regions.map((region, i) => textOf(region, `#zone-${page.number}-${i + 1}`))}`;
}

function textOf(region: Region, facs: string): Xml | undefined {
  if (region.category === "Picture")
    return xml`        <figure facs="${facs}"/>
`;
  if (region.text === "") return undefined;
  const lines = region.lines.map((l, i) => xml`${i === 0 ? undefined : xml`<lb/>`}${l.text}`);
  if (region.category === "Page-header" || region.category === "Page-footer")
    return xml`        <fw facs="${facs}" type="${region.category === "Page-header" ? "header" : "footer"}">${lines}</fw>
`;
  // TEI's <head> may only open a division; a heading between paragraphs is a label.
  const rend = region.category === "Text" ? undefined : word(region.category);
  if (region.category === "Title" || region.category === "Section-header")
    return xml`        <label facs="${facs}"${attribute("type", rend)}>${lines}</label>
`;
  return xml`        <p facs="${facs}"${attribute("rend", rend)}>${lines}</p>
`;
}

/** An address in which what RFC 3986 has no place for is escaped, and what is escaped already stays. */
function escapedUri(address: string): string {
  return wellFormed(address).replace(/%(?![\da-f]{2})|[^\x21-\x7e]|["<>\\^`{|}]/giu, encodeURIComponent);
}

/** A category as a word of XML: `section-header`. */
function word(category: string): string {
  return (
    category
      .toLowerCase()
      .replace(/[^a-z0-9-]+/g, "-")
      .replace(/^[^a-z]+/, "") || "text"
  );
}
