import { describe, expect, it } from "vitest";
import type { Collection } from "../../kernel-lib/src/sources/iiif-collection.js";
import { imageUrl, listedUrl } from "../../kernel-lib/src/sources/iiif-image.js";
import { languages, preferred, readPresentation } from "../../kernel-lib/src/sources/iiif-read.js";
import { at, canvas2, canvas3, image2, manifest2, manifest3, read, service2, service3, urls } from "../support/iiif.js";

describe("a manifest is read", () => {
  it.each<[string, unknown, 2 | 3, number]>([
    ["of version 3", manifest3(canvas3("c1", { id: "i.jpg", type: "Image" })), 3, 1],
    ["of version 2", manifest2([canvas2("c1", image2("i.jpg"))]), 2, 1],
    [
      "of version 3 with a list of contexts",
      {
        ...manifest3(canvas3("c1", { id: "i.jpg", type: "Image" })),
        "@context": ["http://www.w3.org/ns/anno.jsonld", "http://iiif.io/api/presentation/3/context.json"],
      },
      3,
      1,
    ],
    ["without context and type", { label: "x", sequences: [{ canvases: [canvas2("c1", image2("i.jpg"))] }] }, 2, 1],
    [
      "with the context of the image API",
      { ...manifest2([canvas2("c1", image2("i.jpg"))]), "@context": "http://iiif.io/api/image/2/context.json" },
      2,
      1,
    ],
    [
      "with one object where sequences belong",
      { ...manifest2([]), sequences: { canvases: [canvas2("c1", image2("i.jpg"))] } },
      2,
      1,
    ],
    ["that is a single canvas", canvas2("c1", image2("i.jpg")), 2, 1],
    ["that is a single canvas of version 3", canvas3("c1", { id: "i.jpg", type: "Image" }), 3, 1],
    ["without canvases", manifest3(), 3, 0],
  ])("%s", (_, json, version, count) => {
    const doc = read(json);
    expect(doc.version).toBe(version);
    expect(doc.canvases.length).toBe(count);
    if (count > 0) expect(doc.canvases[0]?.images.length).toBe(1);
  });

  it("and what is none is not", () => {
    for (const json of [null, 1, "x", [], {}, { type: "AnnotationPage", items: [] }, { a: { items: [] } }])
      expect(readPresentation(json, at)).toBeUndefined();
  });

  it("taking the first of several sequences, with a notice", () => {
    const doc = read({
      ...manifest2([canvas2("a", image2("a.jpg"))]),
      sequences: [{ canvases: [canvas2("a", image2("a.jpg"))] }, { canvases: [canvas2("b", image2("b.jpg"))] }],
    });
    expect(doc.canvases.map((c) => c.id)).toEqual(["a"]);
    expect(doc.notices).toEqual([expect.stringContaining("2 sequences")]);
  });

  it("with rights, attribution, direction, labels and metadata in every language", () => {
    const doc = read({
      ...manifest3(canvas3("c1", { id: "i.jpg", type: "Image" }, { label: { none: ["1r"] } })),
      rights: "https://creativecommons.org/publicdomain/mark/1.0/",
      requiredStatement: { label: { en: ["Held by"] }, value: { en: ["The library"] } },
      viewingDirection: "right-to-left",
      metadata: [{ label: { en: ["Author"] }, value: { none: ["A", "B"] } }],
    });
    expect(doc).toMatchObject({
      label: { en: ["Title"], de: ["Titel"] },
      rights: "https://creativecommons.org/publicdomain/mark/1.0/",
      attribution: { en: ["The library"] },
      viewingDirection: "right-to-left",
      metadata: [{ label: { en: ["Author"] }, value: { none: ["A", "B"] } }],
    });
    expect(preferred(doc.label, ["de"])).toBe("Titel");
    expect(preferred(doc.label, ["fr"])).toBe("Title");
  });

  it("with labels in any of their forms", () => {
    expect(languages("a")).toEqual({ none: ["a"] });
    expect(languages(7)).toEqual({ none: ["7"] });
    expect(languages([{ "@value": "a", "@language": "en" }, { "@value": "b" }, "c"])).toEqual({
      en: ["a"],
      none: ["b", "c"],
    });
    expect(languages({ "@none": ["a"], en: "b" })).toEqual({ none: ["a"], en: ["b"] });
    expect(languages(undefined)).toEqual({});
  });

  it("with canvases that hold no image left out, and said", () => {
    const doc = read(
      manifest3(
        canvas3("v", { id: "v.mp4", type: "Video", format: "video/mp4" }),
        canvas3("t", { type: "TextualBody", value: "x" }),
        { id: "e", type: "Canvas" },
      ),
    );
    expect(doc.canvases.map((c) => [c.images.length, c.others])).toEqual([
      [0, ["Video"]],
      [0, ["TextualBody"]],
      [0, []],
    ]);
  });

  it("without the images of placeholder and accompanying canvases", () => {
    const other = { placeholderCanvas: canvas3("p", { id: "p.jpg", type: "Image" }) };
    expect(urls(manifest3(canvas3("c", { id: "v.mp4", type: "Video" }, other)))).toEqual([]);
  });

  it("taking the first image of a choice, and counting the others", () => {
    const choice3 = {
      type: "Choice",
      items: [
        { id: "v.mp4", type: "Video" },
        { id: "a.jpg", type: "Image" },
        { id: "b.jpg", type: "Image" },
      ],
    };
    const image = read(manifest3(canvas3("c", choice3))).canvases[0]?.images[0];
    expect(image).toMatchObject({ id: "a.jpg", alternatives: 1 });
    const choice2 = { "@type": "oa:Choice", default: image2("d.jpg"), item: [image2("e.jpg")] };
    expect(read(manifest2([canvas2("c", choice2)])).canvases[0]?.images[0]).toMatchObject({
      id: "d.jpg",
      alternatives: 1,
    });
  });

  it("taking the image that covers the canvas, or all insets where none does", () => {
    const annotations = (targets: string[]) => ({
      id: "c",
      type: "Canvas",
      items: [
        {
          items: targets.map((target, i) => ({
            motivation: "painting",
            body: { id: `${i}.jpg`, type: "Image" },
            target,
          })),
        },
      ],
    });
    expect(urls(manifest3(annotations(["c#xywh=0,0,10,10", "c", "c#xywh=5,5,10,10"])))).toEqual(["1.jpg"]);
    expect(urls(manifest3(annotations(["c#xywh=0,0,10,10", "c#xywh=5,5,10,10"])))).toEqual(["0.jpg", "1.jpg"]);
  });
});

