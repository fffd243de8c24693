/** The programs that the bench compares the stack with: pure, as text. None of them starts a pod. */

/** An entry of the golden graph. */
export interface GoldenResource {
  urn: string;
  type: string;
  name: string;
  inputs: Record<string, unknown>;
  options: Record<string, unknown>;
}

export interface PlainOptions {
  /** By each namespace of the graph, the one to use instead. */
  namespaces: Record<string, string>;
  /** What the placeholders of the graph stand for: bundles of agents and their checksums. */
  placeholders: Record<string, string>;
  /** Inputs of the providers of Kubernetes, beside those of the graph. */
  provider: Record<string, string>;
}

type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

/** Kinds that run pods, and what keeps them from it. The objects stay as large as they are. */
const parked: Record<string, (spec: { [key: string]: Json }) => { [key: string]: Json }> = {
  StatefulSet: (spec) => ({ ...spec, replicas: 0 }),
  Deployment: (spec) => ({ ...spec, replicas: 0 }),
  Job: (spec) => ({ ...spec, suspend: true }),
  CronJob: (spec) => ({ ...spec, suspend: true }),
};

/** An object that makes no pods, and that the provider neither waits for nor makes anew because it is not ready. */
export function park(object: { [key: string]: Json }): { [key: string]: Json } {
  const spec = parked[object["kind"] as string];
  const metadata = (object["metadata"] ?? {}) as { [key: string]: Json };
  const annotations = {
    ...(metadata["annotations"] as object | undefined),
    "pulumi.com/skipAwait": "true",
    "pulumi.com/replaceUnready": "false",
  };
  return {
    ...object,
    metadata: { ...metadata, annotations },
    ...(spec === undefined ? {} : { spec: spec(object["spec"] as { [key: string]: Json }) }),
  };
}

/** The same resources by the classes of the SDKs, without any logic: `graph.json` and the `index.ts` that registers it. */
export function plainProgram(resources: GoldenResource[], options: PlainOptions): { graph: string; index: string } {
  const classes = new Map<string, string>();
  const graph = inOrder(resources).map(
    ({ urn, type, name, inputs, options: { parent, provider, dependsOn, customTimeouts } }) => {
      const isObject = type.startsWith("kubernetes:");
      const module = moduleOf(type);
      if (module !== undefined) classes.set(type, module);
      const own = type.startsWith("pulumi:providers:") ? options.provider : {};
      const given = { ...(restored(inputs, options) as { [key: string]: Json }), ...own };
      return {
        urn,
        type,
        name,
        inputs: isObject ? park(given) : given,
        parent,
        provider,
        dependsOn,
        customTimeouts,
      };
    },
  );
  const imports = [...classes].map(
    ([, module], number) => `import { ${className(module)} as C${number} } from ${JSON.stringify(module)};`,
  );
  const table = [...classes.keys()].map((type, number) => `  ${JSON.stringify(type)}: C${number},`);
  const index = [
    'import { readFileSync } from "node:fs";',
    'import { join } from "node:path";',
    'import * as pulumi from "@pulumi/pulumi";',
    'import { Provider } from "@pulumi/kubernetes/provider";',
    ...imports,
    "",
    "const classes: Record<string, any> = {",
    ...table,
    "};",
    "const made = new Map<string, any>();",
    'for (const each of JSON.parse(readFileSync(join(__dirname, "graph.json"), "utf8"))) {',
    "  const { urn, type, name, inputs, parent, provider, dependsOn = [], customTimeouts } = each;",
    "  const options = {",
    "    parent: made.get(parent),",
    "    dependsOn: dependsOn.map((urn: string) => made.get(urn)).filter(Boolean),",
    "    customTimeouts,",
    '    ...(type.startsWith("kubernetes:") ? { provider: made.get(provider) } : {}),',
    "  };",
    "  const Class = classes[type];",
    '  if (type.startsWith("pulumi:providers:")) made.set(urn, new Provider(name, inputs));',
    "  else if (Class !== undefined) made.set(urn, new Class(name, inputs, options));",
    "  else made.set(urn, new pulumi.ComponentResource(type, name, {}, { parent: made.get(parent) }));",
    "}",
    "",
  ].join("\n");
  return { graph: JSON.stringify(graph), index };
}

