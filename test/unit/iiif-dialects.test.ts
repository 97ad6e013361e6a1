import { describe, expect, it } from "vitest";
import type { CanvasImage } from "../../kernel-lib/src/sources/iiif-body.js";
import type { Collection } from "../../kernel-lib/src/sources/iiif-collection.js";
import { imageUrl, located, mustBeAsked, shownSize } from "../../kernel-lib/src/sources/iiif-image.js";
import { languages, preferred, readPresentation } from "../../kernel-lib/src/sources/iiif-read.js";
import {
  at,
  canvas2,
  canvas3,
  image2,
  manifest2,
  manifest3,
  painted3,
  read,
  service2,
  service3,
  urls,
} from "../support/iiif.js";

/** The one image of a manifest with one canvas. */
function imageOf(json: unknown): CanvasImage {
  const image = read(json).canvases[0]?.images[0];
  if (image === undefined) throw new Error("It has no image.");
  return image;
}
const whole = "https://i.example/x/full/max/0/default.jpg";
const sized = (service: object, more: object = {}) => ({
  id: whole,
  type: "Image",
  width: 4000,
  height: 6000,
  service: service3("https://i.example/x", { width: 4000, height: 6000, ...service }),
  ...more,
});
/** What is asked for, between the service's id and the rotation. */
const asked = (body: unknown, width?: number, more: object = {}) =>
  urls(manifest3(canvas3("c", body, more)), width)[0]
    ?.split("/")
    .slice(4, -2)
    .join("/");

describe("an image of at most so many pixels across", () => {
  const derivative = { id: "https://i.example/x/full/500,/0/default.jpg", type: "Image", width: 500, height: 750 };

  it("is not taken for as small as a derivative of it that the manifest names", () => {
    const body = { ...derivative, service: service3("https://i.example/x") };
    const large = { width: 4000, height: 6000 };
    expect(asked(body, 1500, large)).toBe("full/1500,");
    const image = imageOf(manifest3(canvas3("c", body, large)));
    expect(shownSize(image)).toEqual(large);
    // The canvas need not have the size of the image: who must know it asks the service.
    expect(mustBeAsked(image, 1500)).toBe(true);
    expect(mustBeAsked(image, undefined)).toBe(false);
    expect(mustBeAsked(imageOf(manifest3(canvas3("c", sized({})))), 1500)).toBe(false);
  });

  it("is as large as a body that asks for all of it", () => {
    const body = { ...sized({}), service: service3("https://i.example/x") };
    expect(asked(body, 4000, { width: 40, height: 60 })).toBe("full/max");
    expect(asked(body, 1500, { width: 40, height: 60 })).toBe("full/1500,");
  });

  it.each<[string, object, number, string]>([
    ["a width", { maxWidth: 800 }, 2000, "full/max"],
    ["a width, below it", { maxWidth: 800 }, 500, "full/500,"],
    ["a width that is the height's as well", { maxWidth: 900 }, 700, "full/max"],
    ["a width and a height", { maxWidth: 900, maxHeight: 6000 }, 700, "full/700,"],
    ["an area", { maxArea: 240_000 }, 400, "full/max"],
    ["an area, below it", { maxArea: 240_000 }, 399, "full/399,"],
  ])("keeps within what a service declares as the most: %s", (_, limits, width, expected) =>
    expect(asked(sized(limits), width)).toBe(expected),
  );

  it("keeps within limits of version 2, too", () => {
    const service = service2("https://i.example/x", {
      width: 1000,
      height: 4000,
      profile: ["http://iiif.io/api/image/2/level2.json", { maxArea: 250_000, maxWidth: 1000 }],
    });
    expect(asked({ id: whole, type: "Image", service }, 900)).toBe("full/max");
    expect(asked({ id: whole, type: "Image", service }, 200)).toBe("full/200,");
  });

  it("is the largest listed size that is not larger, of a service with no others", () => {
    const sizes = [500, 1000, 2000].map((width) => ({ width, height: width * 1.5 }));
    const body = sized({ profile: "level0", sizes });
    expect(asked(body, 800)).toBe("full/500,750");
    expect(asked(body, 1000)).toBe("full/1000,1500");
    expect(asked(body, 100)).toBe("full/500,750");
    expect(asked(body)).toBe("full/max");
  });

  it("is never made larger, and is measured as it is shown: cut and turned", () => {
    const part = (region: string, rotation?: number) => ({
      type: "SpecificResource",
      source: sized({}),
      selector: { type: "ImageApiSelector", region, ...(rotation === undefined ? {} : { rotation }) },
    });
    expect(asked(part("100,100,500,600"), 800)).toBe("100,100,500,600/max");
    expect(asked(part("pct:0,0,10,10"), 800)).toBe("pct:0,0,10,10/max");
    expect(asked(part("pct:0,0,50,10"), 800)).toBe("pct:0,0,50,10/800,");
    expect(asked(part("square"), 4000)).toBe("square/max");
    // 600 × 500 when it lies: 250 wide before the turn are 300 high, which is what is across in the end.
    expect(asked(part("100,100,500,600", 90), 300)).toBe("100,100,500,600/250,");
    const shown = (body: unknown) => shownSize(imageOf(manifest3(canvas3("c", body))));
    expect(shown(part("100,100,500,600"))).toEqual({ width: 500, height: 600 });
    expect(shown(part("3900,0,500,600", 90))).toEqual({ width: 600, height: 100 });
    expect(shown(part("full", 180))).toEqual({ width: 4000, height: 6000 });
    expect(shown(part("pct:some,0,10,10"))).toEqual({});
  });
});