describe("a collection is read", () => {
  it("in every version, each member once", () => {
    const read = (json: unknown) => readPresentation(json, at) as Collection;
    expect(
      read({
        type: "Collection",
        items: [
          { id: "m", type: "Manifest" },
          { id: "c", type: "Collection" },
        ],
      }).members.map((m) => [m.id, m.kind]),
    ).toEqual([
      ["m", "manifest"],
      ["c", "collection"],
    ]);
    expect(
      read({
        "@type": "sc:Collection",
        manifests: [{ "@id": "m" }],
        collections: [{ "@id": "c" }],
        members: [
          { "@id": "m", "@type": "sc:Manifest" },
          { "@id": "c", "@type": "sc:Collection" },
        ],
      }).members.map((m) => [m.id, m.kind]),
    ).toEqual([
      ["m", "manifest"],
      ["c", "collection"],
    ]);
    expect(read({ manifests: ["m1", "m2"] }).members.length).toBe(2);
  });
});

describe("the address of an image", () => {
  const one = (service: unknown, id = "https://i.example/body.jpg") =>
    urls(manifest3(canvas3("c", { id, type: "Image", service })))[0];

  it.each<[string, unknown, string]>([
    ["version 3", service3("https://i.example/3/x"), "https://i.example/3/x/full/max/0/default.jpg"],
    ["version 2", service2("https://i.example/2/x"), "https://i.example/2/x/full/full/0/default.jpg"],
    [
      "version 2 with a limit in its profile",
      service2("https://i.example/2/x", { profile: ["http://iiif.io/api/image/2/level2.json", { maxWidth: 800 }] }),
      "https://i.example/2/x/full/max/0/default.jpg",
    ],
    [
      "version 1",
      {
        "@context": "http://library.stanford.edu/iiif/image-api/1.1/context.json",
        "@id": "https://i.example/1/x",
        profile: "http://library.stanford.edu/iiif/image-api/1.1/compliance.html#level1",
      },
      "https://i.example/1/x/full/full/0/native.jpg",
    ],
    [
      "no context and a bare level",
      { id: "https://i.example/x/", profile: "level1" },
      "https://i.example/x/full/max/0/default.jpg",
    ],
    [
      "both versions",
      [service2("https://i.example/2/x"), service3("https://i.example/3/x")],
      "https://i.example/3/x/full/max/0/default.jpg",
    ],
    [
      "an authentication service before it",
      [
        { "@id": "https://auth.example", profile: "http://iiif.io/api/auth/1/login" },
        service2("https://i.example/2/x"),
      ],
      "https://i.example/2/x/full/full/0/default.jpg",
    ],
    [
      "an id with spaces and signs that are encoded already",
      service2("https://i.example/a b/%252Fc"),
      "https://i.example/a%20b/%252Fc/full/full/0/default.jpg",
    ],
    ["none at all", undefined, "https://i.example/body.jpg"],
  ])("of %s", (_, service, url) => expect(one(service)).toBe(url));

  it("of a part of an image, or a turned one", () => {
    const body = {
      type: "SpecificResource",
      source: { id: "x", type: "Image", service: service3("https://i.example/x") },
      selector: { type: "ImageApiSelector", region: "1,2,3,4", rotation: "90" },
    };
    expect(urls(manifest3(canvas3("c", body)))).toEqual(["https://i.example/x/1,2,3,4/max/90/default.jpg"]);
  });

  it("of at most so many pixels: made by the service, or listed by one of level 0", () => {
    const sizes = [
      { width: 200, height: 300 },
      { width: 400, height: 600 },
      { width: 1000, height: 1500 },
    ];
    const width = (service: unknown) =>
      urls(manifest3(canvas3("c", { id: "x", type: "Image", width: 1000, height: 1500, service })), 300)[0];
    expect(width(service3("https://i.example/x"))).toBe("https://i.example/x/full/300,/0/default.jpg");
    expect(width(service3("https://i.example/x", { profile: "level0", sizes }))).toBe(
      "https://i.example/x/full/200,300/0/default.jpg",
    );
    expect(width(service2("https://i.example/x", { profile: "http://iiif.io/api/image/2/level0.json", sizes }))).toBe(
      "https://i.example/x/full/200,/0/default.jpg",
    );
  });

  it("by other words, where a server does not know the first", () => {
    const image = read(
      manifest3(
        canvas3("c", { id: "https://i.example/own.jpg", type: "Image", service: service2("https://i.example/x") }),
      ),
    ).canvases[0]?.images[0];
    if (image === undefined) throw new Error("no image");
    const by = (size: "usual" | "other", quality: "usual" | "other") => imageUrl(image, undefined, { size, quality });
    expect(by("other", "usual")).toBe("https://i.example/x/full/max/0/default.jpg");
    expect(by("usual", "other")).toBe("https://i.example/x/full/full/0/native.jpg");
    expect(listedUrl(image, undefined)).toBeUndefined();
  });
});
