import { afterAll, beforeAll, expect, it } from "vitest";
import { openTransport } from "../../kernel-lib/src/cluster/registry.js";
import type { Transport } from "../../kernel-lib/src/cluster/transport.js";
import { openCore } from "../../kernel-lib/src/jobs/service.js";
import type { JobRecord, JobSpec } from "../../kernel-lib/src/protocol.js";
import { Sandbox } from "../support/sandbox.js";

let box: Sandbox;
beforeAll(() => {
  box = new Sandbox().enter();
});
afterAll(() => box.close());

const spec: JobSpec = {
  kind: "run",
  name: "held",
  cluster: "local",
  sources: [],
  options: {},
  resources: {},
  script: { name: "a.sh", text: "echo done\n", interpreter: "bash", args: [] },
};

it("a job that is held when its turn has come is not submitted until it is released", async () => {
  let reached: () => void = () => undefined;
  const writing = new Promise<void>((resolve) => {
    reached = resolve;
  });
  let go: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => {
    go = resolve;
  });
  const core = await openCore({
    open: async (cluster, login): Promise<Transport> => {
      const line = await openTransport(cluster, login);
      const sftp = async () => {
        const files = await line.sftp();
        return {
          ...files,
          // Its turn has come, and the script is on its way.
          open: async (path: string, flags: "r" | "w") => {
            if (path.endsWith("/job.sh.part")) {
              reached();
              await gate;
            }
            return files.open(path, flags);
          },
        };
      };
      return {
        ...line,
        kind: line.kind,
        lost: line.lost,
        asked: line.asked,
        exec: line.exec.bind(line),
        sftp,
        close: () => line.close(),
      };
    },
  });
  try {
    const over = new AbortController();
    const seen = async (want: (job: JobRecord) => boolean) => {
      for await (const event of core.events(over.signal)) {
        if (event.type === "listening" && want(await core.get(id))) return;
        if (event.type === "job" && event.job.id === id && want(event.job)) return;
      }
    };
    const { id } = await core.submit(spec);
    await writing;
    expect((await core.hold(id)).held).toBe(true);
    go();
    await seen((job) => job.schedulerId !== undefined || job.reason?.startsWith("Held") === true);
    expect(await core.get(id)).toMatchObject({ state: "queued", held: true });
    expect((await core.get(id)).schedulerId).toBeUndefined();
    await core.release(id);
    await seen((job) => job.state === "completed" || job.error !== undefined);
    expect(await core.get(id)).toMatchObject({ state: "completed" });
    over.abort();
  } finally {
    await core.close();
  }
});
