import type { Report, ServiceReport } from "./run";
import { table } from "./table";

/** For people: a table of everything that was seen, then the failures in words and what to do next, then one line to remember. */
export function renderText(report: Report): string {
  const rows = report.services.flatMap((service) =>
    service.findings.map((finding) => [
      service.name,
      finding.check,
      finding.ok ? "ok" : "FAILED",
      finding.seconds.toFixed(1),
      oneLine(finding.detail),
    ]),
  );
  const parts = [table(["SERVICE", "CHECK", "RESULT", "SECONDS", "SEEN"], rows, [3])];
  for (const service of report.services) {
    const failures = renderFailures(service);
    if (failures !== "") parts.push(failures);
  }
  parts.push(totalsLine(report));
  return `${parts.join("\n\n")}\n`;
}

export function totalsLine(report: Report): string {
  const { services, checks, passed, failed } = report.totals;
  const counts = `${count(checks, "check")} of ${count(services, "service")} in ${report.seconds.toFixed(1)} s`;
  return failed === 0 ? `${counts}: all passed` : `${counts}: ${passed} passed, ${failed} FAILED`;
}

function renderFailures(service: ServiceReport): string {
  const failed = service.findings.filter((each) => !each.ok);
  if (failed.length === 0) return "";
  const lines = failed.flatMap((finding) => [
    `${service.name} (${service.namespace}): ${finding.check} failed: ${finding.detail}`,
    ...(finding.remedy === undefined ? [] : [`  next: ${finding.remedy}`]),
  ]);
  for (const line of service.diagnostics ?? []) lines.push(`  | ${line}`);
  return lines.join("\n");
}

/** For machines that read JUnit: one suite for each service, one case for each check. */
export function renderJunit(report: Report): string {
  const suites = report.services.map((service) => {
    const cases = service.findings.map((finding) => {
      const attributes = `classname="${xml(`checks.${service.name}`)}" name="${xml(finding.check)}" time="${finding.seconds}"`;
      if (finding.ok) return `    <testcase ${attributes}><system-out>${xml(finding.detail)}</system-out></testcase>`;
      const words = [finding.remedy === undefined ? "" : `next: ${finding.remedy}`, ...(service.diagnostics ?? [])];
      const body = words.filter((each) => each !== "").join("\n");
      return `    <testcase ${attributes}><failure message="${xml(finding.detail)}">${xml(body)}</failure></testcase>`;
    });
    const failures = service.findings.filter((each) => !each.ok).length;
    const head = `name="${xml(service.name)}" tests="${cases.length}" failures="${failures}" time="${service.seconds}"`;
    return [`  <testsuite ${head}>`, ...cases, "  </testsuite>"].join("\n");
  });
  const { checks, failed } = report.totals;
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites name="checks" tests="${checks}" failures="${failed}" time="${report.seconds}">`,
    ...suites,
    "</testsuites>",
    "",
  ].join("\n");
}

export function xml(text: string): string {
  return (
    text
      // XML 1.0 has no way to write other control characters.
      .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, "?")
      .replaceAll("&", "&amp;")
      .replaceAll("<", "&lt;")
      .replaceAll(">", "&gt;")
      .replaceAll('"', "&quot;")
  );
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
