/**
 * Yale Jobs: OCR and other jobs on a SLURM cluster, or on this machine, from a notebook.
 *
 * ```ts
 * import { yale } from "yale-jobs";
 * const job = await yale.ocr("scans.pdf").gpus("a100:1").submit();
 * await job.wait();
 * await job.results();
 * ```
 *
 * @module
 */
import { Yale } from "./yale.js";

/** The ready-made instance: one agent, the config.yaml in force. */
export const yale: Yale = new Yale();

export type { DatasetInfo, ResultRow } from "./dataset/index.js";
export {
  AgentError,
  ConfigError,
  ConnectionError,
  DatasetError,
  type ErrorCode,
  type ErrorData,
  HostKeyError,
  InterruptedError,
  isYaleError,
  JobFailedError,
  JobNotFoundError,
  LoginError,
  ProtocolError,
  QuotaError,
  SchedulerError,
  SourceError,
  TransferError,
  UsageError,
  WaitTimeoutError,
  YaleError,
} from "./errors.js";
export type { Exported, ExportFormat, ExportOptions, PageImage, Unit } from "./exports/index.js";
export type { Pushed, PushOptions } from "./hub/push.js";
export type { OcrBuilder, RunBuilder } from "./jobs/builder.js";
export type { Job, WaitOptions } from "./jobs/job.js";
export type { ModelCheck } from "./jobs/model-check.js";
export type { PageSource } from "./jobs/page-source.js";
export type { Results } from "./jobs/results.js";
export type {
  EarlierJob,
  GpuSpec,
  JobOptions,
  OcrOptions,
  PromptMode,
  RetryOptions,
  RunOptions,
  SourceInput,
} from "./jobs/spec.js";
export type {
  ClusterInfo,
  Connection,
  Estimate,
  Fault,
  JobFilter,
  JobRecord,
  JobSpec,
  JobState,
  Json,
  Plan,
  Progress,
  Prompt,
  Resources,
  SourceKind,
  SourceSpec,
} from "./protocol.js";
export type { Comparison, PageComparison, PageQuality, QualityOptions } from "./quality/index.js";
export type { RunnerCard } from "./runners.js";
export { type RunJobOptions, type RunOcrJobOptions, runJob, runOcrJob, YaleJobs } from "./sdk.js";
export {
  type Inspection,
  isFault,
  type LanguageMap,
  type Page,
  type PageOrFault,
  type Source,
} from "./sources/index.js";
export { type JobList, Yale, type YaleOptions } from "./yale.js";
