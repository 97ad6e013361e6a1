/** Image services: which of the services beside an image is one, of what version, and within what limits it answers. */
import { defined, idOf, list, type Node, nodes, type Size, sizeOf } from "./iiif-values.js";

/** An image service, as far as a manifest or its own info.json tells of it. */
export interface ImageService extends Size {
  id: string;
  version: 1 | 2 | 3;
  /** 0, 1 or 2; undefined if the profile names none. */
  level?: number;
  /** Limits of what it sends; `maxHeight` is `maxWidth` where only that is declared. */
  maxWidth?: number;
  maxHeight?: number;
  maxArea?: number;
  sizes: { width: number; height: number }[];
}

const LIMITS = ["maxWidth", "maxHeight", "maxArea"] as const;

/** The signs of an image service in what a service says of itself. */
function signsOf(service: Node): { type: string; profiles: readonly unknown[]; about: string } {
  const type = list(service.type ?? service["@type"]).filter((t): t is string => typeof t === "string");
  const profiles = list(service.profile);
  const words = [...type, ...list(service["@context"]), ...profiles, ...list(service.protocol)];
  return { type: type[0] ?? "", profiles, about: words.filter((w) => typeof w === "string").join(" ") };
}

/** What a service must say of itself to be surely one of images. */
const SURE = /ImageService|iiif:Image|api\/image\b|image-api|\blevel[0-2]\b/i;
/** A word of a service that belongs to something else than manifests in general. */
const FOREIGN = /\/\/(?!iiif\.io\/api\/presentation|www\.shared-canvas)/;

/**
 * An image service, or undefined for one of another kind (authentication, search, geography). One that says nothing of
 * itself is taken for an image service. `body` is the id of the image it serves.
 */
export function readService(service: Node | undefined, body: string): ImageService | undefined {
  if (service === undefined) return undefined;
  const id = idOf(service)
    ?.replace(/\/+$/, "")
    .replace(/\/info\.json$/, "");
  if (id === undefined) return undefined;
  const { type, profiles, about } = signsOf(service);
  const bare = type === "" && profiles.length === 0 && !FOREIGN.test(about);
  if (!SURE.test(about) && !bare) return undefined;
  const profile = profiles.find((p): p is string => typeof p === "string") ?? "";
  const version =
    Number(/ImageService(\d)/.exec(type)?.[1]) ||
    Number(/image(?:-api)?\/(\d)/.exec(about)?.[1]) ||
    // Version 1.0 had no number in its addresses yet.
    (/stanford\.edu\/iiif\/image-api/.test(about) ? 1 : 0) ||
    (/^level\d$/.test(profile) ? 3 : body.endsWith("native.jpg") ? 1 : 2);
  const level = /level(\d)/.exec(profile)?.[1];
  // Version 2 keeps limits in an object inside the profile list, version 3 in the service itself.
  const limits = LIMITS.map((name) => {
    const values = [service, ...nodes(profiles)].map((l) => Number(l[name])).filter((n) => n > 0);
    return values.length === 0 ? {} : { [name]: Math.min(...values) };
  });
  return Object.assign(
    {
      id: id.replace(/\/+$/, ""),
      version: version === 1 ? 1 : version === 3 ? 3 : 2,
      sizes: nodes(service.sizes)
        .map((s) => ({ width: Number(s.width), height: Number(s.height) }))
        .filter((s) => s.width > 0 && s.height > 0),
      ...(level === undefined ? {} : { level: Number(level) }),
      ...sizeOf(service),
    } satisfies ImageService,
    ...limits,
  );
}

/** The image service to use of those beside an image: the newest of those that say what they are, else of the others. */
export function serviceOf(services: unknown, body: string): ImageService | undefined {
  const read = (among: readonly Node[]) =>
    among
      .map((s) => readService(s, body))
      .filter(defined)
      .sort((a, b) => b.version - a.version)[0];
  const all = nodes(services);
  return read(all.filter((s) => SURE.test(signsOf(s).about))) ?? read(all);
}
