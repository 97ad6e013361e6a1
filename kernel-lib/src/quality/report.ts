/** Web pages in one file that a person looks through: the worst pages first, and two texts side by side. */
import type { ResultRow } from "../dataset/index.js";
import { html, joined, type Markup } from "../display/html.js";
import { thumbnails } from "../display/thumbnails.js";
import { clipped, plain } from "../display/words.js";
import { plainOf } from "../exports/plain.js";
import type { Comparison, PageComparison } from "./compare.js";
import type { PageQuality } from "./page.js";

/** Pages that are shown with picture and text; of the others the figures. */
const SHOWN = 60;
/** Pixels of a picture. */
const WIDTH = 360;
/** Pages taken for blank that are shown, and the pixels of each. */
const BLANK = 200;
const SMALL = 120;
/** Characters of a page's text in the report. */
const TEXT = 6000;

const STYLE = `
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif; }
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .2rem .6rem; border-bottom: 1px solid #8884; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
section { display: grid; grid-template-columns: minmax(0, 24rem) minmax(0, 1fr); gap: 1.5rem; margin: 2rem 0; border-top: 1px solid #8884; padding-top: 1rem; }
section > h2 { grid-column: 1 / -1; font-size: 1.05rem; margin: 0; }
section.two { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); }
img { max-width: 100%; border: 1px solid #8886; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; font: 13px/1.5 ui-monospace, monospace; }
.problem { color: #b3261e; }
@media (prefers-color-scheme: dark) { .problem { color: #ff8a80; } }
ins { background: #2e7d3240; text-decoration: none; }
del { background: #b3261e40; text-decoration: none; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 1rem; }
figure { margin: 0; }
figcaption { font-size: .8rem; overflow-wrap: anywhere; }
.faint { opacity: .75; }
`;

/** A whole document. Nothing in it runs, and nothing is fetched: so says its policy, whatever the text holds. */
function page(title: string, body: Markup): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
${html`<title>${title}</title>`}<style>${STYLE}</style></head>
<body>
${body}
</body></html>
`;
}

/** The report on the quality of some pages: figures of all, and the worst with their pictures. */
export async function qualityReport(
  title: string,
  rows: readonly ResultRow[],
  figures: readonly PageQuality[],
  image: (row: ResultRow) => Promise<{ bytes: Uint8Array } | undefined>,
): Promise<string> {
  const order = figures.map((figure, i) => ({ figure, row: rows[i] })).sort((a, b) => a.figure.score - b.figure.score);
  const shown: Markup[] = [];
  for (const { figure, row } of order.slice(0, SHOWN)) {
    if (row === undefined) continue;
    // One picture after another: a report of sixty pages must not hold sixty scans at once.
    const [picture] = await thumbnails([(await image(row))?.bytes], WIDTH);
    shown.push(html`<section id="${anchor(figure)}"><h2>${name(figure)} · ${figure.score} of 100${problems(figure)}</h2>
<div>${picture === undefined || "missing" in picture ? html`<p class="faint">${picture?.missing ?? ""}</p>` : html`<img alt="Page ${figure.page}" src="${picture.url}">`}</div>
<pre>${clipped(plain(plainOf(row)), TEXT)}</pre></section>
`);
  }
  const bad = figures.filter((f) => f.problems.length > 0).length;
  const blank = figures.filter((f) => f.blank).length;
  return page(
    `Quality of ${title}`,
    html`<h1>Quality of ${plain(title)}</h1>
<p>${figures.length} pages, ${bad} with something to look at${blank === 0 ? "" : html`, <a href="#blank">${blank} taken for blank</a>`}. The worst come first${figures.length > SHOWN ? `; the first ${SHOWN} are shown` : ""}.</p>
<table><thead><tr><th>Page</th><th class="n">Score</th><th class="n">Sure</th><th class="n">Known words</th><th class="n">Repeated</th><th>Language</th><th class="n">Words</th><th>What to look at</th></tr></thead><tbody>
${order.map(({ figure }, i) => tableRow(figure, i < SHOWN))}</tbody></table>
${joined(shown)}${await blanks(order, image)}`,
  );
}

/** The pages that were taken for blank: faint writing is missed there, and a look at each is enough. */
async function blanks(
  order: readonly { figure: PageQuality; row: ResultRow | undefined }[],
  image: (row: ResultRow) => Promise<{ bytes: Uint8Array } | undefined>,
): Promise<Markup | undefined> {
  const taken = order.filter(({ figure }) => figure.blank);
  if (taken.length === 0) return undefined;
  const shown: Markup[] = [];
  for (const { figure, row } of taken.slice(0, BLANK)) {
    const [picture] = await thumbnails([row === undefined ? undefined : (await image(row))?.bytes], SMALL);
    const seen =
      picture === undefined || "missing" in picture
        ? html`<span class="faint">${picture?.missing ?? ""}</span>`
        : html`<img alt="Page ${figure.page}" src="${picture.url}">`;
    shown.push(html`<figure>${seen}<figcaption>${name(figure)}</figcaption></figure>
