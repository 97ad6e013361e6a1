/**
 * Before any test: the bundles that tests start as processes (agent, CLI, workers, runners) are built from this tree,
 * unless scripts/test.mjs has just done so.
 */
export default async function setup(): Promise<void> {
  if (process.env["YALE_JOBS_BUILT"] === "1") return;
  const { buildLibrary } = (await import("../scripts/build.mjs" as string)) as { buildLibrary(): Promise<string> };
  await buildLibrary();
}
