/** ALTO 4.4 (loc.gov/standards/alto): one page a file, text with the place of each word, in pixels. */
import type { Direction } from "./bidi.js";
import { type Box, type Line, type Region, share } from "./layout.js";
import { type ExportPage, softwareOf } from "./pages.js";
import { attribute, type Xml, xml } from "./xml.js";

/** Step of processing that boxes refer to which no engine measured. */
const ESTIMATED = "laid-out";

/** The ALTO file of a page. */
export async function altoOf(page: ExportPage): Promise<string> {
  const { width, height, regions } = await page.layout();
  const { row } = page;
  const software = softwareOf(row);
  const tags = [...new Set(regions.map((r) => r.category))];
  const tag = (category: string) => `tag-${tags.indexOf(category) + 1}`;
  const estimated = regions.some((r) => r.estimated || r.lines.some((l) => l.wordsEstimated));
  const document = xml`<?xml version="1.0" encoding="UTF-8"?>
<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://www.loc.gov/standards/alto/ns-v4# http://www.loc.gov/standards/alto/v4/alto-4-4.xsd" SCHEMAVERSION="4.4">
  <Description>
    <MeasurementUnit>pixel</MeasurementUnit>
    <sourceImageInformation>
      <fileName>${row.source}</fileName>
      <fileIdentifier>${row.key}</fileIdentifier>
    </sourceImageInformation>
    <Processing ID="recognition">
      <processingCategory>contentGeneration</processingCategory>
      <processingStepDescription>${row.error === null ? "Text recognition" : `Text recognition failed: ${row.error}`}</processingStepDescription>
      ${row.inferenceInfo === null ? undefined : xml`<processingStepSettings>${JSON.stringify(row.inferenceInfo)}</processingStepSettings>`}
      <processingSoftware>
        <softwareName>${software.name}</softwareName>
        <softwareVersion>${software.version}</softwareVersion>
      </processingSoftware>
    </Processing>${
      estimated
        ? xml`
    <Processing ID="${ESTIMATED}">
      <processingCategory>contentModification</processingCategory>
      <processingStepDescription>The engine gave no boxes here: lines and words were laid out by length of text inside what it gave.</processingStepDescription>
    </Processing>`
        : undefined
    }
  </Description>${
    tags.length === 0
      ? undefined
      : xml`
  <Tags>${tags.map(
    (label) => xml`
    <LayoutTag ID="${tag(label)}" LABEL="${label}"/>`,
  )}
  </Tags>`
  }
  <Layout>
    <Page ID="page-${page.number}" PHYSICAL_IMG_NR="${row.page}"${attribute("PRINTED_IMG_NR", row.label === null ? undefined : page.label)} WIDTH="${width}" HEIGHT="${height}"${attribute("PC", row.confidence === null ? undefined : share(row.confidence))} PROCESSINGREFS="recognition">
      <PrintSpace${place([0, 0, width, height])}>${regions.map((r, i) => block(r, i + 1, tag(r.category)))}
      </PrintSpace>
    </Page>
  </Layout>
</alto>
`;
  return document.text;
}

function block(region: Region, number: number, tag: string): Xml {
  const id = `block-${number}`;
  const head = xml`ID="${id}" TAGREFS="${tag}"${region.estimated ? attribute("PROCESSINGREFS", ESTIMATED) : undefined}${place(region.box)}`;
  const direction = baseDirection(region.direction);
  if (region.lines.length === 0)
    return xml`
        <${element(region)} ${head}/>`;
  return xml`
        <TextBlock ${head}${direction}>${region.lines.map((l, i) => line(l, `${id}-line-${i + 1}`))}
        </TextBlock>`;
}

/** What a region without text is. */
function element(region: Region): Xml {
  return region.category === "Picture" ? xml`Illustration` : xml`TextBlock`;
}

function line(of: Line, id: string): Xml {
  const words = of.words.map((word, i) => {
    const next = of.words[i + 1];
    return xml`
            <String ID="${id}-word-${i + 1}" CONTENT="${word.text}"${place(word.box)}${attribute("WC", word.confidence === null ? undefined : share(word.confidence))}/>${next === undefined ? undefined : xml`<SP/>`}`;
  });
  return xml`
          <TextLine ID="${id}"${of.wordsEstimated ? attribute("PROCESSINGREFS", ESTIMATED) : undefined}${place(of.box)}${baseDirection(of.direction)}>${words}
          </TextLine>`;
}

/** Left to right is what is taken where nothing is said. */
function baseDirection(direction: Direction): Xml {
  return attribute("BASEDIRECTION", direction === "rtl" ? direction : undefined);
}

function place([left, top, right, bottom]: Box): Xml {
  return xml` HPOS="${left}" VPOS="${top}" WIDTH="${right - left}" HEIGHT="${bottom - top}"`;
}