`);
  }
  const more = taken.length > BLANK ? `; the first ${BLANK} are shown` : "";
  return html`<h2 id="blank">Taken for blank</h2>
<p>${taken.length} ${taken.length === 1 ? "page" : "pages"}, on which nothing was found before the model was asked${more}. Is there writing on one of them?</p>
<div class="grid">
${shown}</div>
`;
}

function tableRow(f: PageQuality, linked: boolean): Markup {
  const percent = (share: number | null) => (share === null ? "–" : `${Math.round(share * 100)} %`);
  return html`<tr><td>${linked ? html`<a href="#${anchor(f)}">${name(f)}</a>` : name(f)}</td><td class="n">${f.score}</td><td class="n">${f.confidence === null ? "–" : `${Math.round(f.confidence)} %`}</td><td class="n">${percent(f.dictionary)}</td><td class="n">${percent(f.repetition)}</td><td>${f.language ?? "–"}</td><td class="n">${f.words}</td><td>${plain(f.problems.join("; "))}</td></tr>
`;
}

function anchor(f: { key: string }): string {
  return `page-${Buffer.from(f.key, "utf8").toString("base64url")}`;
}

function name(f: { source: string; page: number }): string {
  return `${clipped(plain(f.source), 120)}, page ${f.page}`;
}

function problems(f: PageQuality): Markup | undefined {
  return f.problems.length === 0 ? undefined : html` · <span class="problem">${plain(f.problems.join("; "))}</span>`;
}

/** The report of a comparison: the pages that differ most first, both texts side by side with what differs marked. */
export async function comparisonReport(title: string, comparison: Comparison): Promise<string> {
  const order = [...comparison.pages].sort((a, b) => b.characterErrorRate - a.characterErrorRate);
  const shown: Markup[] = [];
  for (const of of order.slice(0, SHOWN)) shown.push(await sideBySide(of));
  const percent = (share: number) => `${(share * 100).toFixed(2)} %`;
  return page(
    title,
    html`<h1>${plain(title)}</h1>
<p>Character error rate ${percent(comparison.characterErrorRate)}, word error rate ${percent(comparison.wordErrorRate)}, over ${comparison.pages.length} pages.${comparison.unpaired.length === 0 ? "" : ` ${comparison.unpaired.length} pages are in one of both only.`}</p>
<p class="faint">Left what was recognised, right what it is measured against.</p>
<table><thead><tr><th>Page</th><th class="n">Characters wrong</th><th class="n">Words wrong</th></tr></thead><tbody>
${order.map(
  (
    p,
  ) => html`<tr><td>${name(p)}</td><td class="n">${percent(p.characterErrorRate)}</td><td class="n">${percent(p.wordErrorRate)}</td></tr>
`,
)}</tbody></table>
${joined(shown)}`,
  );
}

async function sideBySide(of: PageComparison): Promise<Markup> {
  const { diffWordsWithSpace } = await import("diff");
  // Texts that have nothing in common take for ever to align, and there is nothing to see.
  const changes = diffWordsWithSpace(of.text, of.reference, { timeout: 2000 }) ?? [
    { value: of.text, removed: true, added: false },
    { value: of.reference, removed: false, added: true },
  ];
  const left = changes
    .filter((c) => !c.added)
    .map((c) => (c.removed ? html`<del>${plain(c.value)}</del>` : plain(c.value)));
  const right = changes
    .filter((c) => !c.removed)
    .map((c) => (c.added ? html`<ins>${plain(c.value)}</ins>` : plain(c.value)));
  return html`<section class="two"><h2>${name(of)} · ${(of.characterErrorRate * 100).toFixed(2)} % of the characters, ${(of.wordErrorRate * 100).toFixed(2)} % of the words</h2>
<pre>${left}</pre><pre>${right}</pre></section>
`;
}
