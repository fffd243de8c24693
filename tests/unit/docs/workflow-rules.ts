import { parse } from "yaml";

interface Step {
  name?: string;
  uses?: string;
  run?: string;
  with?: Record<string, string | number | boolean>;
}

interface Job {
  permissions?: Record<string, string>;
  environment?: unknown;
  uses?: string;
  secrets?: unknown;
  "timeout-minutes"?: number;
  steps?: Step[];
}

export interface Workflow {
  on: Record<string, unknown>;
  permissions?: unknown;
  jobs: Record<string, Job>;
}

export const readWorkflow = (text: string): Workflow => parse(text) as Workflow;

const pinned = /^\s*(- )?uses: [\w.-]+\/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/;
const local = /^\s*(- )?uses: \.\/\.github\/workflows\/[\w-]+\.yml$/;

/** Triggers that give the rights of the repository to code that nobody of it has read. */
const forbiddenTriggers = ["pull_request_target", "workflow_run", "issue_comment"];

/** Commands that print, or make outputs of, what the state keeps encrypted. */
const decrypting = /--show-secrets|pulumi stack (output|export)|pulumi config\b|set -x/;

/** What is wrong with a workflow, in words. */
export function problemsOf(text: string): string[] {
  const workflow = readWorkflow(text);
  return [
    ...text
      .split("\n")
      .filter((line) => /^\s*(- )?uses:/.test(line) && !pinned.test(line) && !local.test(line))
      .map((line) => `an action must be pinned by its digest, with the tag as a comment, got "${line.trim()}"`),
    ...forbiddenTriggers.filter((each) => each in workflow.on).map((each) => `the trigger ${each} is not allowed`),
    ...(JSON.stringify(workflow.permissions) === '{"contents":"read"}'
      ? []
      : ["the permissions of the workflow must be contents: read, and jobs ask for more"]),
    ...(decrypting.test(text.replace(/^\s*#.*$/gm, "")) ? ["no step may decrypt the outputs of a stack"] : []),
    ...Object.entries(workflow.jobs).flatMap(([name, job]) =>
      problemsOfJob(job).map((problem) => `job ${name}: ${problem}`),
    ),
  ];
}

function problemsOfJob(job: Job): string[] {
  const rights = job.permissions ?? {};
  const writes = Object.keys(rights).filter((right) => rights[right] === "write");
  const steps = job.steps ?? [];
  return [
    ...(writes.length > 1 ? [`may write one thing only, got ${writes.join(", ")}`] : []),
    ...(writes.includes("id-token") && job.environment === undefined && job.uses === undefined
      ? ["a job with id-token: write needs an environment, whose rules decide who gets the role"]
      : []),
    ...(writes.includes("pull-requests") ? problemsOfComment(job, steps) : []),
    ...(job.secrets === undefined ? [] : ["a called workflow gets no secrets"]),
    ...(job.uses === undefined && job["timeout-minutes"] === undefined ? ["timeout-minutes is missing"] : []),
    ...steps.flatMap(problemsOfStep),
  ];
}

/** The job that comments has the right to write to pull requests, so nothing of a pull request may run in it. */
function problemsOfComment(job: Job, steps: Step[]): string[] {
  return [
    ...(Object.keys(job.permissions ?? {}).length > 1
      ? ["the job that comments needs pull-requests: write alone"]
      : []),
    ...(job.environment === undefined ? [] : ["the job that comments needs no environment"]),
    ...(steps.some(({ run, uses }) => run !== undefined || uses?.startsWith("actions/checkout@"))
      ? ["the job that comments must not check out or run code"]
      : []),
  ];
}

function problemsOfStep({ uses = "", run = "", with: inputs = {} }: Step): string[] {
  const script = `${run}${inputs["script"] ?? ""}`;
  return [
    ...(script.includes("${{") ? ["a script takes values through env: an expression in it could become code"] : []),
    ...(uses.startsWith("actions/checkout@") && inputs["persist-credentials"] !== false
      ? ["checkout must not leave its token behind: persist-credentials: false"]
      : []),
    ...(uses.startsWith("pulumi/actions@") && "command" in inputs
      ? ["with a command pulumi/actions decrypts the outputs of the stack: let it install only"]
      : []),
    ...(/\bnpm (i|install|ci)\b(?!.*--ignore-scripts)|\bnpm (i|install)\b/.test(run)
      ? ["packages come from the lock file and run nothing: npm ci --ignore-scripts"]
      : []),
    ...(/\bpulumi preview\b(?![^|]*--suppress-outputs)/.test(run) ? ["pulumi preview needs --suppress-outputs"] : []),
  ];
}
