import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

// All projects run in one go (scripts/test.mjs), two files side by side; those that share the toy cluster, and stop parts
// of it, one after another when the others are done.
//
// Those that drive daemons, browsers and shells of the system get a second try: two cores that are shared can be late for
// reasons that are nobody's fault. It is never silent: scripts/lib/summary.mjs names each test that needed it.
const project = (name: string, more: object = {}) => ({
  extends: true as const,
  test: { name, include: [`test/${name}/**/*.test.ts`], ...more },
});

export default defineConfig({
  resolve: { alias: { "yale-jobs": fileURLToPath(new URL("kernel-lib/src/index.ts", import.meta.url)) } },
  test: {
    globalSetup: "test/setup.ts",
    testTimeout: 30_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
    projects: [
      project("unit"),
      project("contract"),
      project("integration", { testTimeout: 120_000, retry: 1 }),
      project("cluster", {
        testTimeout: 120_000,
        retry: 1,
        globalSetup: ["test/setup.ts", "test/support/bed-setup.ts"],
        maxWorkers: 1,
        sequence: { groupOrder: 1 },
      }),
      project("lab", { testTimeout: 120_000, retry: 1 }),
      // A real vLLM on the CPU: a run of its own, by `npm run test:vllm`.
      project("vllm", { testTimeout: 600_000, hookTimeout: 600_000 }),
      project("package", { testTimeout: 180_000, hookTimeout: 300_000 }),
    ],
  },
});
