/** IIIF documents for tests, in few words, and what is read of them. */
import { imageUrl, pageImages } from "../../kernel-lib/src/sources/iiif-image.js";
import { type Manifest, readPresentation } from "../../kernel-lib/src/sources/iiif-read.js";

/** Where the documents of these helpers were found. */
export const at = "https://example.org/manifest.json";
/** An image service of version 2. */
export const service2 = (id: string, more: object = {}) => ({
  "@context": "http://iiif.io/api/image/2/context.json",
  "@id": id,
  profile: "http://iiif.io/api/image/2/level2.json",
  ...more,
});
/** An image service of version 3. */
export const service3 = (id: string, more: object = {}) => ({ id, type: "ImageService3", profile: "level2", ...more });
/** What is painted on a canvas of version 3. */
export const painted3 = (body: unknown, target = "c1") => [
  { type: "AnnotationPage", items: [{ type: "Annotation", motivation: "painting", body, target }] },
];
/** A canvas of version 3, 1000 × 1500. */
export const canvas3 = (id: string, body: unknown, more: object = {}) => ({
  id,
  type: "Canvas",
  width: 1000,
  height: 1500,
  items: painted3(body, id),
  ...more,
});
/** A manifest of version 3. */
export const manifest3 = (...items: unknown[]) => ({
  "@context": "http://iiif.io/api/presentation/3/context.json",
  id: at,
  type: "Manifest",
  label: { en: ["Title"], de: ["Titel"] },
  items,
});
/** A canvas of version 2, 1000 × 1500. */
export const canvas2 = (id: string, resource: unknown, more: object = {}) => ({
  "@id": id,
  "@type": "sc:Canvas",
  label: id,
  width: 1000,
  height: 1500,
  images: [{ "@type": "oa:Annotation", motivation: "sc:painting", resource, on: id }],
  ...more,
});
/** An image of version 2. */
export const image2 = (id: string, service?: unknown) => ({
  "@id": id,
  "@type": "dctypes:Image",
  ...(service ? { service } : {}),
});
/** A manifest of version 2. */
export const manifest2 = (canvases: unknown[], more: object = {}) => ({
  "@context": "http://iiif.io/api/presentation/2/context.json",
  "@id": at,
  "@type": "sc:Manifest",
  label: "Title",
  sequences: [{ canvases }],
  ...more,
});

/** A manifest, read. */
export function read(json: unknown): Manifest {
  const doc = readPresentation(json, at);
  if (doc?.type !== "manifest") throw new Error("It was not read as a manifest.");
  return doc;
}
/** The address of each page, as it is asked for first. */
export const urls = (json: unknown, width?: number) =>
  read(json).canvases.flatMap((c) => pageImages(c.images).taken.map((i) => imageUrl(i, width)));