/** Parents and dependencies first. The stack itself is made by the engine. */
function inOrder(resources: GoldenResource[]): GoldenResource[] {
  const byUrn = new Map(resources.map((each) => [each.urn, each]));
  const ordered = new Set<GoldenResource>();
  const add = (resource: GoldenResource): void => {
    if (ordered.has(resource)) return;
    const { parent, provider, dependsOn } = resource.options as Record<string, string | string[] | undefined>;
    for (const urn of [parent, provider, dependsOn].flat()) {
      const before = urn === undefined ? undefined : byUrn.get(urn);
      if (before !== undefined) add(before);
    }
    ordered.add(resource);
  };
  resources.forEach(add);
  return [...ordered].filter(({ type }) => type !== "pulumi:pulumi:Stack");
}

/** `kubernetes:apps/v1:StatefulSet` is the class StatefulSet of `@pulumi/kubernetes/apps/v1/statefulSet`. */
function moduleOf(type: string): string | undefined {
  const [packageName = "", path = "", kind = ""] = type.split(":");
  const file = `${kind.charAt(0).toLowerCase()}${kind.slice(1)}`;
  if (packageName === "random") return `@pulumi/random/${file}`;
  if (packageName !== "kubernetes") return undefined;
  // Groups of Kubernetes itself go without their domain.
  return `@pulumi/kubernetes/${path.replace(/^([a-z]+)(\.[^/]*)?\//, "$1/")}/${file}`;
}

function className(module: string): string {
  const file = module.slice(module.lastIndexOf("/") + 1);
  return `${file.charAt(0).toUpperCase()}${file.slice(1)}`;
}

/** What the graph shows as lines, placeholders and hidden values becomes inputs that a cluster takes. */
function restored(value: unknown, options: PlainOptions, path: string[] = []): Json {
  const key = path.at(-1) ?? "";
  const parent = path.at(-2);
  if (Array.isArray(value)) {
    // The files of a ConfigMap are lists of lines in the graph.
    if (parent === "data" && path.length === 2) return value.join("\n");
    return value.map((each) => restored(each, options, path));
  }
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(
      Object.entries(value).map(([name, each]) => [name, restored(each, options, [...path, name])]),
    );
  }
  if (typeof value !== "string") return value as Json;
  const namespace = options.namespaces[value];
  if (namespace !== undefined && (key === "namespace" || (key === "name" && path[0] === "metadata"))) return namespace;
  // Values of a Secret are base64.
  if (value === "[secret]") return Buffer.from("secret").toString("base64");
  // Alone, or within a name.
  return Object.entries(options.placeholders).reduce(
    (text, [placeholder, known]) => text.replaceAll(placeholder, known),
    value,
  );
}

/** As many components as asked for, of each kind by turns, in one namespace. */
export function growthProgram(components: number, namespace: string, provider: Record<string, string>): string {
  const kinds = [
    ["etcd", "EtcdCluster"],
    ["vault", "VaultCluster"],
    ["nats", "NatsCluster"],
    ["redis", "RedisCluster"],
    ["mongodb", "MongodbCluster"],
    ["mysql", "MysqlCluster"],
    ["objectstore", "ObjectStore"],
  ] as const;
  const used = kinds.slice(0, components);
  const made = Array.from({ length: components }, (_, number) => {
    const [service, name] = kinds[number % kinds.length] ?? kinds[0];
    const own =
      service === "vault"
        ? ', seal: { type: "shamir" }, mounts: { secret: {} }'
        : service === "objectstore"
          ? ', buckets: ["data"]'
          : "";
    return `new ${name}("${service}-${number}", { namespace: made.metadata.name${own} }, { provider, dependsOn: [made], transforms: [parked] });`;
  });
  return [
    'import { Namespace } from "@pulumi/kubernetes/core/v1/namespace";',
    'import { kubernetesProvider } from "./components/provider";',
    ...used.map(([service, name]) => `import { ${name} } from "./components/${service}";`),
    'import { park } from "./drills/programs";',
    "",
    `const provider = kubernetesProvider("cluster", ${JSON.stringify(provider)});`,
    `const made = new Namespace("${namespace}", { metadata: { name: "${namespace}" } }, { provider });`,
    "const parked = ({ type, props, opts }: any) =>",
    '  type.startsWith("kubernetes:") ? { props: park(props), opts } : undefined;',
    ...made,
    "",
  ].join("\n");
}
