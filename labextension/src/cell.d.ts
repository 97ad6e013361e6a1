/** A specification as the notebook cell that gives the very same specification. */
import type { JobSpec } from "yale-jobs/protocol";
/**
 * The cell. Files below `folder`, an absolute path (the notebook's), are written relative to it, so that the notebook can be
 * moved together with them.
 */
export declare function cellOf(spec: JobSpec, folder?: string): string;
