/** kube-score over every object of the golden graphs: it says what docs/security.md explains, and nothing else. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { binaryOf, buildToolchain, kubeScore, versions } from "../../sandbox/toolchain";
import { inlineCodeOf, root, tableOf } from "../unit/docs/pages";

interface Resource {
  type: string;
  name: string;
  inputs: { kind: string; metadata?: { name?: string }; [key: string]: unknown };
}

interface Finding {
  /** As `StatefulSet/etcd`. */
  object: string;
  summary: string;
  /** For a reader: where, and all that kube-score says. */
  text: string;
}

interface ScoredObject {
  type_meta: { kind: string };
  object_meta: { name: string };
  checks: Check[];
}

interface Check {
  grade: number;
  /** The check is not one of the default, or has nothing to judge here. */
  skipped: boolean;
  /** `path` is the name of the container, or empty. */
  comments: { path: string; summary: string; description: string }[] | null;
}

/** Of kube-score: 1 is critical, 5 a warning, 7 and 10 are good. */
const worstGoodGrade = 7;

const stacks = ["dev", "prod"] as const;

const objectsOf = (stack: (typeof stacks)[number]): Resource[] => {
  const graph = JSON.parse(readFileSync(join(root, "tests", "golden", `${stack}.json`), "utf8")) as Resource[];
  return graph.filter(({ type }) => type.startsWith("kubernetes:"));
};

/** A Job is named after its resource, with a suffix that Pulumi adds. */
const manifestOf = ({ name, inputs }: Resource) => ({ ...inputs, metadata: { name, ...inputs.metadata } });

function score(objects: Resource[]): ScoredObject[] {
  const [major, minor] = versions.kubernetes.split(".");
  const { stdout, stderr } = spawnSync(
    binaryOf(kubeScore, "kube-score"),
    // The page is the only place where something is excused.
    [
      "score",
      "--output-format=json",
      `--kubernetes-version=v${major}.${minor}`,
      "--disable-ignore-checks-annotations",
      "-",
    ],
    {
      encoding: "utf8",
      maxBuffer: 2 ** 26,
      input: objects.map((each) => JSON.stringify(manifestOf(each))).join("\n---\n"),
    },
  );
  // It ends with 1 for a finding and for an input that it cannot read.
  if (!stdout.startsWith("[")) throw new Error(`kube-score: ${stderr || stdout}`);
  return JSON.parse(stdout) as ScoredObject[];
}

const findingsOf = (scored: ScoredObject[]): Finding[] =>
  scored.flatMap(({ type_meta: { kind }, object_meta: { name }, checks }) =>
    checks
      .filter(({ grade, skipped }) => !skipped && grade < worstGoodGrade)
      .flatMap(({ comments }) => comments ?? [])
      .map(({ path, summary, description }) => {
        const where = path === "" ? "" : `, container ${path}`;
        return { object: `${kind}/${name}`, summary, text: `${kind}/${name}${where}: ${summary}. ${description}` };
      }),
  );

interface Explained {
  summary: string;
  /** Undefined where it may be said of all containers. */
  object: string | undefined;
}

const explained: Explained[] = tableOf("docs/security.md", "kube-score says", "of", "why it stays").flatMap((row) => {
  const { "kube-score says": summary = "", of = "", "why it stays": reason = "" } = row;
  const objects = of === "all containers" ? [undefined] : inlineCodeOf(of);
  if (objects.length === 0) throw new Error(`docs/security.md names no object for ${JSON.stringify(summary)}`);
  if (reason === "") throw new Error(`docs/security.md does not say why ${JSON.stringify(summary)} stays`);
  return objects.map((object) => ({ summary, object }));
});

const isExplainedBy = (finding: Finding, { summary, object }: Explained): boolean =>
  finding.summary === summary && (object === undefined || finding.object === object);

const unexplained = (findings: Finding[]): string[] =>
  findings
    .filter((finding) => !explained.some((each) => isExplainedBy(finding, each)))
    .map(({ text }) => text)
    .sort();

beforeAll(() => buildToolchain([kubeScore]));

it.each(stacks)("kube-score knows every workload of %s", (stack) => {
  const workloads = ["StatefulSet", "Deployment", "Job", "CronJob"];
  const wanted = objectsOf(stack).map((each) => `${each.inputs.kind}/${manifestOf(each).metadata.name}`);
  const known = score(objectsOf(stack)).map(({ type_meta: { kind }, object_meta: { name } }) => `${kind}/${name}`);
  const ofWorkloads = (names: string[]) =>
    names.filter((each) => workloads.some((kind) => each.startsWith(`${kind}/`)));
  expect(ofWorkloads(known).sort()).toEqual(ofWorkloads(wanted).sort());
});

it.each(stacks)("kube-score says nothing of %s that docs/security.md does not explain", (stack) => {
  expect(unexplained(findingsOf(score(objectsOf(stack))))).toEqual([]);
});

it("docs/security.md explains nothing that kube-score does not say", () => {
  const findings = stacks.flatMap((stack) => findingsOf(score(objectsOf(stack))));
  expect(explained.filter((each) => !findings.some((finding) => isExplainedBy(finding, each)))).toEqual([]);
});

it("a container that can write its root file system is found", () => {
  const [first, ...others] = objectsOf("dev").map((each) => structuredClone(each));
  const written = JSON.parse(JSON.stringify(first).replace(/,"readOnlyRootFilesystem":true/, "")) as Resource;
  expect(unexplained(findingsOf(score([written, ...others])))).toEqual([
    "Deployment/etcd-maintenance, container maintenance: The pod has a container with a writable root filesystem. Set securityContext.readOnlyRootFilesystem to true",
  ]);
});
