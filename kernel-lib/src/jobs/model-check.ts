/**
 * Whether a model would run on a cluster, asked where a job would run: with the job's own environment, partition and GPU,
 * in a job of a minute, before one waits hours in the queue. And its weights, fetched by a job without a GPU.
 */
import { readFileSync } from "node:fs";
import { UsageError } from "../errors.js";
import { distFile } from "../paths.js";
import type { ClusterInfo } from "../protocol.js";
import { findCard, type RunnerCard } from "../runners.js";
import type { RunOptions } from "./spec.js";

/** One thing that was looked at on the cluster. */
export interface ModelCheck {
  /** `ok`; `note`: works, and could be better; `fault`: the job would fail. */
  state: "ok" | "note" | "fault";
  /** What was found, in a sentence. Words of the cluster: hostile until escaped. */
  what: string;
  /** What to do; empty where there is nothing to do. */
  fix: string;
}

/** A card by its name or model id. Throws UsageError for a runner without a model to check. */
export function modelCard(name: string): RunnerCard {
  const card = findCard(name);
  if (card.model === undefined)
    throw new UsageError(
      `${card.name} needs no model: it recognises pages anywhere.`,
      "`yale models` lists the others.",
    );
  return card;
}

/** The script of such a job and its arguments. */
export function modelScript(card: RunnerCard, action: "check" | "download"): { script: string; args: string[] } {
  const read = (path: string) => readFileSync(path, "utf8");
  // As one script: its functions, and what uses them.
  const [checks = ""] = read(distFile("runners", card.name, "check.py")).split('\nif __name__ == "__main__":');
  const about = {
    dependencies: card.dependencies ?? [],
    server: [],
    model: card.model,
    gpus: card.gpus,
    gpuMemory: card.gpuMemory,
  };
  return {
    script: `${checks}\n${read(distFile("tools", "model_check.py"))}`,
    args: [JSON.stringify(about), ...(action === "download" ? ["download"] : [])],
  };
}

/** What such a job asks for: little, for a short time, in a partition for trying things out where there is one. */
export function checkOptions(card: RunnerCard, info: ClusterInfo | undefined, given: RunOptions): RunOptions {
  const gpus = given.gpus ?? (card.gpus > 0 ? card.gpus : undefined);
  const fits = info?.partitions.find(
    (p) => /devel|debug/i.test(p.name) && (gpus === undefined || (p.gpus?.length ?? 0) > 0),
  );
  return {
    name: `check ${card.name}`,
    time: "00:10:00",
    ...(fits === undefined || given.partition !== undefined ? {} : { partition: fits.name }),
    ...(gpus === undefined ? {} : { gpus }),
    ...given,
    retries: 0,
  };
}

/** The findings in a job's log; lines that are none are passed over. */
export function findings(log: string): ModelCheck[] {
  return log.split("\n").flatMap((line): ModelCheck[] => {
    if (!line.startsWith('{"yale": "check"')) return [];
    try {
      const { state, what, fix } = JSON.parse(line) as Record<string, unknown>;
      if ((state !== "ok" && state !== "note" && state !== "fault") || typeof what !== "string") return [];
      return [{ state, what, fix: typeof fix === "string" ? fix : "" }];
    } catch {
      return [];
    }
  });
}