describe("an image service", () => {
  const address = (service: unknown, id = "https://i.example/own.jpg") =>
    urls(manifest2([canvas2("c", image2(id, service))]))[0];

  it("is one that says so; one that says nothing only if no other does; one that says otherwise never", () => {
    const geography = {
      "@context": "http://geojson.org/contexts/geojson-base.jsonld",
      "@id": "https://g.example/1.json",
    };
    const bare = { "@id": "https://b.example/x" };
    expect(address([geography, service2("https://i.example/x")])).toBe("https://i.example/x/full/full/0/default.jpg");
    expect(address([bare, service2("https://i.example/x")])).toBe("https://i.example/x/full/full/0/default.jpg");
    expect(address([geography, bare])).toBe("https://b.example/x/full/full/0/default.jpg");
    expect(address(geography)).toBe("https://i.example/own.jpg");
  });

  it("of version 1.0 has no number in its profile", () => {
    const profile = "http://library.stanford.edu/iiif/image-api/compliance.html#level0";
    expect(address({ "@id": "https://i.example/x", profile })).toBe("https://i.example/x/full/full/0/native.jpg");
  });

  it("may be named by the address of its information", () => {
    expect(address(service2("https://i.example/x/info.json"))).toBe("https://i.example/x/full/full/0/default.jpg");
  });

  it("and an image with a relative address are where their manifest is", () => {
    const image = imageOf(manifest3(canvas3("c", { id: "i/own.jpg", type: "Image", service: service3("/iiif/x") })));
    expect(located(image, "https://l.example/m/1.json")).toMatchObject({
      id: "https://l.example/m/i/own.jpg",
      service: { id: "https://l.example/iiif/x" },
    });
    expect(located({ id: "file:///etc/passwd", alternatives: 0 }, "https://l.example/m").id).toBe("file:///etc/passwd");
  });
});

describe("what is painted", () => {
  it("on all of a canvas is the page, though its target says from where to where", () => {
    const painting = (id: string, target: string) => ({ motivation: "painting", body: { id, type: "Image" }, target });
    const page = (...targets: string[]) =>
      urls(
        manifest3({
          id: "c",
          type: "Canvas",
          width: 1000,
          height: 1500,
          items: [{ items: targets.map((t, i) => painting(`${i}.jpg`, t)) }],
        }),
      );
    expect(page("c#xywh=0,0,1000,1500", "c#xywh=100,100,200,200")).toEqual(["0.jpg"]);
    expect(page("c#xywh=100,100,200,200", "c#xywh=pixel:0,0,1000,1499")).toEqual(["1.jpg"]);
    expect(page("c#xywh=pct:0,0,50,50", "c#xywh=percent:0,0,100,100")).toEqual(["1.jpg"]);
    expect(page("c#xywh=0,0,500,1500", "c#xywh=500,0,500,1500")).toEqual(["0.jpg", "1.jpg"]);
  });

  it("may be a part of an image by a fragment", () => {
    const part = (value: string) =>
      urls(
        manifest3(
          canvas3("c", { type: "SpecificResource", source: sized({}), selector: { type: "FragmentSelector", value } }),
        ),
      );
    expect(part("xywh=100,100,500,600")).toEqual(["https://i.example/x/100,100,500,600/max/0/default.jpg"]);
    expect(part("xywh=percent:0,0,50,50")).toEqual(["https://i.example/x/pct:0,0,50,50/max/0/default.jpg"]);
  });

  it("is no page if it is a PDF that is called an image", () => {
    const doc = read(manifest3(canvas3("c", { id: "a.pdf", type: "Image", format: "application/pdf" })));
    expect(doc.canvases[0]).toMatchObject({ images: [], others: ["application/pdf"] });
  });

  it("is the first that a choice has, which may have nothing as its default", () => {
    for (const nothing of ["rdf:nil", { "@type": "rdf:nil" }, { "@id": "rdf:nil" }])
      expect(
        urls(manifest2([canvas2("c", { "@type": "oa:Choice", default: nothing, item: [image2("b.jpg")] })])),
      ).toEqual(["b.jpg"]);
  });

  it("may be several things at once, or be written as in another version", () => {
    const image = { id: "a.jpg", type: "Image" };
    expect(urls(manifest3(canvas3("c", { type: "Composite", items: [image] })))).toEqual(["a.jpg"]);
    expect(
      urls(manifest3({ id: "c", type: "Canvas", images: [{ motivation: "sc:painting", resource: image2("a.jpg") }] })),
    ).toEqual(["a.jpg"]);
    expect(urls({ id: "m", items: [{ id: "c", items: painted3(image) }] })).toEqual(["a.jpg"]);
    expect(
      urls({ ...manifest3(canvas3("c", image)), "@context": "http://iiif.io/api/presentation/2/context.json" }),
    ).toEqual(["a.jpg"]);
  });

  it("is left out, and said, where an item of a manifest is no canvas", () => {
    const doc = read(manifest3(canvas3("c", { id: "a.jpg", type: "Image" }), { id: "s", type: "Scene" }));
    expect(doc.canvases.length).toBe(1);
    expect(doc.notices).toEqual([expect.stringContaining("Scene")]);
  });
});

