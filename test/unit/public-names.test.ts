import { describe, expect, it } from "vitest";
import * as library from "../../kernel-lib/src/index.js";
import * as protocol from "../../kernel-lib/src/protocol.js";

describe("public names", () => {
  it("of yale-jobs are these, and a change of them is meant", () => {
    expect(Object.keys(library).sort()).toMatchInlineSnapshot(`
      [
        "AgentError",
        "ConfigError",
        "ConnectionError",
        "DatasetError",
        "HostKeyError",
        "InterruptedError",
        "JobFailedError",
        "JobNotFoundError",
        "LoginError",
        "ProtocolError",
        "QuotaError",
        "SchedulerError",
        "SourceError",
        "TransferError",
        "UsageError",
        "WaitTimeoutError",
        "Yale",
        "YaleError",
        "YaleJobs",
        "isFault",
        "isYaleError",
        "runJob",
        "runOcrJob",
        "yale",
      ]
    `);
  });

  it("of yale-jobs/protocol are these", () => {
    expect(Object.keys(protocol).sort()).toMatchInlineSnapshot(`
      [
        "JOB_MIME",
        "JOB_STATES",
        "PROTOCOL_HEADER",
        "PROTOCOL_VERSION",
        "isEnd",
        "isJobRecord",
        "newJobId",
      ]
    `);
  });

  it("of a builder are these", () => {
    const names = (o: object): string[] => {
      const found = new Set<string>();
      for (let p = o; p !== Object.prototype; p = Object.getPrototypeOf(p))
        for (const n of Object.getOwnPropertyNames(p)) if (n !== "constructor") found.add(n);
      return [...found].sort();
    };
    expect(names(library.yale.ocr("x.pdf")).join(" ")).toMatchInlineSnapshot(
      `"account after batchSize constraint cpus datasetPath dpi env estimate extra gpus host label lang mail maxModelLen maxSamples maxTokens memory model modules name nodes on option options output partition plan promptMode pushToHub qos retries settled shards sourceType spec startEarly submit time variables with"`,
    );
    expect(names(library.yale.run("#!/bin/sh\n")).join(" ")).toMatchInlineSnapshot(
      `"account after args constraint cpus data datasetPath dpi env estimate extra gpus host interpreter label mail maxSamples memory modules name nodes on options output partition plan qos retries settled shards spec submit time variables with"`,
    );
    expect(names(library.yale).join(" ")).toMatchInlineSnapshot(
      `"answer checkModel close cluster configPath connections core dataset directory downloadModel hf iiif job jobs login logout models ocr pdf prompts run sheet source sync web"`,
    );
  });
});
