/** Test material made on the spot: PDFs, images, text. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PDFDocument, StandardFonts } from "pdf-lib";
import sharp from "sharp";

/** Sentence `n` of a text that any OCR engine should read without a fault. */
export function sentence(n: number): string {
  const words = [
    "library",
    "manuscript",
    "collection",
    "archive",
    "letter",
    "volume",
    "catalogue",
    "engraving",
    "portrait",
    "journal",
  ];
  return `The ${words[n % 10]} number ${n} was opened in the reading room.`;
}

/** A born-digital PDF; page p holds `lines` sentences. Returns its path. */
export async function textPdf(folder: string, name: string, pages: number, lines = 4): Promise<string> {
  const doc = await PDFDocument.create();
  const font = await doc.embedFont(StandardFonts.TimesRoman);
  doc.setTitle(`Test of ${pages}`);
  for (let p = 1; p <= pages; p++) {
    const page = doc.addPage([420, 60 + lines * 24]);
    for (let l = 0; l < lines; l++)
      page.drawText(sentence(p * 10 + l), { x: 24, y: 30 + (lines - 1 - l) * 24, size: 14, font });
  }
  const path = join(folder, name);
  writeFileSync(path, await doc.save());
  return path;
}

/** A JPEG with a gradient that depends on `seed`, so that no two pages are equal. */
export async function jpeg(seed: number, width = 400, height = 500): Promise<Buffer> {
  const raw = Buffer.alloc(width * height * 3);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const at = (y * width + x) * 3;
      raw[at] = (x + seed * 40) & 255;
      raw[at + 1] = (y + seed * 20) & 255;
      raw[at + 2] = (x ^ y) & 255;
    }
  return sharp(raw, { raw: { width, height, channels: 3 } })
    .jpeg({ quality: 90 })
    .toBuffer();
}

/** Pages of text as JPEGs of so many bytes each, most of them comments; page p holds `sentence(p * 10)`. */
export async function heavyJpegs(folder: string, pages: number, bytes: number): Promise<Buffer[]> {
  const pdf = await textPdf(folder, "heavy.pdf", pages, 1);
  execFileSync("pdftoppm", ["-png", "-r", "150", pdf, join(folder, "heavy")]);
  const names = readdirSync(folder).filter((name) => /^heavy-\d+\.png$/.test(name));
  return Promise.all(
    names.sort().map(async (name) => {
      const image = await sharp(join(folder, name)).jpeg().toBuffer();
      const parts = [image.subarray(0, 2)];
      for (let left = bytes - image.length; left > 0; left -= 65_537) {
        const head = Buffer.from([0xff, 0xfe, 0xff, 0xff]);
        parts.push(head, randomBytes(65_533));
      }
      return Buffer.concat([...parts, image.subarray(2)]);
    }),
  );
}

/** A PDF of full-page JPEGs, as scanners make them. */
export async function scanPdf(folder: string, name: string, images: readonly Buffer[]): Promise<string> {
  const doc = await PDFDocument.create();
  for (const bytes of images) {
    const image = await doc.embedJpg(bytes);
    const [w, h] = [image.width * 0.72, image.height * 0.72];
    doc.addPage([w, h]).drawImage(image, { x: 0, y: 0, width: w, height: h });
  }
  const path = join(folder, name);
  writeFileSync(path, await doc.save());
  return path;
}

/** The PDF at `path`, encrypted with a password; pdf-lib can't encrypt, so Python's pikepdf does. */
export async function encryptedPdf(python: string, path: string): Promise<Buffer> {
  const code =
    "import sys, io, pikepdf; p = pikepdf.open(sys.argv[1]); b = io.BytesIO(); p.save(b, encryption=pikepdf.Encryption(owner='o', user='secret')); sys.stdout.buffer.write(b.getvalue())";
  return execFileSync(python, ["-c", code, path], { maxBuffer: 64 << 20 });
}

/** A whole PDF with an empty page tree. */
export function pdfWithoutPages(): string {
  const objects = ["<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [] /Count 0 >>"];
  let text = "%PDF-1.4\n";
  const offsets = objects.map((body, i) => {
    const at = text.length;
    text += `${i + 1} 0 obj\n${body}\nendobj\n`;
    return String(at).padStart(10, "0");
  });
  const xref = text.length;
  text += `xref\n0 3\n0000000000 65535 f \n${offsets.map((o) => `${o} 00000 n \n`).join("")}`;
  return `${text}trailer\n<< /Size 3 /Root 1 0 R >>\nstartxref\n${xref}\n%%EOF\n`;
}