describe("a label", () => {
  it("is in a language that has any text", () => {
    expect(preferred({ en: [""], de: ["Seite 1"] })).toBe("Seite 1");
    expect(preferred({ en: ["Page 1"], de: ["Seite 1"] }, ["de-CH"])).toBe("Seite 1");
    expect(preferred({ en: ["Page 1"], "de-CH": ["Seite 1"] }, ["de"])).toBe("Seite 1");
    expect(preferred({ "zh-Hant": ["頁"], "zh-Hans": ["页"] }, ["zh-Hans-CN"])).toBe("页");
    expect(preferred({ en: ["Page 1"], den: ["x"] }, ["de"])).toBe("Page 1");
  });

  it("may be in a language of any name", () => {
    const label = languages(JSON.parse('{"constructor": ["x"], "__proto__": ["y"]}'));
    expect(Object.entries(label)).toEqual([
      ["constructor", ["x"]],
      ["__proto__", ["y"]],
    ]);
    expect(preferred(label)).toBe("x");
  });

  it("of rights is their address, though they are an object", () => {
    const image = canvas3("c", { id: "a.jpg", type: "Image" });
    expect(read({ ...manifest3(image), rights: [{ id: "https://l.example/by", type: "Text" }] }).rights).toBe(
      "https://l.example/by",
    );
    expect(read(manifest2([], { license: { "@id": "https://l.example/by" } })).rights).toBe("https://l.example/by");
  });
});

describe("a collection", () => {
  const collection = (more: object) =>
    readPresentation({ "@id": at, "@type": "sc:Collection", ...more }, at) as Collection;
  const shelf = (label: string, more: object) => ({ "@id": at, "@type": "sc:Collection", label, ...more });

  it("holds members that are there themselves, though they have one id, and whatever list they have", () => {
    const collections = [
      shelf("A", { manifests: [{ "@id": "m1" }] }),
      shelf("B", { members: [{ "@id": "m2" }] }),
      shelf("C", { collections: [shelf("D", { manifests: ["m3"] })] }),
      shelf("A", { manifests: [{ "@id": "m1" }] }),
    ];
    const { members } = collection({ collections, members: [{ "@id": at, "@type": "sc:Collection" }] });
    expect(members.map((m) => [m.label.none, m.inline !== undefined])).toEqual([
      [["A"], true],
      [["B"], true],
      [["C"], true],
    ]);
  });

  it("goes on at its first and its next page", () => {
    expect(collection({ first: "p1" }).more.map((m) => m.id)).toEqual(["p1"]);
    expect(collection({ manifests: ["m"], next: { "@id": "p2" } }).more.map((m) => m.id)).toEqual(["p2"]);
  });

  it("holds what its lists of manifests and collections hold, whatever that calls itself", () => {
    const found = collection({
      manifests: [{ "@id": "m", "@type": "sc:Object" }],
      collections: [{ "@id": "c", "@type": "x:Shelf" }],
    });
    expect(found.members.map((m) => [m.id, m.kind])).toEqual([
      ["m", "manifest"],
      ["c", "collection"],
    ]);
  });

  it("says what it leaves out", () => {
    const items = [{ id: "m", type: "Manifest" }, { id: "x" }, { id: "y", type: "Canvas" }, { type: "Manifest" }];
    const found = readPresentation({ id: at, type: "Collection", items }, at) as Collection;
    expect(found.members.map((m) => m.id)).toEqual(["m"]);
    expect(found.skipped).toEqual([
      { key: "x", reason: expect.stringMatching(/without a type/) },
      { key: "y", reason: expect.stringMatching(/Canvas/) },
      { key: `${at}#item=4`, reason: expect.stringMatching(/address/) },
    ]);
  });
});

it("words that a host does not know leave the size as it was asked for", () => {
  const image = imageOf(manifest3(canvas3("c", sized({}))));
  expect(imageUrl(image, 1500, { size: "other", quality: "other" })).toBe(
    "https://i.example/x/full/1500,/0/native.jpg",
  );
});
