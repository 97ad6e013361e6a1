/** The extension's own icon; all others are JupyterLab's. */
import { LabIcon } from "@jupyterlab/ui-components";
import jobs from "../style/icons/jobs.svg";

/** Yale Jobs. */
export const jobsIcon: LabIcon = new LabIcon({ name: "yale-jobs:jobs", svgstr: jobs });
