import { describe, expect, it } from "vitest";
import { canvas2, canvas3, image2, manifest2, manifest3, read } from "../support/iiif.js";

/** A manifest of version 3 with canvases of these ids, and one of version 2. */
const book3 = (ids: string[], structures: unknown) => ({
  ...manifest3(...ids.map((id) => canvas3(id, { id: `${id}.jpg`, type: "Image" }))),
  structures,
});
const book2 = (ids: string[], structures: unknown) =>
  manifest2(
    ids.map((id) => canvas2(id, image2(`${id}.jpg`))),
    { structures },
  );
const range2 = (id: string, more: object) => ({ "@id": id, "@type": "sc:Range", label: id, ...more });
const range3 = (id: string | undefined, items: unknown[], more: object = {}) => ({
  ...(id === undefined ? {} : { id }),
  type: "Range",
  items,
  ...more,
});
const page = (id: string) => ({ id, type: "Canvas" });
/** The canvases of each range. */
const parts = (json: unknown) => Object.fromEntries([...read(json).ranges].map(([id, r]) => [id, r.canvases]));

describe("a manifest is read", () => {
  it("with the canvases of its ranges, nested ones too", () => {
    const doc = read({
      ...manifest2([]),
      structures: [
        { "@id": "r1", "@type": "sc:Range", label: "All", ranges: ["r2"], canvases: ["a"] },
        { "@id": "r2", "@type": "sc:Range", label: "Part", canvases: ["b#xywh=1,2,3,4"] },
      ],
    });
    expect(doc.ranges.get("r1")?.canvases).toEqual(["a", "b"]);
    const nested = read({
      ...manifest3(),
      structures: [
        {
          id: "r",
          type: "Range",
          items: [
            { id: "a", type: "Canvas" },
            { id: "s", type: "Range", items: [{ type: "SpecificResource", source: "b" }] },
          ],
        },
      ],
    });
    expect(nested.ranges.get("r")?.canvases).toEqual(["a", "b"]);
    expect(nested.ranges.get("s")?.canvases).toEqual(["b"]);
  });
});

describe("a range holds", () => {
  it("ranges that are written within it as members", () => {
    const members = [
      range2("r1", { members: [{ "@id": "a", "@type": "sc:Canvas" }] }),
      { "@id": "b", "@type": "sc:Canvas" },
    ];
    expect(parts(book2(["a", "b"], [range2("r0", { members })]))).toEqual({ r0: ["a", "b"], r1: ["a"] });
  });

  it("ranges that are written elsewhere, whether it refers to them as members, items, objects or by their ids", () => {
    const elsewhere = range2("r1", { canvases: ["a"] });
    for (const reference of [{ "@id": "r1", "@type": "sc:Range" }, { "@id": "r1" }, "r1"]) {
      expect(parts(book2(["a"], [range2("r0", { members: [reference] }), elsewhere])).r0).toEqual(["a"]);
      expect(parts(book2(["a"], [range2("r0", { ranges: [reference] }), elsewhere])).r0).toEqual(["a"]);
    }
    const items = [{ id: "r1", type: "Range" }, page("b")];
    expect(parts(book3(["a", "b"], [range3("r0", items), range3("r1", [page("a")])])).r0).toEqual(["a", "b"]);
  });

  it("canvases under the label of the range itself, not of what refers to it", () => {
    const doc = read(
      book2(
        ["a"],
        [
          range2("r0", { ranges: [{ "@id": "r1", "@type": "sc:Range", label: "cover" }] }),
          range2("r1", { canvases: ["a"], label: "Cover" }),
        ],
      ),
    );
    expect(doc.ranges.get("r1")).toMatchObject({ label: { none: ["Cover"] }, canvases: ["a"] });
  });

  it("its own, if none of the ranges has an id", () => {
    const found = read(
      book3(
        ["a", "b"],
        [
          range3(undefined, [page("a")], { label: { en: ["A"] } }),
          range3(undefined, [page("b")], { label: { en: ["B"] } }),
        ],
      ),
    ).ranges;
    expect([...found.values()].map((r) => [r.label.en, r.canvases])).toEqual([
      [["A"], ["a"]],
      [["B"], ["b"]],
    ]);
  });

  it("canvases whose ids have a fragment, whole; of a part of a canvas the canvas", () => {
    expect(
      parts(book3(["m#c1", "m#c2", "d"], [range3("r", [page("m#c2"), page("d#xywh=0,0,1,1"), page("d#t=3")])])),
    ).toEqual({
      r: ["m#c2", "d"],
    });
  });

  it("canvases in its own order, each once", () => {
    expect(parts(book3(["a", "b", "c"], [range3("r", [page("c"), page("a"), page("c")])]))).toEqual({ r: ["c", "a"] });
  });

  it("all that is written under its id, where that is several things", () => {
    const inner = range3("r", [page("b")]);
    expect(parts(book3(["a", "b"], [range3("r", [page("a"), inner])]))).toEqual({ r: ["a", "b"] });
  });

  it("no end, where ranges hold each other", () => {
    const found = parts(
      book2(
        ["a", "b"],
        [range2("r0", { canvases: ["a"], ranges: ["r1", "r0"] }), range2("r1", { canvases: ["b"], ranges: ["r0"] })],
      ),
    );
    expect(found).toEqual({ r0: ["a", "b"], r1: ["b", "a"] });
  });
});
