import type { Check, CheckEnvironment, CheckTarget, Finding } from "../components/shared/core/check";
import { messageOf } from "../components/shared/core/errors";

export interface ServiceReport {
  service: string;
  name: string;
  namespace: string;
  ok: boolean;
  seconds: number;
  findings: Finding[];
  /** State of the pods and their last events, only for a service that failed. */
  diagnostics?: string[];
}

/** The machine-readable result. Fields are only ever added. */
export interface Report {
  version: 1;
  ok: boolean;
  seconds: number;
  totals: { services: number; checks: number; passed: number; failed: number };
  services: ServiceReport[];
}

export interface RunOptions {
  checkOf(service: CheckTarget["service"]): Promise<Check>;
  open(target: CheckTarget, signal: AbortSignal): CheckEnvironment & { close(): Promise<void> };
  /** Only asked for a service that failed. */
  diagnose?(target: CheckTarget): Promise<string[]>;
  /** For the whole run. */
  deadlineSeconds: number;
  /** After the deadline, for a check to hand over what it has found so far. Default: 5. */
  graceSeconds?: number;
  concurrency: number;
  clock(): number;
}

/** Checks all services side by side. Never throws for a service: whatever goes wrong becomes a finding. */
export async function runChecks(targets: CheckTarget[], options: RunOptions): Promise<Report> {
  const started = options.clock();
  const abort = new AbortController();
  const timer = setTimeout(
    () => abort.abort(new Error(`stopped: the whole run took longer than ${options.deadlineSeconds} s`)),
    options.deadlineSeconds * 1000,
  );
  try {
    const services = await mapBounded(targets, options.concurrency, (target) => runOne(target, options, abort.signal));
    return summarize(services, seconds(options.clock() - started));
  } finally {
    clearTimeout(timer);
  }
}

export function summarize(services: ServiceReport[], totalSeconds: number): Report {
  const findings = services.flatMap((each) => each.findings);
  const passed = findings.filter((each) => each.ok).length;
  const failed = findings.length - passed;
  return {
    version: 1,
    ok: findings.length > 0 && failed === 0 && services.every((each) => each.ok),
    seconds: totalSeconds,
    totals: { services: services.length, checks: findings.length, passed, failed },
    services,
  };
}

async function runOne(target: CheckTarget, options: RunOptions, signal: AbortSignal): Promise<ServiceReport> {
  const started = options.clock();
  const took = (): number => seconds(options.clock() - started);
  const findings = await findingsOf(target, options, signal, took);
  const ok = findings.every((each) => each.ok);
  const report: ServiceReport = {
    service: target.service,
    name: target.name,
    namespace: target.namespace,
    ok,
    seconds: took(),
    findings,
  };
  if (!ok && options.diagnose !== undefined) {
    report.diagnostics = await options
      .diagnose(target)
      .catch((error: unknown) => [`no diagnostics: ${messageOf(error)}`]);
  }
  return report;
}

async function findingsOf(
  target: CheckTarget,
  options: RunOptions,
  signal: AbortSignal,
  took: () => number,
): Promise<Finding[]> {
  const broken = (detail: string, remedy: string): Finding[] => [
    { check: "run", ok: false, detail, remedy, seconds: took() },
  ];
  const late = (): Finding[] =>
    broken(
      `no result within the ${options.deadlineSeconds} s of the whole run`,
      `look at the pods of ${target.name} in ${target.namespace}; give a larger --timeout if the cluster is only slow`,
    );
  if (signal.aborted) return late();
  const environment = options.open(target, signal);
  let timer: NodeJS.Timeout | undefined;
  let wait = (): void => undefined;
  const over = new Promise<[]>((resolve) => {
    wait = () => {
      timer = setTimeout(() => resolve([]), (options.graceSeconds ?? 5) * 1000);
    };
  });
  signal.addEventListener("abort", wait, { once: true });
  try {
    const check = await options.checkOf(target.service);
    const result = await Promise.race([check(target, environment), over]);
    if (signal.aborted) return [...result, ...late()];
    return result.length > 0
      ? result
      : broken("the check reported nothing, so nothing was proven", "look at the code of the check");
  } catch (error) {
    if (signal.aborted) return late();
    return broken(
      messageOf(error),
      `look at the pods of ${target.name} in ${target.namespace}, then at the code of the check`,
    );
  } finally {
    signal.removeEventListener("abort", wait);
    clearTimeout(timer);
    await environment.close().catch(() => undefined);
  }
}

async function mapBounded<T, R>(items: T[], limit: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const queue = items.entries();
  const worker = async (): Promise<void> => {
    for (const [index, item] of queue) results[index] = await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(Math.max(1, limit), items.length) }, worker));
  return results;
}

function seconds(milliseconds: number): number {
  return Math.round(milliseconds) / 1000;
}
